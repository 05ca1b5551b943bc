"""What was at an executable's path before is remembered across runs, and an update is no alarm."""

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine import sqlite
from outwatch.engine.health import Health
from outwatch.errors import LookupFailed
from outwatch.lookups.changes import Changes, ChangesConfig
from outwatch.model.records import Changed, Connection, Findings, Hash, Package, Process

from .asked import answered

Make = Callable[..., Connection]
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
HOUR = 3600 * 1_000_000


class Owners:
    """Packages as a test wants them."""

    def __init__(self) -> None:
        self.package: Package | None = None
        self.ready = asyncio.Event()
        self.ready.set()
        self.fault: LookupFailed | None = None

    async def owner(self, _connection: Connection) -> Package | None:
        await self.ready.wait()
        if self.fault:
            raise self.fault
        return self.package


class Machine:
    """A program at a path, and runs of outwatch that see it."""

    def __init__(self, folder: Path, make: Make) -> None:
        self.path = folder / "tool"
        self.state = folder / "state"
        self.owners = Owners()
        self.health = Health()
        self._make = make

    def install(self, content: bytes) -> None:
        new = self.path.with_name("new")
        new.write_bytes(content)
        new.rename(self.path)

    def run(self, **settings: Any) -> Changes:
        return Changes(ChangesConfig(**settings), health=self.health, state_dir=self.state, owners=self.owners)

    def seen(self, content: bytes, *, start: datetime | None = None, path: object = None, state: Any = None) -> Connection:
        process = Process(
            pid=7,
            executable=str(path or self.path),
            entity_id="e1",
            start=start or datetime.now(UTC),
            hash=Hash(sha256=hashlib.sha256(content).hexdigest()),
        )
        return self._make(process=process, outwatch=Findings(executable=state))

    def changed(self, content: bytes, **more: Any) -> Changed | None:
        """Let another run see the program, and give what it says."""
        return answered(self.run(), self.seen(content, **more)).outwatch.changed

    def change(self, statement: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.state / "executables.sqlite")) as database, database:
            database.execute(statement, values)

    def rows(self) -> dict[str, str]:
        with contextlib.closing(sqlite3.connect(self.state / "executables.sqlite")) as database:
            return {path.decode(): digest for path, digest in database.execute("SELECT path, sha256 FROM executables")}


@pytest.fixture
def machine(tmp_path: Path, connection: Make) -> Machine:
    machine = Machine(tmp_path, connection)
    machine.install(b"one")
    return machine


async def asked_for(run: Changes, record: Connection) -> None:
    await run.find(run.missing(record), record)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_seen_for_the_first_time_or_unchanged_is_no_change(machine: Machine) -> None:
    assert machine.changed(b"one") is None
    assert machine.changed(b"one") is None
    assert machine.rows() == {str(machine.path): digest(b"one")}


def test_another_file_at_the_path_is_told_with_what_was_there_and_until_when(machine: Machine) -> None:
    before = datetime.now(UTC)
    machine.changed(b"one")
    between = datetime.now(UTC)
    machine.install(b"two")
    changed = machine.changed(b"two")
    assert changed is not None
    assert (changed.sha256, changed.by_package) == (digest(b"one"), None)
    assert changed.last_seen is not None
    assert changed.first_seen is not None
    assert before <= changed.last_seen <= between <= changed.first_seen <= datetime.now(UTC)


@pytest.mark.parametrize(("matches", "by_package"), [(True, True), (False, None), (None, None)])
def test_a_file_that_its_package_brought_is_an_update(machine: Machine, *, matches: bool | None, by_package: bool | None) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    machine.owners.package = Package(name="tools", matches=matches)
    changed = machine.changed(b"two")
    assert changed is not None
    assert changed.by_package is by_package


def test_that_it_was_an_update_may_be_known_later_and_stays_known(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    first = machine.changed(b"two")
    machine.owners.package = Package(name="tools", matches=True)
    second = machine.changed(b"two")
    machine.owners.package = None
    third = machine.changed(b"two")
    assert first is not None
    assert second == third == replace(first, by_package=True)


def test_a_change_is_told_for_some_time_in_every_run_and_then_no_more(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    first = machine.changed(b"two")
    assert first is not None
    assert machine.changed(b"two") == first
    machine.change("UPDATE executables SET first_seen = first_seen - ?", 25 * HOUR)
    assert machine.changed(b"two") is None


@pytest.mark.security
def test_a_process_that_runs_the_former_file_still_is_no_change_and_is_not_remembered(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    first = machine.changed(b"two")
    assert machine.changed(b"one", start=LONG_AGO) is None
    assert machine.rows() == {str(machine.path): digest(b"two")}
    assert machine.changed(b"two") == first


@pytest.mark.security
def test_a_file_that_was_there_for_a_moment_only_is_told(machine: Machine) -> None:
    machine.changed(b"one")
    assert machine.path.read_bytes() == b"one"  # it was put back
    changed = machine.changed(b"evil", start=datetime.now(UTC) + timedelta(seconds=1))
    assert changed is not None
    assert changed.sha256 == digest(b"one")


@pytest.mark.security
def test_a_new_file_that_an_older_process_executes_is_told(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"evil")
    changed = machine.changed(b"evil", start=LONG_AGO)
    assert changed is not None
    assert changed.sha256 == digest(b"one")


@pytest.mark.security
@pytest.mark.parametrize("state", ["deleted", "memfd", "replaced", "other_namespace"])
def test_a_path_that_does_not_lead_to_the_file_that_runs_is_not_remembered_by_it(machine: Machine, state: str) -> None:
    run, record = machine.run(), machine.seen(b"evil", state=state)
    assert run.missing(record) is None
    assert answered(run, record).outwatch.changed is None
    assert not machine.state.exists()


@pytest.mark.parametrize("path", ["tool", "./tool", "[vdso]"])
def test_what_has_no_whole_path_is_not_remembered(machine: Machine, path: str) -> None:
    assert machine.run().missing(machine.seen(b"one", path=path)) is None


@pytest.mark.parametrize("known", [None, Hash(), Hash(sha256="x"), Hash(sha256="A" * 64)])
def test_without_a_checksum_nothing_is_asked(machine: Machine, known: Hash | None) -> None:
    record = machine.seen(b"one")
    assert record.process is not None
    assert machine.run().missing(replace(record, process=replace(record.process, hash=known))) is None
    assert machine.run().missing(replace(record, process=None)) is None


def test_the_fact_of_an_earlier_program_is_taken_off(machine: Machine) -> None:
    record = machine.seen(b"one")
    stale = replace(record, outwatch=replace(record.outwatch, changed=Changed(sha256="a" * 64)))
    assert machine.run().enrich(stale).outwatch.changed is None


def test_nothing_is_told_before_the_word_on_packages_is_there(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    machine.owners.package = Package(name="tools", matches=True)

    async def look() -> tuple[Connection, Connection]:
        machine.owners.ready = asyncio.Event()
        run, record = machine.run(), machine.seen(b"two")
        asking = asyncio.create_task(asked_for(run, record))
        await asyncio.sleep(0)
        early = run.enrich(record)
        machine.owners.ready.set()
        await asking
        return early, run.enrich(record)

    early, late = asyncio.run(look())
    assert early.outwatch.changed is None
    assert late.outwatch.changed is not None
    assert late.outwatch.changed.by_package is True


def test_if_packages_cant_be_asked_just_now_nothing_is_noted(machine: Machine) -> None:
    machine.changed(b"one")
    machine.install(b"two")
    machine.owners.fault = LookupFailed("package database takes too long")
    run, record = machine.run(), machine.seen(b"two")
    with pytest.raises(LookupFailed):
        asyncio.run(asked_for(run, record))
    assert machine.rows() == {str(machine.path): digest(b"one")}
    assert run.missing(record) is not None


def test_programs_that_wait_together_are_noted_in_one_go(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = machine.run()
    asked: list[int] = []
    look = run._look

    def counting(together: Any) -> Any:
        asked.append(len(together))
        return look(together)

    monkeypatch.setattr(run, "_look", counting)
    records = [machine.seen(b"one", path=f"/opt/t{number}") for number in range(30)]

    async def all_at_once() -> None:
        await asyncio.gather(*(asked_for(run, record) for record in records))

    asyncio.run(all_at_once())
    assert sum(asked) == len(machine.rows()) == 30
    assert len(asked) <= 2


@pytest.mark.security
def test_a_flood_of_new_programs_makes_room_for_itself_and_not_of_those_known_for_long(machine: Machine) -> None:
    machine.changed(b"one")
    machine.change("UPDATE executables SET known_since = known_since - ?", 25 * HOUR)
    run = machine.run(remembered=5)
    for number in range(20):
        answered(run, machine.seen(b"one", path=f"/opt/t{number:02}"))
    assert sorted(machine.rows()) == sorted([str(machine.path), *(f"/opt/t{number}" for number in range(16, 20))])


@pytest.mark.security
@pytest.mark.parametrize("path", ["/opt/\ud800", "/opt/\x00", "/" + "x" * 100_000, "/opt/'; DROP TABLE executables; --"])
def test_no_path_breaks_the_memory(machine: Machine, path: str) -> None:
    assert answered(machine.run(), machine.seen(b"one", path=path)).outwatch.changed is None
    changed = answered(machine.run(), machine.seen(b"two", path=path)).outwatch.changed
    assert changed is not None
    assert changed.sha256 == digest(b"one")
    assert machine.health.problems == []


@pytest.mark.security
def test_a_damaged_memory_is_set_aside_and_a_new_one_begun(machine: Machine) -> None:
    machine.changed(b"one")
    (machine.state / "executables.sqlite").write_bytes(b"no database at all, whatever its name says" * 100)
    assert machine.changed(b"one") is None
    assert machine.rows() == {str(machine.path): digest(b"one")}
    assert [problem for problem in machine.health.problems if "executables.sqlite.damaged-" in problem]
    (kept,) = [one for one in machine.state.iterdir() if "damaged" in one.name and not one.name.endswith(("-wal", "-shm"))]
    assert kept.read_bytes().startswith(b"no database")


@pytest.mark.security
@pytest.mark.parametrize("kind", ["folder", "link", "newer", "locked"])
def test_a_memory_that_cant_be_used_is_told_and_everything_else_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    machine.changed(b"one")
    file = machine.state / "executables.sqlite"
    with contextlib.ExitStack() as stack:
        if kind == "folder":
            machine.state.chmod(0o777)
        elif kind == "link":
            file.rename(machine.state / "other")
            file.symlink_to(machine.state / "other")
        elif kind == "newer":
            machine.change("PRAGMA user_version=99")
        else:
            monkeypatch.setattr(sqlite, "_WAIT", 0.01)
            other = stack.enter_context(contextlib.closing(sqlite3.connect(file, isolation_level=None)))
            other.execute("BEGIN EXCLUSIVE")
        machine.install(b"two")
        run, record = machine.run(), machine.seen(b"two")
        assert answered(run, record).outwatch.changed is None
        (problem,) = machine.health.problems
        assert problem.startswith("which files programs had is not remembered: ")
        assert run.missing(record) is None  # nobody is asked again and again
