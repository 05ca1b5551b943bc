"""Captures that a test starts, and watches of other users that read them."""

import contextlib
import hashlib
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import NOBODY, Lab, outwatch_command, python_for_nobody

from .watch import Watch, settings

READER, STRANGER, OWNER, GROUP = 54001, 54002, 54003, 54321
"""Users that have no account here, and a group that has no name."""

FIVE = ("bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search")
MASK = 1 << 39 | 1 << 38 | 1 << 12 | 1 << 19 | 1 << 2


def as_user(user: int, *groups: int, capabilities: tuple[str, ...] = ()) -> list[str]:
    """Spell what makes a command run as a user without rights, or with these alone."""
    member = [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
    caps = "-all" + "".join(f",+{name}" for name in capabilities)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", *member, f"--inh-caps={caps}", f"--ambient-caps={caps}", "--"]


def unprivileged_python() -> tuple[str, dict[str, str]]:
    found = python_for_nobody()
    if found is None:
        pytest.skip("no Python interpreter that an unprivileged user can reach")
    return found


class Capture(Child):
    """A running ``outwatch capture``."""

    def __init__(self, folder: Path, path: Path, *options: str, user: int | None = None, before: Sequence[str] = ()) -> None:
        """Start it as root, or as a user that has the five capabilities and is a member of the group."""
        self._socket = path
        arguments = ["capture", "--socket", str(path), *options]
        if user is None:
            super().__init__([*before, *outwatch_command(*arguments)], env=settings(folder))
            return
        python, env = unprivileged_python()
        argv = [*as_user(user, GROUP, capabilities=FIVE), python, *outwatch_command(*arguments)[1:]]
        super().__init__(argv, env={**settings(folder), **env})

    def ready(self) -> None:
        """Wait until it has greeted a reader: then the first picture was taken."""
        self.wait_for_error("captures as")
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(LONG)
            one.connect(str(self._socket))
            assert one.recv(1)


class ReadingWatch(Watch):
    """A running ``outwatch watch --sensor remote`` of an unprivileged user."""

    def __init__(self, lab: Lab, folder: Path, path: Path, *groups: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, READER, READER)
        python, env = unprivileged_python()
        instead = ("sh", "-c", 'shift; exec "$0" "$@"', python)  # of the interpreter that only root may reach
        super().__init__(
            lab,
            folder,
            env={**env, "OUTWATCH_SENSORS__REMOTE__SOCKET": str(path)},
            before=(*as_user(READER, *groups), *instead),
            more=("--sensor", "remote"),
        )

    def close(self) -> None:
        self.kill()

    def told(self) -> str:
        return self._errors.read_text("utf-8")


@contextlib.contextmanager
def running(folder: Path, path: Path, *options: str, user: int | None = None) -> Iterator[Capture]:
    """Run a capture until the block ends."""
    with Capture(folder, path, *options, user=user) as capture:
        capture.ready()
        yield capture


def status(pid: int) -> list[dict[str, str]]:
    """Give what the kernel says of each thread of a process."""
    threads = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            rows = [line.split(":", 1) for line in (task / "status").read_text().splitlines()]
            threads.append({name: value.strip() for name, value in rows})
    return threads


def sockets(pid: int) -> set[str]:
    """Give the inodes of the sockets that a process has open."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if inode := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(one)):
                found.add(inode[1])
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def place(folder: Path, *, user: int = NOBODY) -> Path:
    """Make a folder in which a user can make the folder of a socket, and that others can pass through."""
    made = folder / "place"
    made.mkdir()
    os.chown(made, user, user)
    made.chmod(0o755)
    return made / "run" / "capture.sock"
