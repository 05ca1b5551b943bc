"""Names are compared by their labels."""

import pytest

from outwatch.net import domains


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        (" example.com\n", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "bücher.example"),
        ("localhost", "localhost"),
        ("a" * 249 + ".com", "a" * 249 + ".com"),
        (f"{'a' * 249}.com.", f"{'a' * 249}.com"),
    ],
)
def test_a_name_gets_one_spelling(given: str, expected: str) -> None:
    assert domains.canonical(given) == expected


@pytest.mark.parametrize("given", ["", " ", ".", "..", "a..b", ".example.com", "two words.com", "a\tb", "a\u2028b", "a" * 250 + ".com"])
def test_what_can_be_no_name_is_none(given: str) -> None:
    assert domains.canonical(given) is None


def test_a_name_is_followed_by_each_of_its_parents() -> None:
    assert list(domains.suffixes("a.b.example.com")) == ["a.b.example.com", "b.example.com", "example.com", "com"]
    assert list(domains.suffixes("com")) == ["com"]


def test_labels_come_leftmost_first() -> None:
    assert domains.labels("a.b.com") == ["a", "b", "com"]
