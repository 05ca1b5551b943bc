"""Opening files where others could have laid a trap: links, foreign owners, shared folders."""

import contextlib
import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from outwatch.errors import FileRefused, OutputError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MODE = 0o600
_MOST_LINKS = 40  # as many as the kernel follows


def read_trusted(path: Path, most: int = 16 << 20) -> bytes:
    """Read a file whose content decides what this program does, such as its configuration.

    Refused (``FileRefused``) when somebody else could have written it: it belongs to neither root nor the user who runs this, or
    others may write it; also when it is no plain file or larger than ``most`` bytes. ``OSError`` as usual.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        facts = os.fstat(descriptor)
        _require_regular(path, facts)
        _require_trusted_owner(path, facts)
        if facts.st_size > most:
            raise FileRefused(path, f"it is larger than {most} bytes", "that can't be configuration")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def _require_trusted_owner(path: Path, facts: os.stat_result) -> None:
    if sys.platform == "win32":  # where access lists, not modes, say who may write
        return
    if facts.st_uid not in {0, os.geteuid()}:
        raise FileRefused(
            path,
            f"it belongs to user {facts.st_uid}, who could change what this program does",
            f"chown it to {'root' if os.geteuid() == 0 else 'yourself'} or use another file",
        )
    if facts.st_mode & _OTHERS_WRITE and not _only_own_group(facts):
        raise FileRefused(path, "others may write it", f"chmod go-w {path}")


def append_line(path: Path, lines: Iterable[str]) -> None:
    """Append lines to a log of mode 0600, each whole or not at all.

    The file is opened anew at each call, so that log rotation needs no signal. ``FileRefused`` when the path is a link, not a plain file,
    somebody else's, or in a folder where others may replace it; ``OutputError`` when it can't be written (full disk, no rights).
    """
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
    require_own_folder(path.parent)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        if path.is_symlink():
            raise FileRefused(path, "it is a link", "name the file itself")
        descriptor = os.open(path, flags, _MODE)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    try:
        facts = os.fstat(descriptor)
        _require_regular(path, facts)
        if sys.platform != "win32" and (facts.st_uid != os.geteuid() or facts.st_nlink > 1):
            raise FileRefused(path, "it belongs to somebody else or has a second name", "choose another file")
        _write_whole(path, descriptor, data, facts.st_size)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, mode: int = _MODE) -> None:
    """Replace ``path`` by ``data`` in one step: readers see the old file or the new one, never a part.

    ``FileRefused`` and ``OutputError`` as ``append_line``; a link at ``path`` is replaced, not followed.
    """
    require_own_folder(path.parent)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    replaced = False
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if mode != _MODE:
                os.chmod(name, mode)
            os.fsync(file.fileno())
        os.replace(name, path)
        replaced = True
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if not replaced:  # also after Ctrl+C nothing is left behind
            with contextlib.suppress(OSError):
                os.unlink(name)


def private_folder(path: Path) -> Path:
    """Make sure that ``path`` is a folder of mode 0700 or stricter towards writing, and give it back."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    require_own_folder(path)
    return path


def require_own_folder(path: Path) -> None:
    """Raise unless nobody but root and the user who runs this can replace files in ``path``, or lead the way to it elsewhere.

    Each folder and link on the way is looked at. A sticky folder of root's, such as ``/tmp``, passes, because there only a
    file's owner can replace it.
    """
    path = Path(os.path.abspath(path))
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise OutputError(path, "not a folder")
        if sys.platform != "win32":
            _require_own_way(path, _MOST_LINKS)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error


def _require_own_way(path: Path, links_left: int) -> None:
    """Look at every folder from the root down; a link must be one's own and leads to a way that is looked at too."""
    for step in (*reversed(path.parents), path):
        facts = os.lstat(step)
        _require_own_step(step, facts)
        if stat.S_ISLNK(facts.st_mode):
            if not links_left:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = Path(os.path.normpath(step.parent / os.readlink(step)))
            return _require_own_way(target / path.relative_to(step), links_left - 1)
    return None


def _require_own_step(step: Path, facts: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    if stat.S_ISDIR(facts.st_mode) and facts.st_mode & stat.S_ISVTX and facts.st_uid == 0:
        return
    if facts.st_uid not in {0, os.geteuid()}:
        kind = "link" if stat.S_ISLNK(facts.st_mode) else "folder"
        raise FileRefused(step, f"the {kind} belongs to user {facts.st_uid}", "choose a folder of your own")
    if stat.S_ISDIR(facts.st_mode) and facts.st_mode & _OTHERS_WRITE and not _only_own_group(facts):
        raise FileRefused(step, "others may write to the folder", f"chmod go-w {step} or choose another")


def _only_own_group(facts: os.stat_result) -> bool:
    """Tell whether the group that may write is the user's private one (umask 002 systems), and nobody else may."""
    return not facts.st_mode & stat.S_IWOTH and facts.st_gid == facts.st_uid != 0


def _require_regular(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise FileRefused(path, "it is not a plain file", "name a plain file")


def _write_whole(path: Path, descriptor: int, data: bytes, size_before: int) -> None:
    """Write all of ``data`` or cut the file back to what it was."""
    written, problem = 0, "the disk took only a part"
    try:
        while written < len(data):
            count = os.write(descriptor, data[written:])
            if count <= 0:
                break
            written += count
    except OSError as error:
        problem = error.strerror or str(error)
    if written < len(data):
        if written and os.fstat(descriptor).st_size == size_before + written:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size_before)
        raise OutputError(path, problem)
