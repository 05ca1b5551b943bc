"""The capture socket: hands records to other programs of this machine, as JSON lines (``docs/decisions/0013-capture.md``).

A reader gets all connections that are open, then a summary (the greeting), then what happens. Nobody waits for it: what it does not
take in time is counted, and told to it as a loss when it takes again.
"""

import asyncio
import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.guard.sockets import Listening, Peer, has_hung_up, peer_of
from outwatch.model import wire
from outwatch.model.records import Connection, EventsLost, Findings, Judged, Process, Record, Summary

LAYER = "capture socket"
"""The name under which is counted what a reader did not take in time."""

MOST_READERS = 8
_MOST_OPEN = 200_000
_MOST_QUEUED = 4 << 20  # bytes that wait for one reader
_PIECE = 1 << 16
_PIECES = 4  # that one reader gets before another has its turn
_PATIENCE = 30.0  # seconds in which a reader must have taken a piece of the first picture, which is held for it
_LAST = 1.0  # seconds that all readers together have at the end
_OVER = frozenset({"close", "failed"})
# What is left of arguments and of a socket's further users if a record is too long for a line.
_MOST_ARGS, _MOST_ARG, _MOST_USERS = 16, 256, 8


def line_of(record: Record) -> bytes:
    """Spell a record as a reader gets it: nothing was judged here, and nothing is longer than a reader accepts.

    Whoever starts a program decides how long its arguments are: they must not keep its connections from being seen.
    """
    if isinstance(record, Judged) and record.outwatch.verdict is not None:
        record = replace(record, outwatch=_unjudged(record.outwatch))
    line = wire.encode(record) + b"\n"
    if len(line) > wire.MOST and isinstance(record, Judged):
        others = tuple(filter(None, map(_shortened, record.outwatch.shared_with or ())))[:_MOST_USERS] or None
        findings = replace(record.outwatch, shared_with=others)
        line = wire.encode(replace(record, process=_shortened(record.process), outwatch=findings)) + b"\n"
    return line


def _unjudged(findings: Findings) -> Findings:
    return replace(findings, verdict=None, score=None, reasons=None)


def _shortened(process: Process | None) -> Process | None:
    if process is None:
        return None
    args = process.args and (*(one[:_MOST_ARG] for one in process.args[:_MOST_ARGS]), "…")
    return replace(process, args=args, parent=None)


class Backlog:
    """What waits for one reader, within bounds: first the picture, then lines; what found no room is counted, and told in its place."""

    def __init__(self, picture: Sequence[Record] = (), *, most: int = _MOST_QUEUED) -> None:
        """Take the first picture, its greeting included, and the bytes of lines that may wait."""
        self._picture = list(reversed(picture))  # so that each record is let go when it is told
        self._lines: deque[bytes] = deque()
        self._most = most
        self._queued = 0
        self._lost: dict[str, EventsLost] = {}

    @property
    def has_picture(self) -> bool:
        """Tell whether a part of the picture still waits."""
        return bool(self._picture)

    @property
    def left(self) -> int:
        """Count the records that it has not been told, nor that they were lost."""
        return len(self._picture) + len(self._lines) + sum(loss.count for loss in self._lost.values())

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing waits."""
        return not (self._picture or self._lines or self._lost)

    def add(self, record: Record, line: bytes) -> None:
        """Let a line wait, or count it. Once one was lost, others are too, until half of the room is free again."""
        self._tell_losses()
        if self._lost or self._queued + len(line) > self._most:
            self._lose(record)
        else:
            self._lines.append(line)
            self._queued += len(line)

    def take(self, most: int) -> bytes:
        """Give what the reader is to get next: whole lines, of more than ``most`` bytes only if one alone is longer."""
        taken: list[bytes] = []
        size = 0
        while size < most and (line := self._next()):
            taken.append(line)
            size += len(line)
        return b"".join(taken)

    def _next(self) -> bytes | None:
        if self._picture:
            return line_of(self._picture.pop())
        if not self._lines:
            self._tell_losses()
        if not self._lines:
            return None
        line = self._lines.popleft()
        self._queued -= len(line)
        return line

    def _lose(self, record: Record) -> None:
        """Count a record; a loss that can't be told adds up with others of its layer."""
        now = datetime.now(UTC)
        if isinstance(record, EventsLost):
            layer, sensor, count = record.layer, record.sensor, record.count
            first, last = record.from_ or now, record.until or now
        else:
            layer, sensor, count, first, last = LAYER, None, 1, now, now
        known = self._lost.get(layer)
        if known is not None:
            count, first, last = known.count + count, min(known.from_ or first, first), max(known.until or last, last)
        self._lost[layer] = EventsLost(sensor=sensor, layer=layer, count=count, from_=first, until=last)

    def _tell_losses(self) -> None:
        if self._lost and self._queued <= self._most // 2:
            for loss in self._lost.values():
                self._lines.append(line_of(loss))
                self._queued += len(self._lines[-1])
            self._lost.clear()


class _Reader:
    """One program that reads; ``gone`` is called when it does so no more."""

    def __init__(self, one: socket.socket, gone: Callable[["_Reader"], None]) -> None:
        self.backlog = Backlog()
        self.socket = one
        self._gone = gone
        self._out = b""
        self._full = False
        self._took = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(one, self._hear)

    @property
    def stands_still(self) -> bool:
        """Tell whether the first picture has waited too long for it."""
        return self.backlog.has_picture and time.monotonic() - self._took > _PATIENCE

    def begin(self, picture: Sequence[Record]) -> None:
        """Give it the picture."""
        self.backlog = Backlog(picture)
        self._took = time.monotonic()
        self.send()

    def send(self) -> bool:
        """Send what it takes without waiting; tell whether something is left."""
        try:
            for _ in range(_PIECES):
                self._out = self._out or self.backlog.take(_PIECE)
                if not self._out:
                    break
                sent = self.socket.send(self._out)
                self._out = self._out[sent:]
                self._took = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            self.let_go()
            return False
        left = bool(self._out) or not self.backlog.is_empty
        self._watch(full=left)
        return left

    def _watch(self, *, full: bool) -> None:
        if full and not self._full:
            self._loop.add_writer(self.socket, self.send)
        elif self._full and not full:
            self._loop.remove_writer(self.socket)
        self._full = full

    def _hear(self) -> None:
        """Pass over what a reader says, and notice when it has gone; one that only has no more to say may go on reading."""
        try:
            if self.socket.recv(_PIECE):
                return
        except BlockingIOError:
            return
        except OSError:
            self.let_go()
            return
        self._loop.remove_reader(self.socket)
        if has_hung_up(self.socket):
            self.let_go()

    def let_go(self) -> None:
        """Close its socket."""
        if self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket)
            self._loop.remove_writer(self.socket)
            self.socket.close()
            self._gone(self)


class Handover:
    """Serves the capture socket: root, our own user and members of the folder's group may read, eight at a time."""

    name: ClassVar[str] = "capture socket"
    settled: ClassVar[bool] = False

    def __init__(self, listening: Listening, *, group: int, user: int, health: Health) -> None:
        """Take the socket, whose readers may be of ``group`` or ``user``; ``begin`` lets them come."""
        self._listening = listening
        self._group, self._user = group, user
        self._summary: Callable[[], Summary] = Summary
        self._health = health
        self._open: dict[str, Judged] = {}
        self._readers: list[_Reader] = []
        self._early: list[_Reader] | None = []  # readers that came before the first picture was whole
        self._due: int | None = None
        self._seen = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, summary: Callable[[], Summary]) -> None:
        """Let readers come (in the loop); ``summary`` says at any time what the capture sees and can't see."""
        self._summary = summary
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._listening.listener, self._accept)

    def first_look(self, size: int) -> None:
        """Hear how many connections the first picture will have (any thread); readers are greeted when it is whole."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._expect, size)

    async def write(self, records: Sequence[Record]) -> None:
        """Give records to all readers, and keep those of open connections for readers that come later."""
        told = [self._greeting(record) if isinstance(record, Summary) else record for record in records]
        lines = [(record, line_of(record)) for record in told] if self._readers else []
        for reader in [*self._readers]:
            for record, line in lines:
                reader.backlog.add(record, line)
            if reader.stands_still:
                reader.let_go()
            else:
                reader.send()
        for record in records:
            if isinstance(record, Judged):
                self._seen += record.revision == 1
                self._keep(record)
        self._greet_early()

    async def close(self) -> None:
        """Give readers a moment to take what waits, and hang up."""
        if self._loop is not None:
            self._loop.remove_reader(self._listening.listener)
        until = time.monotonic() + _LAST
        waiting = [reader for reader in [*self._readers] if reader.send()]
        while waiting and (left := until - time.monotonic()) > 0:
            select.select([], [reader.socket for reader in waiting], [], left)
            waiting = [reader for reader in waiting if reader.send()]
        for reader in [*self._readers, *(self._early or ())]:
            if reader.backlog.left:
                self._health.tell(f"a reader did not take the last {reader.backlog.left} records")
            reader.let_go()
        self._listening.close()

    def _keep(self, record: Judged) -> None:
        self._open.pop(record.id, None)
        if isinstance(record, Connection) and record.event.action not in _OVER:
            self._open[record.id] = record
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
                self._health.lose("capture picture", 1)

    def _expect(self, size: int) -> None:
        self._due = size
        self._greet_early()

    def _greet_early(self) -> None:
        if self._early is not None and self._due is not None and self._seen >= self._due:
            early, self._early = self._early, None
            for reader in early:
                self._greet(reader)

    def _greet(self, reader: _Reader) -> None:
        self._readers.append(reader)
        reader.begin([*self._open.values(), self._greeting(self._summary())])

    def _greeting(self, summary: Summary) -> Summary:
        """Say what this capture is, and nothing of verdicts: there are none."""
        return replace(summary, verdicts={}, not_judged=summary.seen, without_fact={})

    def _accept(self) -> None:
        try:
            one, _ = self._listening.listener.accept()
        except OSError:  # the caller has gone
            return
        with contextlib.ExitStack() as undo:
            undo.enter_context(one)
            one.settimeout(0)
            peer = _asked(one)
            if peer is None or not self._may_read(peer):
                whom = "somebody" if peer is None else f"user {peer.user}"
                self._health.problem(f"{whom} was refused at the capture socket: not in its group {self._group}")
                return
            if len(self._readers) + len(self._early or ()) >= MOST_READERS:
                self._health.problem(f"the capture socket has {MOST_READERS} readers; others were refused")
                return
            undo.pop_all()
        reader = _Reader(one, self._forget)
        if self._early is None:
            self._greet(reader)
        else:
            self._early.append(reader)

    def _may_read(self, peer: Peer) -> bool:
        return peer.user in {0, self._user} or self._group in peer.groups

    def _forget(self, reader: _Reader) -> None:
        for readers in (self._readers, self._early or []):
            if reader in readers:
                readers.remove(reader)


def _asked(one: socket.socket) -> Peer | None:
    try:
        return peer_of(one)
    except OSError:  # it has gone
        return None
