"""Addresses: one canonical form, and where each of them lives.

The table is made from IANA's special-purpose registries (IPv4: RFC 6890 and updates, IPv6 likewise, read in 2025) and
the multicast registries; Python's own ``is_private`` is not used because its meaning differs between versions and it takes no
note of tunnels. Ranges that no honest packet on the internet carries (documentation, reserved) are ``unclassified``: they are shown.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton

from outwatch.model.records import Scope

Network = IPv4Network | IPv6Network

_V4: tuple[tuple[str, Scope], ...] = (
    ("0.0.0.0/0", "public"),
    ("0.0.0.0/8", "unclassified"),  # "this network"
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "private"),  # shared address space of carriers, RFC 6598
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "private"),  # IETF protocol assignments
    ("192.0.0.9/32", "public"),  # port control protocol anycast
    ("192.0.0.10/32", "public"),  # TURN anycast
    ("192.0.2.0/24", "unclassified"),  # documentation
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "private"),  # benchmarking; local proxies use it for made-up addresses
    ("198.51.100.0/24", "unclassified"),  # documentation
    ("203.0.113.0/24", "unclassified"),  # documentation
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "unclassified"),  # reserved
    ("255.255.255.255/32", "link_local"),  # limited broadcast
)
_V6: tuple[tuple[str, Scope], ...] = (
    ("::/0", "unclassified"),
    ("2000::/3", "public"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "private"),  # translation inside one network, RFC 8215
    ("100::/64", "unclassified"),  # discard only
    ("2001::/23", "unclassified"),  # IETF protocol assignments …
    ("2001::/32", "public"),  # … but Teredo
    ("2001:1::1/128", "public"),  # … and anycast of port control, TURN, DNS-SD
    ("2001:1::2/128", "public"),
    ("2001:1::3/128", "public"),
    ("2001:2::/48", "private"),  # benchmarking
    ("2001:3::/32", "public"),  # AMT
    ("2001:4:112::/48", "public"),  # AS112
    ("2001:20::/28", "public"),  # ORCHIDv2
    ("2001:30::/28", "public"),  # drone remote identification
    ("2001:db8::/32", "unclassified"),  # documentation
    ("3fff::/20", "unclassified"),  # documentation
    ("5f00::/16", "private"),  # segment routing
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "private"),  # site-local, deprecated by RFC 3879
    ("ff00::/8", "multicast"),
)
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the well-known prefix
_COMPATIBLE = IPv6Network("::/96")  # RFC 4291, 2.5.5.1
_REMEMBERED = 16_384
_LONGEST = 100  # characters that an address with a zone may have; nothing longer is worth remembering
_ZONE = re.compile(r"[\w.:~-]{1,32}\Z")  # RFC 6874


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address in any spelling and give the host that it really means, or ``None``.

    Brackets and zone ids (``fe80::1%eth0``) go; IPv4-mapped (``::ffff:192.0.2.1``) and NAT64 addresses become the
    IPv4 address inside. A 6to4 address stays: many hosts share the IPv4 address in it.
    """
    return _parse(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    text, percent, zone = text.partition("%")
    if percent and (not _ZONE.match(zone) or ":" not in text):
        return None
    try:
        # The system's reader, faster than ip_address; strict about leading zeros like it.
        address = IPv6Address(inet_pton(AF_INET6, text)) if ":" in text else IPv4Address(inet_pton(AF_INET, text))
    except (OSError, ValueError):
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def on_the_wire(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address as ``parse`` does, but give what packets of this host carry: a NAT64 address stays what it is."""
    host = parse(text)
    if isinstance(host, IPv4Address) and ":" in text:
        written = IPv6Address(text.strip().strip("[]").partition("%")[0])
        return written if written in _NAT64 else host
    return host


def packed(text: str) -> bytes | None:
    """Give the 4 or 16 bytes of an address as ``on_the_wire`` reads it, in network order."""
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        raw = inet_pton(AF_INET6, text)
    except (OSError, ValueError):  # not the plain spelling
        address = on_the_wire(text)
        return address.packed if address is not None else None
    return raw[12:] if raw.startswith(_MAPPED) else raw


def parse_network(text: str) -> Network | None:
    """Read an address or a CIDR; host bits are cut off, disguises undone as in ``parse``; ``None`` if it is neither."""
    address, slash, length = text.strip().partition("/")
    host = parse(address)
    if host is None:
        return None
    if not slash:
        return ip_network(host)
    try:
        # Read with its own spelling first, so that the length of ::ffff:192.0.2.0/120 is understood.
        written = ip_network(f"{address.strip('[]').partition('%')[0]}/{length}", strict=False)
        if isinstance(written, IPv6Network) and isinstance(host, IPv4Address):
            inside = written.prefixlen - 96  # bits of the IPv4 address
            return IPv4Network((host, inside), strict=False) if inside >= 0 else None
    except ValueError:
        return None
    return written


def embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that a 6to4 (RFC 3056) or IPv4-compatible address carries, which decides where it goes."""
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _COMPATIBLE and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def private_networks() -> list[Network]:
    """List the networks that the table calls private."""
    return [ip_network(text) for text, scope in (*_V4, *_V6) if scope == "private"]


class Scopes:
    """Says of an address where it lives, by IANA's table and the networks that the user declares otherwise."""

    def __init__(self, public: Iterable[Network] = (), private: Iterable[Network] = ()) -> None:
        """Take networks to be treated as public or private whatever the table says; the longer prefix wins, then public."""
        declared: list[tuple[Network, Scope]] = [(network, "private") for network in private]
        declared += [(network, "public") for network in public]
        self._declared = [network for network, _ in declared]
        self._v4 = _boundaries([(IPv4Network(text), scope) for text, scope in _V4], declared, IPv4Network)
        self._v6 = _boundaries([(IPv6Network(text), scope) for text, scope in _V6], declared, IPv6Network)
        self._place = lru_cache(maxsize=_REMEMBERED)(self._look_up)

    def place(self, text: str) -> tuple[str, Scope]:
        """Give an address's canonical text and its scope; what can't be parsed keeps its text and is ``unclassified``."""
        return self._place(text) if len(text) <= _LONGEST else (text, "unclassified")

    def _look_up(self, text: str) -> tuple[str, Scope]:
        if ":" not in text:  # as most are: without making an object of it; the system's reader takes the canonical spelling only
            try:
                number = int.from_bytes(inet_pton(AF_INET, text))
            except (OSError, ValueError):
                pass
            else:
                starts, scopes = self._v4
                return text, scopes[bisect_right(starts, number) - 1]
        address = _parse(text)
        if address is None:
            return text, "unclassified"
        return str(address), self._scope(address)

    def _scope(self, address: IPv4Address | IPv6Address) -> Scope:
        carried = embedded(address)
        if carried is not None and not any(address in network for network in self._declared):
            return self._scope(carried)
        starts, scopes = self._v4 if isinstance(address, IPv4Address) else self._v6
        return scopes[bisect_right(starts, int(address)) - 1]


def _boundaries(
    table: list[tuple[Network, Scope]], declared: list[tuple[Network, Scope]], kind: type[Network]
) -> tuple[list[int], list[Scope]]:
    """Flatten nested networks into sorted start points, each with the scope that holds from there on.

    What the user declares goes over the table; among equals the more specific network decides.
    """
    edges: dict[int, Scope] = {}
    mine = [(network, scope) for network, scope in declared if isinstance(network, kind)]
    ordered = [*sorted(table, key=_length), *sorted(mine, key=_length)]
    for network, scope in ordered:
        first, after = int(network.network_address), int(network.broadcast_address) + 1
        before = edges[max((edge for edge in edges if edge <= after), default=0)] if edges else scope
        for edge in [edge for edge in edges if first <= edge < after]:
            del edges[edge]
        edges[first] = scope
        if after < 1 << network.max_prefixlen:
            edges.setdefault(after, before)
    starts = sorted(edges)
    return starts, [edges[start] for start in starts]


def _length(entry: tuple[Network, Scope]) -> int:
    return entry[0].prefixlen
