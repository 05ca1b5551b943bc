"""Hostile text becomes harmless, and nothing in it is lost without a trace."""

import pytest

from outwatch.guard.text import cleaned, printable

SEQUENCES = {
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;owned\x07": r"\x1b]0;owned\x07",
    "\x1b]8;;http://example.com\x1b\\click": r"\x1b]8;;http://example.com\x1b\click",
    "\x9b31m": r"\x9b31m",
    "\x1bc": r"\x1bc",
    "\x1bP1$r0m\x9c": r"\x1bP1$r0m\x9c",
}
INVISIBLE = ["\u115f", "\u1160", "\u3164", "\uffa0", "\u2800", "\u034f"]


@pytest.mark.security
@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA1)], ids=hex)
def test_every_control_character_is_shown_as_an_escape(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\x{code:02x}b"


@pytest.mark.security
@pytest.mark.parametrize("code", [0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0xFEFF], ids=hex)
def test_every_bidirectional_mark_and_line_separator_is_shown_as_an_escape(code: int) -> None:
    assert printable(f"a{chr(code)}b") == f"a\\u{code:04x}b"


@pytest.mark.security
@pytest.mark.parametrize(("text", "shown"), SEQUENCES.items())
def test_terminal_sequences_lose_their_introducer_and_keep_their_letters(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.security
@pytest.mark.parametrize("character", INVISIBLE, ids=lambda one: f"U+{ord(one):04X}")
def test_a_character_that_nobody_can_see_is_shown_as_an_escape(character: str) -> None:
    assert character not in printable(f"ssh{character}d")


@pytest.mark.security
def test_a_forged_second_log_line_stays_on_the_first() -> None:
    forged = printable("curl\n2025-07-10 19:42:01 - WARNING - Process: sshd\r\u2028\u2029\x85\x0b\x0c")
    assert forged.splitlines() == [forged]
    assert forged.startswith("curl\\x0a2025")


def test_markup_and_ordinary_writing_of_all_scripts_are_left_as_they_are() -> None:
    for text in ("[link=http://example.com]x[/link]", "<b>&amp;", "Ärger 東京 مثال 🦉", "a  b"):
        assert printable(text) == text


def test_characters_beyond_the_basic_plane_get_the_long_escape() -> None:
    assert printable("\U000e0041") == "\\U000e0041"
    assert printable("\ud800") == "\\ud800"


@pytest.mark.parametrize(("length", "limit", "expected"), [(10, 10, "x" * 10), (11, 10, "x" * 9 + "…"), (1, 1, "x"), (2, 1, "…")])
def test_what_is_too_long_ends_in_an_ellipsis(length: int, limit: int, expected: str) -> None:
    assert printable("x" * length, limit) == expected
    assert cleaned("x" * length, limit) == expected


@pytest.mark.security
def test_a_megabyte_of_escapes_becomes_one_short_line() -> None:
    shown = printable("\x1b\n" * (1 << 19), 300)
    assert shown == "\\x1b\\x0a" * 149 + "\\x1b" + "…"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (b"plain", "plain"),
        (b"a\xff\xfeb", "a\\xff\\xfeb"),
        ("é".encode(), "é"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),  # a surrogate encoded as if it were a character
        ("a\udcffb", "a\\xffb"),  # PEP 383: an undecodable byte of a file name
        ("a\ud800b", "a\\ud800b"),
        ("a\udc00b", "a\\udc00b"),
        ("\udc7f\udd00", "\\udc7f\\udd00"),
        ("\x1b\x00", "\x1b\x00"),
        ("", ""),
        (b"", ""),
    ],
)
def test_cleaning_gives_valid_unicode_and_shows_what_was_not(given: str | bytes, expected: str) -> None:
    assert cleaned(given) == expected


def test_bytes_cut_in_the_middle_of_a_character_give_no_stray_escape() -> None:
    assert cleaned("é".encode() * 100, 10) == "é" * 9 + "…"
    assert cleaned("😀".encode() * 100, 10) == "😀" * 9 + "…"


@pytest.mark.security
@pytest.mark.parametrize("given", ["\udcff" * 50, b"\xff" * 50, "a\ud800" * 20], ids=["byte", "raw", "mixed"])
def test_cleaned_text_keeps_to_its_limit_also_when_it_had_to_be_escaped(given: str | bytes) -> None:
    assert len(cleaned(given, 10)) <= 10
