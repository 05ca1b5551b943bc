"""ICMP (RFC 792) and ICMPv6 (RFC 4443): what belongs together, and what an error is about."""

import struct
from typing import NamedTuple

_V4, _V6 = 1, 58
_PORTS = frozenset({6, 17, 33, 132, 136})  # TCP, UDP, DCCP, SCTP, UDP-Lite begin with both ports
_REPLIES = {_V4: frozenset({0, 14, 16, 18}), _V6: frozenset({129, 131, 132, 136, 140})}
_WITH_IDENTITY = {_V4: frozenset({0, 8, 13, 14, 15, 16, 17, 18}), _V6: frozenset({128, 129})}
_ERRORS = {_V4: frozenset({3, 4, 5, 11, 12}), _V6: frozenset({1, 2, 3, 4})}
_UNREACHABLE = {_V4: 3, _V6: 1}
_FRAGMENTATION_NEEDED = 4  # code of type 3: the packet was too large, and another will do


class IcmpError(ValueError):
    """A message that is cut off."""


class Message(NamedTuple):
    """A message; ``identity`` is alike in a question and its reply.

    ``about`` says what packet it complains of: the protocol and both ends. With ``is_refusal`` that packet did not get through.
    """

    type: int
    code: int
    identity: int
    is_reply: bool
    about: tuple[int, tuple[bytes, int | None], tuple[bytes, int | None]] | None
    is_refusal: bool


def read(protocol: int, data: bytes) -> Message:
    """Read a message of ``protocol`` 1 or 58; ``IcmpError`` if not even its header is there."""
    try:
        kind, code, identity = struct.unpack_from("!BB2xH", data)
    except struct.error as error:
        raise IcmpError("an ICMP message that is cut off") from error
    about = _about(protocol, data[8:]) if kind in _ERRORS[protocol] else None
    refusal = kind == _UNREACHABLE[protocol] and not (protocol == _V4 and code == _FRAGMENTATION_NEEDED)
    # Without an identity of their own, messages between two hosts belong together by what they are for.
    identity = identity if kind in _WITH_IDENTITY[protocol] else -1
    return Message(kind, code, identity, kind in _REPLIES[protocol], about, refusal)


def _about(protocol: int, data: bytes) -> tuple[int, tuple[bytes, int | None], tuple[bytes, int | None]] | None:
    """Read the beginning of the packet that an error quotes."""
    try:
        if protocol == _V4:
            inner, at = data[9], (data[0] & 0xF) * 4
            source, destination = data[12:16], data[16:20]
        else:
            inner, at = data[6], 40
            source, destination = data[8:24], data[24:40]
        here, there = struct.unpack_from("!HH", data, at) if inner in _PORTS else (None, None)
    except (struct.error, IndexError):
        return None
    return inner, (source, here), (destination, there)
