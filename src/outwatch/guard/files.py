"""Opening files where others could have laid a trap: links, foreign owners, shared folders."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from outwatch.errors import FileRefused, OutputError
from outwatch.guard.rights import invoking_user

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
        _require_own(path, facts)
        _write_whole(path, descriptor, data, facts.st_size)
    finally:
        os.close(descriptor)


def require_own_file(path: Path) -> None:
    """Raise unless a file that is to be written in place is one's own, or not there yet.

    ``FileRefused`` for a link, for what is no plain file, and for a file of somebody else's.
    """
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    if stat.S_ISLNK(facts.st_mode):
        raise FileRefused(path, "it is a link", "name the file itself")
    _require_own(path, facts)


def _require_own(path: Path, facts: os.stat_result) -> None:
    _require_regular(path, facts)
    if sys.platform != "win32" and (facts.st_uid != os.geteuid() or facts.st_nlink > 1):
        raise FileRefused(path, "it belongs to somebody else or has a second name", "choose another file")


def write_atomic(path: Path, data: bytes, mode: int = _MODE) -> None:
    """Replace ``path`` by ``data`` in one step: readers see the old file or the new one, never a part.

    ``FileRefused`` and ``OutputError`` as ``append_line``; a link at ``path`` is replaced, not followed.
    """
    require_own_folder(path.parent)
    with _placed(path, None, mode) as (file, place):
        file.write(data)
        place(replaces=True)


@contextlib.contextmanager
def new_file(path: Path, *, replaces: bool) -> Iterator[BinaryIO]:
    """Write what becomes the file ``path`` when the block ends well; if it does not, nothing is left behind.

    A file that is there already is an ``OutputError`` unless it may be replaced; a link or a folder is a ``FileRefused`` always, as is a
    folder that others could redirect. Under sudo, folders of the user who typed it count as own, and files in them become theirs.
    ``OutputError`` when it can't be written, also for an ``OSError`` inside of the block.
    """
    caller = invoking_user()
    with _opened_folder(path.parent, caller) as (folder, belongs):
        _require_free(path, folder, replaces=replaces)
        with _placed(path, folder, _MODE) as (file, place):
            yield file
            if belongs and caller is not None and sys.platform != "win32":
                os.fchown(file.fileno(), *caller)
            _require_free(path, folder, replaces=replaces)
            place(replaces=replaces)


def require_writable(path: Path, *, replaces: bool) -> None:
    """Raise what ``new_file`` would raise now, so that nobody waits for a result that can't be kept."""
    with _opened_folder(path.parent, invoking_user()) as (folder, _):
        _require_free(path, folder, replaces=replaces)
        with _placed(path, folder, _MODE):
            pass


@contextlib.contextmanager
def _placed(path: Path, folder: int | None, mode: int) -> Iterator[tuple[BinaryIO, Callable[..., None]]]:
    """Give a file beside ``path`` and what puts it there; it is gone afterwards if that was not called or failed.

    Every ``OSError`` on the way becomes an ``OutputError``.
    """
    name = f".outwatch-{secrets.token_hex(8)}"
    at, target = (name, path.name) if folder is not None else (str(path.parent / name), str(path))
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    placed = False
    try:
        with open(os.open(at, flags, _MODE, dir_fd=folder), "w+b") as file:

            def place(*, replaces: bool) -> None:
                nonlocal placed
                file.flush()
                if mode != _MODE:
                    os.chmod(at, mode, dir_fd=folder)
                os.fsync(file.fileno())
                if sys.platform == "win32":
                    file.close()
                if replaces:
                    os.replace(at, target, src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    _rename_to_free(at, target, folder)
                placed = True

            yield file, place
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if not placed:  # also after Ctrl+C nothing is left behind
            with contextlib.suppress(OSError):
                os.unlink(at, dir_fd=folder)


def _rename_to_free(at: str, target: str, folder: int | None) -> None:
    """Give a file its name unless something has it meanwhile (``FileExistsError``)."""
    try:
        os.link(at, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without second names
        os.rename(at, target, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.unlink(at, dir_fd=folder)


@contextlib.contextmanager
def _opened_folder(path: Path, caller: tuple[int, int] | None) -> Iterator[tuple[int | None, bool]]:
    """Check a folder and hold it open, so that nobody can put another in its place; tell whether it is the caller's.

    ``None`` in the place of the descriptor where a system knows no paths relative to one.
    """
    user = caller[0] if caller else None
    require_own_folder(path, user)
    if sys.platform == "win32":
        yield None, False
        return
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    try:
        belongs = os.fstat(folder).st_uid == user
        if user is not None and not belongs and _passes_through(path, user):  # it could be another one by now
            raise FileRefused(path, f"it lies in a folder of user {user}, but is not theirs", "choose another folder")
        yield folder, belongs
    finally:
        os.close(folder)


def _passes_through(path: Path, user: int) -> bool:
    """Tell whether a folder on the way belongs to a user."""
    real = Path(os.path.realpath(path))
    return any(os.lstat(step).st_uid == user for step in (real, *real.parents))


def _require_free(path: Path, folder: int | None, *, replaces: bool) -> None:
    """Raise if something is at ``path`` that must not be replaced."""
    try:
        facts = os.lstat(path) if folder is None else os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise OutputError(path, getattr(error, "strerror", None) or str(error)) from error
    if stat.S_ISLNK(facts.st_mode):
        raise FileRefused(path, "it is a link", "name the file itself")
    _require_regular(path, facts)
    if not replaces:
        raise OutputError(path, "it exists already; --force replaces it")


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


def require_own_folder(path: Path, caller: int | None = None) -> None:
    """Raise unless nobody but root and the user who runs this can replace files in ``path``, or lead the way to it elsewhere.

    Folders of the user ``caller`` pass too, their links don't. Each folder and link on the way is looked at. A sticky folder of
    root's, such as ``/tmp``, passes, because there only a file's owner can replace it.
    """
    try:
        path = Path(os.path.abspath(path))
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise OutputError(path, "not a folder")
        if sys.platform != "win32":
            _require_own_way(path, _MOST_LINKS, caller)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error


def _require_own_way(path: Path, links_left: int, caller: int | None) -> None:
    """Look at every folder from the root down; a link must be one's own and leads to a way that is looked at too."""
    for step in (*reversed(path.parents), path):
        facts = os.lstat(step)
        _require_own_step(step, facts, caller)
        if stat.S_ISLNK(facts.st_mode):
            if not links_left:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = Path(os.path.normpath(step.parent / os.readlink(step)))
            return _require_own_way(target / path.relative_to(step), links_left - 1, caller)
    return None


def _require_own_step(step: Path, facts: os.stat_result, caller: int | None) -> None:
    if sys.platform == "win32":
        return
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == caller and not facts.st_mode & stat.S_IWOTH:
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
