"""The tree of cgroups (version 2): its root, to which packet programs are attached, wherever it is mounted, or mounted by us; its paths."""

import contextlib
import ctypes
import os
import sys
from collections import OrderedDict
from collections.abc import Iterator

from outwatch.errors import SensorUnavailable
from outwatch.guard.text import cleaned

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on all 64-bit machines (asm-generic/unistd.h)
_ROOT_INODE = 1  # of the whole tree (kernfs)
_MOST = 20_000  # groups that are remembered
_MOST_PATH = 512
_CLOEXEC, _CREATE = 1, 6  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE (linux/mount.h)


@contextlib.contextmanager
def cgroup_root() -> Iterator[int]:
    """Give a descriptor of the root; ``SensorUnavailable`` if there is none and none can be mounted.

    Inside a network namespace made by ``ip netns`` a fresh ``/sys`` hides the machine's; then a mount that nobody else sees is made.
    """
    found = _mounted()
    descriptor = found if found is not None else _own_mount()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Groups:
    """The path of each group of processes, by the id that flows have of it: a container's stays known when it has gone."""

    def __init__(self) -> None:
        """Know none yet."""
        self._paths: OrderedDict[int, str] = OrderedDict()

    def look(self, root: int) -> None:
        """Take note of all groups that there are below the tree's root, a descriptor."""
        for folder, _, _, descriptor in os.fwalk(".", dir_fd=root):
            self.see(os.fstat(descriptor).st_ino, os.fsencode(folder[1:]) or b"/")
            if len(self._paths) >= _MOST:
                return

    def see(self, identity: int, path: bytes) -> None:
        """Take note of one."""
        self._paths[identity] = cleaned(path, _MOST_PATH)
        if len(self._paths) > _MOST:
            self._paths.popitem(last=False)

    def path(self, identity: int) -> str | None:
        """Give a group's path; ``None`` if it is not known, or the root, which says nothing."""
        path = self._paths.get(identity)
        return path if path != "/" else None


def _mounted() -> int | None:
    """Open the machine's own root, if it is mounted where we can see it: not another below it, and not hidden by another mount."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            folders = [fields[1] for line in mounts if len(fields := line.split()) > 2 and fields[2] == "cgroup2"]  # noqa: PLR2004 - fstab(5)
    except OSError:
        return None
    for folder in folders:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(descriptor).st_ino == _ROOT_INODE:
            return descriptor
        os.close(descriptor)
    return None


def _own_mount() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_FSOPEN, b"cgroup2", _CLOEXEC)
    if context < 0:
        raise _impossible()
    try:
        if libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0) < 0:
            raise _impossible()
        descriptor: int = libc.syscall(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    if descriptor < 0:
        raise _impossible()
    return descriptor


def _impossible() -> SensorUnavailable:
    return SensorUnavailable(f"there is no cgroup2 here, and it can't be mounted ({os.strerror(ctypes.get_errno())})", "mount cgroup2")
