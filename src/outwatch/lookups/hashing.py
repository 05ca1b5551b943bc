"""SHA-256 of executables, read through ``/proc/PID/exe`` so that a path can't lead to another file.

A file is hashed once for each (device, inode, size, modification time).
"""

import asyncio
import contextlib
import hashlib
import os
import stat
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.records import Connection, Hash, Process

_REMEMBERED = 10_000
_PIECE = 1 << 20


class HashingConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``most_mib``: executables larger than this are not hashed, and that is counted as not checked."""

    most_mib: Annotated[int, msgspec.Meta(ge=1)] = 512


class _File(NamedTuple):
    device: int
    inode: int
    size: int
    modified_ns: int


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

    def enrich(self, connection: Connection) -> Connection:
        """Add the hash of the file that the process runs now, if it is known; of a process that has gone, of the last one seen."""
        process = connection.process
        file = self._file(process)
        digest = self._hashes.get(file) if file else None
        if process is None or (process.hash.sha256 if process.hash else None) == digest:
            return connection
        return replace(connection, process=replace(process, hash=Hash(sha256=digest) if digest else None))

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the file to be hashed, if the process runs one that is not known."""
        file = self._file(connection.process)
        return file if file is not None and file not in self._hashes else None

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Hash the file in another thread."""
        process = connection.process
        if not isinstance(key, _File) or process is None:
            return
        if key.size > self._most:
            self._health.not_checked["executable too large to hash"] += 1
            self._remember(key, None)
            return
        digest = await _hashed_beside(_path(process), key)
        if digest is None or not self._is_same(process):
            # The process has gone; another one that runs the same file may have more luck.
            self._health.not_checked["executable could not be hashed"] += 1
            return
        self._remember(key, digest)

    def _file(self, process: Process | None) -> _File | None:
        """Say which file a process runs now, or ran when it was last seen; ``None`` if that can't be told."""
        if process is None or process.pid is None or process.entity_id is None or process.executable is None:
            return None
        identity = (process.entity_id, process.executable)
        file = _identify(process)
        if file is not None and (self._last.get(identity) == file or self._is_same(process)):
            self._last[identity] = file
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        return self._last.get(identity)

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


async def _hashed_beside(path: str, wanted: _File) -> str | None:
    """Hash in a thread that nobody waits for at the end: a file system that hangs must not hang us."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def tell(digest: str | None) -> None:
        if not answer.done():
            answer.set_result(digest)

    def work() -> None:
        digest = sha256_of(path, wanted)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, digest)

    threading.Thread(target=work, name="hashing", daemon=True).start()
    return await answer


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
    return _File(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None


PART = Part(name="hashing", config=HashingConfig, build=Hashing, live_only=True)
