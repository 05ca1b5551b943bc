"""Files of captured packets: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), in both byte orders.

Made for files that somebody else wrote: a packet that lies about itself is named and passed over, and where a length can't be
believed, so that nobody knows where the next packet begins, reading ends with ``CaptureError``. Memory is bounded by the largest block.
"""

import struct
from collections.abc import Callable, Generator, Iterator
from typing import Literal, NamedTuple

from outwatch.sensors.replay.unpacked import Pieces

_PCAP = {  # the first four bytes: byte order, nanoseconds in a unit of time
    b"\xa1\xb2\xc3\xd4": (">", 1_000),
    b"\xd4\xc3\xb2\xa1": ("<", 1_000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_SECTION = b"\x0a\x0d\x0d\x0a"  # the same in both byte orders
_ORDERS: dict[bytes, Literal["<", ">"]] = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_SECTION_TYPE, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
_TIME_UNIT, _TIME_OFFSET, _DROPPED_BY_INTERFACE, _DROPPED_BY_SYSTEM = 9, 14, 5, 7  # options
_LONGEST_PACKET = 1 << 18  # what libpcap writes at most
_LONGEST_BLOCK = 1 << 24  # what Wireshark reads at most
_MOST_INTERFACES = 4_096
_SECOND = 1_000_000_000
_CALENDAR = 253_402_300_800 * _SECOND  # the end of the year 9999

MAGICS = frozenset({*_PCAP, _SECTION})
"""The first four bytes that a capture may have."""

Problem = Callable[[int, str], None]
"""Is told the number of a packet, counted from 1, and what is wrong there."""


class CaptureError(ValueError):
    """Bytes that are no capture, or where it can't be read on."""


class Packet(NamedTuple):
    """A packet: its number in the file, nanoseconds since 1970, the type of its link (tcpdump.org/linktypes), and what was kept of it."""

    number: int
    time_ns: int
    link: int
    data: bytes


class Dropped(NamedTuple):
    """Packets that the capture itself says it could not keep."""

    packets: int


def packets(pieces: Pieces, problem: Problem) -> Iterator[Packet | Dropped | None]:
    """Yield the packets of a capture, and ``None`` where it pauses; ``CaptureError`` where it ends without being at its end."""
    reader = _Reader(pieces)
    magic = yield from reader.take(4)
    if magic in _PCAP:
        yield from _plain(reader, *_PCAP[magic])
    elif magic == _SECTION:
        yield from _Blocks(reader, problem).read()
    else:
        raise CaptureError(f"no capture: it begins with {magic.hex(' ')}")


class _Reader:
    """Gives exact numbers of bytes of a stream."""

    def __init__(self, pieces: Pieces) -> None:
        self._rest = iter(pieces)
        self._held = bytearray()
        self._at = 0

    def take(self, size: int, *, may_end: bool = False) -> Generator[None, None, bytes]:
        """Give the next ``size`` bytes; nothing if the stream is over where it ``may_end``."""
        while len(self._held) - self._at < size:
            del self._held[: self._at]
            self._at = 0
            try:
                piece = next(self._rest)
            except StopIteration:
                if may_end and not self._held:
                    return b""
                raise CaptureError("the capture is cut off here") from None
            if piece is None:
                yield None
            else:
                self._held += piece
        begin, self._at = self._at, self._at + size
        return bytes(self._held[begin : self._at])

    def skip(self, size: int) -> Generator[None, None, None]:
        """Pass over bytes without holding them."""
        while size:
            step = min(size, 1 << 16)
            yield from self.take(step)
            size -= step


def _plain(reader: _Reader, order: str, unit: int) -> Iterator[Packet | None]:
    """Read the rest of a pcap file."""
    _major, _minor, _zone, _accuracy, _snap, link = struct.unpack(order + "2H4I", (yield from reader.take(20)))
    link &= 0xFFFF  # above stand facts about the checksum
    header = struct.Struct(order + "4I")
    number = 0
    while head := (yield from reader.take(16, may_end=True)):
        seconds, fraction, kept, _length = header.unpack(head)
        number += 1
        if kept > _LONGEST_PACKET:
            raise CaptureError(f"a packet of {kept} bytes can't be; where the next one begins is not known")
        data = yield from reader.take(kept)
        yield Packet(number, seconds * _SECOND + fraction * unit, link, data)


class _Interface(NamedTuple):
    """What a section says of a place of capture: times count units of ``1 / per_second`` since ``offset`` seconds."""

    link: int
    most_kept: int
    per_second: int
    offset: int


class _Blocks:
    """Reads a pcapng file, block by block."""

    def __init__(self, reader: _Reader, problem: Problem) -> None:
        self._reader = reader
        self._problem = problem
        self._order: Literal["<", ">"] = "<"
        self._interfaces: list[_Interface] = []
        self._lost: dict[int, int] = {}
        self._number = 0
        self._latest = 0

    def read(self) -> Iterator[Packet | Dropped | None]:
        """Yield what the blocks hold; the first four bytes of the first one were read already."""
        kind = _SECTION
        while kind:
            raw_length = yield from self._reader.take(4)
            if kind == _SECTION:
                raw_order = yield from self._reader.take(4)
                if raw_order not in _ORDERS:
                    raise CaptureError("a section of unknown byte order")
                self._order = _ORDERS[raw_order]
                self._interfaces, self._lost = [], {}
            begun = 12 if kind == _SECTION else 8
            (length,) = struct.unpack(self._order + "I", raw_length)
            if length < begun + 4 or length % 4:
                raise CaptureError(f"a block of {length} bytes can't be; where the next one begins is not known")
            found = yield from self._block(kind, length - begun - 4)
            if found is not None:
                yield found
            (again,) = struct.unpack(self._order + "I", (yield from self._reader.take(4)))
            if again != length:
                self._problem(self._number, f"the block has {length} bytes at its beginning and {again} at its end")
            kind = yield from self._reader.take(4, may_end=True)

    def _block(self, raw_kind: bytes, size: int) -> Generator[None, None, Packet | Dropped | None]:
        """Read the body of a block."""
        (kind,) = struct.unpack(self._order + "I", raw_kind)
        read = {
            _INTERFACE: self._interface,
            _PACKET: self._packet,
            _SIMPLE_PACKET: self._simple_packet,
            _OLD_PACKET: self._old_packet,
            _STATISTICS: self._statistics,
        }.get(kind)
        if kind in {_PACKET, _SIMPLE_PACKET, _OLD_PACKET}:
            self._number += 1
        if read is None or size > _LONGEST_BLOCK:
            if read is not None:
                self._problem(self._number, f"a block of {size} bytes is passed over")
            yield from self._reader.skip(size)
            return None
        body = yield from self._reader.take(size)
        try:
            return read(body)
        except (struct.error, CaptureError) as error:
            self._problem(self._number, str(error) if isinstance(error, CaptureError) else "a block that is too short for what it holds")
            return None

    def _interface(self, body: bytes) -> None:
        link, _, most_kept = struct.unpack_from(self._order + "2HI", body)
        options = self._options(body, 8)
        resolution = options.get(_TIME_UNIT, b"\x06")[0]
        offset = struct.unpack(self._order + "q", options[_TIME_OFFSET])[0] if _TIME_OFFSET in options else 0
        if len(self._interfaces) >= _MOST_INTERFACES:
            raise CaptureError(f"more than {_MOST_INTERFACES} interfaces in a section")
        power = resolution & 0x7F
        self._interfaces.append(_Interface(link, most_kept, 1 << power if resolution & 0x80 else 10**power, offset))

    def _packet(self, body: bytes) -> Packet:
        number, high, low, kept, _length = struct.unpack_from(self._order + "5I", body)
        return self._made(number, high << 32 | low, body[20 : 20 + kept], kept)

    def _old_packet(self, body: bytes) -> Packet:
        number, _dropped, high, low, kept, _length = struct.unpack_from(self._order + "2H4I", body)
        return self._made(number, high << 32 | low, body[20 : 20 + kept], kept)

    def _simple_packet(self, body: bytes) -> Packet:
        """Read a packet without a time: it gets that of the one before."""
        (length,) = struct.unpack_from(self._order + "I", body)
        interface = self._named(0)
        kept = min(length, interface.most_kept or length)
        if kept > len(body) - 4:
            raise CaptureError("a packet that is longer than its block")
        return Packet(self._number, self._latest, interface.link, body[4 : 4 + kept])

    def _made(self, number: int, time: int, data: bytes, kept: int) -> Packet:
        interface = self._named(number)
        if len(data) < kept:
            raise CaptureError("a packet that is longer than its block")
        time_ns = time * _SECOND // interface.per_second + interface.offset * _SECOND
        if not 0 <= time_ns < _CALENDAR:
            raise CaptureError("its time lies outside of the calendar")
        self._latest = time_ns
        return Packet(self._number, time_ns, interface.link, data)

    def _named(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise CaptureError(f"its interface {number} was not described")
        return self._interfaces[number]

    def _statistics(self, body: bytes) -> Dropped | None:
        """Read what was lost on an interface since the statistics before: dropped by it, and by the system behind it."""
        number, _, _ = struct.unpack_from(self._order + "3I", body)
        self._named(number)
        options = self._options(body, 12)
        counts = [options[code] for code in (_DROPPED_BY_INTERFACE, _DROPPED_BY_SYSTEM) if len(options.get(code, b"")) == 8]  # noqa: PLR2004
        lost = sum(struct.unpack(self._order + "Q", count)[0] for count in counts)
        new = lost - self._lost.get(number, 0)
        if not 0 < new < 1 << 53:
            return None
        self._lost[number] = lost
        return Dropped(new)

    def _options(self, body: bytes, at: int) -> dict[int, bytes]:
        """Read the options of a block, the last of each kind."""
        found: dict[int, bytes] = {}
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "2H", body, at)
            if not code:
                break
            value = body[at + 4 : at + 4 + length]
            if not value or len(value) < length:
                break
            found[code] = value
            at += 4 + (length + 3 & ~3)
        return found
