"""Rows of a worksheet, written as they are in the file (ECMA-376, 18.3.1.4 and 18.3.1.73).

XlsxWriter makes the workbook: styles, widths, filters, print set-up, links, package. Only the cells are spelled here, for two reasons:
its own way of writing one takes two thirds of a report's time, and in constant memory it takes a text that begins with
``<r>`` and ends with ``</r>`` for markup, so that a process could choose a name that breaks the workbook.
"""

import math
import re
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from xlsxwriter.utility import xl_col_to_name
from xlsxwriter.worksheet import Worksheet

from outwatch.views.report.cells import fitting

_EXACT = 10**15  # numbers are kept with 15 digits
_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)  # day 0 of the calendar of cells …
_FIRST_DAY = datetime(1900, 3, 1, tzinfo=UTC)  # … which has a 29 February 1900
_DAY = timedelta(days=1)
_AS_CODE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")  # _x0041_ in a file is the character A: ECMA-376, 22.9.2.19
_REMEMBERED, _WORTH_REMEMBERING = 4096, 200
MOST_LINKS = 65_530
"""Links that a sheet may have (Excel's specifications and limits)."""


class Spelled(NamedTuple):
    """A cell from its style on, and how many characters wide it is."""

    xml: str
    width: int


class StreamedSheet(Worksheet):  # type: ignore[misc]  # XlsxWriter has no types
    """A worksheet in constant memory that takes a row at once, in the order of the rows."""

    dim_colmax: int | None

    def __init__(self) -> None:
        """Begin without links."""
        super().__init__()
        self._linked_rows, self._linked_columns = array("L"), array("L")
        self._linked_pages: list[str] = []

    def add_row(self, row: int, cells: Sequence[tuple[int, Spelled]]) -> None:
        """Write a row: cells with the number of their column, in its order."""
        number = row + 1
        if cells:
            self.dim_rowmin, self.dim_rowmax = 0, row
            self.dim_colmin, self.dim_colmax = 0, max(self.dim_colmax or 0, cells[-1][0])
        line = "".join([f'<c r="{_letters(column)}{number}{cell.xml}' for column, cell in cells])
        self.row_data_fh.write(f'<row r="{number}">{line}</row>')

    def add_link(self, row: int, column: int, url: str) -> bool:
        """Lay a link over a cell; ``False`` if the sheet has as many as it may."""
        if self.hlink_count >= MOST_LINKS:
            return False
        self.hlink_count += 1
        self._linked_rows.append(row)
        self._linked_columns.append(column)
        self._linked_pages.append(url)
        return True

    def _write_hyperlinks(self) -> None:
        """Write the links (ECMA-376, 18.3.1.47): XlsxWriter's own objects for them would take half of a report's memory."""
        if self._linked_pages:
            self._xml_start_tag("hyperlinks")
            for row, column, url in zip(self._linked_rows, self._linked_columns, self._linked_pages, strict=True):
                self.rel_count += 1
                self._xml_empty_tag("hyperlink", [("ref", f"{_letters(column)}{row + 1}"), ("r:id", f"rId{self.rel_count}")])
                self.external_hyper_links.append(("/hyperlink", url, "External"))
            self._xml_end_tag("hyperlinks")
            self._linked_pages.clear()


def style_number(style: Any) -> int:
    """Give the number of a format in the file."""
    return int(style._get_xf_index())  # noqa: SLF001 - a Format says it in no other way


def text(shown: str, style: int) -> Spelled:
    """Spell a text as a text, whatever it looks like."""
    return (_remembered if len(shown) <= _WORTH_REMEMBERING else _text)(shown, style)


def number(value: float, style: int) -> Spelled:
    """Spell a number; one that a cell can't hold exactly becomes a text."""
    if not -_EXACT < value < _EXACT or not math.isfinite(value):
        return text(str(value), style)
    return Spelled(f'" s="{style}"><v>{value}</v></c>', len(f"{value:,}"))


def time(moment: datetime, style: int) -> Spelled:
    """Spell a moment, in UTC and whole seconds; one before the calendar of cells becomes a text."""
    if moment < _FIRST_DAY:
        return text(f"{moment:%Y-%m-%d %H:%M:%S}", style)
    return Spelled(f'" s="{style}"><v>{(moment.replace(microsecond=0) - _EPOCH) / _DAY:.10f}</v></c>', 19)


def _text(shown: str, style: int) -> Spelled:
    shown = fitting(shown)
    inside = escape(shown)
    if "_x" in inside:
        inside = _AS_CODE.sub("_x005F_", inside)
    space = ' xml:space="preserve"' if shown[:1] == " " or shown[-1:] == " " else ""
    return Spelled(f'" s="{style}" t="inlineStr"><is><t{space}>{inside}</t></is></c>', len(shown))


_remembered = lru_cache(maxsize=_REMEMBERED)(_text)
_letters = lru_cache(maxsize=64)(xl_col_to_name)
