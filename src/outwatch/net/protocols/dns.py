"""DNS messages (RFC 1035, 4.1): the header, the question, and the records of the answer that say names and addresses.

Made for messages that somebody else chose: names end after 255 octets, pointers lead backwards, and the work for one message is
bounded by the labels it may make us read, because a kilobyte of pointers into one long name costs a general reader 75 ms.

``read`` is for answers to our own questions, and wants them whole; ``facts`` is for what others were seen to say, and makes the most of it.
"""

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET6, inet_ntop
from typing import NamedTuple

from outwatch.net.protocols import names, svcb
from outwatch.net.protocols.dns_numbers import rcode_name, type_name

A, NS, CNAME, SOA, PTR, AAAA, OPT, SVCB, HTTPS = 1, 2, 5, 6, 12, 28, 41, 64, 65
"""Types of records (IANA, DNS parameters)."""

NOERROR, NXDOMAIN = 0, 3
"""Response codes."""

_IN = 1
_HEADER, _QUESTION, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!HHIH")
_REPLY, _OPCODE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x7800, 0x0400, 0x0200
_POINTER, _LONGEST_LABEL, _LONGEST_NAME = 0xC0, 63, 255
_MOST_STEPS = 800  # of reading one message: labels, records
_LONGEST_CHAIN = 8  # aliases
_MOST_ALIASES = 16  # that are followed in what others were told; resolvers give up sooner
_MOST_SERVICES = 8  # records that say where a service is, of one message
_MOST_MESSAGES = 256  # of one stream
_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_NAMES = frozenset({NS, CNAME, PTR})


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


class Address(NamedTuple):
    """An address that a name has, and for how many seconds that holds."""

    ip: str
    ttl: int


class Facts(NamedTuple):
    """What a message that others exchanged says.

    ``type`` and ``rcode`` are IANA's names; a question has no rcode. ``chain`` is the name asked for, then each alias that leads on;
    ``addresses`` are those at the steps of the chain, also such as HTTPS records hint at, each with the shortest time of its way.
    ``is_truncated``: the sender left something out. ``is_whole``: everything could be read; if not, what came before counts.
    ``alpn`` and ``has_ech`` are what HTTPS and SVCB records of the chain offer.
    """

    id: int
    is_reply: bool
    is_truncated: bool
    is_whole: bool
    name: str
    type: str
    rcode: str | None
    chain: tuple[str, ...]
    addresses: tuple[Address, ...]
    negative_ttl: int | None
    alpn: tuple[str, ...]
    has_ech: bool


def facts(data: bytes) -> Facts:
    """Read a message as it was seen, perhaps cut; ``DnsError`` if its question can't be read or it is no query (opcode 0).

    Names are as in ``read``, the root is ``.``. Records that don't lead from the question to an address count for nothing, nor do any in a
    question; addresses count only where the rcode says that all is well.
    """
    reader = _Reader(data)
    try:
        number, flags, questions, *counts = _HEADER.unpack_from(data)
        if flags & _OPCODE or questions != 1:
            raise DnsError("no query with one question")
        name, at = reader.name(_HEADER.size)
        kind, _of_class = _QUESTION.unpack_from(data, at)
    except (struct.error, IndexError) as error:
        raise DnsError("cut off") from error
    walk = _Walk(reader, data, name)
    rcode, negative, is_whole = flags & 0xF, None, True
    if flags & _REPLY:
        sections, is_whole = _sections(reader, at + _QUESTION.size, counts)
        rcode |= next((one.ttl >> 24 << 4 for one in sections[2] if one.type == OPT), 0)  # RFC 6891, 6.1.3
        walk.go(sections[0], sections[2], counted=rcode == NOERROR)
        is_whole = is_whole and not walk.is_broken
        if not flags & _TRUNCATED and not any(one.type == kind for one in sections[0]):
            negative = next((reader.lasts(one) for one in sections[1] if one.type == SOA), None)
    return Facts(
        number,
        bool(flags & _REPLY),
        bool(flags & _TRUNCATED),
        is_whole,
        name or ".",
        type_name(kind),
        rcode_name(rcode) if flags & _REPLY else None,
        tuple(one or "." for one in walk.chain),
        tuple(Address(ip, ttl) for ip, ttl in walk.addresses.items()),
        negative,
        tuple(walk.alpn),
        walk.has_ech,
    )


def over_tcp(stream: bytes, *, cut: bool = False) -> Iterator[bytes]:
    """Split what one side sent over TCP into messages (RFC 1035, 4.2.2); the last one, if it is cut off, only with ``cut``.

    Raises ``DnsError`` once something follows that can't be a message, or more messages than anybody looks at.
    """
    at = 0
    for _ in range(_MOST_MESSAGES):
        if len(stream) - at < 2:  # noqa: PLR2004 - octets of a length
            return
        length = stream[at] << 8 | stream[at + 1]
        if length < _HEADER.size:
            raise DnsError("too short for a message")
        at += 2 + length
        if at <= len(stream) or cut:
            yield stream[at - length : at]
        if at >= len(stream):
            return
    raise DnsError("too many messages")


def _sections(reader: "_Reader", at: int, counts: list[int]) -> tuple[list[list["_Raw"]], bool]:
    """Find the records of answer, authority and additional section, as far as possible, and tell whether that was all."""
    sections: list[list[_Raw]] = [[], [], []]
    try:
        for section, count in zip(sections, counts, strict=True):
            for one in reader.raw(at, count):
                section.append(one)  # one by one: those before an error count
            at = section[-1].at + section[-1].length if section else at
    except (DnsError, struct.error, IndexError):
        return sections, False
    return sections, True


class _Walk:
    """Goes from the name asked for along its aliases, and keeps what is found on the way."""

    def __init__(self, reader: "_Reader", data: bytes, name: str) -> None:
        self._reader, self._data = reader, data
        self.chain = [name]
        self.addresses: dict[str, int] = {}
        self.alpn: dict[str, None] = {}
        self.has_ech = False
        self.is_broken = False
        self._services = 0

    def go(self, answers: list["_Raw"], additional: list["_Raw"], *, counted: bool) -> None:
        """Follow aliases; take addresses on the way if they count, and those of services that were named (RFC 9460, 4.1)."""
        there = _by_name(answers)
        services: list[tuple[str, int]] = []
        lasts: int | None = None
        while len(self.chain) <= _MOST_ALIASES:
            step = there.get(self.chain[-1], ())
            try:
                aliases = [self._take(one, lasts, services, counted=counted) for one in step]
            except (DnsError, IndexError):
                self.is_broken = True
                break
            alias = next((one for one in aliases if one is not None), None)
            if alias is None or alias[0] in self.chain:
                break
            self.chain.append(alias[0])
            lasts = alias[1]
        beside = _by_name(additional) if services else {}
        for name, ttl in services:
            for one in beside.get(name, ()):
                if one.type in {A, AAAA}:
                    self._take(one, ttl, [], counted=counted)

    def _take(self, one: "_Raw", lasts: int | None, services: list[tuple[str, int]], *, counted: bool) -> tuple[str, int] | None:
        """Keep what a record on the way says; give the name, and for how long, if it leads on."""
        ttl = one.ttl if lasts is None else min(lasts, one.ttl)
        if one.type in {A, AAAA} and counted:
            self._keep(self._data[one.at : one.at + one.length], ttl)
        elif one.type == CNAME:
            return self._reader.name(one.at)[0], ttl
        elif one.type in {HTTPS, SVCB} and one.length > 2:  # noqa: PLR2004 - octets of the priority
            target, begin = self._reader.name(one.at + 2)
            if not any(self._data[one.at : one.at + 2]):  # priority 0: an alias
                return (target, ttl) if target else None
            self._services += 1
            if self._services > _MOST_SERVICES:
                raise DnsError("too many services")
            said = svcb.parameters(self._data[begin : one.at + one.length]) if begin <= one.at + one.length else None
            if said is not None and counted:
                services.append((target or one.name, ttl))
                self.alpn.update(dict.fromkeys(said.alpn))
                self.has_ech = self.has_ech or said.has_ech
                for hint in said.hints:
                    self._keep(hint, ttl)
        return None

    def _keep(self, octets: bytes, ttl: int) -> None:
        if len(octets) == 16 and not octets.startswith(_MAPPED):  # noqa: PLR2004 - octets of an IPv6 address
            self.addresses.setdefault(_ipv6(octets), ttl)
        elif len(octets) in {4, 16}:
            self.addresses.setdefault(".".join(map(str, octets[-4:])), ttl)


def _by_name(records: list["_Raw"]) -> dict[str, list["_Raw"]]:
    found: dict[str, list[_Raw]] = {}
    for one in records:
        if one.of_class == _IN:
            found.setdefault(one.name, []).append(one)
    return found


def _ipv6(octets: bytes) -> str:
    """Spell an address: faster than ``IPv6Address``, but where systems write dots they differ."""
    text = inet_ntop(AF_INET6, octets)
    return str(IPv6Address(octets)) if "." in text else text


class _Raw(NamedTuple):
    """A record that was found, and where in the message its data lies."""

    name: str
    type: int
    of_class: int
    ttl: int
    at: int
    length: int


class _Reader:
    """Reads names and records of one message, and counts what that costs."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._steps = 0
        self._known: dict[int, str] = {}

    def name(self, at: int) -> tuple[str, int]:
        """Give the name that begins at an offset, and where what follows it begins."""
        data, labels, size, end = self._data, [], 0, None
        before = begin = at
        while length := data[at]:
            self._count()
            if length >= _POINTER:
                target = (length & 0x3F) << 8 | data[at + 1]
                if target >= before:
                    raise DnsError("a pointer that does not lead backwards")
                if at == begin:  # nothing but a pointer, as most names are
                    begin, end = target, at + 2
                    if target in self._known:
                        return self._known[target], end
                end = at + 2 if end is None else end
                at = before = target
                continue
            size += length + 1
            label = data[at + 1 : at + 1 + length]
            if length > _LONGEST_LABEL or size >= _LONGEST_NAME or len(label) < length:
                raise DnsError("a name that is too long")
            labels.append(spelled := names.label(label))
            if len(spelled) > length:
                self._count(length // 16)  # what must be escaped takes longer
            at += 1 + length
        self._known[begin] = name = ".".join(labels)
        return name, at + 1 if end is None else end

    def _count(self, steps: int = 1) -> None:
        self._steps += steps
        if self._steps > _MOST_STEPS:
            raise DnsError("too much to read")

    def raw(self, at: int, count: int) -> "Iterator[_Raw]":
        """Yield the next records, also of other classes."""
        for _ in range(count):
            owner, at = self.name(at)
            self._count()
            kind, of_class, ttl, length = _RECORD.unpack_from(self._data, at)
            at += _RECORD.size
            if at + length > len(self._data):
                raise DnsError("cut off")
            # RFC 2181, 8: a TTL with the highest bit set means zero. That of OPT is none.
            yield _Raw(owner, kind, of_class, ttl if kind == OPT or not ttl >> 31 else 0, at, length)
            at += length

    def records(self, at: int, count: int) -> tuple[list[Record], int]:
        """Give the next records of class IN, and where what follows them begins."""
        found = []
        for one in self.raw(at, count):
            at = one.at + one.length
            if one.of_class == _IN:
                found.append(Record(one.name, one.type, self.lasts(one), self._value(one.type, one.at, one.length)))
        return found, at

    def _value(self, kind: int, at: int, length: int) -> str:
        data = self._data[at : at + length]
        if kind in _NAMES:
            return self.name(at)[0]
        if kind == A and length == 4:  # noqa: PLR2004 - octets of an IPv4 address
            return str(IPv4Address(data))
        if kind == AAAA and length == 16:  # noqa: PLR2004
            return _ipv6(data)
        return ""

    def lasts(self, one: "_Raw") -> int:
        """Give how long a record holds; of an SOA record, how long "there is none" does: its own TTL or its last field."""
        if one.type != SOA or one.length <= 4:  # noqa: PLR2004 - octets of that field
            return one.ttl
        return min(one.ttl, int.from_bytes(self._data[one.at + one.length - 4 : one.at + one.length]))
