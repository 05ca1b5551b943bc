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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("WWW.Example.COM.", "www.example.com"),
        ("localhost", "localhost"),
        ("a", "a"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("192-0-2-1.dsl.example", "192-0-2-1.dsl.example"),
        ("3com.example", "3com.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (".".join(["a" * 61] * 4), ".".join(["a" * 61] * 4)),
    ],
)
def test_a_machines_name_is_letters_digits_hyphens_and_underscores(given: str, expected: str) -> None:
    assert domains.hostname(given) == expected


@pytest.mark.security
@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "192.0.2.1",
        "2001:db8::1",
        "1234",
        "-a.example",
        "a-.example",
        "a.-b.example",
        f"{'a' * 64}.example",
        ".".join(["a" * 60] * 5),
        "two words.example",
        "line\nbreak.example",
        "\x1b[31mred.example",
        r"back\032slash.example",
        "bücher.example",
        "g\u043eogle.com",
        "\u202egoogle.com",
        "*.example.com",
        "user@example.com",
        "http://example.com/",
        "=1+1",
        "a\0.example",
        "\u0661.example",
    ],
)
def test_what_no_machine_may_be_called_is_none(given: str) -> None:
    assert domains.hostname(given) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("WWW.Example.COM.", "example.com"),
        ("a.b.c.example.com", "example.com"),
        ("_dmarc.example.org", "example.org"),
        ("city.kobe.jp", "city.kobe.jp"),  # an exception of the list
        ("a.b.c.kobe.jp", "b.c.kobe.jp"),  # everything else below is a suffix
        ("alice.github.io", "alice.github.io"),  # everybody below is somebody else
        ("deep.alice.github.io", "alice.github.io"),
        ("www.xn--80aswg.xn--p1ai", "xn--80aswg.xn--p1ai"),
        ("printer.lan", "printer.lan"),  # a top level that the list does not have
    ],
)
def test_the_registered_part_of_a_name_is_what_lies_below_a_public_suffix(name: str, expected: str) -> None:
    assert domains.registered(name) == expected


@pytest.mark.security
@pytest.mark.parametrize(
    "name", ["co.uk", "com", "localhost", "github.io", "192.0.2.1", "2001:db8::1", "", ".", "..", "a..b", "two words", "x" * 300]
)
def test_a_suffix_an_address_and_nonsense_have_no_registered_part(name: str) -> None:
    assert domains.registered(name) is None
