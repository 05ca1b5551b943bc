"""One text of a list, however it is spelled, means one thing."""

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest

from outwatch.intel.formats.values import Name, Other, Range, meaning, refanged

V4, V6 = IPv4Address("203.0.113.7"), IPv6Address("2001:db8::7")


@pytest.mark.parametrize(
    "text",
    [
        "203.0.113.7", " 203.0.113.7\t", "203.0.113.7:443", "::ffff:203.0.113.7", "::ffff:cb00:7107", "64:ff9b::203.0.113.7",
        "[::ffff:203.0.113.7]:443", "http://203.0.113.7/", "http://203.0.113.7:8080/a?b=c#d", "HTTPS://user:pass@203.0.113.7",
        "203[.]0[.]113[.]7",
        "203.0.113[.]7", "203(.)0(.)113(.)7", "203[dot]0[dot]113[dot]7", "203 [.] 0 [.] 113 [.] 7", "203.0.113.7[:]443",
        "hxxp://203.0.113[.]7/x",
        "203\\.0\\.113\\.7", "tcp://203.0.113.7:4444", "203.0.113.7/index.php",
    ],
)  # fmt: skip
def test_every_spelling_of_an_ipv4_address_is_that_address(text: str) -> None:
    assert meaning(text) == V4


@pytest.mark.parametrize(
    "text", ["2001:db8::7", "2001:DB8:0:0:0:0:0:7", "[2001:db8::7]", "[2001:db8::7]:443", "http://[2001:db8::7]:80/x", "2001:db8::7%eth0"]
)
def test_every_spelling_of_an_ipv6_address_is_that_address(text: str) -> None:
    assert meaning(text) == V6


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("evil.example", "evil.example"),
        ("Evil.EXAMPLE.", "evil.example"),
        ("*.evil.example", "evil.example"),
        (".evil.example", "evil.example"),
        ("evil.example:8080", "evil.example"),
        ("evil.example/path", "evil.example"),
        ("hxxps://evil[.]example/path", "evil.example"),
        ("hXXp://evil.example", "evil.example"),
        ("h**p://evil.example", "evil.example"),
        ("hxxp[:]//evil[.]example", "evil.example"),
        ("hxxp[://]evil[.]example", "evil.example"),
        ("http[:]//evil[.]example", "evil.example"),
        ("evil(dot)example", "evil.example"),
        ("evil[DOT]example", "evil.example"),
        ("evil{.}example", "evil.example"),
        ("evil[.example", "evil.example"),
        ("http://good.example@evil.example/", "evil.example"),
        ("http://evil.example\\@good.example/", "evil.example"),
        ("ftp://evil.example/x", "evil.example"),
        ("http://evil.example?x=http://good.example/", "evil.example"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("_dmarc.evil.example", "_dmarc.evil.example"),
        ("a-b.example", "a-b.example"),
        ("com", "com"),
    ],
)
def test_a_name_is_that_of_its_host_in_one_spelling(text: str, name: str) -> None:
    assert meaning(text) == Name(name)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        ("198.51.100.77/24", "198.51.100.0/24"),
        ("198.51.100.0/255.255.255.0", "198.51.100.0/24"),
        ("198.51.100[.]0/24", "198.51.100.0/24"),
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_network_has_one_spelling(text: str, network: str) -> None:
    assert meaning(text) == ip_network(network)


@pytest.mark.parametrize("text", ["203.0.113.7-203.0.113.9", "203.0.113.7 - 203.0.113.9", "203[.]0.113.7-203.0.113[.]9"])
def test_a_range_has_two_ends(text: str) -> None:
    assert meaning(text) == Range(V4, IPv4Address("203.0.113.9"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("d41d8cd98f00b204e9800998ecf8427e", "checksums of files"),
        ("A" * 64, "checksums of files"),
        ("somebody@evil.example", "mail addresses"),
        ("AS64496", "network numbers"),
    ],
)
def test_what_connections_don_t_show_is_known_for_what_it_is(text: str, kind: str) -> None:
    assert meaning(text) == Other(kind)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "-", "word", "two words", "203.0.113", "203.0.113.256", "203.0.113.007", "203.0.113.7.", "203.0.113.7/33",
        "203.0.113.7/", "2001:db8::/129",
        "2001:db8:::1", "203.0.113.9-203.0.113.7", "203.0.113.7-2001:db8::7", "203.0.113.7-", "http://", "http:///",
        "http://[2001:db8::7/", "evil..example",
        "evil.example,good.example", "-evil.example", "evil-.example", f"{'a' * 64}.example", f"{'a.' * 127}example", "evil.123",
        "evil.0x7f",
        "http://3405803783/", "http://0xcb007107/", "evil.exa\u200bmple", "evil example.com", "\u202eevil.example", "evil.example##.ad",
        "a" * 5000,
    ],
)  # fmt: skip
def test_what_means_nothing_is_nothing(text: str) -> None:
    assert meaning(text) is None


@pytest.mark.parametrize("text", ["http://evil.example/a[.]b", "[2001:db8::7]", "plain.example", "here.example"])
def test_what_is_harmless_to_click_on_anyway_keeps_its_host(text: str) -> None:
    assert refanged(text).startswith(text[:8])


def test_a_long_row_of_brackets_takes_no_time_to_speak_of() -> None:
    found: Any = meaning("[" * 4000)
    assert found is None
