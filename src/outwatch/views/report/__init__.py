"""Reports: a row for each (process, destination, port, transport), in the form that the file's ending asks for.

A form is one module with ``render(report, out)``; it is imported when it is wanted.
"""

import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from outwatch.model.records import Summary
from outwatch.views.report.fold import Row

DEFAULT_NAME = "network_results.xlsx"
"""The file of a report for which no name is given."""

FORMS = {".xlsx": "workbook", ".csv": "separated", ".json": "document", ".jsonl": "lines"}
"""Endings of file names and the modules that write such files."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report tells: its rows, worst first, and the summary; ``hidden`` counts connections left out, by reason.

    ``rows`` are gone through once. ``files`` tells whether open files were asked for, ``made`` when the report was made (UTC);
    ``unasked`` has, by provider, why no service of that name was asked in all of the watch (``no key``, ``off``).
    """

    rows: Iterable[Row]
    summary: Summary
    made: datetime
    hidden: dict[str, int] = field(default_factory=dict)
    files: bool = False
    unasked: Mapping[str, str] = field(default_factory=dict)


def form_of(path: Path) -> str | None:
    """Give the module for a file name, or ``None`` for an ending that no form has."""
    return FORMS.get(path.suffix.lower())


def render(report: Report, form: str, out: BinaryIO) -> None:
    """Write a report in a form of ``FORMS`` to a new file; ``OSError`` when the disk does not take it."""
    importlib.import_module(f"outwatch.views.report.{form}").render(report, out)


def free_name(path: Path) -> Path:
    """Give the first name that nothing has: ``name.xlsx``, ``name_1.xlsx``, ``name_2.xlsx`` and so on."""
    number, free = 0, path
    while os.path.lexists(free):
        number += 1
        free = path.with_stem(f"{path.stem}_{number}")
    return free
