"""One direction of a TCP connection (RFC 9293): how many bytes of the application it carried, and how it begins."""

import struct
from typing import NamedTuple

from outwatch.sensors.replay.packets import PacketError
from outwatch.sensors.replay.pieces import Pieces

FIN, SYN, RST, ACK = 1, 2, 4, 16
"""Flags."""

_HEADER = struct.Struct("!HHIxxxxBB")
_SHORTEST = 20  # octets of a header without options
_RING = 1 << 32
_MOST_AHEAD = 64  # pieces beyond a gap; more gaps than that are the capture's, not the network's
_MOST_AHEAD_BYTES = 16 << 20
_MOST_PIECES = 64


class Segment(NamedTuple):
    """A segment: ports, flags, and ``length`` bytes of the application, of which ``data`` was kept; ``first`` numbers the first."""

    port: int
    to_port: int
    flags: int
    first: int
    length: int
    data: bytes


def read(packet: bytes, length: int) -> Segment:
    """Read a segment of ``length`` octets; ``PacketError`` if its header lies, ``struct.error`` if it is cut off."""
    port, to_port, sequence, header, flags = _HEADER.unpack_from(packet)
    header = (header >> 4) * 4
    if not _SHORTEST <= header <= length:
        raise PacketError("a TCP header of a length that can't be")
    # A SYN takes a number of its own.
    return Segment(port, to_port, flags, (sequence + 1) % _RING if flags & SYN else sequence, length - header, packet[header:])


class Direction:
    """What one end sent. ``bytes`` counts each byte once, however often it came; ``opening`` keeps the first of them while it is wanted."""

    __slots__ = ("_ahead", "_base", "_keep", "_next", "bytes", "finished", "opening")

    def __init__(self) -> None:
        """Know nothing yet."""
        self._base: int | None = None
        self._keep = 0
        self._next = 0  # all before this offset was seen, or is not waited for
        self._ahead: list[tuple[int, int]] = []
        self.bytes = 0
        self.finished = False
        self.opening: Pieces | None = None

    def begin(self, sequence: int, keep: int) -> None:
        """Set the number of the first byte, and how many of the first bytes to keep."""
        self._base = sequence
        self._keep = keep

    @property
    def begun(self) -> bool:
        """Whether the number of the first byte is known."""
        return self._base is not None

    @property
    def first(self) -> int:
        """The number of the first byte; 0 while it is not known."""
        return self._base or 0

    def starts_at(self, sequence: int) -> bool:
        """Tell whether it is this number that the first byte has."""
        return self._base == sequence

    def carry(self, sequence: int, length: int, data: bytes) -> int:
        """Take a segment of ``length`` bytes, of which ``data`` was kept; give how many more bytes are held for it."""
        # Sequence numbers go round: of the offsets that fit, the one nearest to what is expected.
        expected = (self.first + self._next) % _RING
        offset = self._next + (sequence - expected + _RING // 2) % _RING - _RING // 2
        self._count(max(offset, self._next), offset + length)
        if not self._keep or offset + length <= 0:
            return 0
        if self.opening is None:
            self.opening = Pieces(self._keep, _MOST_PIECES)
        before = self.opening.held
        self.opening.add(max(offset, 0), data[max(-offset, 0) :])
        return self.opening.held - before

    def forget(self) -> int:
        """Keep nothing of what is said first any longer; give how many bytes that frees."""
        held = self.opening.held if self.opening is not None else 0
        self.opening, self._keep = None, 0
        return held

    def _count(self, begin: int, end: int) -> None:
        """Count the bytes of a piece that were not there before."""
        if end <= begin:
            return
        if not self._ahead and begin == self._next:
            self.bytes += end - begin
            self._next = end
            return
        merged: list[tuple[int, int]] = []
        new = end - begin
        for one in self._ahead:
            if one[1] < begin or one[0] > end:
                merged.append(one)
                continue
            new -= max(0, min(one[1], end) - max(one[0], begin))
            begin, end = min(begin, one[0]), max(end, one[1])
        # Counted before the piece grew by its neighbours: what is new of it, and no more.
        self.bytes += max(new, 0)
        merged.append((begin, end))
        merged.sort()
        while merged and (
            merged[0][0] <= self._next or len(merged) > _MOST_AHEAD or sum(last - first for first, last in merged) > _MOST_AHEAD_BYTES
        ):
            self._next = max(self._next, merged.pop(0)[1])
        self._ahead = merged
