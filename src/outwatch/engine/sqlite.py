"""Small databases in the state folder: opened safely, brought up to date step by step, set aside when they are damaged."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from outwatch.errors import OutwatchError, StoreError
from outwatch.guard.files import private_folder, require_own_file

_WAIT = 5.0  # seconds for another process that writes


def opened(path: Path, steps: Sequence[str], tell: Callable[[str], None]) -> sqlite3.Connection:
    """Open a database whose schema is what all ``steps`` lead to; its ``user_version`` counts those it has taken.

    Write-ahead log, so that readers don't wait; every statement commits by itself unless a transaction is begun. The connection may move
    to another thread, but is for one at a time. A damaged file is renamed, told, and a new one begun. ``StoreError`` for one that a newer
    version has written, and where the folder or the disk does not allow it.
    """
    try:
        private_folder(path.parent)
        require_own_file(path)
    except OutwatchError as error:
        raise StoreError(path, str(error)) from error
    inode = path.stat().st_ino if path.exists() else None
    try:
        return _prepared(path, steps)
    except sqlite3.OperationalError as error:  # a full disk, no rights, locked: it may be whole
        raise StoreError(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        try:
            if path.stat().st_ino == inode:  # else another process has just done so
                _set_aside(path, aside)
                tell(f"{path}: {error}; it is kept as {aside.name}, and a new one begun")
            return _prepared(path, steps)
        except (OSError, sqlite3.Error) as again:
            raise StoreError(path, str(again)) from again


def _prepared(path: Path, steps: Sequence[str]) -> sqlite3.Connection:
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    with contextlib.ExitStack() as undo:
        undo.callback(database.close)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        _check(database)
        _migrate(database, path, steps)
        undo.pop_all()
    return database


def _check(database: sqlite3.Connection) -> None:
    (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise sqlite3.DatabaseError(answer)


def _migrate(database: sqlite3.Connection, path: Path, steps: Sequence[str]) -> None:
    (taken,) = database.execute("PRAGMA user_version").fetchone()
    if taken > len(steps):
        raise StoreError(path, f"a newer version has written it (schema {taken}, this one knows {len(steps)})")
    if taken == len(steps):
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        (taken,) = database.execute("PRAGMA user_version").fetchone()  # another process may have been here before
        for at, step in enumerate(steps[taken:], taken + 1):
            for statement in step.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={at:d}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def _set_aside(path: Path, aside: Path) -> None:
    os.rename(path, aside)
    for ending in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{ending}", f"{aside}{ending}")
