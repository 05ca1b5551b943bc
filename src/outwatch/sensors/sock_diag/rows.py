"""Sockets as the kernel describes them (linux/inet_diag.h, linux/tcp.h): bytes in, values out; no length in them is trusted."""

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct

import msgspec

TCP, UDP = 6, 17
ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 1, 2, 4, 5, 6, 7, 8, 9, 10, 11
FIN_RECEIVED = frozenset({CLOSE_WAIT, LAST_ACK, CLOSING})
ORPHANED = frozenset({FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING})
"""States in which a socket without an inode belongs to nobody any more; before them, nobody has accepted it yet."""

HEADER = Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_SOCKET = Struct("=BBBx36sIQIIIII")  # inet_diag_msg
_ATTRIBUTE = Struct("=HH")
_NUMBER = Struct("=i")
_ENDS = Struct("!HH16s16s")
_OLD_COUNTERS = Struct("=QQ")  # tcp_info since Linux 4.1
_COUNTERS = Struct("=I48xQQIIIIII40xQQ")  # tcp_info since Linux 4.19
_WINDOW = Struct("=I")
_RTT_AT, _ACKED_AT, _WINDOW_AT = 68, 120, 228
_INFO, _PROTOCOL = 2, 10
_ERROR, _DONE, _BY_FAMILY = 2, 3, 20
_NOTHING = (0, 0, 0, 0, 0)  # the header of what is too short to have one
_REMAINS = 3  # the timer of a socket that is only remembered (TIME_WAIT)


class Counters(msgspec.Struct, gc=False):
    """What TCP has counted. ``sent`` is without what had to be sent again; ``None`` where the kernel does not tell.

    ``acked`` counts the SYN and the FIN too, ``received`` the other end's FIN.
    """

    acked: int
    received: int
    sent: int | None = None
    unsent: int = 0
    data_segments_in: int | None = None
    answered: bool = True


class Row(msgspec.Struct, gc=False):
    """A socket. ``ends`` are its ports and addresses as they stand in the message; ``cookie`` is its own as long as it lives.

    ``remains`` says that it is no socket any more: the kernel only remembers its ends.
    """

    kind: int
    family: int
    state: int
    remains: bool
    ends: bytes
    device: int
    cookie: int
    unread: int
    unacked: int
    user: int
    inode: int
    counters: Counters | None = None

    def here(self) -> tuple[str, int]:
        """Give the local end."""
        port, _, address, _ = _ENDS.unpack(self.ends)
        return _text(self.family, address), port

    def there(self) -> tuple[str, int]:
        """Give the far end; a port of 0 says that there is none (any more)."""
        _, port, _, address = _ENDS.unpack(self.ends)
        return _text(self.family, address), port

    @property
    def connected(self) -> bool:
        """Tell whether it has a far end."""
        return self.ends[2:4] != b"\0\0"

    @property
    def called(self) -> bool:
        """Tell whether it has, or had, a far address."""
        return any(self.ends[20:])

    @property
    def own_signs(self) -> int | None:
        """Count the SYN and the FIN that this end has sent: what was acknowledged or waits for that, less the data."""
        one = self.counters
        return None if one is None or one.sent is None else one.acked + self.unacked - one.unsent - one.sent

    def opened_here(self) -> bool:
        """Tell whether it is certain that this end has called the other: only a caller's SYN counts."""
        if self.state == SYN_SENT:
            return True
        without_fin = self.state in {ESTABLISHED, CLOSE_WAIT}
        return self.own_signs == (1 if without_fin else 2)

    def bytes_sent(self, *, ingress: bool) -> int | None:
        """Give the application's bytes that were sent; on old kernels those that have arrived."""
        one = self.counters
        if one is None:
            return None
        return max(one.sent if one.sent is not None else one.acked - (not ingress), 0)


class Reading:
    """What one datagram holds: sockets, whether the answer ends with it (and how), and what could not be read."""

    __slots__ = ("broken", "done", "error", "rows")

    def __init__(self) -> None:
        """Begin with nothing."""
        self.rows: list[Row] = []
        self.done = False
        self.error = 0
        self.broken = 0


def read(data: bytes | bytearray | memoryview, kind: int | None = None, sequence: int = 0) -> Reading:
    """Read a datagram of messages; ``kind`` is the protocol that was asked for, ``sequence`` the question's number.

    Messages that answer another question are passed over. A message that is broken is counted; after one whose length can't be
    right the rest is one more.
    """
    found, at, size = Reading(), 0, len(data)
    place = _Place()
    while at < size:
        length, what, _, number, _ = HEADER.unpack_from(data, at) if size - at >= HEADER.size else _NOTHING
        if length < HEADER.size or length > size - at:
            found.broken += 1
            break
        end = at + length
        if number == sequence:
            if what == _BY_FAMILY:
                row = _row(data, at + HEADER.size, end, kind, place)
                if row is None:
                    found.broken += 1
                else:
                    found.rows.append(row)
            elif what in {_DONE, _ERROR}:
                found.done = True
                found.error = -_NUMBER.unpack_from(data, at + HEADER.size)[0] if length >= HEADER.size + _NUMBER.size else 0
        at = (end + 3) & ~3
    return found


class _Place:
    """Where the counters were in the message before: most often they are there again, and nothing else has to be read."""

    __slots__ = ("at", "length")

    def __init__(self) -> None:
        self.at = self.length = 0


def _row(data: bytes | bytearray | memoryview, at: int, end: int, kind: int | None, place: _Place) -> Row | None:
    """Read one socket between two places; ``None`` if it is cut or contradicts itself."""
    if end - at < _SOCKET.size:
        return None
    family, state, timer, ends, device, cookie, _, unread, unacked, user, inode = _SOCKET.unpack_from(data, at)
    if family not in _FAMILIES:
        return None
    start = at + _SOCKET.size
    counters = None
    at = start + place.at
    if kind == TCP and 0 < place.length <= end - at and _ATTRIBUTE.unpack_from(data, at) == (place.length, _INFO):
        counters = _counters(data, at + _ATTRIBUTE.size, place.length - _ATTRIBUTE.size)
        return Row(kind, family, state, timer == _REMAINS, ends, device, cookie, unread, unacked, user, inode, counters)
    at = start
    while end - at >= _ATTRIBUTE.size:
        length, what = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or length > end - at:
            return None
        if what == _INFO:
            counters = _counters(data, at + _ATTRIBUTE.size, length - _ATTRIBUTE.size)
            place.at, place.length = at - start, length
        elif what == _PROTOCOL and kind is None and length > _ATTRIBUTE.size:
            kind = data[at + _ATTRIBUTE.size]
        at += (length + 3) & ~3
    if kind is None:  # old kernels don't say it; only TCP has counters
        kind = UDP if counters is None else TCP
    return Row(kind, family, state, timer == _REMAINS, ends, device, cookie, unread, unacked, user, inode, counters)


def _counters(data: bytes | bytearray | memoryview, at: int, length: int) -> Counters | None:
    """Read as much of tcp_info as this kernel has."""
    if length < _RTT_AT + _COUNTERS.size:
        if length < _ACKED_AT + _OLD_COUNTERS.size:
            return None
        acked, received = _OLD_COUNTERS.unpack_from(data, at + _ACKED_AT)
        return Counters(acked, received)
    rtt, acked, received, _, _, unsent, _, data_in, _, sent, again = _COUNTERS.unpack_from(data, at + _RTT_AT)
    window = _WINDOW.unpack_from(data, at + _WINDOW_AT)[0] if length >= _WINDOW_AT + _WINDOW.size else 0
    return Counters(acked, received, max(sent - again, 0), unsent, data_in, bool(rtt or acked or received or window))


_FAMILIES: dict[int, int] = {2: 4, 10: 16}  # Linux's numbers, and the length of an address


@lru_cache(maxsize=4096)
def _text(family: int, address: bytes) -> str:
    if family == 2:  # noqa: PLR2004 - AF_INET of Linux, whatever the number is elsewhere
        return inet_ntop(AF_INET, address[:4])
    return inet_ntop(AF_INET6, address)
