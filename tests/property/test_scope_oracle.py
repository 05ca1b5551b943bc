"""The flattened table of scopes says the same as a plain search for the longest prefix."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.model.records import Scope
from outwatch.net import addresses
from outwatch.net.addresses import Network, Scopes, parse, parse_network

V4_BASES = [0, 0x0A000000, 0x64400000, 0x7F000000, 0xC0000000, 0xC0000200, 0xC0A80000, 0xE0000000, 0xFFFFFFFF, 0x08080808]
V6_BASES = [
    0x2 << 124,
    0x20010DB8 << 96,
    0xFC << 120,
    0xFE80 << 112,
    0xFEC0 << 112,
    0xFF << 120,
    (1 << 128) - 1,
    0x260000 << 104,
    0x200103 << 104,
]


def near(bases: list[int], bits: int) -> st.SearchStrategy[int]:
    """Give numbers around the edges of known networks, and some from anywhere."""
    top = (1 << bits) - 1
    around = st.builds(
        lambda base, step: min(max(base + step, 0), top), st.sampled_from(bases), st.integers(-3, 3) | st.integers(0, 1 << bits - 8)
    )
    return around | st.integers(0, top)


def networks_of(kind: type[Any], bases: list[int], bits: int) -> st.SearchStrategy[Any]:
    return st.builds(lambda base, length: kind((base, length), strict=False), near(bases, bits), st.integers(0, bits))


V4_NETWORKS, V6_NETWORKS = networks_of(IPv4Network, V4_BASES, 32), networks_of(IPv6Network, V6_BASES, 128)
BOTH = V4_NETWORKS | V6_NETWORKS
HOSTS = near(V4_BASES, 32).map(IPv4Address) | near(V6_BASES, 128).map(IPv6Address)


def oracle(host: IPv4Address | IPv6Address, public: list[Network], private: list[Network]) -> Scope:
    """Look through all networks: the user's longest, public among equals, and then the table's longest."""
    declared = [(one.prefixlen, 1, "public") for one in public if host in one] + [
        (one.prefixlen, 0, "private") for one in private if host in one
    ]
    if declared:
        answer: Scope = max(declared)[2]  # type: ignore[assignment]
        return answer
    table: list[tuple[Any, Scope]] = [(IPv4Network(text), scope) for text, scope in addresses._V4]
    table += [(IPv6Network(text), scope) for text, scope in addresses._V6]
    return max((one.prefixlen, scope) for one, scope in table if host in one)[1]


@settings(max_examples=400, deadline=None)
@given(st.lists(BOTH, max_size=5), st.lists(BOTH, max_size=5), st.lists(HOSTS, min_size=1, max_size=8), st.data())
def test_scopes_agree_with_a_search_for_the_longest_prefix(
    public: list[Network], private: list[Network], hosts: list[IPv4Address | IPv6Address], data: st.DataObject
) -> None:
    scopes = Scopes(public, private)
    if public or private:
        network = data.draw(st.sampled_from([*public, *private]))
        hosts = [*hosts, network.network_address, network.broadcast_address]
    for host in hosts:
        known = parse(str(host))
        assert known is not None
        if known == host and addresses.embedded(host) is None:
            assert scopes.place(str(host)) == (str(host), oracle(host, public, private))


@settings(max_examples=200, deadline=None)
@given(near(V4_BASES, 32), st.sampled_from(["::ffff:{}", "64:ff9b::{}", "[::ffff:{}]", "::ffff:{}%eth0", " {} "]))
def test_every_disguise_of_an_ipv4_address_is_seen_through(number: int, disguise: str) -> None:
    host = str(IPv4Address(number))
    assert Scopes().place(disguise.format(host)) == Scopes().place(host)


@settings(max_examples=200, deadline=None)
@given(HOSTS)
def test_the_canonical_form_is_its_own_canonical_form(host: IPv4Address | IPv6Address) -> None:
    text, scope = Scopes().place(host.exploded)
    assert Scopes().place(text) == (text, scope)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30) | st.text("0123456789abcdef:.%/[]", max_size=30))
def test_any_text_has_a_place_and_is_a_network_or_not_without_an_exception(text: str) -> None:
    shown, scope = Scopes().place(text)
    assert (parse(text) is not None) or (shown, scope) == (text, "unclassified")
    network = parse_network(text)
    assert network is None or parse_network(str(network)) == network
