"""Giving up rights for good: what is left of root once everything that needs root has begun (Linux, capabilities(7)).

Capabilities belong to threads, so all of this happens while there is one thread alone; those that start later inherit what it has.
"""

import ctypes
import os
import sys
from typing import NamedTuple

from outwatch.errors import ConfigError, OutwatchError
from outwatch.guard.rights import CAPABILITIES, is_root

KEPT = frozenset({"CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_PTRACE"})
"""What capturing needs: load and read BPF programs, look at others' processes, read their executables."""

ACCOUNTS = ("outwatch", "nobody")
"""Whom root becomes if nobody is named: the first of these that exists."""

_ELSEWHERE = "only Linux knows these rights; use outwatch watch"
_VERSION_3 = 0x20080522  # of the header (linux/capability.h)
_WORD = 32  # bits of each part of a set
# linux/prctl.h
_KEEP_CAPABILITIES, _READ_BOUND, _DROP_BOUND, _NO_NEW_PRIVILEGES, _AMBIENT, _CLEAR_ALL = 8, 23, 24, 38, 47, 4


class Account(NamedTuple):
    """Who a process runs as."""

    name: str
    user: int
    group: int


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def account(name: str | None) -> Account:
    """Give the account to become: the one named, or one of ``ACCOUNTS``; without root it is the present one.

    ``ConfigError`` if there is none of that name, if it is root's, or if it is another's and this does not run as root.
    """
    if sys.platform != "linux":
        raise OutwatchError(_ELSEWHERE)
    if not is_root():
        return _own_account(name)
    found = next(filter(None, map(_known, ACCOUNTS if name is None else (name,))), None)
    if found is None:
        raise ConfigError("--user", "", f"there is no account {' or '.join(ACCOUNTS) if name is None else name}")
    if found.user == 0:
        raise ConfigError("--user", "", "root's rights are what it gives up; name another account")
    return found


def _own_account(name: str | None) -> Account:
    if sys.platform == "win32":
        raise OutwatchError(_ELSEWHERE)
    own = os.geteuid()
    if name is not None and (found := _known(name)) is not None and found.user != own:
        raise ConfigError("--user", "", "only root can become somebody else")
    if name is not None and found is None:
        raise ConfigError("--user", "", f"there is no account {name}")
    known = _known(str(own))
    return Account(known.name if known else str(own), own, os.getegid())


def _known(name: str) -> Account | None:
    """Find an account by name or number."""
    if sys.platform != "linux":
        return None
    import pwd  # noqa: PLC0415 - Windows has none

    try:
        row = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, ValueError, OverflowError):
        return None
    return Account(row.pw_name, row.pw_uid, row.pw_gid)


def group_number(name: str) -> int:
    """Give the number of a group that is named by it or by its name; ``ConfigError`` if there is no such group."""
    if sys.platform != "linux":
        raise OutwatchError(_ELSEWHERE)
    import grp  # noqa: PLC0415

    if name.isdecimal() and int(name) < 2**32 - 1:
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        raise ConfigError("--group", "", f"there is no group {name}") from error


def give_up(whom: Account) -> None:
    """Keep of all rights those of ``KEPT`` that are held, and as root become ``whom``; neither can be undone.

    ``OutwatchError`` if the system refuses any of it, or if another thread runs that would keep its rights.
    """
    if sys.platform != "linux":
        raise OutwatchError(_ELSEWHERE)
    if len(os.listdir("/proc/self/task")) != 1:
        raise OutwatchError("rights can't be given up: another thread runs already")
    libc = ctypes.CDLL(None, use_errno=True)
    kept = _mask(KEPT) & _masks()["CapPrm"]
    try:
        if is_root():
            _control(libc, _KEEP_CAPABILITIES, 1)
            _empty_bound(libc)
            os.setgroups([])
            os.setresgid(whom.group, whom.group, whom.group)
            os.setresuid(whom.user, whom.user, whom.user)
            _control(libc, _KEEP_CAPABILITIES, 0)
        _set(libc, kept)
        _control(libc, _AMBIENT, _CLEAR_ALL)
        _control(libc, _NO_NEW_PRIVILEGES, 1)
    except OSError as error:
        raise OutwatchError(f"rights can't be given up: {error.strerror}") from error
    _require_given_up(whom, kept)


def _require_given_up(whom: Account, kept: int) -> None:
    """Believe the kernel, not the calls."""
    masks = _masks()
    right = masks["CapPrm"] == masks["CapEff"] == kept and not masks["CapInh"] and not masks["CapAmb"]
    if sys.platform != "linux" or not right or {*os.getresuid()} != {whom.user} or {*os.getresgid()} != {whom.group}:
        raise OutwatchError("rights can't be given up: the system says that some are still there")


def _empty_bound(libc: ctypes.CDLL) -> None:
    """Take out of the bounding set what is not kept: nothing that is executed can get it back."""
    kept = {number for number, name in CAPABILITIES.items() if name in KEPT}
    number = 0
    while libc.prctl(_READ_BOUND, ctypes.c_ulong(number), 0, 0, 0) >= 0:  # beyond the last one of this kernel it fails
        if number not in kept:
            _control(libc, _DROP_BOUND, number)
        number += 1


def _control(libc: ctypes.CDLL, what: int, value: int) -> None:
    if libc.prctl(what, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _set(libc: ctypes.CDLL, mask: int) -> None:
    """Set what is permitted and effective; nothing is inherited."""
    header = _Header(_VERSION_3, 0)
    words = [mask >> at & (1 << _WORD) - 1 for at in (0, _WORD)]
    sets = (_Sets * 2)(*(_Sets(word, word, 0) for word in words))
    if libc.capset(ctypes.byref(header), sets) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _mask(names: frozenset[str]) -> int:
    return sum(1 << number for number, name in CAPABILITIES.items() if name in names)


def _masks() -> dict[str, int]:
    """Read the capability sets of this process (proc(5))."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        rows = (line.split() for line in status if line.startswith("Cap"))
        return {name.rstrip(":"): int(value, 16) for name, value in rows}
