"""Reports made from a few records, and workbooks read back by another program's reader."""

import io
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from openpyxl import Workbook, load_workbook

from outwatch.model.records import Judged, Summary
from outwatch.views.report import Report, render
from outwatch.views.report.fold import folded

MADE = datetime(2025, 7, 10, 17, 45, tzinfo=UTC)
Write = Callable[..., bytes]


@pytest.fixture
def written() -> Write:
    """Write records in a form and give the file's content."""

    def write(records: Iterable[Judged], form: str, summary: Summary | None = None, **more: Any) -> bytes:
        out = io.BytesIO()
        render(Report(rows=folded(records), summary=summary or Summary(), made=MADE, **more), form, out)
        assert not out.closed, "the file belongs to whoever opened it"
        return out.getvalue()

    return write


@pytest.fixture
def workbook(written: Write) -> Callable[..., Workbook]:
    """Write records as a workbook and read it back."""
    return lambda records, *rest, **more: load_workbook(io.BytesIO(written(records, "workbook", *rest, **more)))


@pytest.fixture
def cells(workbook: Callable[..., Workbook]) -> Callable[..., dict[str, Any]]:
    """Write one record as a workbook and give the cells of its row by their headings."""

    def read(record: Judged, **more: Any) -> dict[str, Any]:
        sheet = workbook([record], **more)["Connections"]
        assert sheet.max_row == 2
        return {str(heading.value): cell for heading, cell in zip(sheet[1], sheet[2], strict=True)}

    return read
