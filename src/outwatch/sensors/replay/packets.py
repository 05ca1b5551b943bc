"""What travels in a captured packet: from the link's header to the payload of IPv4 or IPv6.

Knows the links Ethernet (with VLAN tags and PPPoE), PPP, raw IP, BSD loopback and Linux "cooked" captures (tcpdump.org/linktypes).
"""

import struct
from typing import NamedTuple

_ETHERNET, _RAW, _NULL, _LOOP, _COOKED, _COOKED2 = 1, 101, 0, 108, 113, 276
_RAWS = frozenset({_RAW, 12, 14, 228, 229})  # the last two say which version; the packet does so too
_PPPS = frozenset({9, 50})
_IPV4, _IPV6, _PPPOE = 0x0800, 0x86DD, 0x8864
_TAGS = frozenset({0x8100, 0x88A8, 0x9100})  # IEEE 802.1Q, 802.1ad, and what was used before it
_MOST_TAGS = 4
_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057
_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION, _MOBILITY, _HIP, _SHIM6 = 0, 43, 44, 51, 60, 135, 139, 140
_EXTENSIONS = frozenset({_HOP, _ROUTING, _AUTHENTICATION, _DESTINATION, _MOBILITY, _HIP, _SHIM6})
_MOST_EXTENSIONS = 16
_V4_HEADER, _V6_HEADER = 20, 40

LINKS = frozenset({_ETHERNET, _NULL, _LOOP, _COOKED, _COOKED2, *_RAWS, *_PPPS})
"""The types of links that can be read."""


class PacketError(ValueError):
    """A packet that is not what it says it is."""


class Fragment(NamedTuple):
    """Which piece of which datagram: ``offset`` in bytes, ``more`` when it is not the last."""

    identity: int
    offset: int
    more: bool


class Datagram(NamedTuple):
    """An IP packet: addresses as they are on the wire, the protocol, and the payload as far as it was kept.

    ``length`` is that of the whole payload, also where the capture kept less.
    """

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    length: int
    fragment: Fragment | None = None


def datagram(link: int, data: bytes) -> Datagram | None:
    """Give the IP packet in a packet, ``None`` if it carries something else; ``PacketError`` if it is cut off or lies."""
    try:
        kind, at = _payload(link, data)
        if kind == _IPV4:
            return _version4(data, at)
        if kind == _IPV6:
            return _version6(data, at)
    except (struct.error, IndexError) as error:
        raise PacketError("a packet that is cut off") from error
    return None


def _payload(link: int, data: bytes) -> tuple[int | None, int]:
    """Tell what a link carries, by the number that Ethernet has for it, and where it begins."""
    if link == _ETHERNET:
        return _ethernet(data, _number(data, 12), 14)
    if link == _COOKED:
        return _ethernet(data, _number(data, 14), 16)
    if link == _COOKED2:
        return _ethernet(data, _number(data, 0), 20)
    if link in _PPPS:
        return _point_to_point(data, 2 if data[:2] == b"\xff\x03" else 0)
    # The family of addresses differs between systems and comes in the byte order of whoever captured: the packet itself tells.
    at = 0 if link in _RAWS else 4
    return {4: _IPV4, 6: _IPV6}.get(data[at] >> 4), at


def _ethernet(data: bytes, kind: int, at: int) -> tuple[int | None, int]:
    for _ in range(_MOST_TAGS):
        if kind not in _TAGS:
            break
        kind, at = _number(data, at + 2), at + 4
    if kind == _PPPOE:
        return _point_to_point(data, at + 6)
    return kind, at


def _point_to_point(data: bytes, at: int) -> tuple[int | None, int]:
    if data[at] & 1:  # a protocol in one byte, RFC 1661, 6.5
        kind, at = data[at], at + 1
    else:
        kind, at = _number(data, at), at + 2
    return {_PPP_IPV4: _IPV4, _PPP_IPV6: _IPV6}.get(kind), at


def _number(data: bytes, at: int) -> int:
    return int(struct.unpack_from("!H", data, at)[0])


def _version4(data: bytes, at: int) -> Datagram:
    """Read RFC 791, 3.1. A length of zero is what a network card leaves that cuts long packets itself."""
    first, total, identity, place, protocol = struct.unpack_from("!BxHHHxB", data, at)
    header = (first & 0xF) * 4
    if first >> 4 != 4 or header < _V4_HEADER or len(data) < at + _V4_HEADER:  # noqa: PLR2004 - the version
        raise PacketError("no header of IPv4 where one should be")
    total = total or len(data) - at
    if total < header:
        raise PacketError("an IPv4 packet that is shorter than its header")
    payload = data[at + header : at + total]
    fragment = Fragment(identity, (place & 0x1FFF) * 8, bool(place & 0x2000)) if place & 0x3FFF else None
    return Datagram(data[at + 12 : at + 16], data[at + 16 : at + 20], protocol, payload, total - header, fragment)


def _version6(data: bytes, at: int) -> Datagram:
    """Read RFC 8200, 3 and 4."""
    first, length, protocol = struct.unpack_from("!B3xHB", data, at)
    if first >> 4 != 6 or len(data) < at + _V6_HEADER:  # noqa: PLR2004 - the version
        raise PacketError("no header of IPv6 where one should be")
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    at += _V6_HEADER
    end = at + (length or len(data) - at)
    fragment = None
    for _ in range(_MOST_EXTENSIONS):
        if protocol == _FRAGMENT:
            following, place, identity = struct.unpack_from("!BxHI", data, at)
            fragment = Fragment(identity, place & 0xFFF8, bool(place & 1)) if place & 0xFFF9 else None
            protocol, at = following, at + 8
            if fragment is not None and fragment.offset:
                break  # what follows is the middle of something
        elif protocol in _EXTENSIONS:
            size = (data[at + 1] + 2) * 4 if protocol == _AUTHENTICATION else (data[at + 1] + 1) * 8
            protocol, at = data[at], at + size
        else:
            break
    if at > end:
        raise PacketError("extension headers that are longer than their packet")
    return Datagram(source, destination, protocol, data[at:end], end - at, fragment)
