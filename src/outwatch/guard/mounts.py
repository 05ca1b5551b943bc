"""Which paths lie on file systems that may never answer: who looks at one of those must not wait for it."""

import os
import select
import sys
import time
from pathlib import Path
from weakref import finalize

_AGAIN = 10.0  # seconds until the table of mounts is read again, if the kernel says nothing
_REMOTE = frozenset(
    {b"nfs", b"nfs4", b"cifs", b"smb3", b"9p", b"ceph", b"afs", b"ncpfs", b"glusterfs", b"lustre", b"gfs2", b"ocfs2", b"autofs"}
)
_POINT = 4  # field of the mount point in a line of mountinfo (proc(5)); the type stands behind a lonely "-"


class Mounts:
    """The mounts of our own namespace, from the file ``table``; elsewhere than on Linux none is known."""

    def __init__(self, table: str = "/proc/self/mountinfo") -> None:
        """Read nothing yet."""
        self._table = Path(table)
        self._read = -_AGAIN
        self._points: list[tuple[bytes, bool]] = []
        self._changes: _Changes | None = None

    def may_hang(self, path: bytes) -> bool:
        """Tell whether a path lies on a network's or a program's file system."""
        now = time.monotonic()
        if now - self._read >= _AGAIN or (self._changes is not None and self._changes.came()):
            self._read = now
            self._points = self._all()
        path += b"/"  # a mount point may be a file
        return next((remote for point, remote in self._points if path.startswith(point)), False)

    def _all(self) -> list[tuple[bytes, bool]]:
        """List mount points, the deepest first; of those at the same place the last one lies on top."""
        try:
            self._changes = self._changes or _Changes(self._table)
            lines = self._table.read_bytes().split(b"\n")
        except OSError:
            return []
        found: dict[bytes, bool] = {}
        for line in lines:
            fields = line.split(b" ")
            if b"-" in fields[_POINT:-1]:
                kind = fields[fields.index(b"-", _POINT) + 1]
                point = fields[_POINT].replace(b"\\040", b" ").replace(b"\\011", b"\t").replace(b"\\012", b"\n").replace(b"\\134", b"\\")
                found[point.rstrip(b"/") + b"/"] = kind in _REMOTE or kind.startswith(b"fuse")
        return sorted(found.items(), key=lambda one: len(one[0]), reverse=True)


class _Changes:
    """Hears from the kernel when something is mounted: a file system that hangs must not have ten seconds to be looked at."""

    def __init__(self, table: Path) -> None:
        descriptor = os.open(table, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        finalize(self, os.close, descriptor)
        self._poll = None
        if sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLPRI)

    def came(self) -> bool:
        return self._poll is not None and bool(self._poll.poll(0))
