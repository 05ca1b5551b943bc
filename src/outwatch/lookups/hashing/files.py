"""Which file a process runs or ran, and the checksum of just that one: by device and inode, for a path can lead anywhere."""

import hashlib
import os
import stat
import sys
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from outwatch.model.records import ProgramFile

_PIECE = 1 << 17
_MOST_ROOTS = 4  # processes of one namespace that are tried: some may be shut into a folder
_O_PATH: int = getattr(os, "O_PATH", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_READ: int = os.O_RDONLY | _CLOEXEC | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
_DEVICE = 2  # field of a file system's device in a line of mountinfo (proc(5)); the mount's id is the first


class File(NamedTuple):
    """A file with the content that it had at one time."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int  # unlike the time of modification, nobody can set it back


NO_FILE = File(0, 0, 0, 0, 0)


class Way(NamedTuple):
    """Where a path led, when it was looked at, and the last change on the way that somebody but root can have made."""

    file: File
    changed_ns: int
    looked_ns: int


def running(pid: int, path: str, told: ProgramFile | None) -> File | None:
    """Say which file is at ``path``, that of the executable of ``pid`` below ``/proc``; ``None`` if it is not the one ``told`` of.

    ``OSError`` and ``ValueError`` as the system has them.
    """
    if told is None or not _O_PATH:
        return _known_by(os.stat(path))
    handle = os.open(path, _O_PATH | _CLOEXEC)
    try:
        facts = os.fstat(handle)
        if str(facts.st_ino) != told.inode:
            return None
        # btrfs shows another device than the kernel's own; the table of mounts has that one.
        if _spelled(facts.st_dev) != told.device and _device_of_mount(handle, pid) != told.device:
            return None
        return _known_by(facts)
    finally:
        os.close(handle)


def _spelled(device: int) -> str:
    if sys.platform == "win32":
        return ""
    return f"{os.major(device)}:{os.minor(device)}"


def _device_of_mount(handle: int, pid: int) -> str | None:
    """Give the device of the file system that an opened file is in, by the table of mounts of a process."""
    about = Path(f"/proc/self/fdinfo/{handle}").read_bytes().split()
    mount = about[about.index(b"mnt_id:") + 1]
    for line in Path(f"/proc/{pid}/mountinfo").read_bytes().split(b"\n"):
        fields = line.split(b" ", _DEVICE + 1)
        if fields[0] == mount and len(fields) > _DEVICE:
            return fields[_DEVICE].decode("ascii", "replace")
    return None


def way(path: str) -> Way | None:
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
    return Way(file, max(changed_ns, file.changed_ns), looked_ns) if file is not None else None


def way_elsewhere(path: str, told: ProgramFile, proc: str = "/proc") -> tuple[str, Way] | None:
    """Find the file ``told`` of in the mount namespace that it was executed in, through a process that is there still.

    Gives the path by which it can be read, and the way; ``None`` if nobody is there, or the path leads to another file there. Whoever can
    make mounts without rights can exchange a file system for another one with the same numbers; so the namespace must be one for which
    our own rights were needed.
    """
    looked_ns = time.time_ns()
    for root in _roots(told.mount_namespace, proc):
        there = root + path
        try:
            handle = os.open(there, _O_PATH | _CLOEXEC)
        except (OSError, ValueError):
            continue
        try:
            facts = os.fstat(handle)
        except OSError:
            continue
        finally:
            os.close(handle)
        file = _known_by(facts)
        if file is not None and (str(file.inode), _spelled(file.device)) == (told.inode, told.device):
            return there, Way(file, file.changed_ns, looked_ns)
    return None


def _roots(namespace: str | None, proc: str) -> list[str]:
    """List the root folders of processes in a mount namespace that belongs to our own user namespace."""
    mounts, users = f"mnt:[{namespace}]", _link(f"{proc}/self/ns/user")
    folders = (f"{proc}/{name}" for name in os.listdir(proc) if name.isdigit())
    there = (folder for folder in folders if _link(f"{folder}/ns/mnt") == mounts and _link(f"{folder}/ns/user") == users)
    return [f"{folder}/root" for folder in islice(there, _MOST_ROOTS)]


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def sha256_of(path: str, wanted: File | None = None) -> str | None:
    """Hash the file at ``path``; ``None`` if it can't be read, is no plain file, or not the ``wanted`` one before and after reading."""
    try:
        descriptor = _opened(path, wanted)
    except (OSError, ValueError):
        return None
    if descriptor is None:
        return None
    try:
        before = _known_by(os.fstat(descriptor))
        if before is None or (wanted is not None and before != wanted):
            return None
        digest = hashlib.sha256()
        while piece := os.read(descriptor, _PIECE):
            digest.update(piece)
        return digest.hexdigest() if _known_by(os.fstat(descriptor)) == before else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _opened(path: str, wanted: File | None) -> int | None:
    """Open a file; one that is wanted is looked at before, for it does something to open what is no plain file."""
    if wanted is None or not _O_PATH:
        return os.open(path, _READ)
    handle = os.open(path, _O_PATH | _CLOEXEC)
    try:
        return os.open(f"/proc/self/fd/{handle}", _READ) if _known_by(os.fstat(handle)) == wanted else None
    finally:
        os.close(handle)


def _known_by(facts: os.stat_result) -> File | None:
    if not stat.S_ISREG(facts.st_mode):
        return None
    return File(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
