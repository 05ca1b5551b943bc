"""SHA-256 of executables, read through ``/proc/PID/exe`` so that a path can't lead to another file.

A file is hashed once for each (device, inode, size, modification time).
"""

import asyncio
import hashlib
import os
import stat
import sys
from collections import OrderedDict
from collections.abc import Hashable
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.model.interfaces import Part, PartConfig
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

    def __init__(self, config: HashingConfig, *, health: Health) -> None:
        """Take the limits, and where to count what could not be hashed."""
        self._most = config.most_mib << 20
        self._health = health
        self._hashes: OrderedDict[_File, str] = OrderedDict()
        self._files: OrderedDict[tuple[str, str | None], _File | None] = OrderedDict()

    def enrich(self, connection: Connection) -> Connection:
        """Add the hash if it is known already."""
        process = connection.process
        if process is None or process.entity_id is None:
            return connection
        file = self._files.get((process.entity_id, process.executable))
        digest = self._hashes.get(file) if file else None
        if digest is None or (process.hash and process.hash.sha256 == digest):
            return connection
        return replace(connection, process=replace(process, hash=Hash(sha256=digest)))

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the file to be hashed, if the process has one that is not known."""
        process = connection.process
        if process is None or process.pid is None or process.entity_id is None or process.executable is None:
            return None
        identity = (process.entity_id, process.executable)
        if identity not in self._files:
            self._files[identity] = _identify(process)
            if len(self._files) > _REMEMBERED:
                self._files.popitem(last=False)
        file = self._files[identity]
        return file if file is not None and file not in self._hashes else None

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Hash the file in another thread."""
        process = connection.process
        if not isinstance(key, _File) or process is None:
            return
        digest = None
        if key.size > self._most:
            self._health.not_checked["executable too large to hash"] += 1
        else:
            digest = await asyncio.to_thread(sha256_of, _path(process), key)
            if digest is None:
                self._health.not_checked["executable could not be hashed"] += 1
        if digest is None:  # not this process's; another one that runs the same file may have more luck
            self._files[process.entity_id or "", process.executable] = None
            return
        self._hashes[key] = digest
        if len(self._hashes) > _REMEMBERED:
            self._hashes.popitem(last=False)


def _path(process: Process) -> str:
    return f"/proc/{process.pid}/exe" if sys.platform == "linux" else process.executable or ""


def _identify(process: Process) -> _File | None:
    """Say which file a process runs; ``None`` if that can't be told (no rights, gone)."""
    try:
        facts = os.stat(_path(process))
    except OSError:
        return None
    return _File(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None


def sha256_of(path: str, wanted: _File | None = None) -> str | None:
    """Hash the file at ``path``, or ``None`` if it can't be read or is not the ``wanted`` one, before and after reading."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    with open(descriptor, "rb", buffering=0) as file:
        try:
            before = _opened(descriptor)
            if wanted is not None and before != wanted:
                return None
            digest = hashlib.sha256()
            while piece := file.read(_PIECE):
                digest.update(piece)
            return digest.hexdigest() if _opened(descriptor) == before else None
        except OSError:
            return None


def _opened(descriptor: int) -> _File:
    facts = os.fstat(descriptor)
    return _File(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


PART = Part(name="hashing", config=HashingConfig, build=Hashing, live_only=True)
