"""The files a process holds open: noted while it is still the same process, within bounds, and never touched."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from outwatch.enrichers import open_files
from outwatch.enrichers.open_files import PART, OpenFiles, OpenFilesConfig
from outwatch.model.records import Connection, Findings, Process

MAKE = Callable[..., Connection]
HOLD = Callable[[Path | str | bytes], str]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which is Linux's")


class Table:
    """Knows one process by the identity it is given; ``None``: it has gone."""

    def __init__(self, entity_id: str | None = "e1") -> None:
        self.entity_id = entity_id
        self.asked = 0

    def identify(self, pid: int, seen_at: float) -> Process | None:
        self.asked += 1
        return None if self.entity_id is None else Process(pid=pid, entity_id=self.entity_id)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 500.0
        monkeypatch.setattr(open_files, "time", SimpleNamespace(monotonic=lambda: self.now, time=lambda: 1.7e9 + self.now))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def hold() -> Iterator[HOLD]:
    """Open a file, made if it is not there, until the test ends; gives its path."""
    opened: list[int] = []

    def hold(path: Path | str | bytes) -> str:
        opened.append(os.open(path, os.O_CREAT | os.O_RDONLY))
        return os.fsdecode(path)

    yield hold
    for descriptor in opened:
        os.close(descriptor)


def part(table: Table | None = None, **settings: int) -> OpenFiles:
    return OpenFiles(OpenFilesConfig(**settings), processes=table or Table())  # type: ignore[arg-type]


def of(entity_id: str | None = "e1", pid: int | None = None) -> Process:
    return Process(pid=os.getpid() if pid is None else pid, name="python", entity_id=entity_id)


def files(enriched: Connection) -> tuple[str, ...]:
    return enriched.outwatch.open_files or ()


@linux
def test_files_held_open_are_noted_and_everything_else_is_not(connection: MAKE, tmp_path: Path, hold: HOLD) -> None:
    held = hold(tmp_path / "secret.txt")
    hold("/dev/null")
    hold("/proc/self/status")
    others = [*os.pipe(), os.memfd_create("hidden"), os.eventfd(0)]
    try:
        found = files(part().enrich(connection(process=of())))
    finally:
        for descriptor in others:
            os.close(descriptor)
    assert held in found
    assert all(path.startswith("/") for path in found)
    assert not [path for path in found if path.startswith(("/dev/null", "/proc/", "/memfd:"))]


@linux
@pytest.mark.security
def test_files_in_shared_memory_are_files(connection: MAKE, hold: HOLD) -> None:
    # Below /dev, and writable by everybody: a place where things are hidden.
    path = Path(f"/dev/shm/outwatch-test-{os.getpid()}")
    try:
        hold(path)
    except OSError:
        pytest.skip("no /dev/shm that can be written here")
    try:
        assert str(path) in files(part().enrich(connection(process=of())))
    finally:
        path.unlink()


@linux
def test_a_file_that_was_deleted_is_said_to_be(connection: MAKE, tmp_path: Path, hold: HOLD) -> None:
    held = hold(tmp_path / "gone.txt")
    os.unlink(held)
    assert f"{held} (deleted)" in files(part().enrich(connection(process=of())))


@linux
@pytest.mark.security
@pytest.mark.parametrize("now", ["e2", None], ids=["another process has its pid", "it has gone"])
def test_nothing_is_noted_of_a_process_that_is_no_longer_the_same(connection: MAKE, tmp_path: Path, hold: HOLD, now: str | None) -> None:
    hold(tmp_path / "others.txt")
    seen = connection(process=of())
    assert part(Table(now)).enrich(seen) == seen


@linux
def test_what_was_noted_stays_when_the_file_was_closed_and_the_process_has_gone(
    connection: MAKE, tmp_path: Path, hold: HOLD, clock: Clock
) -> None:
    table = Table()
    noting = part(table)
    with open(tmp_path / "first.txt", "w") as first:
        noting.enrich(connection(process=of()))
    second = hold(tmp_path / "second.txt")
    clock.now += 1
    found = files(noting.enrich(connection(id="c2", process=of())))
    assert {first.name, second} <= set(found)
    table.entity_id = None
    clock.now += 1
    assert files(noting.enrich(connection(id="c3", process=of()))) == found


@linux
def test_a_process_with_many_connections_is_looked_at_once_in_a_while(connection: MAKE, clock: Clock) -> None:
    table = Table()
    noting = part(table)
    for number in range(50):
        noting.enrich(connection(id=f"c{number}", process=of()))
    assert table.asked == 1
    clock.now += 0.6
    noting.enrich(connection(process=of()))
    assert table.asked == 2


@linux
@pytest.mark.security
def test_no_more_files_are_noted_than_configured(connection: MAKE, tmp_path: Path, hold: HOLD, clock: Clock) -> None:
    noting = part(most=5)
    for number in range(20):
        hold(tmp_path / str(number))
    for _ in range(3):
        assert len(files(noting.enrich(connection(process=of())))) == 5
        clock.now += 1


@linux
@pytest.mark.security
def test_no_more_descriptors_are_looked_at_than_a_bound(
    connection: MAKE, tmp_path: Path, hold: HOLD, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        hold(tmp_path / str(number))
    assert len(files(part().enrich(connection(process=of())))) >= 20
    monkeypatch.setattr(open_files, "_MOST_DESCRIPTORS", 3)
    assert len(files(part().enrich(connection(process=of())))) <= 3


@linux
@pytest.mark.security
def test_no_more_processes_are_remembered_than_a_bound(connection: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "_REMEMBERED", 2)
    table = Table()
    noting = part(table)
    for number in range(10):
        table.entity_id = f"e{number}"
        noting.enrich(connection(process=of(f"e{number}")))
    assert list(noting._files) == ["e8", "e9"]


@linux
@pytest.mark.security
@pytest.mark.parametrize("name", [b"\xff\xfe.txt", b"\x1b[31m\n.txt", b"x" * 250], ids=["no UTF-8", "escapes", "long"])
def test_any_file_name_makes_a_valid_record(connection: MAKE, tmp_path: Path, hold: HOLD, name: bytes) -> None:
    folder = os.fsencode(tmp_path)
    for _ in range(5):
        folder = os.path.join(folder, b"d" * 250)
        os.mkdir(folder)
    hold(os.path.join(folder, name))
    enriched = part().enrich(connection(process=of()))
    (found,) = (path for path in files(enriched) if "dddd" in path)
    assert len(found) <= 1024
    line = msgspec.json.encode(enriched)
    assert not any(byte < 0x20 for byte in line)
    assert line.decode("utf-8")


@pytest.mark.parametrize("process", [None, Process(name="curl"), Process(pid=77, name="curl"), Process(name="curl", entity_id="e1")])
def test_a_connection_whose_process_is_not_known_for_sure_stays_as_it_is(connection: MAKE, process: Process | None) -> None:
    table = Table()
    seen = connection(process=process)
    assert part(table).enrich(seen) is seen
    assert table.asked == 0


def test_a_pid_that_nobody_has_is_no_fault(connection: MAKE) -> None:
    seen = connection(process=of(pid=(1 << 22) + 1), outwatch=Findings(sensor="polling"))
    assert part(Table(None)).enrich(seen) == seen


def test_other_systems_are_asked_through_psutil(tmp_path: Path) -> None:
    with open(tmp_path / "held.txt", "w") as held:
        assert held.name in list(open_files._elsewhere(os.getpid()))
    assert list(open_files._elsewhere((1 << 22) + 1)) == []


@pytest.mark.security
def test_nobodys_files_are_looked_at_unless_asked_for_and_never_for_a_recording() -> None:
    assert PART.config().enabled is False
    assert PART.live_only
