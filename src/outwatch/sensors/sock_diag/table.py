"""What is known of each connection between two looks, and what a look or a closed socket changes."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, get_args

import msgspec
from msgspec.structs import replace

from outwatch.model.ids import RecordIds
from outwatch.model.records import (
    Connection,
    Destination,
    Event,
    Findings,
    Host,
    Network,
    Process,
    Source,
    Unknown,
    User,
    WhyUnknown,
)
from outwatch.net.listeners import Listeners
from outwatch.sensors.sock_diag.closing import Remains, bytes_received, bytes_received_at_the_end, never_answered
from outwatch.sensors.sock_diag.rows import LISTEN, ORPHANED, SYN_SENT, TCP, Row

_TOLD_EVERY = 2.0  # seconds between two totals of one connection
_MOST_OVER = 20_000  # connections whose end was told, but whose socket somebody may still hold
_MOST_PATIENCE = 10  # after each search in vain twice as many looks go by, up to 2 to this
_NETWORKS = {
    (tcp, ingress): Network(transport="tcp" if tcp else "udp", direction="ingress" if ingress else "egress")
    for tcp in (True, False)
    for ingress in (True, False)
}
_ATTRIBUTED = Findings(sensor="sock_diag", attribution="inferred")
_UNATTRIBUTED: dict[WhyUnknown, Findings] = {
    why: Findings(sensor="sock_diag", attribution=Unknown(unknown=why)) for why in get_args(WhyUnknown)
}
_NOWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - the local address of a socket that is not connected any more
_Totals = tuple[int | None, int | None]
_NOT_COUNTED: _Totals = (None, None)
_Found = dict[int, Process | None]


class Holders(Protocol):
    """Says which processes hold sockets (``owners.py``)."""

    def find(self, wanted: set[int]) -> _Found:
        """Give the holder of each socket whose inode is wanted and found; ``None`` for one that has gone meanwhile."""

    def gone(self) -> set[int]:
        """Name the pids of holders that have ended since the last call."""

    def keep(self, pids: set[int]) -> None:
        """Forget all other holders."""


class _Known(msgspec.Struct, gc=False):
    """A connection: the last row that showed it, the look that did, and its record (none if it was over before the watch).

    ``told`` are the totals (sent, received) of its record, issued at ``told_at``; ``over`` says that its end was told. Its holder
    is searched at the look ``search_at`` (0: never).
    """

    row: Row
    look: int
    record: Connection | None
    told: _Totals
    told_at: float
    over: bool = False
    looks: int = 1
    tries: int = 0
    search_at: int = 0


class Table:
    """The connections of this machine."""

    def __init__(self, holders: Holders, *, host: Host, sees_all: bool) -> None:
        """Take who knows the processes; ``sees_all`` says whether those of all users can be seen."""
        self._holders = holders
        self._host = host
        self._sees_all = sees_all
        self._ids = RecordIds()
        self._listeners = Listeners()
        self._open: dict[int, _Known] = {}
        self._over: OrderedDict[int, _Known] = OrderedDict()
        self._look = 0
        self._now = datetime.now(UTC)
        self._clock = 0.0
        self.unconnected = 0

    @property
    def looks(self) -> int:
        """Count the looks so far."""
        return self._look

    def look(self, rows: Iterable[Row], *, tells_ends: bool, last: bool = False) -> list[Connection]:
        """Compare all sockets with those of the look before, and give what is new, changed or gone.

        Where the kernel ``tells_ends``, it gets until the next look to say how those that have gone ended, unless this is the last.
        """
        self._look += 1
        self._tick()
        self._listeners.turn()
        self.unconnected = 0
        gone = self._holders.gone()
        changes: list[Connection] = []
        fresh: dict[int, Row] = {}
        sought: list[_Known] = []
        for row in rows:
            if not row.connected:
                self._note_listener(row)
                continue
            known = self._open.get(row.cookie)
            if known is not None and known.row.ends != row.ends:  # the same socket went on to somebody else
                changes += self._end(self._open.pop(row.cookie))
                known = None
            if known is None:
                if not (row.remains and tells_ends):
                    fresh.setdefault(row.cookie, row)
            elif known.look != self._look:
                known.look = self._look
                changes += self._moved_on(known, row)
                if self._is_sought(known, gone):
                    sought.append(known)
        wanted = {row.inode for row in fresh.values()} | {known.row.inode for known in sought}
        found = self._holders.find(wanted - {0}) if wanted - {0} else {}
        changes += self._opened(fresh, found)
        changes += self._held(sought, found)
        changes += self._vanished(patient=tells_ends and not last, remembers=tells_ends)
        return changes

    def ended(self, rows: Iterable[Row], remains: Remains) -> list[Connection]:
        """Give the last word on connections whose sockets the kernel has given up."""
        self._tick()
        told: list[Connection] = []
        for row in rows:
            known = self._open.pop(row.cookie, None) or self._over.pop(row.cookie, None)
            if known is not None and row.connected and known.row.ends != row.ends:
                told += self._end(known)
                known = None
            if known is not None:
                told += self._end(known, row, remains)
            elif row.connected or (row.kind == TCP and row.called):
                told.append(self._missed(row, remains))
        return told

    def _tick(self) -> None:
        self._now, self._clock = datetime.now(UTC), time.monotonic()

    def _note_listener(self, row: Row) -> None:
        if row.kind != TCP:
            self.unconnected += 1
        elif row.state != LISTEN:
            return
        self._listeners.note(row.kind, *row.here())

    def _is_sought(self, known: _Known, gone: set[int]) -> bool:
        """Tell whether a holder is to be searched: none was found so far, or the one that was has ended."""
        record = known.record
        if record is None or known.over or known.row.inode == 0:
            return False
        if gone and record.process is not None and record.process.pid in gone:
            known.search_at, known.tries = self._look, 0
        return 0 < known.search_at <= self._look

    def _opened(self, fresh: dict[int, Row], found: _Found) -> list[Connection]:
        """Make the records of connections that were not there at the look before."""
        first, now = self._look == 1, self._now
        existing, connect, closed = Event(action="existing"), Event(action="connect", start=now), Event(action="close", start=now, end=now)
        opened = []
        for cookie, row in fresh.items():
            over = _is_over(row)
            again = self._over.pop(cookie, None)
            if over and (first or again):  # it ended before this watch began, or that was told
                self._open[cookie] = _Known(row, self._look, again.record if again else None, _NOT_COUNTED, self._clock, over=True)
                continue
            ingress = self._is_ingress(row)
            totals = row.bytes_sent(ingress=ingress), bytes_received(row)
            event = existing if first else closed if over else connect
            record = self._record(row, event, totals, ingress=ingress, holder=self._holder(row, found))
            known = _Known(row, self._look, record, totals, self._clock, over=over, tries=1)
            known.search_at = self._look + 1 if row.inode and record.process is None else 0
            self._open[cookie] = known
            opened.append(record)
        return opened

    def _holder(self, row: Row, found: _Found) -> tuple[Process | None, User | None, Findings]:
        """Say who holds a new connection, or why that is not known."""
        process = found.get(row.inode)
        if process is not None:
            return process, _user(row), _ATTRIBUTED
        exited = row.inode in found or _is_over(row)
        return None, _user(row), _UNATTRIBUTED["exited" if exited else "kernel" if self._sees_all or not row.inode else "no_rights"]

    def _moved_on(self, known: _Known, row: Row) -> list[Connection]:
        """Tell what is different since the look before: answered, let go, or bytes that have moved."""
        before, known.row, record = known.row, row, known.record
        if record is None or known.over:
            return []
        known.looks += row.state == SYN_SENT
        if _is_over(row):
            return self._end(known)
        if row.inode and not before.inode:  # accepted
            known.search_at, known.tries = self._look, 0
        answered = before.state == SYN_SENT != row.state
        totals = row.bytes_sent(ingress=_ingress(record)), bytes_received(row)
        if not answered and (totals == known.told or self._clock - known.told_at < _TOLD_EVERY):
            return []
        return [self._issue(known, Event(action="traffic", start=record.event.start), totals)]

    def _held(self, sought: Sequence[_Known], found: _Found) -> list[Connection]:
        """Tell of connections whose holder is known now, or is another one (fork, a passed socket)."""
        told = []
        for known in sought:
            record, process = known.record, found.get(known.row.inode)
            if record is None or known.over:
                continue
            if process is None:  # whose it was does not change
                known.tries = min(known.tries + 1, _MOST_PATIENCE)
                known.search_at = self._look + (1 << known.tries)
                continue
            known.search_at = 0
            if record.process is None or process.entity_id != record.process.entity_id:
                known.record = replace(record, process=process, user=_user(known.row), outwatch=_ATTRIBUTED)
                told.append(self._issue(known, Event(action="traffic", start=record.event.start), known.told))
        return told

    def _vanished(self, *, patient: bool, remembers: bool) -> list[Connection]:
        """Tell of connections that are not listed any more."""
        oldest = self._look - 1 if patient else self._look
        gone = [cookie for cookie, known in self._open.items() if known.look < oldest]
        told = []
        for cookie in gone:
            known = self._open.pop(cookie)
            if not known.over:
                told += self._end(known)
            if remembers and known.record is not None:  # somebody may hold the socket of a dead connection for long
                self._over[cookie] = known
        while len(self._over) > _MOST_OVER:
            self._over.popitem(last=False)
        self._holders.keep({known.record.process.pid or 0 for known in self._open.values() if known.record and known.record.process})
        return told

    def _end(self, known: _Known, row: Row | None = None, remains: Remains | None = None) -> list[Connection]:
        """Tell the end of a connection, with the final totals if ``row`` is the kernel's last word on its socket."""
        record, before = known.record, known.row
        if record is None:
            return []
        ingress = _ingress(record)
        totals = before.bytes_sent(ingress=ingress), bytes_received(before)
        unanswered = before.state == SYN_SENT and known.looks > 1
        if row is not None:
            unanswered = before.state == SYN_SENT and never_answered(row)
            if row.connected and remains is not None:
                totals = _final(row, before.state, remains, ingress=ingress)
        if known.over:
            if totals in (known.told, _NOT_COUNTED):
                return []
            return [self._issue(known, record.event, totals)]
        known.over = True
        if record.process is None and before.inode and self._sees_all:
            known.record = replace(record, outwatch=_UNATTRIBUTED["exited"])
        return [self._issue(known, Event(action="failed" if unanswered else "close", start=record.event.start, end=self._now), totals)]

    def _issue(self, known: _Known, event: Event, totals: _Totals) -> Connection:
        record: Connection = known.record  # type: ignore[assignment]
        sent, received = reversed(totals) if _ingress(record) else totals
        known.told, known.told_at = totals, self._clock
        known.record = replace(
            record,
            event=event,
            source=replace(record.source, bytes=sent),
            destination=replace(record.destination, bytes=received),
        )
        return known.record

    def _missed(self, row: Row, remains: Remains) -> Connection:
        """Make the record of a connection that opened and closed between two looks."""
        failed = never_answered(row)
        ingress = row.connected and not failed and self._is_ingress(row)
        totals = _final(row, None, remains, ingress=ingress) if row.connected else _NOT_COUNTED
        event = Event(action="failed" if failed else "close", start=self._now, end=self._now)
        return self._record(row, event, totals, ingress=ingress, holder=(None, None, _UNATTRIBUTED["exited"]))

    def _is_ingress(self, row: Row) -> bool:
        """Tell whether the other end called: somebody waits here for callers, and nothing proves that this end has called."""
        return not row.opened_here() and self._listeners.waits(row.kind, *row.here())

    def _record(
        self, row: Row, event: Event, totals: _Totals, *, ingress: bool, holder: tuple[Process | None, User | None, Findings]
    ) -> Connection:
        (ip, port), (far_ip, far_port) = row.here(), row.there()
        local = None if ip in _NOWHERE and not far_port else ip, port, totals[0]
        remote = far_ip, far_port or None, totals[1]
        source, destination = (remote, local) if ingress else (local, remote)
        return Connection(
            id=self._ids.next(),
            timestamp=self._now,
            event=event,
            host=self._host,
            network=_NETWORKS[row.kind == TCP, ingress],
            source=Source(ip=source[0], port=source[1], bytes=source[2]),
            destination=Destination(ip=destination[0], port=destination[1], bytes=destination[2]),
            process=holder[0],
            user=holder[1],
            outwatch=holder[2],
        )


def _final(row: Row, before: int | None, remains: Remains, *, ingress: bool) -> _Totals:
    return row.bytes_sent(ingress=ingress), bytes_received_at_the_end(row, before, remains, ingress=ingress)


def _is_over(row: Row) -> bool:
    """Tell whether a row shows only the rest of a connection: no process can use it any more."""
    return row.remains or (row.inode == 0 and row.state in ORPHANED)


def _ingress(record: Connection) -> bool:
    return record.network.direction == "ingress"


def _user(row: Row) -> User | None:
    """Give the account that made a socket; nobody has one that is not accepted yet."""
    return _account(row.user) if row.inode else None


@lru_cache(maxsize=256)
def _account(number: int) -> User:
    return User(id=str(number))
