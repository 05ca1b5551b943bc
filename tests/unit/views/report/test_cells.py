"""Texts are cut where a cell ends, and what a spreadsheet program would run is made plain text."""

import csv
import io
import re
from itertools import product

import pytest

from outwatch.views.report.cells import MOST, begins_formula, fitting, neutral

pytestmark = pytest.mark.security


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize(
    "text", ["a" * MOST, "😀" * (MOST // 2), "a" + "😀" * (MOST // 2), "ü" * MOST, ""], ids=["ascii", "emoji", "mixed", "latin", "empty"]
)
def test_a_text_that_just_fits_is_left_alone(text: str) -> None:
    assert fitting(text) == text


@pytest.mark.parametrize(
    "text",
    ["a" * (MOST + 1), "😀" * (MOST // 2 + 1), "a" + "😀" * MOST, "\x1b" * 10_000, "\ud800" * 20_000, "a" * 5_000_000],
    ids=["ascii", "emoji", "emoji at odd places", "escaped", "surrogates", "huge"],
)
def test_a_text_that_does_not_fit_is_cut_and_says_so(text: str) -> None:
    shown = fitting(text)
    assert MOST - 2 <= units(shown) <= MOST
    assert shown.endswith(" … (cut)")
    assert "\N{REPLACEMENT CHARACTER}" not in shown, "no character is cut in two"
    assert not re.search("[\ud800-\udfff]", shown)


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\n", "\r", "\t", "\u202e", "\ufffe", "\uffff", "\ud800", "\x85", "\u2028"])
def test_what_no_cell_may_hold_is_shown_escaped(character: str) -> None:
    shown = fitting(f"a{character}b")
    assert character not in shown
    assert re.fullmatch(r"a\\(x[0-9a-f]{2}|u[0-9a-f]{4})b", shown)


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "＝1+1",
    "＋1",
    "－1",
    "＠x",
    " =1+1",
    "   @x",
    '=HYPERLINK("http://x")',
    "=cmd|' /C calc'!A0",
    "-",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert begins_formula(text)
    assert neutral(text).startswith("'")
    assert neutral(text).lstrip("'").lstrip()[:1] == text.lstrip()[:1], "the text itself stays readable"


@pytest.mark.parametrize(
    "text", ["firefox", "203.0.113.9", "a=b", "x-y", "a@b.example", "", "'=1", "2001:db8::1", "curl --opt=1", "a + b", "a; b"]
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert neutral(text) == text


@pytest.mark.parametrize("delimiter", list(";\t|,"))
@pytest.mark.parametrize("between", ["", " ", '"', ' "', '" ', '""', '"""', "  ", ";", '";"', ",", '";";'])
def test_a_reader_with_another_delimiter_finds_no_formula_either(delimiter: str, between: str) -> None:
    for before, start in product(["a", "", '"', 'a"', '";'], "=+-@＝＋－＠"):
        line = io.StringIO()
        text = neutral(fitting(f"{before}{delimiter}{between}{start}cmd"))
        csv.writer(line, quoting=csv.QUOTE_NONNUMERIC).writerow(["first", text, "last"])
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for field in next(csv.reader([line.getvalue()], delimiter=delimiter, quoting=quoting)):
                assert field.lstrip()[:1] not in set("=+-@＝＋－＠"), (before, field)
