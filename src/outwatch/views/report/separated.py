"""A report as comma-separated values (RFC 4180) in UTF-8; texts are quoted, and none of them is a formula anywhere."""

import csv
import io
from datetime import UTC, datetime
from typing import BinaryIO

from outwatch.views.report import Report
from outwatch.views.report.cells import fitting, neutral
from outwatch.views.report.columns import Cell, Linked, Rated, Styled, Unchecked, Verdict, columns


def render(report: Report, out: BinaryIO) -> None:
    """Write the heading and a line for each row."""
    text = io.TextIOWrapper(out, "utf-8", errors="backslashreplace", newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    shown = columns(files=report.files, unasked=report.unasked)
    writer.writerow([column.heading for column in shown])
    writer.writerows([_value(column.read(row)) for column in shown] for row in report.rows)
    text.detach()  # the file is closed by whoever opened it


def _value(cell: Cell) -> str | float:
    if isinstance(cell, Linked):
        cell = cell.cell
    if isinstance(cell, Rated):
        cell = cell.value
    if isinstance(cell, Verdict):
        return cell.band
    if isinstance(cell, Styled):
        cell = cell.text
    if isinstance(cell, Unchecked):
        return neutral(fitting(cell.why))
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).isoformat(" ", "seconds").removesuffix("+00:00") + "Z"
    if cell is None:
        return ""
    return neutral(fitting(cell)) if isinstance(cell, str) else cell
