"""Databases in the state folder: opened safely, brought up to date, set aside when damaged, and never lost."""

import os
import sqlite3
from pathlib import Path

import pytest

from outwatch.engine import sqlite
from outwatch.engine.sqlite import opened
from outwatch.errors import StoreError

FIRST = "CREATE TABLE facts (name TEXT PRIMARY KEY); CREATE INDEX by_name ON facts (name)"
SECOND = "ALTER TABLE facts ADD COLUMN number INTEGER DEFAULT 7"


def silent(_line: str) -> None:
    return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "facts.sqlite"


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if not one.name.endswith(("-wal", "-shm")))


def filled(path: Path, *steps: str) -> None:
    database = opened(path, steps, silent)
    database.execute("INSERT INTO facts (name) VALUES ('kept')")
    database.close()


def test_a_database_is_its_owners_alone(path: Path) -> None:
    filled(path, FIRST)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_later_steps_are_taken_once_and_what_was_there_stays(path: Path) -> None:
    filled(path, FIRST)
    for _ in range(2):
        database = opened(path, [FIRST, SECOND], silent)
        assert database.execute("SELECT * FROM facts").fetchall() == [("kept", 7)]
        database.close()


def test_a_step_that_fails_leaves_everything_as_it_was(path: Path) -> None:
    filled(path, FIRST)
    with pytest.raises(StoreError, match="no such table"):
        opened(path, [FIRST, f"{SECOND}; INSERT INTO nowhere VALUES (1)"], silent)
    database = opened(path, [FIRST, SECOND], silent)
    assert database.execute("SELECT * FROM facts").fetchall() == [("kept", 7)]
    database.close()


def test_what_a_newer_version_wrote_is_left_alone(path: Path) -> None:
    filled(path, FIRST, SECOND)
    with pytest.raises(StoreError, match="newer version"):
        opened(path, [FIRST], silent)
    assert names(path) == [path.name]


def damaged_in_the_middle(path: Path) -> bytes:
    database = opened(path, [FIRST], silent)
    database.executemany("INSERT INTO facts (name) VALUES (?)", [(f"{number:0200}",) for number in range(500)])
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    data = bytearray(path.read_bytes())
    data[4096:40_960] = os.urandom(36_864)
    return bytes(data)


@pytest.mark.parametrize("kind", ["garbage", "middle"])
def test_a_damaged_database_is_kept_under_another_name_and_a_new_one_begun(path: Path, kind: str) -> None:
    path.parent.mkdir(mode=0o700)
    data = damaged_in_the_middle(path) if kind == "middle" else b"this is no database" * 100
    path.write_bytes(data)
    path.chmod(0o600)
    told: list[str] = []
    database = opened(path, [FIRST], told.append)
    assert database.execute("SELECT * FROM facts").fetchall() == []
    database.close()
    new, aside = names(path)
    assert new == path.name
    assert (path.parent / aside).read_bytes()[:100] == data[:100]
    assert len(told) == 1
    assert aside in told[0]


def test_a_good_one_that_another_process_has_begun_meanwhile_is_not_set_aside(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is no database" * 100)
    path.chmod(0o600)
    prepared = sqlite._prepared

    def meanwhile(there: Path, steps: list[str]) -> sqlite3.Connection:
        monkeypatch.setattr(sqlite, "_prepared", prepared)
        os.rename(there, there.with_name("theirs"))
        filled(there, FIRST)
        raise sqlite3.DatabaseError("file is not a database")

    monkeypatch.setattr(sqlite, "_prepared", meanwhile)
    database = opened(path, [FIRST], silent)
    assert database.execute("SELECT * FROM facts").fetchall() == [("kept",)]
    database.close()
    assert names(path) == [path.name, "theirs"]


@pytest.mark.security
def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="link"):
        opened(path, [FIRST], silent)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.security
def test_a_folder_that_others_may_write_to_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(StoreError, match="others may write"):
        opened(path, [FIRST], silent)
