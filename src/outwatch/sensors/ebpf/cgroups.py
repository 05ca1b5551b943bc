"""The root of the tree of cgroups (version 2), to which packet programs are attached: wherever it is mounted, or mounted by us."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from outwatch.errors import SensorUnavailable

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on all 64-bit machines (asm-generic/unistd.h)
_CLOEXEC, _CREATE = 1, 6  # FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE (linux/mount.h)


@contextlib.contextmanager
def cgroup_root() -> Iterator[int]:
    """Give a descriptor of the root; ``SensorUnavailable`` if there is none and none can be mounted.

    Inside a network namespace made by ``ip netns`` a fresh ``/sys`` hides the machine's; then a mount that nobody else sees is made.
    """
    path = _mounted()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if path else _own_mount()
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mounted() -> str | None:
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            fields = [line.split() for line in mounts]
    except OSError:
        return None
    return next((one[1] for one in fields if len(one) > 2 and one[2] == "cgroup2"), None)  # noqa: PLR2004 - fstab(5): device, folder, type


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
