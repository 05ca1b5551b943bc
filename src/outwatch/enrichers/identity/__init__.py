"""Who really talks: the script behind an interpreter, container, service, login, and the program's name across runs."""

import os
import re
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from dataclasses import replace as replaced

from msgspec.structs import replace

from outwatch.enrichers.identity.interpreters import script_of
from outwatch.enrichers.identity.origin import Session, audit_id, login_in_utmp, session_of, started_by
from outwatch.enrichers.identity.subject import subject_of
from outwatch.enrichers.identity.units import NOWHERE, Place, place_of
from outwatch.guard.text import cleaned
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.records import NO_FINDINGS, Connection, Container, FileState, Findings, Login, Process, Script, StartedBy, User
from outwatch.model.remembered import Remembered

_REMEMBERED = 8_000
_MOST = 1 << 16  # bytes of a file that are read
_MOST_UTMP = 384 * 4096
_SESSION_ID = re.compile(r"[A-Za-z0-9]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the system says of one process; read once for each program that it runs."""

    place: Place = NOWHERE
    login: Login | None = None
    session: Session | None = None
    directory: str | None = None


@dataclass(slots=True)
class _Told:
    """What is added to the connections of one process."""

    state: FileState | None
    cgroup: str | None
    subject: str | None
    script: Script | None
    place: Place
    login: Login | None
    started_by: StartedBy | None
    before: Findings | None = None  # of the latest connection, as they came and with this: the kernel sensor gives many the very same
    after: Findings = NO_FINDINGS


class Identity:
    """Adds ``outwatch.subject``, ``script``, units, container, login and what began a process.

    At most one visit to ``/proc`` for each process and program; what stands in the record already is not read again.
    """

    def __init__(self, _config: PartConfig, *, processes: ProcessTable, proc: str = "/proc", run: str = "/run") -> None:
        """Take who knows whether a pid is still the same process, and where the system keeps what it says of processes and sessions."""
        self._processes = processes
        self._proc, self._run = proc, run
        self._origins: OrderedDict[tuple[str, str | None, tuple[str, ...] | None], _Origin] = OrderedDict()
        self._told: Remembered[Process, _Told] = Remembered(_REMEMBERED)
        self._logins: tuple[tuple[int, int], bytes] = ((0, 0), b"")

    def enrich(self, connection: Connection) -> Connection:
        """Add what is known; keys of which nothing is known are taken off, for they may stem from what the process ran before."""
        process = connection.process
        if process is None:
            return connection
        findings = connection.outwatch
        told = self._told.get(process)
        if told is None or told.state != findings.executable or told.cgroup != findings.cgroup:
            told = self._told.put(process, self._tell(process, findings, connection.user))
        place = told.place
        if findings is not told.before:
            told.before, told.after = findings, _with_told(findings, told)
        findings = told.after
        if place.container is None:
            return replace(connection, outwatch=findings)
        name = connection.container.name if connection.container and connection.container.id == place.container else None
        return replace(connection, outwatch=findings, container=Container(id=place.container, name=name, runtime=place.runtime))

    def _tell(self, process: Process, findings: Findings, user: User | None) -> _Told:
        state = findings.executable
        origin = self._origin(process, user, foreign=state == "other_namespace")
        if findings.cgroup is not None:  # where it was when it called, also if it has gone
            origin = replaced(origin, place=place_of(f"0::{findings.cgroup}"))
        path, script = process.executable, None
        if path is not None:
            script = script_of(path, process.args or (), process.working_directory or origin.directory)
        subject = None
        if path is not None:
            subject = subject_of(path, state, script, origin.place, process.hash.sha256 if process.hash else None)
        beginning = started_by(origin.place, origin.session, process)
        return _Told(state, findings.cgroup, subject, script, origin.place, origin.login, beginning)

    def _origin(self, process: Process, user: User | None, *, foreign: bool) -> _Origin:
        """Give what the system says of a process, from memory if it was read while the process ran this program."""
        if process.entity_id is None or process.pid is None or sys.platform != "linux":
            return _Origin()
        key = process.entity_id, process.executable, process.args
        known = self._origins.get(key)
        if known is None:
            known = self._read(process, user) or self._inherited(process, foreign=foreign)
            self._origins[key] = known
            if len(self._origins) > _REMEMBERED:
                self._origins.popitem(last=False)
        return known

    def _inherited(self, process: Process, *, foreign: bool) -> _Origin:
        """Take the word on the nearest parent that is still there: a process that has gone was where that is.

        Not if it had mounts of its own (``foreign``) and the parent is in no container: then it may have been a container's first.
        """
        parent = process.parent
        if parent is None or parent.entity_id is None:
            return _Origin()
        above = self._origin(parent, None, foreign=foreign)
        inside = above.place.container is not None or above.place.pod is not None
        return replaced(above, directory=None) if inside or not foreign else _Origin()

    def _read(self, process: Process, user: User | None) -> _Origin | None:
        """Read what the system says of a process; ``None`` if it has gone."""
        folder = f"{self._proc}/{process.pid}"
        place = place_of(_text(f"{folder}/cgroup"))
        uid, number = audit_id(_text(f"{folder}/loginuid")), audit_id(_text(f"{folder}/sessionid"))
        directory = _directory(folder) if process.working_directory is None else None
        now = self._processes.identify(process.pid or 0, time.time())
        if now is None or now.entity_id != process.entity_id:  # what was read may be another's
            return None
        session = self._session(process, uid, place.session or number)
        names = [one for one in ((session.uid, session.user) if session else None, (user.id, user.name) if user else None) if one]
        name = next((name for known, name in names if name and known in {uid, None}), None)
        address = session.address if session else None
        login = Login(id=uid, user=name, address=address) if uid or address else None
        return _Origin(place, login, session, directory)

    def _session(self, process: Process, uid: str | None, number: str | None) -> Session | None:
        """Find the login that a process descends from: systemd's own file, else the file of logins."""
        folder = f"{self._run}/systemd/sessions"
        if number is not None and _SESSION_ID.match(number):
            text = _text(f"{folder}/{number}")
            session = session_of(text) if text else None
            if session is not None and uid in {session.uid, None}:
                return session
        if uid is None and os.path.isdir(folder):
            return None
        return login_in_utmp(self._utmp(), process)

    def _utmp(self) -> bytes:
        """Read the file of logins if it has changed."""
        path = f"{self._run}/utmp"
        try:
            facts = os.stat(path)
        except OSError:
            return b""
        stamp = facts.st_mtime_ns, facts.st_size
        if stamp != self._logins[0]:
            self._logins = stamp, _bytes(path, _MOST_UTMP)
        return self._logins[1]


def _with_told(findings: Findings, told: _Told) -> Findings:
    return replace(
        findings,
        subject=told.subject,
        script=told.script,
        unit=told.place.unit,
        user_unit=told.place.user_unit,
        pod=told.place.pod,
        started_by=told.started_by,
        login=told.login,
    )


def _directory(folder: str) -> str | None:
    try:
        return cleaned(os.readlink(f"{folder}/cwd"))
    except OSError:
        return None


def _text(path: str) -> str:
    return cleaned(_bytes(path, _MOST), _MOST)


def _bytes(path: str, most: int) -> bytes:
    """Read the beginning of a file; nothing if that can't be done."""
    try:
        with open(path, "rb", buffering=0) as file:
            pieces = []
            while most > 0 and (piece := file.read(most)):
                pieces.append(piece)
                most -= len(piece)
            return b"".join(pieces)
    except (OSError, ValueError):
        return b""


PART = Part(name="identity", config=PartConfig, build=Identity, live_only=True)
