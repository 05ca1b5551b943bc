"""SHA-256 of executables, read through ``/proc/PID/exe`` so that a path can't lead to another file.

A file is hashed once for each (device, inode, size, time of modification, time of change). The path itself is taken only for a process that
has gone, if the kernel sensor found the right inode there and nothing on the way was changed since the process began.
"""

import hashlib
import os
import stat
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from outwatch.engine.beside import beside
from outwatch.engine.health import Health
from outwatch.guard.text import cleaned
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.records import Connection, Hash, Process

_REMEMBERED = 4_000
_PIECE = 1 << 20
_LONGEST = 60.0  # seconds that one file may take
_DELETED = " (deleted)"
_COARSE_NS = 20_000_000  # how far the clock of file systems may be behind


_Found = TypeVar("_Found")


class HashingConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``most_mib``: executables larger than this are not hashed, and that is counted as not checked."""

    most_mib: Annotated[int, msgspec.Meta(ge=1)] = 512


class _File(NamedTuple):
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int  # unlike the time of modification, nobody can set it back


_NO_FILE = _File(0, 0, 0, 0, 0)


class _Path(NamedTuple):
    """The path of an executable whose process has gone: what there is to be looked at, when somebody has time."""

    path: str


class _Way(NamedTuple):
    """Where a path led, when it was looked at, and the last change on the way that somebody but root can have made."""

    file: _File
    changed_ns: int
    looked_ns: int


class Hashing:
    """Adds ``process.hash.sha256`` to connections of processes that are still there."""

    at_once = 4

    def __init__(self, config: HashingConfig, *, health: Health, processes: ProcessTable) -> None:
        """Take the limits, where to count what could not be hashed, and who knows whether a pid is still the same process."""
        self._most = config.most_mib << 20
        self._health = health
        self._processes = processes
        self._hashes: OrderedDict[_File, str | None] = OrderedDict()
        self._last: OrderedDict[tuple[str, str], _File] = OrderedDict()
        self._ways: OrderedDict[str, _Way] = OrderedDict()
        self._done: OrderedDict[str, tuple[Process, Process]] = OrderedDict()  # a process as it came, and with its hash

    def enrich(self, connection: Connection) -> Connection:
        """Add the hash of the file that the process runs now, if it is known; of a process that has gone, of the one that it ran.

        A hash that is there already stays: whoever described the process so knew which file it ran.
        """
        process = connection.process
        if process is None or process.hash is not None or process.entity_id is None:
            return connection
        done = self._done.get(process.entity_id)
        if done is None or done[0] is not process:  # another object: it may run another program
            found = self._found(connection, process)
            digest = self._hashes.get(found) if isinstance(found, _File) else None
            if digest is None:
                return connection
            done = self._done[process.entity_id] = process, replace(process, hash=Hash(sha256=digest))
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        return replace(connection, process=done[1])

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the file to be hashed if the process runs one that is not known, or the path to be looked at if it has gone."""
        if connection.process is None or connection.process.hash is not None:
            return None
        found = self._found(connection, connection.process)
        return None if isinstance(found, _File) and found in self._hashes else found

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Hash the file in another thread."""
        process = connection.process
        if process is None:
            return
        if isinstance(key, _Path):
            await self._find_by_path(key.path)
        elif isinstance(key, _File) and self._is_small(key):
            digest = await _beside(lambda: sha256_of(_path(process), key))
            if digest is not None and self._is_same(process):
                self._remember(key, digest)
            elif _may_be_found_by_path(connection, process):  # it has gone meanwhile
                await self._find_by_path(process.executable or "")
            else:  # another process that runs the same file may have more luck
                self._health.not_checked["executable could not be hashed"] += 1

    async def _find_by_path(self, path: str) -> None:
        """Look where a path leads, and hash that file."""
        way = await _beside(lambda: _way(path))
        if way is not None and way.file not in self._hashes and self._is_small(way.file):
            file = way.file
            digest = await _beside(lambda: sha256_of(path, file))
            if digest is not None:
                self._remember(file, digest)
        self._ways[path] = way or _Way(_NO_FILE, time.time_ns(), time.time_ns())
        self._ways.move_to_end(path)
        if len(self._ways) > _REMEMBERED:
            self._ways.popitem(last=False)

    def _is_small(self, file: _File) -> bool:
        """Tell whether a file may be hashed; one that is too large is counted and remembered as having no hash."""
        if file.size <= self._most:
            return True
        self._health.not_checked["executable too large to hash"] += 1
        self._remember(file, None)
        return False

    def _found(self, connection: Connection, process: Process) -> _File | _Path | None:
        """Say which file a process runs now, or ran when it was last seen.

        The path to be looked at if only that can tell, ``None`` if nothing can.
        """
        if process.pid is None or process.entity_id is None or process.executable is None:
            return None
        identity = (process.entity_id, process.executable)
        last = self._last.get(identity)
        file = _identify(process)
        if file is not None and connection.outwatch.attribution == "exact" and not _still_runs(process):
            file = None
        if file is None or not (last == file or self._is_same(process)):
            return last or self._by_path(connection, process)
        self._last[identity] = file
        if len(self._last) > _REMEMBERED:
            self._last.popitem(last=False)
        return file

    def _by_path(self, connection: Connection, process: Process) -> _File | _Path | None:
        """Give the file at the path of a process that has gone, if it is the one that it ran, with the content it had.

        The kernel sensor says in the record if it found another inode at that path than the one that was executed. From when the process
        began until the look, nobody can have put another in its place if nothing on the way was changed since before.
        """
        if process.start is None or process.executable is None or not _may_be_found_by_path(connection, process):
            return None
        way = self._ways.get(process.executable)
        if way is None or way.looked_ns < _nanoseconds(connection.timestamp):
            return _Path(process.executable)
        return way.file if way.changed_ns < _nanoseconds(process.start) - _COARSE_NS else None

    def _is_same(self, process: Process) -> bool:
        """Tell whether the pid still belongs to this process."""
        now = self._processes.identify(process.pid or 0, time.time())
        return now is not None and now.entity_id == process.entity_id

    def _remember(self, file: _File, digest: str | None) -> None:
        self._hashes[file] = digest
        if len(self._hashes) > _REMEMBERED:
            self._hashes.popitem(last=False)


def _path(process: Process) -> str:
    return f"/proc/{process.pid}/exe" if sys.platform == "linux" else process.executable or ""


def _identify(process: Process) -> _File | None:
    """Say which file a process runs; ``None`` if that can't be told (no rights, gone)."""
    try:
        return _known_by(os.stat(_path(process)))
    except (OSError, ValueError):
        return None


def _still_runs(process: Process) -> bool:
    """Tell whether a process still runs the program that the kernel told of: it may have executed another one since."""
    try:
        link = os.readlink(_path(process))
    except (OSError, ValueError):
        return True  # it can't be told
    return process.executable in {cleaned(link), cleaned(link.removesuffix(_DELETED))}


def _may_be_found_by_path(connection: Connection, process: Process) -> bool:
    """Tell whether the kernel sensor told the path of a program, and saw nothing odd there."""
    findings, path = connection.outwatch, process.executable or ""
    return findings.attribution == "exact" and findings.executable is None and path.startswith("/") and process.start is not None


def _way(path: str) -> _Way | None:
    """Go the way of a path, from folder to folder; ``None`` if it does not lead to a plain file, or through a link."""
    looked_ns, changed_ns = time.time_ns(), 0
    try:
        above = os.lstat("/")
        for step in reversed(Path(path).parents[:-1]):
            facts = os.lstat(step)
            if not stat.S_ISDIR(facts.st_mode):
                return None
            if above.st_uid != 0 or above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):  # else only root can exchange what is in it
                changed_ns = max(changed_ns, facts.st_ctime_ns)
            above = facts
        file = _known_by(os.lstat(path))
    except (OSError, ValueError):
        return None
    return _Way(file, max(changed_ns, file.changed_ns), looked_ns) if file is not None else None


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp() * 1_000_000_000)


async def _beside(work: Callable[[], _Found | None]) -> _Found | None:
    """Work in a thread; ``None`` if that takes too long: a file system that hangs must not hang us."""
    try:
        return await beside(work, _LONGEST, "hashing")
    except TimeoutError:
        return None


def sha256_of(path: str, wanted: _File | None = None) -> str | None:
    """Hash the file at ``path``; ``None`` if it can't be read, is no plain file, or not the ``wanted`` one before and after reading."""
    flags = os.O_RDONLY
    for name in ("O_CLOEXEC", "O_BINARY", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError):
        return None
    try:
        before = _opened(descriptor)
        if before is None or (wanted is not None and before != wanted):
            return None
        digest = hashlib.sha256()
        while piece := os.read(descriptor, _PIECE):
            digest.update(piece)
        return digest.hexdigest() if _opened(descriptor) == before else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _opened(descriptor: int) -> _File | None:
    return _known_by(os.fstat(descriptor))


def _known_by(facts: os.stat_result) -> _File | None:
    if not stat.S_ISREG(facts.st_mode):
        return None
    return _File(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


PART = Part(name="hashing", config=HashingConfig, build=Hashing, live_only=True)
