"""The files that a process holds open while it has a connection. Off by default: what somebody reads is their own business."""

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec.structs import replace

from outwatch.guard.text import cleaned
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.records import Connection, Process

_REMEMBERED = 10_000  # processes
_AGAIN_AFTER = 0.5  # seconds until a process is looked at again
_MOST_DESCRIPTORS = 4096  # of one process that are looked at
_NO_FILES = ("/dev/", "/proc/", "/sys/", "/memfd:")
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - files that everybody may write
_LONGEST = 1024


class OpenFilesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``enabled``: note them also without ``--files``; ``most``: of one process."""

    enabled: bool = False
    most: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200


class OpenFiles:
    """Adds ``outwatch.open_files``: what a process held open whenever one of its connections was spoken of."""

    def __init__(self, config: OpenFilesConfig, *, processes: ProcessTable) -> None:
        """Take the limit, and who knows whether a pid is still the same process."""
        self._most = config.most
        self._processes = processes
        self._files: OrderedDict[str, tuple[float, dict[str, None]]] = OrderedDict()

    def enrich(self, connection: Connection) -> Connection:
        """Add the files of the connection's process, if it can be looked at or was."""
        process = connection.process
        if process is None or process.pid is None or process.entity_id is None:
            return connection
        files = self._of(process, process.entity_id)
        if not files:
            return connection
        return replace(connection, outwatch=replace(connection.outwatch, open_files=tuple(files)))

    def _of(self, process: Process, identity: str) -> dict[str, None]:
        looked, files = self._files.get(identity, (0.0, {}))
        now = time.monotonic()
        if not looked or now - looked >= _AGAIN_AFTER:
            for path in self._held(process):
                if len(files) >= self._most:
                    break
                files[cleaned(path, _LONGEST)] = None
            self._files[identity] = now, files
            if len(self._files) > _REMEMBERED:
                self._files.popitem(last=False)
        return files

    def _held(self, process: Process) -> list[str]:
        """List paths of open files; none if the process has gone meanwhile, or may not be looked at."""
        pid = process.pid or 0
        held = list(_linux(pid) if sys.platform == "linux" else _elsewhere(pid))
        now = self._processes.identify(pid, time.time())
        return held if now is not None and now.entity_id == process.entity_id else []


def _linux(pid: int) -> Iterable[str]:
    """Read the links in ``/proc/PID/fd`` (proc(5)); the files themselves are not touched, their file system may hang."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as descriptors:
            for _, descriptor in zip(range(_MOST_DESCRIPTORS), descriptors, strict=False):
                try:
                    path = os.readlink(descriptor.path)
                except OSError:
                    continue
                if path.startswith("/") and (not path.startswith(_NO_FILES) or path.startswith(_SHARED_MEMORY)):
                    yield path
    except OSError:
        return


def _elsewhere(pid: int) -> Iterable[str]:
    import psutil  # noqa: PLC0415 - not needed on Linux

    try:
        return [file.path for file in psutil.Process(pid).open_files()[:_MOST_DESCRIPTORS]]
    except (psutil.Error, OSError):
        return []


PART = Part(name="open_files", config=OpenFilesConfig, build=OpenFiles, live_only=True)
