"""Who holds a connection: program, arguments, user and parents, by pid and start time."""

import os
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from outwatch.enrichers.process.facts import MOST_DEPTH, MOST_PARENT_ARG, MOST_PARENT_ARGS, Birth, Facts, bounded_args
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, FileState, Process, User
from outwatch.model.remembered import Remembered

_REMEMBERED = 4_000
_BELIEVED = 0.5  # seconds after a look at a process in which connections that were there by then are not a reason for another one
_LATE = 0.011  # seconds: start times are told in clock ticks of 10 ms


_Described = tuple[Process, User | None, FileState | None]


@dataclass
class _Remembered:
    """What was read of a process, and the mark it had then."""

    mark: str | None
    described: _Described
    looked: float  # seconds since the epoch


class Reader(Protocol):
    """One system's way to read processes."""

    def birth(self, pid: int) -> Birth | None:
        """Give the process that has ``pid`` now."""

    def mark(self, pid: int) -> str | None:
        """Give what changes when the process executes another program."""

    def facts(self, pid: int) -> Facts:
        """Read everything about ``pid``."""

    def user_name(self, user: str | None) -> str | None:
        """Name an account by its id."""


class Processes:
    """Identifies processes for sensors (``ProcessTable``) and describes them for records (``Enricher``).

    What this very process sends is marked as outwatch's own.

    Facts are read once for each process and program, and kept when the process has gone.
    """

    def __init__(self, _config: PartConfig, *, boot: str, reader: Reader | None = None) -> None:
        """Take the boot's id, so that a process keeps its ``entity_id`` over several runs."""
        self._boot = boot
        self._myself: str | None = None
        self._reader = reader or _system_reader()
        self._known: OrderedDict[str, _Remembered] = OrderedDict()
        self._whole: Remembered[Process, Process] = Remembered(_REMEMBERED)  # a process as it came, and with all its parents
        self._older: OrderedDict[str, Process] = OrderedDict()  # parents that began before the watch

    def identify(self, pid: int, seen_at: float) -> Process | None:
        """Give pid, start and ``entity_id`` of the process that had ``pid`` at ``seen_at`` (seconds since the epoch).

        ``None`` if it has gone, also when its pid belongs to a process that began later.
        """
        birth = self._reader.birth(pid)
        if birth is None or birth.start > seen_at + _LATE:
            return None
        return Process(pid=pid, start=birth.time, entity_id=birth.entity(self._boot))

    def enrich(self, connection: Connection) -> Connection:
        """Fill in the process, the account it runs as and, where its file is odd, ``outwatch.executable``."""
        process = connection.process
        if process is None or process.pid is None or process.entity_id is None:
            return connection
        if process.args is not None and process.executable is not None and self._came_described(connection, process):
            connection = self._completed(connection, process)
        else:
            connection = self._looked_up(connection, process)
        if process.entity_id != self._own():
            return connection
        return replace(connection, outwatch=replace(connection.outwatch, own=True))

    def _own(self) -> str | None:
        """Give our own ``entity_id``."""
        if self._myself is None:
            birth = self._reader.birth(os.getpid())
            self._myself = birth.entity(self._boot) if birth else ""
        return self._myself

    def _looked_up(self, connection: Connection, process: Process) -> Connection:
        """Describe a process by what can be read of it now."""
        findings = connection.outwatch
        told = findings.attribution == "exact" and process.executable is not None
        described, user, state = self._describe(process, connection.timestamp.timestamp(), told=told)
        if described.executable is None and process.executable is not None:  # we may not look, but somebody did
            return self._completed(connection, process)
        if described is process:
            state = findings.executable  # it has gone: what the kernel said of its file stands
        if state != findings.executable:
            findings = replace(findings, executable=state)
        return replace(connection, process=described, user=user or connection.user, outwatch=findings)

    def _came_described(self, connection: Connection, process: Process) -> bool:
        """Tell whether a record came with what its process runs: from the kernel, or from a capture while we know nothing of it."""
        if connection.outwatch.attribution == "exact":
            return True
        known = self._known.get(process.entity_id or "")
        return known is None or known.described[0].executable is None

    def _completed(self, connection: Connection, process: Process) -> Connection:
        """Add what the kernel does not tell: the account's name, and parents that began before the watch."""
        user = connection.user
        if user is not None and user.id is not None and user.name is None:
            name = self._reader.user_name(user.id)
            user = replace(user, name=name) if name else user
        whole = self._completed_process(process)
        return connection if user is connection.user and whole is process else replace(connection, process=whole, user=user)

    def _completed_process(self, process: Process) -> Process:
        """Give a process with all its parents: the same object for the same object, for many connections and children share it."""
        whole = self._whole.get(process)
        return whole if whole is not None else self._whole.put(process, self._with_parents(process))

    def _with_parents(self, process: Process) -> Process:
        """Fill in the first parent that has no name, and those above it."""
        parent = process.parent
        if parent is None or parent.pid is None:
            return process
        if parent.name is not None or parent.executable is not None:
            whole = self._completed_process(parent)
            return process if whole is parent else replace(process, parent=whole)
        known = self._older.get(parent.entity_id or "")
        if known is None:
            born = process.start.timestamp() if process.start else time.time()
            found = self._parent(parent.pid, Birth(process.pid or 0, born, ""), MOST_DEPTH)
            known = found if found is not None and found.entity_id == parent.entity_id else parent
            self._older[parent.entity_id or ""] = known
            if len(self._older) > _REMEMBERED:
                self._older.popitem(last=False)
        return replace(process, parent=known)

    def _describe(self, process: Process, seen_at: float, *, told: bool) -> _Described:
        """Read a process, or remember it; of what the kernel has ``told`` it would have told too that another program runs."""
        identity, pid = process.entity_id or "", process.pid or 0
        known = self._known.get(identity)
        if told and known is not None and known.mark is not None and known.described[0].executable == process.executable:
            return known.described
        now = time.time()
        if known is not None and known.mark is not None and max(seen_at, now - _BELIEVED) <= known.looked <= now:
            return known.described  # one look at many connections is one look at their process
        mark = self._reader.mark(pid)
        if known is not None and (mark is None or mark == known.mark):
            known.looked = now
            return known.described
        facts = self._reader.facts(pid)
        birth = self._reader.birth(pid)
        if birth is None or birth.entity(self._boot) != identity:  # gone, or another process by now
            return known.described if known else (process, None, None)
        described = Process(
            pid=process.pid,
            start=process.start,
            entity_id=process.entity_id,
            name=facts.name,
            executable=facts.executable,
            args=facts.args,
            working_directory=facts.working_directory,
            parent=self._parent(facts.parent, birth, MOST_DEPTH),
        )
        user = User(id=facts.user_id, name=facts.user_name) if facts.user_id or facts.user_name else None
        # Facts without arguments may come from the middle of an exec: they are read again the next time.
        whole = facts.args is not None or facts.executable is None
        self._known[identity] = _Remembered(facts.mark if whole else None, (described, user, facts.state), now)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return described, user, facts.state

    def _parent(self, pid: int | None, child: Birth, depth: int) -> Process | None:
        """Describe a parent and, in it, its own parents; of their arguments only the beginning."""
        birth = self._reader.birth(pid) if pid and depth > 0 else None
        if birth is None or birth.start > child.start + _LATE:
            return None
        entity = birth.entity(self._boot)
        known = self._known.get(entity)
        if known is not None and known.mark is not None and known.mark == self._reader.mark(birth.pid):
            one = known.described[0]
            facts = Facts(name=one.name, executable=one.executable, args=one.args, parent=one.parent.pid if one.parent else None)
        else:
            facts = self._reader.facts(birth.pid)
        return Process(
            pid=birth.pid,
            name=facts.name,
            executable=facts.executable,
            args=bounded_args(list(facts.args), MOST_PARENT_ARGS, MOST_PARENT_ARG) if facts.args else None,
            start=birth.time,
            entity_id=entity,
            parent=self._parent(facts.parent, birth, depth - 1),
        )


def _system_reader() -> Reader:
    if sys.platform == "linux":
        from outwatch.enrichers.process.linux import LinuxReader  # noqa: PLC0415 - only where /proc is

        return LinuxReader()
    from outwatch.enrichers.process.portable import PortableReader  # noqa: PLC0415 - psutil is not needed on Linux

    return PortableReader()


PART = Part(name="process", config=PartConfig, build=Processes, live_only=True)
