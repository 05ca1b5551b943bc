"""Unix sockets: a folder that only those of its group can enter, and who is at the other end (unix(7), socket(7))."""

import contextlib
import os
import select
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from outwatch.errors import FileRefused, OutputError, OutwatchError
from outwatch.guard.files import require_own_folder

_FOLDER = 0o750
_OTHERS_IN = stat.S_IWGRP | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PEER = struct.Struct("=iII")  # struct ucred
_SO_PEERGROUPS = 59
_MOST = 1024  # bytes of groups that Python asks for at most
_BACKLOG = 8


class Peer(NamedTuple):
    """Who opened the other end: the user, and all groups the system tells."""

    user: int
    groups: frozenset[int]


def peer_of(one: socket.socket) -> Peer:
    """Ask the kernel who is at the other end (of a listening program: who it was when it began to listen)."""
    if sys.platform != "linux":
        raise OutwatchError("only Linux tells who is at the other end")
    _, user, group = _PEER.unpack(one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    groups = {group}
    with contextlib.suppress(OSError):  # Linux before 4.13, or more groups than fit: then the first group alone counts
        raw = one.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST)
        groups.update(struct.unpack(f"={len(raw) // 4}I", raw))
    return Peer(user, frozenset(groups))


def has_hung_up(one: socket.socket) -> bool:
    """Tell whether the other end is closed, and not only done with talking."""
    if sys.platform == "win32":
        raise OutwatchError("only Linux has such sockets")
    poll = select.poll()
    poll.register(one, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def shared_folder(path: Path, user: int, own_group: int, group: int | None) -> int:
    """Make the folder of a socket: mode 0750, of ``user`` and of ``group`` (none named: ``own_group``); give its group.

    One that is there must be like that, and keeps its group if none is named. ``FileRefused`` if it belongs to somebody else, is a link,
    or lets others in; ``OutputError`` if it can't be made.
    """
    if sys.platform == "win32":
        raise OutwatchError("only Linux has such folders")
    require_own_folder(path.parent)
    made = True
    try:
        try:
            os.mkdir(path, _FOLDER)
        except FileExistsError:
            made = False
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise FileRefused(path, "it is no folder, or a link", "choose another folder")
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if made:
                os.fchown(folder, user, own_group if group is None else group)
                os.fchmod(folder, _FOLDER)
            else:
                _require_shared(path, os.fstat(folder), user)
                if group is not None and group != os.fstat(folder).st_gid:
                    os.fchown(folder, -1, group)
            return os.fstat(folder).st_gid
        finally:
            os.close(folder)
    except OSError as error:
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(path)
        raise OutputError(path, error.strerror or str(error)) from error


def _require_shared(path: Path, facts: os.stat_result, user: int) -> None:
    if facts.st_uid != user:
        raise FileRefused(path, f"the folder belongs to user {facts.st_uid}, not to user {user}", "remove it or choose another")
    if facts.st_mode & _OTHERS_IN:
        raise FileRefused(path, "others may enter the folder, or its group may write to it", f"chmod 0750 {path} or choose another")


class Listening:
    """A socket that listens at a path, until ``close``; a lock beside it says that somebody does."""

    path: Path
    listener: socket.socket
    _lock: int
    _place: tuple[int, int]

    def __init__(self, path: Path) -> None:
        """Begin to listen; what a dead program left at ``path`` is replaced, what somebody else put there is ``FileRefused``."""
        if sys.platform == "win32":
            raise OutwatchError("only Linux has such sockets")
        self.path = path
        self._lock = _lock(path)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._lock)
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            undo.callback(self.listener.close)
            try:
                _clear(path)
                before = os.umask(0o111)  # the folder is the fence; who comes through is asked for who they are
                try:
                    self.listener.bind(str(path))
                finally:
                    os.umask(before)
                self._place = _place(path)
                self.listener.listen(_BACKLOG)
            except OSError as error:
                raise OutputError(path, error.strerror or str(error)) from error
            self.listener.settimeout(0)
            undo.pop_all()

    def close(self) -> None:
        """Stop, and take the socket away, unless another stands in its place."""
        self.listener.close()
        with contextlib.suppress(OSError):
            if _place(self.path) == self._place:
                os.unlink(self.path)
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Hold the lock of a socket; it falls when this process ends, however it ends."""
    if sys.platform == "win32":
        raise OutwatchError("only Linux has such sockets")
    import fcntl  # noqa: PLC0415 - Windows has none

    beside = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutputError(beside, error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FileRefused(path, "another capture serves it", "end that one first, or choose another path") from error
    return lock


def _clear(path: Path) -> None:
    """Remove a socket at which nobody listens any more; anything else is ``FileRefused``."""
    if sys.platform == "win32":
        return
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileRefused(path, "it is a link" if stat.S_ISLNK(mode) else "it is no socket", "remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its queue of callers is full
            pass
    raise FileRefused(path, "another program serves it", "end that one first, or choose another path")


def _place(path: Path) -> tuple[int, int]:
    facts = os.lstat(path)
    return facts.st_dev, facts.st_ino


def is_there(path: Path) -> bool:
    """Tell whether something is at ``path``, or may be there where we are not allowed to look."""
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def connected(path: Path) -> socket.socket:
    """Connect to a program that nobody else can stand in for.

    ``FileRefused`` unless the folder of the socket belongs to root, to us, or to whoever listens, and nobody else may write to it; who
    listens must be root, we, or the folder's owner. ``OSError`` if nobody listens or we have no right to connect.
    """
    if sys.platform != "linux":
        raise OutwatchError("only Linux tells who is at the other end")
    folder = path.parent
    facts = os.stat(folder)
    require_own_folder(folder, facts.st_uid)
    if facts.st_mode & _OTHERS_WRITE:
        raise FileRefused(folder, "others may write to the folder and put their own socket there", f"chmod 0750 {folder} or use another")
    with contextlib.ExitStack() as undo:
        one = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        one.connect(str(path))
        listener, own = peer_of(one).user, os.geteuid()
        if listener not in {0, own, facts.st_uid}:
            raise FileRefused(path, f"user {listener} listens there, in a folder of user {facts.st_uid}", "use another socket")
        if facts.st_uid not in {0, own, listener}:
            raise FileRefused(folder, f"the folder belongs to user {facts.st_uid}, who does not listen there", "use another socket")
        undo.pop_all()
    return one
