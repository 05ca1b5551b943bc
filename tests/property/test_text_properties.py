"""No text gets past the guard."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.guard.text import cleaned, printable

pytestmark = pytest.mark.security
anything = st.text(st.characters() | st.sampled_from("\x00\x07\x1b\x7f\x9b\u202e\u2066\ud800\udcff\u2028…"), max_size=60)


UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


@settings(max_examples=300, deadline=None)
@given(anything, st.integers(1, 70))
def test_what_is_shown_is_one_printable_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= 10 * limit  # an escape is ten characters at most


@settings(max_examples=300, deadline=None)
@given(anything)
def test_showing_twice_changes_nothing_more_and_leaves_what_was_harmless(text: str) -> None:
    shown = printable(text, 10_000)
    assert printable(shown, 10_000) == shown
    # Letters of which nothing is seen (fillers, joiners) are printable to Python and yet shown as escapes.
    assert (shown == text) == (text.isprintable() and not set(text) & UNSEEN)


@settings(max_examples=300, deadline=None)
@given(anything | st.binary(max_size=60))
def test_cleaned_text_is_valid_unicode_and_cleaning_it_again_changes_nothing(given_text: str | bytes) -> None:
    text = cleaned(given_text)
    assert text.encode("utf-8").decode("utf-8") == text
    assert cleaned(text) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_valid_text_is_cleaned_to_itself_also_from_its_bytes(text: str) -> None:
    assert cleaned(text) == text
    assert cleaned(text.encode()) == text
