"""Community ID, version 1: one short text for a connection, which Zeek, Suricata, Wireshark and others work out alike.

The specification (github.com/corelight/community-id-spec): SHA-1 over seed, both addresses, protocol and both ports, the smaller end first.
The seed is 0, as everywhere by default.
"""

import struct
from binascii import b2a_base64
from collections.abc import Mapping
from hashlib import sha1
from types import MappingProxyType

_SEED = bytes(2)
_ICMP, _ICMP6 = 1, 58
_LENGTHS = frozenset({4, 16})  # octets of addresses
_TAIL, _SHORT_TAIL = struct.Struct("!BBHH").pack, struct.Struct("!BB").pack  # protocol, a zero, ports


def _both_ways(*pairs: tuple[int, int]) -> Mapping[int, int]:
    return MappingProxyType({**dict(pairs), **{there: here for here, there in pairs}})


# Which type of message answers which; the specification has taken them from Zeek.
_COUNTERPARTS = MappingProxyType(
    {
        _ICMP: _both_ways((8, 0), (13, 14), (15, 16), (10, 9), (17, 18)),
        _ICMP6: _both_ways((128, 129), (133, 134), (135, 136), (130, 131), (139, 140), (144, 145)),
    }
)


def community_id(protocol: int, source: bytes, destination: bytes, ports: tuple[int, int] | None = None) -> str:
    """Give the id of a connection: protocol number, packed addresses (4 or 16 bytes, alike), and the ports of source and destination.

    Of protocols without ports give none, of ICMP and ICMPv6 use ``icmp_community_id``. ``ValueError`` for what can't be.
    """
    if ports is None:
        return _hashed(protocol, min(source, destination), max(source, destination), None)
    here, there = ports
    if source > destination or (source == destination and here > there):
        return _hashed(protocol, destination, source, (there, here))
    return _hashed(protocol, source, destination, ports)


def icmp_community_id(protocol: int, source: bytes, destination: bytes, kind: int, code: int) -> str:
    """Give the id of an exchange of ICMP (``protocol`` 1) or ICMPv6 (58) messages by type and code of one of them.

    A message that has a reply shares its id; others keep the direction they go in.
    """
    counterpart = _COUNTERPARTS[protocol].get(kind)
    if counterpart is not None:
        return community_id(protocol, source, destination, (kind, counterpart))
    return _hashed(protocol, source, destination, (kind, code))


def _hashed(protocol: int, source: bytes, destination: bytes, ports: tuple[int, int] | None) -> str:
    if len(source) != len(destination) or len(source) not in _LENGTHS:
        raise ValueError("addresses of one family are needed")
    try:
        tail = _TAIL(protocol, 0, *ports) if ports is not None else _SHORT_TAIL(protocol, 0)
    except struct.error as error:
        raise ValueError("a number that is no protocol or port") from error
    # What the specification asks for; nothing is protected by it.
    digest = sha1(_SEED + source + destination + tail, usedforsecurity=False).digest()
    return "1:" + b2a_base64(digest, newline=False).decode("ascii")
