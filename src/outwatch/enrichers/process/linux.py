"""Processes on Linux, read from /proc (proc(5))."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from outwatch.engine.patience import Patience
from outwatch.enrichers.process.facts import Birth, Facts, bounded_args
from outwatch.guard.mounts import Mounts
from outwatch.guard.text import cleaned
from outwatch.model.records import FileState

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_START_TIME = 19  # of the fields behind the name in /proc/PID/stat: starttime is the 22nd of all
_COMM_LENGTH = 15
_USERS_AGAIN = 1.0  # seconds until the file of accounts is looked at again
_MOST_CMDLINE = 1 << 18
_MARKED = 4096  # bytes of the arguments that tell one program from the next
_DELETED = " (deleted)"
_DOUBTFUL = 0.2  # seconds for a file system whose server may be gone

_Answer = TypeVar("_Answer")


class LinuxReader:
    """Reads processes through /proc; whatever can't be read is ``None``.

    The file that a process runs may lie on a file system that never answers, and its arguments in memory that somebody else fills: both
    are looked at with patience, and count as what can't be read.
    """

    def __init__(self, proc: str = "/proc", passwd: str = "/etc/passwd") -> None:  # noqa: S107 - no password
        """Read below ``proc``; names of users come from the file ``passwd``, never from a network directory."""
        self._proc = proc
        self._passwd = Path(passwd)
        self._users: tuple[float, dict[str, str]] = (-1.0, {})
        self._users_read = -_USERS_AGAIN
        self._tick = os.sysconf("SC_CLK_TCK")
        self._mount_namespace = _link(f"{proc}/self/ns/mnt")
        self._mounts = Mounts()
        self._patience = Patience()

    def birth(self, pid: int) -> Birth | None:
        """Give the process that has ``pid`` now."""
        ticks = self._start(pid)
        if ticks is None:
            return None
        boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return Birth(pid, boot + ticks / self._tick, str(ticks))

    def mark(self, pid: int) -> str | None:
        """Give what changes when the process executes another program or script: its file and its arguments."""
        link = _link(f"{self._proc}/{pid}/exe")
        args = self._cmdline(pid, _MARKED)
        try:
            file = self._running(pid, link)
        except OSError:
            return None if args is None else f"{link}|{hash(args)}"
        return f"{link}|{file.st_dev}|{file.st_ino}|{file.st_mtime_ns}|{hash(args)}"

    def facts(self, pid: int) -> Facts:
        """Read everything about ``pid``."""
        mark, link = self.mark(pid), _link(f"{self._proc}/{pid}/exe")
        executable, state = self._executable(pid, link)
        args = self._args(pid)
        user = self._user_id(pid)
        fields = self._stat(pid)
        directory = _link(f"{self._proc}/{pid}/cwd")
        return Facts(
            name=self._name(pid, executable, args),
            executable=executable,
            state=state,
            args=args,
            working_directory=cleaned(directory) if directory else None,
            user_id=user,
            user_name=self.user_name(user),
            parent=int(fields[1]) or None if fields else None,
            mark=mark,
        )

    def _start(self, pid: int) -> int | None:
        fields = self._stat(pid)
        return int(fields[_START_TIME]) if fields else None

    def _stat(self, pid: int) -> list[str] | None:
        raw = _read(f"{self._proc}/{pid}/stat", 4096)
        if raw is None:
            return None
        # The name may hold anything, also ")" and blanks: the fields begin behind the last ")".
        fields = raw[raw.rfind(b")") + 1 :].decode("ascii", "replace").split()
        return fields if len(fields) > _START_TIME and fields[_START_TIME].isdigit() and fields[1].isdigit() else None

    def _executable(self, pid: int, link: str | None) -> tuple[str | None, FileState | None]:
        """Give the executable's path and what is odd about its file."""
        if link is None:
            return None, None
        try:
            state: FileState | None = "replaced"
            running = self._running(pid, link)
            if self._ask(pid, lambda: _is_file(link, running), link):
                return cleaned(link), None
        except OSError:  # whoever runs the file system chose not to say; in our own mounts the path is the kernel's word
            state = None
        elsewhere = _link(f"{self._proc}/{pid}/ns/mnt") != self._mount_namespace
        # A file may really be called "x (deleted)"; it would be the one that runs. This one has lost this name at least. In other mounts
        # whose server has gone, whoever looks for the file there takes its name away too.
        if link.endswith(_DELETED):
            path = link.removesuffix(_DELETED)
            lost: FileState = "other_namespace" if state is None and elsewhere else "deleted"
            return cleaned(path), "memfd" if path.startswith("/memfd:") else lost
        return cleaned(link), "other_namespace" if elsewhere else state

    def _running(self, pid: int, link: str | None) -> os.stat_result:
        """Look at the file that a process runs; ``OSError`` also if nobody answers."""
        return self._ask(pid, lambda: os.stat(f"{self._proc}/{pid}/exe"), link)

    def _cmdline(self, pid: int, most: int) -> bytes | None:
        try:
            return self._ask(pid, lambda: _read(f"{self._proc}/{pid}/cmdline", most))
        except TimeoutError:
            return None

    def _ask(self, pid: int, question: Callable[[], _Answer], path: str | None = None) -> _Answer:
        """Ask about a process or the file at a path, with less patience where the file system is known to be one that may hang."""
        doubtful = path is not None and self._mounts.may_hang(os.fsencode(path))
        return self._patience.ask(question, lambda: (pid, self._start(pid), path), _DOUBTFUL if doubtful else None)

    def _args(self, pid: int) -> tuple[str, ...] | None:
        raw = self._cmdline(pid, _MOST_CMDLINE)
        if not raw:
            return None
        args = raw.removesuffix(b"\0").split(b"\0")
        if len(raw) >= _MOST_CMDLINE:  # the last one was cut by us
            args.append("…".encode())
        return bounded_args(args)

    def _name(self, pid: int, executable: str | None, args: tuple[str, ...] | None) -> str | None:
        raw = _read(f"{self._proc}/{pid}/comm", 256)
        if raw is None:
            return None
        name = cleaned(raw.removesuffix(b"\n"))
        if len(name) >= _COMM_LENGTH:  # the kernel cut it there
            for longer in (executable, args[0] if args else None):
                last = (longer or "").rpartition("/")[2]
                if last.startswith(name):
                    return last
        return name or None

    def _user_id(self, pid: int) -> str | None:
        raw = _read(f"{self._proc}/{pid}/status", 8192) or b""
        at = raw.find(b"\nUid:")
        return raw[at + 5 :].split(maxsplit=2)[1].decode("ascii", "replace") if at >= 0 else None

    def user_name(self, user_id: str | None) -> str | None:
        """Name an account by its id, from the file alone."""
        now = time.monotonic()
        if now - self._users_read < _USERS_AGAIN and user_id in self._users[1]:
            return self._users[1][user_id]
        try:
            changed = self._passwd.stat().st_mtime
            if changed != self._users[0]:
                rows = (line.split(":") for line in cleaned(self._passwd.read_bytes(), 1 << 22).splitlines())
                users: dict[str, str] = {}
                for row in rows:
                    if len(row) > 2:  # noqa: PLR2004 - name, password, id
                        users.setdefault(row[2], row[0])  # the first counts, as for getpwuid(3)
                self._users = (changed, users)
            self._users_read = now
        except OSError:
            return None
        return self._users[1].get(user_id) if user_id else None


def _is_file(path: str, wanted: os.stat_result) -> bool:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return False
    return (facts.st_dev, facts.st_ino) == (wanted.st_dev, wanted.st_ino)


def _read(path: str, most: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pieces = []
        while most > 0 and (piece := os.read(descriptor, min(most, 1 << 16))):
            pieces.append(piece)
            most -= len(piece)
        return b"".join(pieces)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
