"""One sheet of a workbook with one table: heading, typed cells, widths that fit, filter, frozen heading, print set-up."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from xlsxwriter import Workbook

from outwatch.views.report.cells import begins_formula
from outwatch.views.report.columns import Cell, Linked, Rated, Styled, Unchecked, Verdict
from outwatch.views.report.streamed import Spelled, StreamedSheet, number, style_number, text, time

MOST_ROWS = 1_048_575
"""Rows below the heading (Excel's specifications and limits)."""

_MOST_FOOTER = 255  # characters
_LEAST_WIDE, _ROOM = 8, 3  # characters; the room is for the filter's arrow
_A4 = 9

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
    "hint": ("#FEF0C7", "#1F2933"),
    "clean": ("#D1FADF", "#1F2933"),
}


_NUMBER_WITH_PAGE = {"align": "right", "indent": 1, "underline": 1}
_LOOKS: dict[str, dict[str, Any]] = {
    "critical": {"bold": True},
    "malicious": _NUMBER_WITH_PAGE,
    "suspicious": _NUMBER_WITH_PAGE,
    "hint": _NUMBER_WITH_PAGE,
    "clean": _NUMBER_WITH_PAGE,
}


class Styles:
    """The formats of a workbook, by their numbers."""

    def __init__(self, book: Workbook) -> None:
        """Make them; a workbook knows each only once."""
        base = {"font_name": "Calibri", "font_size": 10, "font_color": _INK, "valign": "top"}

        def style(**more: Any) -> int:
            return style_number(book.add_format({**base, **more}))

        self.text = style()
        self.quoted = style(quote_prefix=True)  # stays a text also when somebody edits the cell
        self.number = style(num_format="#,##0", align="right", indent=1)
        self.plain_number = style(num_format="0", align="right", indent=1)
        self.time = style(num_format="yyyy-mm-dd hh:mm:ss", align="left")
        self.unchecked = style(font_color=_GREY, italic=True, quote_prefix=True)
        self.heading = style(bold=True, font_color="#FFFFFF", bg_color="#344054", border=1, border_color="#FFFFFF", text_wrap=True)
        self.title = style(bold=True, font_size=16)
        self.section = style(bold=True, font_size=12, bottom=1)
        self.link = style(font_color="#175CD3", underline=1)
        self.unchecked_link = style(font_color=_GREY, italic=True, underline=1, quote_prefix=True)
        self.filled = {name: style(bg_color=fill, font_color=ink, **_LOOKS.get(name, {})) for name, (fill, ink) in _FILLS.items()}
        self.filled_text = {name: style(bg_color=fill, font_color=ink, quote_prefix=True) for name, (fill, ink) in _FILLS.items()}
        self.filled["unknown"] = self.filled_text["unknown"] = self.unchecked

    def of(self, rated: Rated) -> int:
        """Give the style of what a service said: a number in the colour of its state, or a text."""
        return (self.filled_text if isinstance(rated.value, str) else self.filled)[rated.state]


class Heading(NamedTuple):
    """A column of a table: its name, the most characters it may be wide, and whether its numbers are names such as a port."""

    text: str
    widest: int
    is_name: bool = False


class Pen:
    """Writes rows of a sheet, each cell in its own kind: nothing is guessed from what a text looks like."""

    def __init__(self, sheet: StreamedSheet, styles: Styles) -> None:
        """Take the sheet; rows must come in their order (constant memory)."""
        self.sheet, self._styles = sheet, styles

    def row(self, row: int, cells: Sequence[Cell], names: Collection[int] = ()) -> list[tuple[int, Spelled]]:
        """Write a row and give its cells with their columns; numbers in the columns ``names`` are names."""
        spelled = [
            (column, self._spelled(row, column, cell, is_name=column in names)) for column, cell in enumerate(cells) if cell is not None
        ]
        self.sheet.add_row(row, spelled)
        return spelled

    def _spelled(self, row: int, column: int, cell: Cell, *, is_name: bool) -> Spelled:  # noqa: PLR0911 - one for each kind
        styles = self._styles
        if isinstance(cell, str):
            return text(cell, styles.quoted if begins_formula(cell) else styles.text)
        if isinstance(cell, Unchecked):
            return text(cell.why, styles.unchecked)
        if isinstance(cell, datetime):
            return time(cell, styles.time)
        if isinstance(cell, Verdict):
            return text(cell.band, styles.filled[cell.band])
        if isinstance(cell, Rated):
            return _value(cell.value, styles.of(cell))
        if isinstance(cell, Styled):
            return text(cell.text, cell.style)
        if isinstance(cell, Linked):
            return self._linked(row, column, cell)
        return number(cell or 0, styles.plain_number if is_name else styles.number)

    def _linked(self, row: int, column: int, linked: Linked) -> Spelled:
        """Spell a value with its link; without one if the sheet has as many as it may."""
        inner, styles = linked.cell, self._styles
        has_link = self.sheet.add_link(row, column, linked.url)
        if isinstance(inner, Rated):
            return _value(inner.value, styles.of(inner))
        if isinstance(inner, Unchecked):
            return text(inner.why, styles.unchecked_link if has_link else styles.unchecked)
        return text(inner, styles.link) if has_link else text(linked.url, styles.text)


def _value(value: float | str, style: int) -> Spelled:
    return text(value, style) if isinstance(value, str) else number(value, style)


class Grid:
    """A sheet that is one table."""

    def __init__(self, sheet: StreamedSheet, styles: Styles, headings: Sequence[Heading], *, frozen: int, pages: int = 1) -> None:
        """Write the heading; ``frozen`` columns stay in view, ``pages`` is how many sheets of paper wide a print may be."""
        self._pen = Pen(sheet, styles)
        self._headings = headings
        self._widths = [len(heading.text) + _ROOM for heading in headings]
        self._row = 0
        self.left_out = 0
        self._names = frozenset(column for column, heading in enumerate(headings) if heading.is_name)
        self._pen.row(0, [Styled(heading.text, styles.heading) for heading in headings])
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
        for column, cell in self._pen.row(self._row, cells, self._names):
            if cell.width > self._widths[column]:  # noqa: PLR1730 - a third of the time of max(), for millions of cells
                self._widths[column] = cell.width

    def finish(self, footer: str) -> None:
        """Set filter, widths and print, now that everything is written."""
        sheet = self._pen.sheet
        set_up_print(sheet, footer, self._pages)
        sheet.autofilter(0, 0, max(self._row, 1), len(self._headings) - 1)
        for column, (heading, width) in enumerate(zip(self._headings, self._widths, strict=True)):
            sheet.set_column(column, column, max(_LEAST_WIDE, min(width + 1, max(heading.widest, len(heading.text) + _ROOM))))


def set_up_print(sheet: StreamedSheet, footer: str, pages: int = 1) -> None:
    """Set a sheet up for A4 landscape, with what it is about at the foot of each page."""
    sheet.set_landscape()
    sheet.set_paper(_A4)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.7)
    sheet.fit_to_pages(pages, 0)
    safe = footer.replace("&", "＆")[: _MOST_FOOTER - 20]  # & begins an instruction, and XlsxWriter knows some that Excel does not
    sheet.set_footer(f"&L{safe}&R&P / &N")
