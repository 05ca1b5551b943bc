"""Public resolvers that answer over TLS, HTTPS or QUIC, so that nobody on the way reads which names are asked for.

What their operators publish, read in 2026: names that stand in a client's hello (with all below them), addresses and networks. Addresses of
networks that also serve other things, such as those of content networks, are left out: there only the name tells.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from outwatch.net.addresses import Network, parse, parse_network
from outwatch.net.domains import canonical, suffixes

_KINDS = MappingProxyType({443: "DNS over HTTPS", 853: "DNS over TLS or QUIC", 784: "DNS over QUIC", 8853: "DNS over QUIC"})
ENCRYPTED = frozenset(_KINDS)
"""Ports for encrypted DNS."""

_REMEMBERED = 4_096
_END = 6  # characters of a name's end by which most others are told from those of resolvers
START = 3
"""Characters of an IPv4 address that ``starts`` has."""

_BLANK = ". "  # what may follow a name

# Operator: names, then addresses.
_RESOLVERS = """
360: doh.360.cn dot.360.cn
AdGuard: d.adguard-dns.com dns.adguard-dns.com family.adguard-dns.com unfiltered.adguard-dns.com dns.adguard.com dns-family.adguard.com
 dns-unfiltered.adguard.com 94.140.14.14 94.140.14.15 94.140.14.140 94.140.14.141 94.140.15.15 94.140.15.16 2a10:50c0::ad1:ff
 2a10:50c0::ad2:ff 2a10:50c0::bad1:ff 2a10:50c0::bad2:ff 2a10:50c0::1:ff 2a10:50c0::2:ff
AliDNS: dns.alidns.com 223.5.5.5 223.6.6.6 2400:3200::1 2400:3200:baba::1
Apple: doh.dns.apple.com
Applied Privacy: doh.applied-privacy.net dot1.applied-privacy.net 146.255.56.98
CIRA: private.canadianshield.cira.ca protected.canadianshield.cira.ca family.canadianshield.cira.ca 149.112.121.10 149.112.121.20
 149.112.121.30 149.112.122.10 149.112.122.20 149.112.122.30
CleanBrowsing: doh.cleanbrowsing.org family-filter-dns.cleanbrowsing.org adult-filter-dns.cleanbrowsing.org
 security-filter-dns.cleanbrowsing.org 185.228.168.9 185.228.168.10 185.228.168.168 185.228.169.9 185.228.169.11 185.228.169.168
Cloudflare: cloudflare-dns.com one.one.one.one 1dot1dot1dot1.com cloudflare-gateway.com 1.1.1.1 1.1.1.2 1.1.1.3 1.0.0.1 1.0.0.2 1.0.0.3
 2606:4700:4700::1111 2606:4700:4700::1001 2606:4700:4700::1112 2606:4700:4700::1002 2606:4700:4700::1113 2606:4700:4700::1003
 2606:4700:4700::64 2606:4700:4700::6400
Comcast: doh.xfinity.com dot.xfinity.com
Control D: dns.controld.com freedns.controld.com 76.76.2.0/24 76.76.10.0/24 2606:1a40::/47
Digitale Gesellschaft: dns.digitale-gesellschaft.ch 185.95.218.42 185.95.218.43
DNS.SB: doh.dns.sb dot.sb doh.sb 185.222.222.222 45.11.45.11 2a09:: 2a11::
dns0.eu: dns0.eu 193.110.81.0 185.253.5.0
DNS4EU: protective.joindns4.eu child.joindns4.eu noads.joindns4.eu child-noads.joindns4.eu unfiltered.joindns4.eu 86.54.11.1
 86.54.11.11 86.54.11.12 86.54.11.13 86.54.11.100 86.54.11.201 86.54.11.211 86.54.11.212 86.54.11.213
 86.54.11.200
DNSPod: doh.pub dot.pub dns.pub 1.12.12.12 120.53.53.53
Google: dns.google dns.google.com 8888.google 8.8.8.8 8.8.4.4 2001:4860:4860::8888 2001:4860:4860::8844 2001:4860:4860::64
 2001:4860:4860::6464
Hurricane Electric: ordns.he.net 74.82.42.42 2001:470:20::2
IIJ: public.dns.iij.jp 103.2.57.5 103.2.57.6
LibreDNS: doh.libredns.gr dot.libredns.gr 116.202.176.26
Mullvad: dns.mullvad.net doh.mullvad.net dot.mullvad.net adblock.doh.mullvad.net 194.242.2.2 194.242.2.3 194.242.2.4 194.242.2.5 194.242.2.6
 194.242.2.9 2a07:e340::2 2a07:e340::3 2a07:e340::4 2a07:e340::5 2a07:e340::6 2a07:e340::9
NextDNS: dns.nextdns.io dns1.nextdns.io dns2.nextdns.io 45.90.28.0/24 45.90.30.0/24 2a07:a8c0::/31
OpenDNS: doh.opendns.com doh.familyshield.opendns.com doh.sandbox.opendns.com dns.opendns.com familyshield.opendns.com doh.umbrella.com
 dns.umbrella.com 208.67.222.222 208.67.220.220 208.67.222.123 208.67.220.123 146.112.41.2 146.112.41.3 2620:119:35::35 2620:119:53::53
 2620:119:35::123 2620:119:53::123
Quad101: dns.twnic.tw 101.101.101.101 101.102.103.104
Quad9: dns.quad9.net dns9.quad9.net dns10.quad9.net dns11.quad9.net dns12.quad9.net 9.9.9.9 9.9.9.10 9.9.9.11 9.9.9.12 149.112.112.9
 149.112.112.10 149.112.112.11 149.112.112.12 149.112.112.112 2620:fe::fe 2620:fe::9 2620:fe::10 2620:fe::fe:10 2620:fe::11 2620:fe::fe:11
Rethink: sky.rethinkdns.com max.rethinkdns.com basic.rethinkdns.com
SWITCH: dns.switch.ch 130.59.31.248 130.59.31.251 2001:620:0:ff::2 2001:620:0:ff::3
UncensoredDNS: anycast.uncensoreddns.org unicast.uncensoreddns.org 91.239.100.100 89.233.43.71
Wikimedia: wikimedia-dns.org 185.71.138.138 2001:67c:930::1
Yandex: common.dot.dns.yandex.net safe.dot.dns.yandex.net family.dot.dns.yandex.net 77.88.8.1 77.88.8.2 77.88.8.3 77.88.8.7 77.88.8.8
 77.88.8.88 2a02:6b8::feed:ff 2a02:6b8:0:1::feed:ff
"""


class _Table(NamedTuple):
    """Operators by what tells them; ``ends`` of names and ``starts`` of IPv4 addresses tell quickly that something is none of them."""

    names: Mapping[str, str]
    addresses: Mapping[str, str]
    networks: tuple[tuple[Network, str], ...]
    ends: frozenset[str]
    starts: frozenset[str]


def encrypted(ip: str | None, port: int | None, server_name: str | None) -> str | None:
    """Name operator and kind if a connection leads to a known resolver over a port for encrypted DNS: ``Quad9 (DNS over HTTPS)``.

    Either the address, spelled as records have it, or the name in the hello (SNI) is enough; the name goes first. ``None`` if it is no
    such connection, as far as is known: anybody can run a resolver of their own.
    """
    kind = _KINDS.get(port or 0)
    if kind is None:
        return None
    found = _by_name(server_name) if server_name else None
    if found is None and ip and (ip[:START] in _table().starts or ":" in ip):
        found = _by_address(ip)
    return f"{found} ({kind})" if found else None


def starts() -> frozenset[str]:
    """Give the first characters of the IPv4 addresses of resolvers: with others an address leads to none, which is quickly seen."""
    return _table().starts


def operator(ip: str | None) -> str | None:
    """Name who runs the public resolver at an address; ``None`` for any other address."""
    return _by_address(ip) if ip else None


def _by_name(name: str) -> str | None:
    names, ends = _table().names, _table().ends
    if name[-_END:].lower() not in ends and name[-1] not in _BLANK:
        return None
    canon = canonical(name)
    return next((found for part in suffixes(canon) if (found := names.get(part))), None) if canon else None


@lru_cache(maxsize=_REMEMBERED)
def _by_address(ip: str) -> str | None:
    address = parse(ip)
    if address is None:
        return None
    table = _table()
    return table.addresses.get(str(address)) or next((found for network, found in table.networks if address in network), None)


@lru_cache(maxsize=1)
def _table() -> _Table:
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    networks: list[tuple[Network, str]] = []
    for entry in _RESOLVERS.replace("\n ", " ").strip().splitlines():
        whose, _, places = entry.partition(": ")
        for place in places.split():
            address, network = parse(place), parse_network(place)
            if address is not None:
                addresses[str(address)] = whose
            elif network is not None:
                networks.append((network, whose))
            else:
                names[place] = whose
    return _Table(
        MappingProxyType(names),
        MappingProxyType(addresses),
        tuple(networks),
        frozenset(name[-_END:] for name in names),
        frozenset(text[:START] for text in (*addresses, *(str(network) for network, _ in networks)) if ":" not in text),
    )
