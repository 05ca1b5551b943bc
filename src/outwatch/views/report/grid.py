"""One sheet of a workbook with one table: heading, typed cells, widths that fit, filter, frozen heading, print set-up."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from outwatch.views.report.cells import begins_formula, fitting
from outwatch.views.report.columns import Cell, Linked, Rated, Unchecked, Verdict

if TYPE_CHECKING:
    from xlsxwriter import Workbook
    from xlsxwriter.worksheet import Worksheet

MOST_ROWS = 1_048_575
"""Rows below the heading (Excel's specifications and limits, like the other figures here)."""

_MOST_LINKS = 65_530  # of one sheet
_MOST_FOOTER = 255  # characters
_EXACT = 10**15  # numbers are kept with 15 digits
_FIRST_YEAR = 1900  # the calendar of cells begins here
_LEAST_WIDE, _ROOM = 8, 3  # characters; the room is for the filter's arrow
_A4 = 9
_ESCAPE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")  # _x0041_ in a file is the character A: ECMA-376, 22.9.2.19 (ST_Xstring)

_INK, _GREY = "#1F2933", "#7B8794"
_FILLS = {
    "critical": ("#B42318", "#FFFFFF"),
    "high": ("#F97066", "#1F2933"),
    "medium": ("#FEC84B", "#1F2933"),
    "low": ("#FEF0C7", "#1F2933"),
    "normal": ("#D1FADF", "#1F2933"),
    "allowed": ("#ECFDF3", "#475467"),
    "malicious": ("#F97066", "#1F2933"),
    "suspicious": ("#FEC84B", "#1F2933"),
    "clean": ("#D1FADF", "#1F2933"),
}


_NUMBER_WITH_PAGE = {"align": "right", "indent": 1, "underline": 1}
_LOOKS: dict[str, dict[str, Any]] = {
    "critical": {"bold": True},
    "malicious": _NUMBER_WITH_PAGE,
    "suspicious": _NUMBER_WITH_PAGE,
    "clean": _NUMBER_WITH_PAGE,
}


class Styles:
    """The formats of a workbook."""

    def __init__(self, book: "Workbook") -> None:
        """Make them; a workbook knows each only once."""
        base = {"font_name": "Calibri", "font_size": 10, "font_color": _INK, "valign": "top"}

        def style(**more: Any) -> Any:
            return book.add_format({**base, **more})

        self.text = style()
        self.quoted = style(quote_prefix=True)  # stays a text also when somebody edits the cell
        self.number = style(num_format="#,##0", align="right", indent=1)
        self.plain_number = style(num_format="0", align="right", indent=1)
        self.time = style(num_format="yyyy-mm-dd hh:mm:ss", align="left")
        self.unchecked = style(font_color=_GREY, italic=True)
        self.heading = style(bold=True, font_color="#FFFFFF", bg_color="#344054", border=1, border_color="#FFFFFF", text_wrap=True)
        self.title = style(bold=True, font_size=16)
        self.section = style(bold=True, font_size=12, bottom=1)
        self.link = style(font_color="#175CD3", underline=1)
        self.unchecked_link = style(font_color=_GREY, italic=True, underline=1)
        self.filled = {name: style(bg_color=fill, font_color=ink, **_LOOKS.get(name, {})) for name, (fill, ink) in _FILLS.items()}


class Heading(NamedTuple):
    """A column of a table: its name, the most characters it may be wide, and whether its numbers are names such as a port."""

    text: str
    widest: int
    is_name: bool = False


class Pen:
    """Writes cells of a sheet, each in its own kind: nothing is guessed from what a text looks like."""

    def __init__(self, sheet: "Worksheet", styles: Styles) -> None:
        """Take the sheet; rows must come in their order (constant memory)."""
        self.sheet, self.styles = sheet, styles
        self._links = 0

    def put(self, row: int, column: int, cell: Cell, *, is_name: bool = False) -> int:  # noqa: PLR0911 - one for each kind
        """Write a cell and give the width of what it shows, in characters."""
        styles = self.styles
        if cell is None:
            return 0
        if isinstance(cell, Unchecked):
            return self.text(row, column, cell.why, styles.unchecked)
        if isinstance(cell, Verdict):
            return self.text(row, column, cell.band, styles.filled[cell.band])
        if isinstance(cell, Rated):
            return self._number_or_text(row, column, cell.value, styles.filled[cell.state])
        if isinstance(cell, Linked):
            return self._link(row, column, cell)
        if isinstance(cell, datetime):
            return self._time(row, column, cell)
        if isinstance(cell, str):
            return self.text(row, column, cell, None)
        return self._number_or_text(row, column, cell, styles.plain_number if is_name else styles.number)

    def text(self, row: int, column: int, text: str, style: Any) -> int:
        """Write a text, whatever it looks like."""
        shown = fitting(text)
        if "_x" in shown:
            shown = fitting(_ESCAPE.sub("_x005F_", shown))
        if style is None:
            style = self.styles.quoted if begins_formula(shown) else self.styles.text
        self.sheet.write_string(row, column, shown, style)
        return len(shown)

    def _number_or_text(self, row: int, column: int, value: float | str, style: Any) -> int:
        if isinstance(value, str):
            return self.text(row, column, value, style)
        if not -_EXACT < value < _EXACT:  # also what is no number
            return self.text(row, column, str(value), style)
        self.sheet.write_number(row, column, value, style)
        return len(f"{value:,}")

    def _time(self, row: int, column: int, moment: datetime) -> int:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
        if moment.year < _FIRST_YEAR:
            return self.text(row, column, moment.isoformat(" "), None)
        self.sheet.write_datetime(row, column, moment.replace(microsecond=0), self.styles.time)
        return 19

    def _link(self, row: int, column: int, linked: Linked) -> int:
        """Write a value with its link, as long as the sheet may have more of them."""
        inner, styles = linked.cell, self.styles
        if self._links >= _MOST_LINKS:
            return self.put(row, column, inner)
        self._links += 1
        if isinstance(inner, Rated):
            self.sheet.write_url(row, column, linked.url, styles.filled[inner.state], str(inner.value))
            return self._number_or_text(row, column, inner.value, styles.filled[inner.state])
        shown = fitting(inner.why if isinstance(inner, Unchecked) else inner)
        self.sheet.write_url(row, column, linked.url, styles.unchecked_link if isinstance(inner, Unchecked) else styles.link, shown)
        return len(shown)


class Grid:
    """A sheet that is one table."""

    def __init__(self, sheet: "Worksheet", styles: Styles, headings: Sequence[Heading], *, frozen: int, pages: int = 1) -> None:
        """Write the heading; ``frozen`` columns stay in view, ``pages`` is how many sheets of paper wide a print may be."""
        self._pen = Pen(sheet, styles)
        self._headings = headings
        self._widths = [len(heading.text) + _ROOM for heading in headings]
        self._row = 0
        self.left_out = 0
        for column, heading in enumerate(headings):
            sheet.write_string(0, column, heading.text, styles.heading)
        sheet.freeze_panes(1, frozen)
        sheet.repeat_rows(0)
        if pages > 1:
            sheet.repeat_columns(0, frozen - 1)
        self._pages = pages

    def add(self, cells: Sequence[Cell]) -> None:
        """Write the next row; rows that a sheet can't hold are counted in ``left_out``."""
        if self._row >= MOST_ROWS:
            self.left_out += 1
            return
        self._row += 1
        for column, cell in enumerate(cells):
            width = self._pen.put(self._row, column, cell, is_name=self._headings[column].is_name)
            self._widths[column] = max(self._widths[column], width)

    def finish(self, footer: str) -> None:
        """Set filter, widths and print, now that everything is written."""
        sheet = self._pen.sheet
        set_up_print(sheet, footer, self._pages)
        sheet.autofilter(0, 0, max(self._row, 1), len(self._headings) - 1)
        for column, (heading, width) in enumerate(zip(self._headings, self._widths, strict=True)):
            sheet.set_column(column, column, max(_LEAST_WIDE, min(width + 1, max(heading.widest, len(heading.text) + _ROOM))))


def set_up_print(sheet: "Worksheet", footer: str, pages: int = 1) -> None:
    """Set a sheet up for A4 landscape, with what it is about at the foot of each page."""
    sheet.set_landscape()
    sheet.set_paper(_A4)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.7)
    sheet.fit_to_pages(pages, 0)
    safe = footer.replace("&", "&&")[: _MOST_FOOTER - 20]
    sheet.set_footer(f"&L{safe}&R&P / &N")
