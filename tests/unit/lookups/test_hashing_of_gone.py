"""Checksums of programs whose processes have gone: of the file that was executed, with the content it had then, or none."""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.lookups import hashing
from outwatch.lookups.hashing import Hashing, HashingConfig
from outwatch.lookups.hashing.files import Way
from outwatch.model.records import Connection, Findings, Process, ProgramFile

from .asked import answered

if sys.platform != "linux":
    pytest.skip("the kernel sensor is Linux's", allow_module_level=True)

pytestmark = pytest.mark.security

Make = Callable[..., Connection]


@pytest.fixture
def health() -> Health:
    return Health()


def found(lookup: Hashing, record: Connection) -> str | None:
    process = answered(lookup, record).process
    return process.hash.sha256 if process and process.hash else None


class Nobody:
    """A table of processes that have all gone."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return None


def told(make: Make, path: Path | str, *, start: datetime, **findings: Any) -> Connection:
    """Make a connection of a program that the kernel told of and that has gone; no pid is as high as its."""
    process = Process(pid=2**31, executable=str(path), entity_id="gone", start=start)
    return make(process=process, timestamp=start, outwatch=Findings(**{"attribution": "exact", **findings}))


def later(path: Path, seconds: float = 1.0) -> datetime:
    """Give a moment after the last change of a file and of the folder it is in."""
    changed = max(path.stat().st_ctime, path.parent.stat().st_ctime)
    return datetime.fromtimestamp(changed + seconds, UTC)


@pytest.fixture
def of_gone(health: Health, monkeypatch: pytest.MonkeyPatch) -> Hashing:
    """Give a look-up for which two minutes have gone by since every change."""
    monkeypatch.setattr(time, "time_ns", lambda: int((time.time() + 120) * 1e9))
    return Hashing(HashingConfig(most_mib=1), health=health, processes=Nobody())


def test_a_program_that_has_gone_is_found_by_the_path_that_the_kernel_told(of_gone: Hashing, connection: Make, tmp_path: Path) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"content")
    record = told(connection, path, start=later(path))
    assert found(of_gone, record) == hashlib.sha256(b"content").hexdigest()
    assert of_gone.missing(record) is None


@pytest.mark.parametrize("change", ["content", "file", "folder", "back again"])
def test_what_was_changed_since_the_program_began_is_not_hashed_in_its_place(
    of_gone: Hashing, connection: Make, tmp_path: Path, change: str
) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    tmp_path.chmod(0o777)  # others than root can exchange what is in it
    for one, content in ((folder, b"evil"), (other, b"good")):
        one.mkdir()
        (one / "prog").write_bytes(content)
    path = folder / "prog"
    began = later(path, 0.03)
    while datetime.now(UTC) <= began:  # what comes now is later, also by the clock of the file system
        pass
    before = path.stat()
    if change == "content":
        path.write_bytes(b"good")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "file":
        os.replace(other / "prog", path)
    elif change == "folder":
        folder.rename(tmp_path / "away")
        other.rename(folder)
    else:
        path.unlink()
        os.symlink(other / "prog", path)
    record = told(connection, path, start=began)
    assert found(of_gone, record) is None
    assert of_gone.missing(record) is None, "it is not asked again and again"


@pytest.mark.parametrize(
    "findings", [{"executable": "replaced"}, {"executable": "other_namespace"}, {"executable": "deleted"}, {"attribution": "inferred"}]
)
def test_a_path_is_not_followed_unless_the_kernel_vouches_for_it(
    of_gone: Hashing, connection: Make, tmp_path: Path, findings: dict[str, Any]
) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"content")
    assert of_gone.missing(told(connection, path, start=later(path), **findings)) is None


@pytest.mark.parametrize("kind", ["link in the way", "pipe", "missing", "relative"])
def test_a_path_that_leads_to_no_plain_file_gives_no_checksum(of_gone: Hashing, connection: Make, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "folder" / "prog"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link in the way":
        path.write_bytes(b"x")
        (tmp_path / "link").symlink_to(path.parent)
        path = tmp_path / "link" / "prog"
    elif kind == "relative":
        path = Path("prog")
    record = told(connection, path, start=datetime.now(UTC))
    assert found(of_gone, record) is None
    assert of_gone.missing(record) is None


def test_one_look_serves_all_that_ran_before_it(
    of_gone: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"content")
    digest = found(of_gone, told(connection, path, start=later(path)))
    monkeypatch.setattr(hashing, "sha256_of", lambda *_: pytest.fail("hashed again"))
    second = told(connection, path, start=later(path, 2.0))
    assert of_gone.missing(second) is None
    assert found(of_gone, second) == digest
    after_the_look = told(connection, path, start=datetime.fromtimestamp(time.time() + 500, UTC))
    assert of_gone.missing(after_the_look) is not None, "somebody may have changed it in between"
    assert found(of_gone, after_the_look) is None


def test_a_program_too_large_is_counted_also_when_it_has_gone(of_gone: Hashing, health: Health, connection: Make, tmp_path: Path) -> None:
    path = tmp_path / "prog"
    with open(path, "wb") as file:
        file.truncate((1 << 20) + 1)
    record = told(connection, path, start=later(path))
    assert found(of_gone, record) is None
    assert health.not_checked == {"executable too large to hash": 1}
    assert of_gone.missing(record) is None


def test_the_file_at_the_path_is_taken_only_if_it_is_the_one_that_the_kernel_told_of(
    of_gone: Hashing, connection: Make, tmp_path: Path
) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"content")
    right = ProgramFile(device="0:1", inode=str(path.stat().st_ino), mount_namespace="1")
    record = told(connection, path, start=later(path), file=replace(right, inode=f"{right.inode}0"))
    assert found(of_gone, record) is None
    assert of_gone.missing(record) is None
    assert found(of_gone, told(connection, path, start=later(path), file=right)) == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("changed", [False, True])
def test_in_other_mounts_the_file_is_taken_if_it_was_not_changed_since_the_program_began(
    of_gone: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, changed: bool
) -> None:
    path = tmp_path / "prog"
    path.write_bytes(b"content")
    file = hashing.files.running(0, str(path), None)
    assert file is not None
    there = ProgramFile(device="0:1", inode=str(file.inode), mount_namespace="5")
    asked: list[tuple[str, ProgramFile]] = []

    def elsewhere(name: str, which: ProgramFile) -> tuple[str, Way]:
        asked.append((name, which))
        return str(path), Way(file, file.changed_ns, time.time_ns())

    monkeypatch.setattr(hashing.files, "way_elsewhere", elsewhere)
    start = later(path, -10.0 if changed else 1.0)
    record = told(connection, "/bin/prog", start=start, executable="other_namespace", file=there)
    assert found(of_gone, record) == (None if changed else hashlib.sha256(b"content").hexdigest())
    assert asked == [("/bin/prog", there)]
    assert of_gone.missing(record) is None
