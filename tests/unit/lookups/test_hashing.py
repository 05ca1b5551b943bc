"""Checksums of executables: of the file that runs, never of another one."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.engine.patience import Patience
from outwatch.enrichers.process import Processes
from outwatch.lookups import hashing
from outwatch.lookups.hashing import Hashing, HashingConfig, sha256_of
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Findings, Hash, Process

from .asked import answered

Make = Callable[..., Connection]
SHELL, SLEEP = shutil.which("bash"), shutil.which("sleep")


@pytest.fixture
def health() -> Health:
    """Give fresh counters."""
    return Health()


class Living:
    """Processes of which each pid is still the one it was: number 7 is e1, 8 is e2."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return Process(pid=pid, entity_id=f"e{pid - 6}")


@pytest.fixture
def lookup(health: Health, monkeypatch: pytest.MonkeyPatch) -> Hashing:
    """Give a look-up that finds executables by their path, so that tests need no processes."""
    monkeypatch.setattr(hashing, "_path", lambda process: process.executable or "")
    monkeypatch.setattr(hashing, "_is_there", lambda _pid: True)
    return Hashing(HashingConfig(most_mib=1), health=health, processes=Living())


def of(make: Make, path: Path | str | None, entity: str | None = "e1", pid: int | None = 7) -> Connection:
    """Make a connection of the program at a path."""
    return make(process=Process(pid=pid, executable=None if path is None else str(path), entity_id=entity))


def found(lookup: Hashing, record: Connection) -> str | None:
    """Look a connection up as the slow lane does, and give the hash it has then."""
    process = answered(lookup, record).process
    return process.hash.sha256 if process and process.hash else None


def test_the_checksum_is_added_once_it_is_known(lookup: Hashing, connection: Make, tmp_path: Path) -> None:
    (tmp_path / "prog").write_bytes(b"content")
    record = of(connection, tmp_path / "prog")
    assert lookup.enrich(record) is record
    assert found(lookup, record) == hashlib.sha256(b"content").hexdigest()
    assert lookup.missing(record) is None


def test_a_file_is_hashed_once_for_all_processes_that_run_it(
    lookup: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prog").write_bytes(b"content")
    digest = found(lookup, of(connection, tmp_path / "prog", "e1"))
    monkeypatch.setattr(hashing, "sha256_of", lambda *_: pytest.fail("hashed again"))
    assert found(lookup, of(connection, tmp_path / "prog", "e2", pid=8)) == digest


def test_a_file_changed_since_has_its_own_checksum(lookup: Hashing, connection: Make, tmp_path: Path) -> None:
    (tmp_path / "prog").write_bytes(b"one")
    first = found(lookup, of(connection, tmp_path / "prog", "e1"))
    (tmp_path / "prog").write_bytes(b"two")
    os.utime(tmp_path / "prog", (1, 1))
    second = found(lookup, of(connection, tmp_path / "prog", "e2", pid=8))
    assert first != second == hashlib.sha256(b"two").hexdigest()


def test_a_process_is_looked_at_once_for_all_its_connections(
    lookup: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prog").write_bytes(b"content")
    looks: list[int] = []
    running = hashing.files.running

    def counting(pid: int, *more: Any) -> Any:
        looks.append(pid)
        return running(pid, *more)

    monkeypatch.setattr(hashing.files, "running", counting)
    records = [replace(of(connection, tmp_path / "prog"), id=f"c{number}") for number in range(100)]
    process = records[0].process
    records = [replace(record, process=process) for record in records]
    keys = {lookup.missing(lookup.enrich(record)) for record in records}
    assert len(keys) == 1
    assert looks == [7]
    asyncio.run(lookup.find(keys.pop(), records[0]))
    assert len({lookup.enrich(record).process for record in records}) == 1
    assert looks == [7, 7]  # the second made sure that it is still that process


def test_what_could_not_be_seen_of_a_process_is_looked_at_again_later(
    lookup: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = of(connection, tmp_path / "prog")
    assert lookup.missing(record) is None
    (tmp_path / "prog").write_bytes(b"content")
    assert lookup.missing(record) is None
    now = time.monotonic()
    monkeypatch.setattr("outwatch.lookups.hashing.time.monotonic", lambda: now + 2)
    assert found(lookup, record) == hashlib.sha256(b"content").hexdigest()


@pytest.mark.security
def test_a_file_exchanged_between_question_and_answer_is_not_hashed(
    lookup: Hashing, health: Health, connection: Make, tmp_path: Path
) -> None:
    (tmp_path / "prog").write_bytes(b"trusted")
    record = of(connection, tmp_path / "prog")
    key = lookup.missing(record)
    assert key is not None
    (tmp_path / "other").write_bytes(b"hostile")
    os.replace(tmp_path / "other", tmp_path / "prog")
    asyncio.run(lookup.find(key, record))
    assert lookup.enrich(record).process == record.process
    assert health.not_checked["executable could not be hashed"] == 1


def test_a_file_that_is_too_large_is_counted_as_not_checked(lookup: Hashing, health: Health, connection: Make, tmp_path: Path) -> None:
    with open(tmp_path / "prog", "wb") as file:
        file.truncate((1 << 20) + 1)
    record = of(connection, tmp_path / "prog")
    assert found(lookup, record) is None
    assert health.not_checked == {"executable too large to hash": 1}
    assert lookup.missing(record) is None


@pytest.mark.parametrize("kind", ["none", "folder", "pipe"])
def test_what_is_no_file_is_never_asked_for(lookup: Hashing, connection: Make, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if sys.platform == "win32":
            pytest.skip("this system has no named pipes among its files")
        os.mkfifo(path)
    assert lookup.missing(of(connection, path)) is None


@pytest.mark.parametrize(("path", "entity", "pid"), [(None, "e", 7), ("/bin/sh", None, 7), ("/bin/sh", "e", None)])
def test_without_an_identified_process_nothing_is_asked(
    lookup: Hashing, connection: Make, path: str | None, entity: str | None, pid: int | None
) -> None:
    assert lookup.missing(of(connection, path, entity, pid)) is None
    assert lookup.missing(connection(process=None)) is None


def test_a_key_of_somebody_else_is_left_alone(lookup: Hashing, connection: Make) -> None:
    asyncio.run(lookup.find("not ours", connection()))
    assert lookup.enrich(connection()).process == connection().process


@pytest.mark.security
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_plain_files_have_a_checksum(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        if sys.platform == "win32":
            pytest.skip("this system has no named pipes among its files")
        os.mkfifo(path)
    assert sha256_of(str(path)) is None


@pytest.mark.security
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")
def test_the_checksum_of_a_pids_new_owner_is_not_given_to_the_old_one(health: Health, connection: Make) -> None:
    gone = Process(pid=os.getpid(), executable="/usr/bin/curl", entity_id="gone", start=datetime(2001, 1, 1, tzinfo=UTC))
    assert found(Hashing(HashingConfig(), health=health, processes=Processes(PartConfig(), boot="b")), connection(process=gone)) is None


@pytest.mark.security
@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")
@pytest.mark.skipif(not SHELL or not SLEEP, reason="bash and sleep are missing")
def test_a_program_put_in_the_place_of_another_and_executed_has_its_own_checksum(
    health: Health, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One process, one path, two programs: the checksum of the first must not vouch for the second.
    monkeypatch.setattr("outwatch.enrichers.process._BELIEVED", -1.0)  # each look is one of its own
    assert SHELL
    assert SLEEP
    path, after = str(tmp_path / "prog"), str(tmp_path / "after")
    shutil.copy(SHELL, path)
    shutil.copy(SLEEP, after)
    processes = Processes(PartConfig(), boot="b")
    lookup = Hashing(HashingConfig(), health=health, processes=processes)
    with subprocess.Popen([path, "-c", f"read line; exec '{path}' 60"], stdin=subprocess.PIPE) as child:
        try:

            def look() -> str | None:
                record = connection(process=processes.identify(child.pid, time.time()))
                return found(lookup, processes.enrich(record))

            expected = {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in (SHELL, SLEEP)}
            assert look() == expected[SHELL]
            os.replace(after, path)
            assert child.stdin is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            deadline = time.monotonic() + 10
            while b"60" not in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0"):
                assert time.monotonic() < deadline
            assert look() == expected[SLEEP]
        finally:
            child.kill()


@pytest.mark.security
def test_a_program_without_a_path_of_its_own_is_named_with_its_checksum(lookup: Hashing, connection: Make, tmp_path: Path) -> None:
    (tmp_path / "prog").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    record = of(connection, tmp_path / "prog")
    for subject, named in (("memfd:tool script:/x", f"memfd:tool script:/x#{digest[:16]}"), ("/usr/bin/tool", "/usr/bin/tool")):
        this = replace(record, outwatch=Findings(subject=subject))
        found(lookup, this)
        once = lookup.enrich(this)
        assert once.outwatch.subject == named
        assert lookup.enrich(once) is once


def test_the_hash_in_a_record_that_is_right_already_changes_nothing(lookup: Hashing, connection: Make, tmp_path: Path) -> None:
    (tmp_path / "prog").write_bytes(b"x")
    record = of(connection, tmp_path / "prog")
    found(lookup, record)
    once = lookup.enrich(record)
    assert once.process is not None
    assert once.process.hash == Hash(sha256=hashlib.sha256(b"x").hexdigest())
    assert lookup.enrich(once) is once


@pytest.mark.security
def test_a_file_system_that_hangs_does_not_hang_the_end(
    lookup: Hashing, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prog").write_bytes(b"x")
    record = of(connection, tmp_path / "prog")
    forever = threading.Event()
    monkeypatch.setattr(hashing, "sha256_of", lambda *_: forever.wait() and None)
    key = lookup.missing(record)
    assert key is not None
    try:
        with pytest.raises(TimeoutError):  # and then the loop ends, although the thread still waits
            asyncio.run(asyncio.wait_for(lookup.find(key, record), 0.05))
        assert not forever.is_set()
    finally:
        forever.set()


@pytest.mark.parametrize("path", ["there", "not there"])
def test_a_checksum_that_came_with_a_record_stays(lookup: Hashing, connection: Make, tmp_path: Path, path: str) -> None:
    (tmp_path / "there").write_bytes(b"what a watcher without rights finds")
    came = Hash(sha256="a" * 64)
    record = connection(process=Process(pid=7, executable=str(tmp_path / path), entity_id="e1", hash=came))
    assert lookup.missing(record) is None
    assert lookup.enrich(record) is record


@pytest.mark.security
@pytest.mark.integration
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel sensor is Linux's")
@pytest.mark.skipif(not SHELL or not SLEEP, reason="bash and sleep are missing")
def test_a_program_executed_later_is_not_hashed_as_the_one_that_the_kernel_told_of(health: Health, connection: Make) -> None:
    assert SHELL
    assert SLEEP
    processes = Processes(PartConfig(), boot="b")
    lookup = Hashing(HashingConfig(), health=health, processes=processes)
    with subprocess.Popen([SLEEP, "60"]) as child:
        try:
            known = processes.identify(child.pid, time.time() + 1)
            assert known is not None
            shell = replace(known, executable=os.path.realpath(SHELL))
            digest = found(lookup, connection(process=shell, timestamp=datetime.now(UTC), outwatch=Findings(attribution="exact")))
        finally:
            child.kill()
    assert digest == hashlib.sha256(Path(SHELL).read_bytes()).hexdigest()


@pytest.mark.security
def test_a_look_at_a_file_that_never_ends_is_told_once_and_asked_of_nobody(
    lookup: Hashing, health: Health, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forever = threading.Event()
    monkeypatch.setattr(hashing.files, "running", lambda *_: forever.wait(60) and None)
    monkeypatch.setattr(lookup, "_patience", Patience(0.01))
    record = of(connection, tmp_path / "prog")
    try:
        assert lookup.missing(record) is None
        assert lookup.enrich(record) is record
        assert health.problems == [f"{tmp_path}/prog: its file system does not answer; what runs from there is not hashed"]
    finally:
        forever.set()


def test_a_file_that_never_answers_is_given_up(
    lookup: Hashing, health: Health, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prog").write_bytes(b"x")
    forever = threading.Event()
    monkeypatch.setattr(hashing, "sha256_of", lambda *_: forever.wait() and None)
    monkeypatch.setattr(hashing, "_LONGEST", 0.01)
    try:
        assert found(lookup, of(connection, tmp_path / "prog")) is None
        assert health.not_checked == {"executable could not be hashed": 1}
    finally:
        forever.set()
