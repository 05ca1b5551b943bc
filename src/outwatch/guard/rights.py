"""What this process may do on this machine."""

import os
import re
import sys
from pathlib import Path

_FIRST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of the kernel's proc_ns.h
_NUMBER = re.compile(r"[0-9]{1,10}\Z")
_NOBODY_AT_ALL = 2**32 - 1  # (uid_t) -1 is no user
CAPABILITIES = {
    1: "CAP_DAC_OVERRIDE",
    2: "CAP_DAC_READ_SEARCH",
    12: "CAP_NET_ADMIN",
    19: "CAP_SYS_PTRACE",
    21: "CAP_SYS_ADMIN",
    38: "CAP_PERFMON",
    39: "CAP_BPF",
}
"""The capabilities that matter here, by their numbers (linux/capability.h)."""


def is_root() -> bool:
    """Tell whether this runs as root (never on Windows)."""
    return sys.platform != "win32" and os.geteuid() == 0


def invoking_user() -> tuple[int, int] | None:
    """Give user and group of whoever runs this as root through sudo; ``None`` for anybody else, and for root's own sudo."""
    user, group = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if not is_root() or not (_NUMBER.match(user) and _NUMBER.match(group)):
        return None
    caller = int(user), int(group)
    return caller if 0 < caller[0] < _NOBODY_AT_ALL > caller[1] else None


def capabilities() -> frozenset[str]:
    """Name the effective Linux capabilities that matter for seeing connections; empty elsewhere."""
    try:
        status = Path("/proc/self/status").read_text("ascii", "replace")
    except OSError:
        return frozenset()
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for bit, name in CAPABILITIES.items() if bits >> bit & 1)
    return frozenset()


def in_first_pid_namespace() -> bool:
    """Tell whether processes of the whole machine can have a pid here: not in a container with a pid namespace of its own."""
    if sys.platform != "linux":
        return True
    try:
        return os.stat("/proc/self/ns/pid").st_ino == _FIRST_PID_NAMESPACE
    except OSError:
        return True


def sees_other_users() -> bool:
    """Tell whether the open files of other users' processes can be looked at."""
    if sys.platform == "linux":
        held = capabilities()
        return "CAP_SYS_PTRACE" in held and bool(held & {"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"})
    return is_root()


def network_namespace() -> str | None:
    """Give the number of the network namespace this runs in, as records have it (namespaces(7)); ``None`` elsewhere than on Linux."""
    try:
        return str(os.stat("/proc/self/ns/net").st_ino)
    except OSError:
        return None
