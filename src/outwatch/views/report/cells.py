"""Hostile text in cells: what a spreadsheet program would run, follow or misread is made plain text."""

import re

from outwatch.guard.text import printable

MOST = 32_767
"""UTF-16 units that a cell may hold (Excel's specifications and limits)."""

# What begins a formula in some program, and the full-width forms that some take for it (OWASP: CSV injection).
_FORMULA = "=+\\-@\t\r\n＝＋－＠"
_BEGINS_FORMULA = re.compile(rf"\s*[{_FORMULA}]")
# Where a program that separates cells by another character would see a new one begin.
_LATER_FORMULA = re.compile(rf"([;,|\t]\s*\"?\s*)(?=[{_FORMULA}])")
_CUT = " … (cut)"


def fitting(text: str) -> str:
    """Make a text printable and as long as a cell allows; what is cut off is said."""
    shown = printable(text, len(text))
    if len(shown) <= MOST // 2:
        return shown
    room = MOST - len(_CUT)
    wide = len(shown) if shown.isascii() else len(shown.encode("utf-16-le")) // 2
    if wide <= MOST:
        return shown
    return shown.encode("utf-16-le")[: 2 * room].decode("utf-16-le", "ignore") + _CUT


def begins_formula(text: str) -> bool:
    """Tell whether some program would take a text for a formula."""
    return bool(_BEGINS_FORMULA.match(text))


def neutral(text: str) -> str:
    """Put an apostrophe in front of whatever a program could take for a formula, as OWASP advises for CSV."""
    text = _LATER_FORMULA.sub(r"\1'", text)
    return f"'{text}" if begins_formula(text) else text
