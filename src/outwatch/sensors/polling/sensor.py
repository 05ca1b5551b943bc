"""The portable sensor: looks at the system's table of sockets again and again (psutil; Linux, macOS, Windows).

What opens and closes between two looks is missed, and ``blind`` says so. It works without any rights, and says of the
sockets whose process it can't see that it can't.
"""

import errno
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from socket import SOCK_STREAM
from threading import Event as StopEvent
from typing import Any, ClassVar, get_args

import msgspec
import psutil
from msgspec.structs import replace

from outwatch.engine.pace import Pace
from outwatch.errors import SensorUnavailable
from outwatch.guard.rights import in_first_pid_namespace, sees_other_users
from outwatch.model.ids import RecordIds
from outwatch.model.interfaces import ProcessTable
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
    WhyUnknown,
)
from outwatch.net.listeners import Listeners
from outwatch.sensors.polling import PollingConfig

_ORPHANED = frozenset({"FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING", "TIME_WAIT"})
_OVER = frozenset({"TIME_WAIT", "CLOSE", "DELETE_TCB"})
_OPENING = frozenset({"SYN_SENT", "SYN_RECV"})
_Key = tuple[Any, Any, Any]

# Branches that most records share; frozen, so that sharing is safe.
_NETWORKS = {
    (tcp, ingress): Network(transport="tcp" if tcp else "udp", direction="ingress" if ingress else "egress")
    for tcp in (True, False)
    for ingress in (True, False)
}
_ATTRIBUTED = Findings(sensor="polling", attribution="inferred")
_UNATTRIBUTED: dict[WhyUnknown, Findings] = {
    why: Findings(sensor="polling", attribution=Unknown(unknown=why)) for why in get_args(WhyUnknown)
}


class _Open(msgspec.Struct, gc=False):
    """A connection in the table: the last row that showed it, the look that did, and its record (none if it was over before).

    ``settled`` says that nothing is to be done as long as its row stays the same; ``looks`` counts those that showed it opening.
    """

    row: Any
    look: int
    record: Connection | None
    over: bool
    settled: bool
    looks: int = 1


class Polling:
    """Compares each look at the socket table with the one before."""

    name: ClassVar[str] = "polling"
    live: ClassVar[bool] = True

    def __init__(self, config: PollingConfig, *, processes: ProcessTable, host: Host) -> None:
        """Take the interval, and who can say which process a pid is."""
        self._pace = Pace(config.interval)
        self._processes = processes
        self._host = host
        self._whole_list = True
        self._sees_all = sees_other_users()
        self._first_pids = in_first_pid_namespace()
        self._open: dict[_Key, _Open] = {}
        self._listeners = Listeners()
        self._look = 0
        self._unconnected = 0
        self._ids = RecordIds()

    def check(self) -> None:
        """Raise ``SensorUnavailable`` where the system's table can't be read at all."""
        try:
            psutil.Process().net_connections("inet")
        except (psutil.Error, OSError, RuntimeError) as error:
            raise SensorUnavailable(f"the table of sockets can't be read ({error})", "run it with more rights") from error

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Connection]]:
        """Yield what is there, then what has changed at each look, once more when it is to stop."""
        ending = False
        while not ending:
            ending = stop.is_set()  # a last look tells what happened since the one before
            began = time.monotonic()
            changes = self.look()
            took = time.monotonic() - began
            yield changes
            stop.wait(self._pace.pause(took))

    def blind(self) -> Sequence[str]:
        """Say what looking now and then can't see."""
        unconnected = f" ({self._unconnected} such socket{'' if self._unconnected == 1 else 's'})" if self._unconnected else ""
        said = [
            "one look: what is not open just now is missed"
            if self._look == 1
            else f"polled every {self._pace}: shorter connections are missed",
            f"unconnected UDP has no destination{unconnected}",
            "bytes sent and received are not known",
            "names that were asked for (of the destinations only reverse names are known)",
            "who opened a connection is told by listening ports",
            "only TCP and UDP, and only this network namespace (no containers)",
        ]
        if not self._sees_all:
            said.append("processes of other users are not visible without root")
        if not self._whole_list:
            said.append("sockets of other users are not listed by this system")
        return said

    def look(self) -> list[Connection]:
        """Look once and give what is new, changed or gone."""
        self._look += 1
        look, table = self._look, self._open
        fresh: dict[_Key, Any] = {}
        seen_at = time.time()
        now = datetime.fromtimestamp(seen_at, UTC)
        changes: list[Connection] = []
        self._listeners.turn()
        self._unconnected = 0
        for row in self._rows():
            if not row.raddr:
                self._note_listener(row)
                continue
            key = (row.type, row.laddr, row.raddr)
            known = table.get(key)
            if known is None:
                fresh.setdefault(key, row)
                continue
            if known.look == look:  # a socket that several processes share is listed for each of them
                continue
            known.look = look
            before = known.row
            if not known.settled or before.status != row.status or before.pid != row.pid:
                changes += self._changed(known, row, now, seen_at)
                known.settled = _is_settled(known.record, row, known.over)
        changes += self._opened(fresh, now, seen_at)
        changes += self._closed(now)
        return changes

    def _rows(self) -> Iterable[Any]:
        """Give the sockets: the whole list, or process by process where the system refuses it."""
        if self._whole_list:
            try:
                return psutil.net_connections("inet")
            except psutil.AccessDenied:
                self._whole_list = False
        return self._rows_by_process()

    @staticmethod
    def _rows_by_process() -> Iterator[Any]:
        for process in psutil.process_iter():
            try:
                for row in process.net_connections("inet"):
                    yield _RowOfProcess(row, process.pid)
            except psutil.Error:
                continue
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EPERM, errno.ESRCH, errno.ENOENT}:
                    raise

    def _note_listener(self, row: Any) -> None:
        if row.type != SOCK_STREAM:
            self._unconnected += 1
        elif row.status != psutil.CONN_LISTEN:
            return
        if row.laddr:
            self._listeners.note(row.type, row.laddr.ip, row.laddr.port)

    def _opened(self, fresh: dict[_Key, Any], now: datetime, seen_at: float) -> list[Connection]:
        look = self._look
        first = look == 1
        owners: dict[int, Process | None] = {}
        opened = []
        existing, connect = Event(action="existing"), Event(action="connect", start=now)
        closed = Event(action="close", start=now, end=now)
        for key, row in fresh.items():
            over = self._is_over(row)
            if over and first:  # it ended before this watch began: remembered, so that it is not taken for new
                self._open[key] = _Open(row, look, None, True, True)  # noqa: FBT003 - by position is twice as fast
                continue
            event = existing if first else closed if over else connect
            record = self._record(row, event, now, self._owner(row.pid, seen_at, owners))
            self._open[key] = _Open(row, look, record, over, _is_settled(record, row, over))
            opened.append(record)
        return opened

    def _changed(self, known: _Open, row: Any, now: datetime, seen_at: float) -> list[Connection]:
        """Tell what a different state or owner of a known pair of ends means."""
        before, record = known.row, known.record
        known.row = row
        known.looks += row.status == "SYN_SENT"
        over = self._is_over(row) or (row.pid is None and before.pid is not None and row.status in _ORPHANED)
        again = row.status in _OPENING and before.status not in _OPENING
        if record is None or known.over or again:
            if over:
                return []
            ended = [] if known.over or record is None else [self._ended(record, now)]  # the same two ends, used again
            known.over, known.looks = False, 1
            known.record = self._record(row, Event(action="connect", start=now), now, self._owner(row.pid, seen_at, {}))
            return [*ended, known.record]
        if over:
            known.over, known.record = True, self._ended(record, now)
            return [known.record]
        return self._moved_on(known, before, row, seen_at)

    def _moved_on(self, known: _Open, before: Any, row: Any, seen_at: float) -> list[Connection]:
        """Tell that an open connection was answered, or that another process holds it now (fork, a passed socket)."""
        record: Any = known.record
        if row.pid is None:  # nobody is seen to hold it just now; whose it was does not change
            known.row = _RowOfProcess(row, before.pid)
        findings, process = record.outwatch, record.process
        if row.pid is not None and (process is None or process.pid != row.pid):
            owner = self._owner(row.pid, seen_at, {})
            if owner is not None:
                process, findings = owner, _ATTRIBUTED
        answered = before.status in _OPENING and row.status not in _OPENING
        if process is record.process and not answered:
            return []
        event = replace(record.event, action="traffic")
        known.record = replace(record, event=event, process=process, outwatch=findings)
        return [known.record]

    def _closed(self, now: datetime) -> list[Connection]:
        gone = [key for key, known in self._open.items() if known.look != self._look]
        ended = [self._open.pop(key) for key in gone]
        return [self._ended(known.record, now, known) for known in ended if known.record and not known.over]

    def _is_over(self, row: Any) -> bool:
        """Tell whether a row shows only the remains of a connection: no process can use it any more."""
        return row.status in _OVER or (row.pid is None and row.status in _ORPHANED and self._sees_all)

    @staticmethod
    def _ended(record: Connection, now: datetime, known: _Open | None = None) -> Connection:
        """Make the last revision: ``failed`` for one that waited for its answer over several looks and is gone."""
        unanswered = known is not None and known.row.status == "SYN_SENT" and known.looks > 1
        return replace(record, event=Event(action="failed" if unanswered else "close", start=record.event.start, end=now))

    def _owner(self, pid: int | None, seen_at: float, known: dict[int, Process | None]) -> Process | None:
        if not pid:
            return None
        if pid not in known:
            known[pid] = self._processes.identify(pid, seen_at)
        return known[pid]

    def _findings(self, row: Any, process: Process | None) -> Findings:
        """Say how the owner is known: joined from the table afterwards, or why not."""
        if process is not None:
            return _ATTRIBUTED
        if row.pid or row.status in _ORPHANED:
            return _UNATTRIBUTED["exited"]
        if not self._first_pids:
            return _UNATTRIBUTED["other_namespace"]
        return _UNATTRIBUTED["kernel" if self._sees_all else "no_rights"]

    def _record(self, row: Any, event: Event, now: datetime, process: Process | None) -> Connection:
        local, remote = row.laddr, row.raddr
        ingress = row.status != "SYN_SENT" and self._listeners.waits(row.type, local.ip, local.port)
        here, there = (remote, local) if ingress else (local, remote)
        return Connection(
            id=self._ids.next(),
            timestamp=now,
            event=event,
            host=self._host,
            network=_NETWORKS[row.type == SOCK_STREAM, ingress],
            source=Source(ip=here.ip, port=here.port),
            destination=Destination(ip=there.ip, port=there.port),
            process=process,
            outwatch=self._findings(row, process),
        )


def _is_settled(record: Connection | None, row: Any, over: bool) -> bool:  # noqa: FBT001
    """Tell whether no owner is still to be named and no opening connection to be followed."""
    return over or record is None or not (row.status == "SYN_SENT" or (record.process is None and row.pid is not None))


class _RowOfProcess:
    """A row of one process's list, which does not repeat the pid."""

    __slots__ = ("laddr", "pid", "raddr", "status", "type")

    def __init__(self, row: Any, pid: int | None) -> None:
        self.type, self.laddr, self.raddr, self.status = row.type, row.laddr, row.raddr, row.status
        self.pid = pid
