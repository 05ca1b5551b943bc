"""Questions to the kernel about its sockets, and its word that one has gone (sock_diag(7))."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct
from typing import Self

from outwatch.errors import SensorFailed
from outwatch.sensors.sock_diag.rows import (
    HEADER,
    TCP,
    TIME_WAIT,
    UDP,
    Reading,
    Row,
    read,
)

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST, _DUMP = 0x1, 0x300
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _NO_ENOBUFS = 270, 1, 2, 5
_SO_RCVBUFFORCE, _SO_MEMINFO = 33, 55
_MEMINFO = Struct("=9I")  # the last is what did not fit
_QUESTION = Struct("=BBBxI")  # inet_diag_req_v2 up to the ends
_WHO = Struct("=36sIQ")
_ANYBODY = _WHO.pack(bytes(36), 0, (1 << 64) - 1)
_WITH_INFO = 1 << 1
_GROUPS = (1, 2, 3, 4)  # SKNLGRP_INET_TCP_DESTROY, _UDP_, INET6_TCP_, _UDP_
_TABLES = tuple((family, kind) for kind in (TCP, UDP) for family in (socket.AF_INET, socket.AF_INET6))
_DATAGRAM = 1 << 16
_PATIENCE = 5.0  # seconds; the kernel answers at once or never
_ALL_STATES = 0xFFF
_SYN_RECV = (1 << 3) | (1 << 12)  # not yet connections, and anybody outside can make thousands
_NOT_HERE = frozenset({errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT})


class Netlink:
    """The two sockets to the kernel: one to ask, and where that is allowed one that hears what closes.

    ``tells_ends`` says whether it is; ``broken`` counts messages that could not be read.
    """

    def __init__(self, buffer: int = 1 << 20) -> None:
        """Open both; ``OSError`` if there is no netlink here. What closes is held in ``buffer`` bytes until it is read."""
        self.broken = 0
        self.missing: set[str] = set()
        self._sequence = 0
        self._lost = 0
        self._room = bytearray(_DATAGRAM)
        self._asking = _open()
        with contextlib.ExitStack() as undo:
            undo.callback(self._asking.close)
            self._hearing = _hear(buffer)
            undo.pop_all()

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both sockets."""
        self._asking.close()
        if self._hearing is not None:
            self._hearing.close()

    @property
    def tells_ends(self) -> bool:
        """Tell whether the kernel says which sockets close."""
        return self._hearing is not None

    def sockets(self) -> Iterator[Row]:
        """Ask for all sockets of TCP and UDP; what is left of closed ones only if the kernel does not tell ends itself."""
        states = _ALL_STATES & ~_SYN_RECV & ~(self.tells_ends << TIME_WAIT)
        for family, kind in _TABLES:
            yield from self._dump(family, kind, states)

    def probe(self) -> None:
        """Ask for nothing; ``OSError`` if the kernel does not answer that."""
        self._ask(socket.AF_INET, TCP, _DUMP, 0)
        for reading in self._answer(TCP):
            if reading.error:
                raise OSError(reading.error, os.strerror(reading.error))

    def remains(self, row: Row) -> int | None:
        """Give the state in which the kernel remembers a connection that has closed, or ``None``."""
        self._ask(row.family, TCP, 0, _ALL_STATES, _WHO.pack(row.ends, row.device, row.cookie))
        found = [one for reading in self._answer(TCP) for one in reading.rows]
        return found[0].state if found and found[0].remains else None

    def ended(self, most: int) -> list[Row]:
        """Give the sockets that have closed, at most about so many; the others can wait."""
        rows: list[Row] = []
        while self._hearing is not None and len(rows) < most:
            try:
                reading = self._receive(self._hearing, None, 0)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise SensorFailed(f"the kernel's word on closed sockets can't be read ({error})") from error
                continue  # ``lost`` knows how many
            if reading is not None:
                self.broken += reading.broken
                rows += reading.rows
        return rows

    def stop_hearing(self) -> None:
        """Hear no more of sockets that close from now on; what was told already can still be read."""
        if self._hearing is not None:
            with contextlib.suppress(OSError):  # a second time
                for group in _GROUPS:
                    self._hearing.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, group)

    def lost(self) -> int:
        """Count what the kernel could not tell, or could not be read, since the last call."""
        lost, self.broken = self.broken, 0
        if self._hearing is not None:
            with contextlib.suppress(OSError):  # Linux before 4.12 does not count
                dropped = _MEMINFO.unpack(self._hearing.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1]
                lost, self._lost = lost + (dropped - self._lost) % (1 << 32), dropped
        return lost

    def _dump(self, family: int, kind: int, states: int) -> Iterator[Row]:
        self._ask(family, kind, _DUMP, states)
        for reading in self._answer(kind):
            yield from reading.rows
            if reading.error in _NOT_HERE:
                self.missing.add(f"{'TCP' if kind == TCP else 'UDP'} over IPv{4 if family == socket.AF_INET else 6}")
            elif reading.error:
                raise SensorFailed(f"the kernel does not list its sockets ({os.strerror(reading.error)})")

    def _ask(self, family: int, kind: int, flags: int, states: int, who: bytes = _ANYBODY) -> None:
        self._sequence = self._sequence % 0x7FFFFFFF + 1
        question = _QUESTION.pack(family, kind, _WITH_INFO if kind == TCP else 0, states) + who
        self._single = not flags
        head = HEADER.pack(HEADER.size + len(question), _BY_FAMILY, _REQUEST | flags, self._sequence, 0)
        self._asking.sendto(head + question, (0, 0))

    def _answer(self, kind: int) -> Iterator[Reading]:
        """Give the datagrams of an answer up to its end."""
        while True:
            reading = self._receive(self._asking, kind, self._sequence)
            if reading is None:
                continue
            self.broken += reading.broken
            yield reading
            if reading.done or (self._single and reading.rows):
                return

    def _receive(self, one: socket.socket, kind: int | None, sequence: int) -> Reading | None:
        """Read a datagram; ``None`` if it does not come from the kernel."""
        size, _, flags, sender = one.recvmsg_into([self._room])
        if sender[0] != 0:
            return None
        reading = read(memoryview(self._room)[:size], kind, sequence)
        if flags & socket.MSG_TRUNC:
            reading.broken += 1
        return reading


def _open() -> socket.socket:
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
    with contextlib.ExitStack() as undo:
        undo.callback(one.close)
        one.bind((0, 0))  # before joining a group, or nothing comes
        one.settimeout(_PATIENCE)
        undo.pop_all()
    return one


def _hear(buffer: int) -> socket.socket | None:
    """Open the socket that is told of closed ones; ``None`` where that is refused (older kernels want CAP_NET_ADMIN)."""
    one = _open()
    try:
        for group in _GROUPS:
            one.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
    except OSError:
        one.close()
        return None
    with contextlib.suppress(OSError):  # a full buffer then costs what does not fit, and not all until it is empty
        one.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    except OSError:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    one.settimeout(0)
    return one
