"""Datagrams that were sent in pieces (RFC 791, 3.2; RFC 8200, 4.5), put together within bounds.

Of pieces that overlap the one that came first counts. What is never whole is given as far as it goes, so that nobody hides by
leaving a piece out.
"""

from collections import OrderedDict
from collections.abc import Iterator

from outwatch.sensors.replay.packets import Datagram
from outwatch.sensors.replay.pieces import Pieces

_MOST = 1_024  # datagrams that are waited for
_MOST_BYTES = 8 << 20  # of all of them
_PATIENCE = 60 * 1_000_000_000  # nanoseconds
_LONGEST = 65_535
_MOST_PIECES = 128  # of one datagram

_Key = tuple[bytes, bytes, int, int]


class _Begun:
    """A datagram of which pieces are here: ``end`` is its length, once the last piece told."""

    __slots__ = ("began_ns", "end", "pieces", "protocol")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.pieces = Pieces(_LONGEST, _MOST_PIECES)
        self.protocol: int | None = None
        self.end: int | None = None


class Fragments:
    """Those datagrams that are not whole yet. ``lost`` counts those that went without their beginning."""

    def __init__(self) -> None:
        """Know none yet."""
        self._begun: OrderedDict[_Key, _Begun] = OrderedDict()
        self._bytes = 0
        self.lost = 0

    def add(self, piece: Datagram, time_ns: int) -> Iterator[Datagram]:
        """Take a piece; give the datagram if it is whole now, and others that are not waited for any longer."""
        fragment = piece.fragment
        if fragment is None:
            yield piece
            return
        key = (piece.source, piece.destination, 0 if len(piece.source) == 16 else piece.protocol, fragment.identity)  # noqa: PLR2004 - octets of an IPv6 address
        begun = self._begun.get(key)
        if begun is not None and abs(time_ns - begun.began_ns) > _PATIENCE:
            yield from self._let_go(key)
            begun = None
        if begun is None:
            begun = self._begun[key] = _Begun(time_ns)
        before = begun.pieces.held
        begun.pieces.add(fragment.offset, piece.payload)
        self._bytes += begun.pieces.held - before
        if not fragment.offset:
            begun.protocol = piece.protocol
        if not fragment.more and begun.end is None:
            begun.end = fragment.offset + len(piece.payload)
        if begun.end is not None and begun.protocol is not None and len(begun.pieces.beginning()) >= begun.end:
            yield from self._let_go(key)
        while len(self._begun) > _MOST or self._bytes > _MOST_BYTES:
            yield from self._let_go(next(iter(self._begun)))

    def finish(self) -> Iterator[Datagram]:
        """Give what there is of those that were never whole."""
        while self._begun:
            yield from self._let_go(next(iter(self._begun)))

    def _let_go(self, key: _Key) -> Iterator[Datagram]:
        begun = self._begun.pop(key)
        self._bytes -= begun.pieces.held
        if begun.protocol is None:
            self.lost += 1
            return
        payload = begun.pieces.beginning()[: begun.end]
        yield Datagram(key[0], key[1], begun.protocol, payload, len(payload))
