"""Names in other letters have one spelling on the wire, and some names belong to nobody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net import domains


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),  # RFC 3492, 7.1, and RFC 5891's own example
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),  # composed
        ("faß.de", "xn--fa-hia.de"),  # UTS 46, table 1: without transition
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("日本語。ＪＰ", "xn--wgv71a119e.jp"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"),
    ],
)
def test_a_name_in_other_letters_gets_its_spelling_on_the_wire(name: str, expected: str) -> None:
    assert domains.a_labels(name) == expected


@pytest.mark.parametrize("name", ["evil\u200b.é", "é\u202e.com", "☃.net", "é .com", "é/x.com", "é" * 300])
def test_what_no_registry_takes_has_none(name: str) -> None:
    assert domains.a_labels(name) is None


@given(st.text(max_size=80))
@settings(deadline=None, max_examples=300)
def test_any_text_has_an_ascii_spelling_that_is_its_own_or_none(name: str) -> None:
    spelled = domains.a_labels(name)
    assert spelled is None or (spelled.isascii() and domains.a_labels(spelled) == spelled)


@given(st.text("abcxyzäöüéñßçøåłščžабвгдежαβγδε日本語中文한글", min_size=1, max_size=20))
@settings(deadline=None, max_examples=300)
def test_names_in_ordinary_letters_are_spelled_as_the_standard_says(name: str) -> None:
    idna = pytest.importorskip("idna", reason="the package idna is not there for a second opinion")
    assert domains.a_labels(f"{name}.example") == idna.encode(f"{name}.example", uts46=True).decode()


@pytest.mark.parametrize(
    ("name", "of_registries", "of_anybody"),
    [
        ("com", True, True),
        ("co.uk", True, True),
        ("xn--p1ai", True, True),
        ("foo.ck", True, True),  # by the rule *.ck …
        ("www.ck", False, False),  # … and its exception
        ("github.io", False, True),
        ("duckdns.org", False, True),
        ("example.com", False, False),
        ("www.github.io", False, False),
        ("localhost", False, False),
        ("unheard-of", False, False),
        ("example.unheard-of", False, False),
    ],
)
def test_below_a_public_suffix_anybody_may_have_a_name(name: str, of_registries: bool, of_anybody: bool) -> None:
    assert domains.is_suffix(name) is of_anybody
    assert domains.is_suffix(name, private=False) is of_registries
