"""One spelling for each address, and the place where it lives."""

import tracemalloc
from ipaddress import ip_address, ip_network

import pytest

from outwatch.model.records import Scope
from outwatch.net.addresses import Scopes, embedded, parse, parse_network, private_networks

# First and last address of each entry of IANA's IPv4 and IPv6 Special-Purpose Address Registries, and their neighbours.
PLACES: list[tuple[str, Scope]] = [
    ("0.0.0.0", "unclassified"),
    ("0.255.255.255", "unclassified"),
    ("1.0.0.0", "public"),
    ("9.255.255.255", "public"),
    ("10.0.0.0", "private"),
    ("10.255.255.255", "private"),
    ("11.0.0.0", "public"),
    ("100.63.255.255", "public"),
    ("100.64.0.0", "private"),
    ("100.127.255.255", "private"),
    ("100.128.0.0", "public"),
    ("126.255.255.255", "public"),
    ("127.0.0.0", "loopback"),
    ("127.255.255.255", "loopback"),
    ("128.0.0.0", "public"),
    ("169.253.255.255", "public"),
    ("169.254.0.0", "link_local"),
    ("169.254.169.254", "link_local"),
    ("169.255.0.0", "public"),
    ("172.15.255.255", "public"),
    ("172.16.0.0", "private"),
    ("172.31.255.255", "private"),
    ("172.32.0.0", "public"),
    ("192.0.0.0", "private"),
    ("192.0.0.8", "private"),
    ("192.0.0.9", "public"),
    ("192.0.0.10", "public"),
    ("192.0.0.11", "private"),
    ("192.0.0.170", "private"),
    ("192.0.1.0", "public"),
    ("192.0.2.1", "unclassified"),
    ("192.31.196.1", "public"),
    ("192.52.193.1", "public"),
    ("192.88.99.1", "public"),
    ("192.167.255.255", "public"),
    ("192.168.0.0", "private"),
    ("192.168.255.255", "private"),
    ("192.169.0.0", "public"),
    ("192.175.48.1", "public"),
    ("198.17.255.255", "public"),
    ("198.18.0.0", "private"),
    ("198.19.255.255", "private"),
    ("198.20.0.0", "public"),
    ("198.51.100.255", "unclassified"),
    ("203.0.113.0", "unclassified"),
    ("203.0.114.0", "public"),
    ("223.255.255.255", "public"),
    ("224.0.0.0", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.0", "unclassified"),
    ("255.255.255.254", "unclassified"),
    ("255.255.255.255", "link_local"),
    ("::", "unclassified"),
    ("::1", "loopback"),
    ("::2", "unclassified"),
    ("64:ff9b:1::", "private"),
    ("64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "private"),
    ("64:ff9b:2::", "unclassified"),
    ("100::1", "unclassified"),
    ("100:0:0:1::1", "unclassified"),
    ("2000::", "public"),
    ("2001::1", "public"),
    ("2001:1::", "unclassified"),
    ("2001:1::1", "public"),
    ("2001:1::2", "public"),
    ("2001:1::3", "public"),
    ("2001:1::4", "unclassified"),
    ("2001:2::1", "private"),
    ("2001:2:1::", "unclassified"),
    ("2001:3::1", "public"),
    ("2001:4:112::1", "public"),
    ("2001:4:113::1", "unclassified"),
    ("2001:10::1", "unclassified"),
    ("2001:20::1", "public"),
    ("2001:2f:ffff::1", "public"),
    ("2001:30::1", "public"),
    ("2001:40::1", "unclassified"),
    ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "unclassified"),
    ("2001:200::", "public"),
    ("2001:db7:ffff::1", "public"),
    ("2001:db8::1", "unclassified"),
    ("2001:db9::1", "public"),
    ("2620:4f:8000::1", "public"),
    ("3ffe::1", "public"),
    ("3fff::1", "unclassified"),
    ("3fff:fff:ffff::1", "unclassified"),
    ("3fff:1000::1", "public"),
    ("4000::1", "unclassified"),
    ("5f00::1", "private"),
    ("fbff::1", "unclassified"),
    ("fc00::1", "private"),
    ("fdff:ffff::1", "private"),
    ("fe00::1", "unclassified"),
    ("fe80::1", "link_local"),
    ("febf:ffff::1", "link_local"),
    ("fec0::1", "private"),
    ("feff::1", "private"),
    ("ff02::fb", "multicast"),
]

SPELLINGS = [
    ("192.0.2.1", "192.0.2.1"),
    (" 192.0.2.1\n", "192.0.2.1"),
    ("::ffff:192.0.2.1", "192.0.2.1"),
    ("::FFFF:C000:201", "192.0.2.1"),
    ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
    ("[::ffff:192.0.2.1]", "192.0.2.1"),
    ("::ffff:192.0.2.1%eth0", "192.0.2.1"),
    ("64:ff9b::192.0.2.1", "192.0.2.1"),
    ("64:FF9B::C000:201", "192.0.2.1"),
    ("64:ff9b:0:0:0:1:c000:201", "64:ff9b::1:c000:201"),  # just beyond the well-known prefix
    ("64:ff9b:1::c000:201", "64:ff9b:1::c000:201"),
    ("2002:c000:201::7", "2002:c000:201::7"),
    ("2001:DB8:0:0::00A", "2001:db8::a"),
    ("[2001:db8::a]", "2001:db8::a"),
    ("fe80::1%eth0", "fe80::1"),
    ("[fe80::1%25eth0]", "fe80::1"),
    ("fe80::1%3", "fe80::1"),
    ("::ffff:0:0", "0.0.0.0"),
    ("::", "::"),
]

GARBAGE = [
    "", " ", "%", "%eth0", "[]", "[%eth0]", "::1]", "[[::1]]", "]::1[", "[::1]:443", "192.0.2.1:443", "1.2.3", "1.2.3.4.5", "256.0.0.1",
    "01.2.3.4", "127.1", "0x7f.0.0.1", "2130706433", "1.2.3.4/32", "１.2.3.4", "1.2.3.٤", "::g", ":::", "1::2::3", "12345::",
    "::1.2.3.256", "localhost", "example.com", "1.2.3.4\x00", "\x1b[31m", "\ud800", "-1", "1.2.3.-4", "1 .2.3.4",
]  # fmt: skip


@pytest.mark.parametrize(("text", "scope"), PLACES)
def test_each_entry_of_the_registries_has_its_scope_up_to_its_edges(text: str, scope: Scope) -> None:
    assert Scopes().place(text) == (text, scope)


@pytest.mark.security
@pytest.mark.parametrize(("text", "expected"), SPELLINGS)
def test_all_spellings_of_a_host_become_one(text: str, expected: str) -> None:
    assert str(parse(text)) == expected
    assert Scopes().place(text)[0] == expected


@pytest.mark.security
@pytest.mark.parametrize("text", GARBAGE)
def test_what_is_no_address_keeps_its_text_and_is_unclassified(text: str) -> None:
    assert parse(text) is None
    assert Scopes().place(text) == (text, "unclassified")


@pytest.mark.security
@pytest.mark.parametrize("text", ["127.0.0.1%", "10.0.0.1%eth0", "[::1", "fe80::1%eth0]", "::1%"])
def test_half_a_bracket_or_a_zone_on_ipv4_makes_no_address(text: str) -> None:
    """Such a text must not pass as a loopback or private address, which would not be shown."""
    assert Scopes().place(text) == (text, "unclassified")


@pytest.mark.security
@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:8.8.8.8", "public"),
        ("64:ff9b::8.8.8.8", "public"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("2002:808:808::1", "public"),
        ("2002:a00:1::1", "private"),
        ("2002:7f00:1::1", "loopback"),
        ("2002:c000:201::1", "unclassified"),
        ("::8.8.8.8", "public"),
        ("::10.0.0.1", "private"),
    ],
)
def test_a_disguised_address_lives_where_the_one_inside_it_lives(text: str, scope: Scope) -> None:
    assert Scopes().place(text)[1] == scope


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("2002:c000:201::1", "192.0.2.1"),
        ("::192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", None),
        ("192.0.2.1", None),
        ("::1", None),
        ("::", None),
    ],
)
def test_only_6to4_and_compatible_addresses_carry_another_one(text: str, inside: str | None) -> None:
    assert embedded(ip_address(text)) == (ip_address(inside) if inside else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 10.0.0.0/8 ", "10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("[2001:db8::1]", "2001:db8::1/128"),
        ("[2001:db8::]/32", "2001:db8::/32"),
        ("fe80::1%eth0/64", "fe80::/64"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("64:ff9b::192.0.2.7/120", "192.0.2.0/24"),
        ("64:ff9b::192.0.2.7", "192.0.2.7/32"),
        ("::/0", "::/0"),
    ],
)
def test_networks_are_read_with_host_bits_and_disguises_undone(text: str, expected: str) -> None:
    assert parse_network(text) == ip_network(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "10.0.0.0/ 8",
        "10.0.0.0/x",
        "10.0.0.0/1.2.3.4",
        "example.com",
        "2001:db8::/129",
        "::ffff:192.0.2.0/24",
        "64:ff9b::/64",
        "10.0.0.0/٨",
        "10/8",
        "\x00/8",
        "10.0.0.0\\8",
    ],
)
def test_what_is_no_network_is_none(text: str) -> None:
    assert parse_network(text) is None


@pytest.mark.parametrize(
    ("public", "private", "text", "scope"),
    [
        (["192.0.2.0/24"], [], "192.0.2.9", "public"),
        (["192.0.2.0/24"], [], "192.0.3.1", "public"),
        (["10.9.0.0/16"], [], "10.9.1.1", "public"),
        (["10.9.0.0/16"], [], "10.10.0.0", "private"),
        (["10.9.0.0/16"], [], "10.8.255.255", "private"),
        ([], ["8.8.8.0/24"], "8.8.8.8", "private"),
        ([], ["8.8.8.0/24"], "8.8.9.0", "public"),
        (["10.0.0.0/8"], ["10.0.0.0/8"], "10.1.1.1", "public"),
        (["10.0.0.0/8"], ["10.1.0.0/16"], "10.1.1.1", "private"),
        (["10.1.0.0/16"], ["10.0.0.0/8"], "10.1.1.1", "public"),
        (["127.0.0.0/8"], [], "::ffff:127.0.0.1", "public"),
        ([], ["::/0"], "2600::1", "private"),
        ([], ["0.0.0.0/0"], "192.0.0.9", "private"),
        (["255.255.255.255/32"], [], "255.255.255.255", "public"),
        (["ffff::/16"], [], "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "public"),
        ([], ["8.8.8.0/24"], "2002:808:808::1", "private"),  # what holds for the address inside holds for its 6to4 form
    ],
)
def test_what_the_user_declares_goes_over_the_table(public: list[str], private: list[str], text: str, scope: Scope) -> None:
    scopes = Scopes([ip_network(one) for one in public], [ip_network(one) for one in private])
    assert scopes.place(text)[1] == scope


@pytest.mark.parametrize(
    ("network", "text"), [("2002:808:808::/48", "2002:808:808::1"), ("::/96", "::8.8.8.8"), ("2002::/16", "2002:808::1")]
)
def test_a_declared_network_counts_also_when_its_addresses_carry_others(network: str, text: str) -> None:
    assert Scopes(private=[ip_network(network)]).place(text)[1] == "private"


def test_all_private_networks_are_listed_and_can_be_made_public() -> None:
    scopes = Scopes(public=private_networks())
    for text, scope in PLACES:
        assert scopes.place(text)[1] == ("public" if scope == "private" else scope)


@pytest.mark.security
def test_long_texts_that_are_no_addresses_are_not_kept_in_memory() -> None:
    scopes = Scopes()
    tracemalloc.start()
    try:
        for number in range(32):
            scopes.place(f"{number}" + "x" * (1 << 20))
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 8 << 20
