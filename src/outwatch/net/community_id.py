"""Community ID, version 1: one short text for a connection, which Zeek, Suricata, Wireshark and others work out alike.

The specification (github.com/corelight/community-id-spec): SHA-1 over seed, both addresses, protocol and both ports, the smaller end first.
The seed is 0, as everywhere by default.
"""

import struct
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha1
from types import MappingProxyType

_SEED = 0
_ICMP, _ICMP6 = 1, 58
_HIGHEST_PORT = 65_535


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
    _check(protocol, source, destination, ports)
    here, there = ports or (0, 0)
    if (source, here) > (destination, there):
        source, destination, here, there = destination, source, there, here
    return _hashed(protocol, source, destination, (here, there) if ports else None)


def icmp_community_id(protocol: int, source: bytes, destination: bytes, kind: int, code: int) -> str:
    """Give the id of an exchange of ICMP (``protocol`` 1) or ICMPv6 (58) messages by type and code of one of them.

    A message that has a reply shares its id; others keep the direction they go in.
    """
    _check(protocol, source, destination, (kind, code))
    counterpart = _COUNTERPARTS[protocol].get(kind)
    if counterpart is not None:
        return community_id(protocol, source, destination, (kind, counterpart))
    return _hashed(protocol, source, destination, (kind, code))


def _check(protocol: int, source: bytes, destination: bytes, numbers: tuple[int, int] | None) -> None:
    if len(source) != len(destination) or len(source) not in {4, 16} or not 0 <= protocol <= 0xFF:  # noqa: PLR2004 - octets of addresses
        raise ValueError("addresses of one family and a protocol number are needed")
    if numbers is not None and not all(0 <= number <= _HIGHEST_PORT for number in numbers):
        raise ValueError("a number that is no port")


def _hashed(protocol: int, source: bytes, destination: bytes, ports: tuple[int, int] | None) -> str:
    tail = struct.pack("!HH", *ports) if ports is not None else b""
    # What the specification asks for; nothing is protected by it.
    digest = sha1(struct.pack("!H", _SEED) + source + destination + struct.pack("!BB", protocol, 0) + tail, usedforsecurity=False)
    return "1:" + b64encode(digest.digest()).decode("ascii")
