"""DNS messages (RFC 1035, 4.1): the header, the question, and the records of the answer that say names and addresses.

Made for messages that somebody else chose: names end after 255 octets, pointers lead backwards, and the work for one message is
bounded by the labels it may make us read, because a kilobyte of pointers into one long name costs a general reader 75 ms.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, AAAA = 1, 2, 5, 6, 12, 28
"""Types of records (IANA, DNS parameters)."""

NOERROR, NXDOMAIN = 0, 3
"""Response codes."""

_IN = 1
_HEADER, _QUESTION, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!HHIH")
_REPLY, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_POINTER, _LONGEST_LABEL, _LONGEST_NAME = 0xC0, 63, 255
_MOST_LABELS = 2_000  # read for one message
_LONGEST_CHAIN = 8  # aliases
_NAMES = frozenset({NS, CNAME, PTR})
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class DnsError(ValueError):
    """Bytes that are no DNS message."""


class Record(NamedTuple):
    """A record: ``value`` is the name or address it holds, empty for types that hold something else; ``ttl`` in seconds."""

    name: str
    type: int
    ttl: int
    value: str


class Message(NamedTuple):
    """A message with one question. ``negative_ttl``: for how long "there is none" holds (RFC 2308, 5), if that is said."""

    id: int
    is_reply: bool
    is_authoritative: bool
    is_truncated: bool
    rcode: int
    name: str
    type: int
    answers: tuple[Record, ...]
    negative_ttl: int | None
    refers: bool

    def chain(self) -> tuple[list[Record], int | None]:
        """Follow aliases from the question to the records asked for; with them the shortest time that all of it holds."""
        name, ttl = self.name, None
        for _ in range(_LONGEST_CHAIN):
            found = [one for one in self.answers if one.name == name and one.type == self.type]
            aliases = [one for one in self.answers if one.name == name and one.type == CNAME]
            step = found or aliases[:1]
            if not step:
                return [], ttl
            ttl = min([one.ttl for one in step] + ([] if ttl is None else [ttl]))
            if found:
                return found, ttl
            name = aliases[0].value
        return [], ttl


def read(data: bytes) -> Message:
    r"""Read a message; ``DnsError`` if it is none, has not exactly one question, or asks for more work than an honest one.

    Names are in lower case without the last dot; octets that a host's name does not have are written ``\DDD`` (RFC 1035, 5.1).
    """
    reader = _Reader(data)
    try:
        number, flags, questions, answers, authorities, _ = _HEADER.unpack_from(data)
        if questions != 1:
            raise DnsError("not one question")
        name, at = reader.name(_HEADER.size)
        kind, _of_class = _QUESTION.unpack_from(data, at)
        at += _QUESTION.size
        said, at = reader.records(at, answers)
        negative, refers = None, False
        if not flags & _TRUNCATED and not any(one.type == kind for one in said):
            authority, _ = reader.records(at, authorities)
            negative = next((one.ttl for one in authority if one.type == SOA), None)
            refers = any(one.type == NS for one in authority)
    except (struct.error, IndexError) as error:
        raise DnsError("cut off") from error
    return Message(
        number,
        bool(flags & _REPLY),
        bool(flags & _AUTHORITATIVE),
        bool(flags & _TRUNCATED),
        flags & 0xF,
        name,
        kind,
        tuple(said),
        negative,
        refers,
    )


class _Reader:
    """Reads names and records of one message, and counts what that costs."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._labels = 0

    def name(self, at: int) -> tuple[str, int]:
        """Give the name that begins at an offset, and where what follows it begins."""
        data, labels, size, end = self._data, [], 0, None
        before = at
        while length := data[at]:
            self._labels += 1
            if self._labels > _MOST_LABELS:
                raise DnsError("too many labels")
            if length >= _POINTER:
                target = (length & 0x3F) << 8 | data[at + 1]
                end = at + 2 if end is None else end
                if target >= before:
                    raise DnsError("a pointer that does not lead backwards")
                at = before = target
                continue
            size += length + 1
            label = data[at + 1 : at + 1 + length]
            if length > _LONGEST_LABEL or size >= _LONGEST_NAME or len(label) < length:
                raise DnsError("a name that is too long")
            labels.append(_spelled(label))
            at += 1 + length
        return ".".join(labels), at + 1 if end is None else end

    def records(self, at: int, count: int) -> tuple[list[Record], int]:
        """Give the next records of class IN, and where what follows them begins."""
        found = []
        for _ in range(count):
            owner, at = self.name(at)
            kind, of_class, ttl, length = _RECORD.unpack_from(self._data, at)
            at += _RECORD.size
            if at + length > len(self._data):
                raise DnsError("cut off")
            if of_class == _IN:
                # RFC 2181, 8: a TTL with the highest bit set means zero.
                found.append(Record(owner, kind, 0 if ttl >> 31 else self._ttl(kind, ttl, at, length), self._value(kind, at, length)))
            at += length
        return found, at

    def _value(self, kind: int, at: int, length: int) -> str:
        data = self._data[at : at + length]
        if kind in _NAMES:
            return self.name(at)[0]
        if kind == A and length == 4:  # noqa: PLR2004 - octets of an IPv4 address
            return str(IPv4Address(data))
        if kind == AAAA and length == 16:  # noqa: PLR2004
            return str(IPv6Address(data))
        return ""

    def _ttl(self, kind: int, ttl: int, at: int, length: int) -> int:
        """Give how long a record holds; of an SOA record, how long "there is none" does: its own TTL or its last field."""
        return min(ttl, *struct.unpack_from("!I", self._data, at + length - 4)) if kind == SOA and length > 4 else ttl  # noqa: PLR2004


def _spelled(label: bytes) -> str:
    if _PLAIN.issuperset(label):
        return label.decode("ascii").lower()
    return "".join(chr(octet).lower() if octet in _PLAIN else f"\\{octet:03d}" for octet in label)
