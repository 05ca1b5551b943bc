"""Known encrypted resolvers are recognised by address or by the name in the hello, and nobody else is."""

import gzip
import json
import os
from pathlib import Path

import pytest

from outwatch.net import resolvers
from outwatch.net.addresses import Scopes
from outwatch.net.domains import hostname
from outwatch.net.resolvers import encrypted, operator

# Not part of this repository: it lies in ``shared/data`` beside it or where ``TEST_MATERIAL`` says.
MATERIAL = Path(os.environ.get("TEST_MATERIAL") or Path(__file__).parents[4] / "shared" / "data")
LISTED = MATERIAL / "warninglists" / "public-dns-v4.json.gz"


@pytest.mark.parametrize(
    ("ip", "port", "server_name", "expected"),
    [
        ("8.8.8.8", 443, "dns.google", "Google (DNS over HTTPS)"),
        ("8.8.4.4", 853, None, "Google (DNS over TLS or QUIC)"),
        ("2001:4860:4860:0:0:0:0:8888", 853, None, "Google (DNS over TLS or QUIC)"),
        ("1.1.1.1", 443, None, "Cloudflare (DNS over HTTPS)"),
        ("203.0.113.5", 443, "mozilla.cloudflare-dns.com", "Cloudflare (DNS over HTTPS)"),
        ("203.0.113.5", 443, "DNS.Quad9.NET.", "Quad9 (DNS over HTTPS)"),
        ("203.0.113.5", 853, "ab12cd.dns.nextdns.io", "NextDNS (DNS over TLS or QUIC)"),
        ("45.90.28.77", 443, None, "NextDNS (DNS over HTTPS)"),
        ("::ffff:9.9.9.9", 853, "", "Quad9 (DNS over TLS or QUIC)"),
        ("203.0.113.5", 443, "doh.opendns.com", "OpenDNS (DNS over HTTPS)"),
        ("94.140.14.14", 784, None, "AdGuard (DNS over QUIC)"),
        ("203.0.113.5", 443, "doh.mullvad.net", "Mullvad (DNS over HTTPS)"),
        (None, 443, "dns.google", "Google (DNS over HTTPS)"),
    ],
)
def test_a_known_resolver_is_named_with_its_operator_and_kind(ip: str | None, port: int, server_name: str | None, expected: str) -> None:
    assert encrypted(ip, port, server_name) == expected


@pytest.mark.parametrize(
    ("ip", "port", "server_name"),
    [
        ("8.8.8.8", 53, None),  # not encrypted
        ("8.8.8.8", 80, "dns.google"),
        ("8.8.8.8", None, None),
        ("203.0.113.5", 443, "example.com"),
        ("203.0.113.5", 443, "notdns.google.example"),
        ("203.0.113.5", 443, "evil-cloudflare-dns.com"),
        ("203.0.113.5", 443, "dns.google.evil.example"),
        ("203.0.113.5", 443, "google"),
        ("203.0.113.5", 443, "nextdns.io"),  # the operator's own pages
        ("45.90.29.1", 443, None),
        ("no address", 443, "..."),
        (None, 443, None),
    ],
)
def test_nothing_else_is_taken_for_one(ip: str | None, port: int | None, server_name: str | None) -> None:
    assert encrypted(ip, port, server_name) is None


def test_an_operator_is_known_by_address_alone() -> None:
    assert operator("149.112.112.112") == "Quad9"
    assert operator("2606:4700:4700::1111") == "Cloudflare"
    assert operator("149.112.112.113") is None
    assert operator(None) is None
    assert operator("dns.google") is None


def test_every_entry_is_a_public_address_or_a_name_that_a_host_may_have() -> None:
    table = resolvers._table()
    assert len(table.names) > 60
    assert len(table.addresses) > 100
    scopes = Scopes()
    assert [str(one) for one in table.addresses if scopes.place(str(one))[1] != "public"] == []
    assert [name for name in table.names if hostname(name) != name] == []
    assert all(network.prefixlen >= (24 if network.version == 4 else 31) for network, _ in table.networks)


@pytest.mark.skipif(not LISTED.exists(), reason="the list of public resolvers is not here")
def test_the_great_operators_addresses_are_in_a_list_of_others_too() -> None:
    theirs = set(json.loads(gzip.decompress(LISTED.read_bytes()))["list"])
    great = {"Google", "Cloudflare", "Quad9", "Yandex", "Control D"}
    ours = [address for address, whose in resolvers._table().addresses.items() if whose in great and ":" not in address]
    assert len(ours) >= 20
    assert set(ours) - theirs == set()
    assert "8.8.8.8" in ours
