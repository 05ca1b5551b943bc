"""SHA-256 of executables, read through ``/proc/PID/exe`` so that a path can't lead to another file.

A file is hashed once for each (device, inode, size, time of modification, time of change). Where the kernel told which file a process
executed (``outwatch.file``), no other one is taken, whatever the process runs by now or puts in that place. The path itself is taken only
for a process that has gone, if that file is still there with the content it had when the process began.
"""

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from outwatch.engine.beside import beside
from outwatch.engine.health import Health
from outwatch.engine.patience import Patience
from outwatch.guard.mounts import Mounts
from outwatch.guard.text import cleaned, printable
from outwatch.lookups.hashing import files
from outwatch.lookups.hashing.files import NO_FILE, File, Way, sha256_of
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.programs import marked
from outwatch.model.records import Connection, Findings, Hash, Process, ProgramFile

_REMEMBERED = 4_000
_LONGEST = 60.0  # seconds that one file may take
_DOUBTFUL = 0.2  # seconds to find out what a process runs, where the server of the file system may be gone
_LOOK_AGAIN = 1.0  # seconds until it is tried again to find out what a process runs
_DELETED = " (deleted)"
_COARSE_NS = 20_000_000  # how far the clock of file systems may be behind


_Found = TypeVar("_Found")


class HashingConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``most_mib``: executables larger than this are not hashed, and that is counted as not checked."""

    most_mib: Annotated[int, msgspec.Meta(ge=1)] = 512


class _Path(NamedTuple):
    """The path of an executable whose process has gone: what there is to be looked at, when somebody has time.

    With the file to be found there if it lies in other mounts than ours.
    """

    path: str
    elsewhere: ProgramFile | None = None


class _Looked(NamedTuple):
    """Which file a process ran when it was looked at; kept by the very object, for another one may describe another program."""

    process: Process
    told: ProgramFile | None
    file: File | None
    at: float  # of the monotonic clock

    def is_old(self) -> bool:
        return self.file is None and time.monotonic() - self.at > _LOOK_AGAIN


class Hashing:
    """Adds ``process.hash.sha256``, also to the subject of a program that has no path of its own."""

    at_once = 4

    def __init__(self, config: HashingConfig, *, health: Health, processes: ProcessTable) -> None:
        """Take the limits, where to count what could not be hashed, and who knows whether a pid is still the same process."""
        self._most = config.most_mib << 20
        self._health = health
        self._processes = processes
        self._mounts = Mounts()
        self._patience = Patience()
        self._hashes: OrderedDict[File, str | None] = OrderedDict()
        self._last: OrderedDict[tuple[str, str, ProgramFile | None], File] = OrderedDict()
        self._looked: OrderedDict[str, _Looked] = OrderedDict()
        self._ways: OrderedDict[_Path, Way] = OrderedDict()
        self._done: OrderedDict[str, tuple[Process, Process]] = OrderedDict()  # a process as it came, and with its hash

    def enrich(self, connection: Connection) -> Connection:
        """Add the hash of the file that the process runs now, if it is known; of a process that has gone, of the one that it ran.

        A hash that is there already stays: whoever described the process so knew which file it ran.
        """
        process = connection.process
        if process is None:
            return connection
        if process.hash is None:
            process = self._hashed(connection, process)
        digest = process.hash.sha256 if process.hash else None
        findings = connection.outwatch
        if digest and findings.subject is not None:  # enrichers that name programs work before this is known
            subject = marked(findings.subject, digest)
            if subject is not findings.subject:
                findings = replace(findings, subject=subject)
        if process is connection.process and findings is connection.outwatch:
            return connection
        return replace(connection, process=process, outwatch=findings)

    def _hashed(self, connection: Connection, process: Process) -> Process:
        """Give a process with its hash, or as it is if that is not known."""
        if process.entity_id is None:
            return process
        done = self._done.get(process.entity_id)
        if done is None or done[0] is not process:  # another object: it may run another program
            found = self._found(connection, process)
            digest = self._hashes.get(found) if isinstance(found, File) else None
            if digest is None:
                return process
            done = self._done[process.entity_id] = process, replace(process, hash=Hash(sha256=digest))
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        return done[1]

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the file to be hashed if the process runs one that is not known, or the path to be looked at if it has gone."""
        if connection.process is None or connection.process.hash is not None:
            return None
        found = self._found(connection, connection.process)
        return None if isinstance(found, File) and found in self._hashes else found

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Hash the file in another thread."""
        process = connection.process
        if process is None:
            return
        self._looked.pop(process.entity_id or "", None)
        if isinstance(key, _Path):
            await self._find_by_path(key)
        elif isinstance(key, File) and self._is_small(key):
            digest = await _beside(lambda: sha256_of(_path(process), key))
            if digest is not None and self._is_same(process):
                self._remember(key, digest)
            elif (path := _path_of_gone(connection, process)) is not None:  # it has gone meanwhile
                await self._find_by_path(path)
            else:  # another process that runs the same file may have more luck
                self._health.not_checked["executable could not be hashed"] += 1

    async def _find_by_path(self, key: _Path) -> None:
        """Look where a path leads, and hash that file."""
        looked = await _beside(lambda: _look(key))
        if looked is not None and looked[1].file not in self._hashes and self._is_small(looked[1].file):
            path, file = looked[0], looked[1].file
            digest = await _beside(lambda: sha256_of(path, file))
            if digest is not None:
                self._remember(file, digest)
        self._ways[key] = looked[1] if looked is not None else Way(NO_FILE, time.time_ns(), time.time_ns())
        self._ways.move_to_end(key)
        if len(self._ways) > _REMEMBERED:
            self._ways.popitem(last=False)

    def _is_small(self, file: File) -> bool:
        """Tell whether a file may be hashed; one that is too large is counted and remembered as having no hash."""
        if file.size <= self._most:
            return True
        self._health.not_checked["executable too large to hash"] += 1
        self._remember(file, None)
        return False

    def _found(self, connection: Connection, process: Process) -> File | _Path | None:
        """Say which file a process runs now, or ran when it was last seen.

        The path to be looked at if only that can tell, ``None`` if nothing can.
        """
        if process.pid is None or process.entity_id is None or process.executable is None:
            return None
        told = connection.outwatch.file
        looked = self._looked.get(process.entity_id)
        if looked is None or looked.process is not process or looked.told != told or looked.is_old():
            looked = _Looked(process, told, self._look(process, connection.outwatch), time.monotonic())
            self._looked[process.entity_id] = looked
            if len(self._looked) > _REMEMBERED:
                self._looked.popitem(last=False)
        if looked.file is not None:
            return looked.file
        return self._last.get((process.entity_id, process.executable, told)) or self._by_path(connection, process)

    def _look(self, process: Process, findings: Findings) -> File | None:
        """Look which file a process runs; ``None`` if that can't be told (no rights, gone, no answer), or is not the one told of."""
        identity = (process.entity_id or "", process.executable or "", findings.file)
        file = self._running(process, findings)
        if file is None or not (self._last.get(identity) == file or self._is_same(process)):
            return None
        self._last[identity] = file
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return file

    def _running(self, process: Process, findings: Findings) -> File | None:
        """Say which file is that of a process in ``/proc``, if it is the one told of."""
        pid, path = process.pid or 0, process.executable or ""
        if sys.platform == "linux" and not _is_there(pid):  # so it is with most of a storm: that needs no patience
            return None
        limit = _DOUBTFUL if self._mounts.may_hang(path.encode("utf-8", "surrogatepass")) else None
        try:
            file = self._patience.ask(lambda: files.running(pid, _path(process), findings.file), lambda: process.entity_id, limit)
        except TimeoutError:
            self._health.problem(f"{printable(path, 200)}: its file system does not answer; what runs from there is not hashed")
            return None
        except (OSError, ValueError):
            return None
        return None if findings.attribution == "exact" and findings.file is None and not _still_runs(process) else file

    def _by_path(self, connection: Connection, process: Process) -> File | _Path | None:
        """Give the file at the path of a process that has gone, if it is the one that it ran, with the content it had.

        From when the process began until the look, nobody can have put another in its place if nothing on the way was changed since before.
        """
        path, told = _path_of_gone(connection, process), connection.outwatch.file
        if path is None or process.start is None:
            return None
        way = self._ways.get(path)
        if way is None or way.looked_ns < _nanoseconds(connection.timestamp):
            return path
        same = told is None or str(way.file.inode) == told.inode
        return way.file if same and way.changed_ns < _nanoseconds(process.start) - _COARSE_NS else None

    def _is_same(self, process: Process) -> bool:
        """Tell whether the pid still belongs to this process."""
        now = self._processes.identify(process.pid or 0, time.time())
        return now is not None and now.entity_id == process.entity_id

    def _remember(self, file: File, digest: str | None) -> None:
        self._hashes[file] = digest
        if len(self._hashes) > _REMEMBERED:
            self._hashes.popitem(last=False)


def _is_there(pid: int) -> bool:
    try:
        os.lstat(f"/proc/{pid}")
    except OSError:
        return False
    return True


def _path(process: Process) -> str:
    return f"/proc/{process.pid}/exe" if sys.platform == "linux" else process.executable or ""


def _still_runs(process: Process) -> bool:
    """Tell whether a process still runs the program that the kernel told of: it may have executed another one since."""
    try:
        link = os.readlink(_path(process))
    except (OSError, ValueError):
        return True  # it can't be told
    return process.executable in {cleaned(link), cleaned(link.removesuffix(_DELETED))}


def _path_of_gone(connection: Connection, process: Process) -> _Path | None:
    """Give the path by which a program that has gone may be found: the kernel sensor told it, and saw nothing odd there.

    Or it lies in other mounts, of which the kernel told which they are.
    """
    findings, path = connection.outwatch, process.executable or ""
    if findings.attribution != "exact" or not path.startswith("/") or process.start is None:
        return None
    if findings.executable is None:
        return _Path(path)
    return _Path(path, findings.file) if findings.executable == "other_namespace" and findings.file is not None else None


def _look(key: _Path) -> tuple[str, Way] | None:
    """Go to a path, in our mounts or in others."""
    if key.elsewhere is not None:
        return files.way_elsewhere(key.path, key.elsewhere)
    way = files.way(key.path)
    return (key.path, way) if way is not None else None


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp() * 1_000_000_000)


async def _beside(work: Callable[[], _Found | None]) -> _Found | None:
    """Work in a thread; ``None`` if that takes too long: a file system that hangs must not hang us."""
    try:
        return await beside(work, _LONGEST, "hashing")
    except TimeoutError:
        return None


__all__ = ["PART", "Hashing", "HashingConfig", "sha256_of"]

PART = Part(name="hashing", config=HashingConfig, build=Hashing, live_only=True)
