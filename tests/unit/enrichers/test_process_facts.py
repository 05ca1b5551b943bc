"""Who a pid is: by start time, whatever was known of that pid before."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from msgspec.structs import replace

from outwatch.enrichers.process import Processes
from outwatch.enrichers.process.facts import MOST_DEPTH, Birth, Facts, bounded_args
from outwatch.model import wire
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Findings, Hash, Process, User

Make = Callable[..., Connection]
NOW = 1_752_169_321.0


class Book:
    """A reader whose processes tests write down."""

    def __init__(self) -> None:
        self.births: dict[int, float] = {}
        self.written: dict[int, Facts] = {}
        self.reads = 0

    def add(self, pid: int, start: float = NOW, *, parent: int | None = None, mark: str | None = "m", name: str = "prog") -> None:
        self.births[pid] = start
        self.written[pid] = Facts(name=name, executable=mark, args=(name,), parent=parent, mark=mark, user_id="5", user_name="eve")

    def birth(self, pid: int) -> Birth | None:
        return Birth(pid, self.births[pid], str(self.births[pid])) if pid in self.births else None

    def mark(self, pid: int) -> str | None:
        return self.written[pid].mark if pid in self.written else None

    def facts(self, pid: int) -> Facts:
        self.reads += 1
        return self.written.get(pid, Facts())

    def user_name(self, user_id: str | None) -> str | None:
        return {"5": "eve"}.get(user_id or "")


@pytest.fixture
def book() -> Book:
    """Give an empty book."""
    return Book()


@pytest.fixture
def processes(book: Book) -> Processes:
    """Give a table that reads the book."""
    return Processes(PartConfig(), boot="b", reader=book)


def known(processes: Processes, pid: int) -> Process:
    """Identify a process that must be there."""
    found = processes.identify(pid, NOW + 100)
    assert found is not None
    return found


def depth(process: Process | None) -> int:
    """Count the parents of a process."""
    count = 0
    while process is not None and process.parent is not None:
        process, count = process.parent, count + 1
    return count


def test_a_pid_is_identified_by_its_start(book: Book, processes: Processes) -> None:
    book.add(7)
    first = known(processes, 7)
    assert first.start is not None
    assert first.start.timestamp() == NOW
    book.add(7, NOW + 1)
    assert known(processes, 7).entity_id != first.entity_id


@pytest.mark.security
@pytest.mark.parametrize(("born", "there"), [(NOW - 1, True), (NOW, True), (NOW + 0.01, True), (NOW + 0.5, False)])
def test_who_began_after_the_sighting_is_not_who_was_seen(book: Book, processes: Processes, born: float, *, there: bool) -> None:
    book.add(7, born)
    assert (processes.identify(7, NOW) is not None) is there


def test_a_pid_that_is_gone_is_nobody(processes: Processes) -> None:
    assert processes.identify(7, NOW) is None


def test_facts_are_filled_in_and_read_once(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7, name="evil", mark="/tmp/evil")
    record = connection(process=known(processes, 7), user=None)
    first, second = processes.enrich(record), processes.enrich(record)
    assert first == second
    assert first.process is not None
    assert (first.process.name, first.process.executable, first.process.args) == ("evil", "/tmp/evil", ("evil",))
    assert first.user == User(id="5", name="eve")
    assert book.reads == 1


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much time go by that a process is looked at again."""
    now = time.time()
    monkeypatch.setattr("outwatch.enrichers.process.time.time", lambda: now + 1)


def test_another_program_in_the_same_process_refreshes_the_facts(
    book: Book, processes: Processes, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add(7, name="shell", mark="/bin/sh")
    record = connection(process=known(processes, 7))
    processes.enrich(record)
    book.add(7, name="evil", mark="/tmp/evil")
    later(monkeypatch)
    found = processes.enrich(record).process
    assert found is not None
    assert (found.name, found.executable) == ("evil", "/tmp/evil")


def test_one_look_at_many_connections_is_one_look_at_their_process(
    book: Book, processes: Processes, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add(7)
    looks: list[int] = []
    mark = book.mark

    def counting(pid: int) -> str | None:
        looks.append(pid)
        return mark(pid)

    monkeypatch.setattr(book, "mark", counting)
    now = time.time()
    monkeypatch.setattr("outwatch.enrichers.process.time.time", lambda: now)
    for number in range(100):
        processes.enrich(connection(id=f"c{number}", process=known(processes, 7)))
    assert looks == [7]
    later(monkeypatch)
    processes.enrich(connection(process=known(processes, 7)))
    assert looks == [7, 7]


@pytest.mark.security
def test_a_connection_that_is_newer_than_the_look_is_one_more_look(book: Book, processes: Processes, connection: Make) -> None:
    # The process may run another program by now, and that one have opened it.
    book.add(7, name="good", mark="/usr/bin/good")
    process = known(processes, 7)
    processes.enrich(connection(process=process))
    book.add(7, name="evil", mark="/tmp/evil")
    older, newer = (connection(process=process, timestamp=datetime.now(UTC) + timedelta(seconds=late)) for late in (-60, 60))
    names = [one.name for one in (processes.enrich(older).process, processes.enrich(newer).process) if one is not None]
    assert names == ["good", "evil"]


def test_arguments_missing_in_the_middle_of_an_execution_are_read_again(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7)
    whole = book.written[7]
    book.written[7] = Facts(name="prog", executable="m", args=None, mark="m")  # the kernel sets the program first
    record = connection(process=known(processes, 7))
    processes.enrich(record)
    book.written[7] = whole
    found = processes.enrich(record).process
    assert found is not None
    assert found.args == ("prog",)


def test_what_was_known_of_a_process_outlives_it(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7, name="short-lived")
    record = connection(process=known(processes, 7))
    alive = processes.enrich(record)
    book.births.clear()
    book.written.clear()
    assert processes.enrich(record) == alive


@pytest.mark.security
@pytest.mark.parametrize("mark", ["m", "/usr/bin/other"])
def test_a_reused_pid_says_nothing_about_the_process_before(book: Book, processes: Processes, connection: Make, mark: str) -> None:
    book.add(7, name="victim")
    seen, unseen = connection(process=known(processes, 7)), connection(process=replace(known(processes, 7), entity_id="never described"))
    before = processes.enrich(seen)
    book.add(7, NOW + 50, name="impostor", mark=mark)
    assert processes.enrich(seen) == before
    nobody = processes.enrich(unseen).process
    assert nobody is not None
    assert nobody.name is None
    assert processes.enrich(unseen).process == unseen.process


@pytest.mark.parametrize("process", [None, Process(), Process(pid=7), Process(entity_id="x")])
def test_a_connection_without_an_identified_process_stays_as_it_is(processes: Processes, connection: Make, process: Process | None) -> None:
    record = connection(process=process)
    assert processes.enrich(record) is record


def test_the_state_of_the_file_reaches_the_record_and_leaves_it_again(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7)
    book.written[7] = Facts(name="x", executable="/tmp/x", state="deleted", mark="one")
    record = processes.enrich(connection(process=known(processes, 7)))
    assert record.outwatch.executable == "deleted"
    book.written[7] = Facts(name="x", executable="/usr/bin/x", mark="two")
    assert processes.enrich(record).outwatch == Findings(sensor="replay", attribution="exact")


def test_a_hash_is_left_to_the_look_up_that_knows_which_file_runs_now(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7, mark="/usr/bin/one")
    first = processes.enrich(connection(process=known(processes, 7)))
    assert first.process is not None
    hashed = replace(first, process=replace(first.process, hash=Hash(sha256="a" * 64)), outwatch=Findings(attribution="inferred"))
    described = processes.enrich(hashed).process
    assert described is not None
    assert described.executable == first.process.executable
    assert described.hash is None


def test_parents_are_followed_to_the_first_process(book: Book, processes: Processes, connection: Make) -> None:
    book.add(1, NOW - 300, parent=None, name="init")
    book.add(5, NOW - 200, parent=1, name="shell")
    book.add(7, NOW - 100, parent=5, name="curl")
    process = processes.enrich(connection(process=known(processes, 7))).process
    assert process is not None
    assert process.parent is not None
    assert process.parent.parent is not None
    assert [process.name, process.parent.name, process.parent.parent.name] == ["curl", "shell", "init"]
    assert process.parent.parent.parent is None


@pytest.mark.security
def test_a_parent_younger_than_its_child_is_somebody_else(book: Book, processes: Processes, connection: Make) -> None:
    book.add(5, NOW + 50, name="took the pid of the parent")
    book.add(7, NOW, parent=5)
    process = processes.enrich(connection(process=known(processes, 7))).process
    assert process is not None
    assert process.parent is None


@pytest.mark.security
@pytest.mark.parametrize("parent", [7, 8])
def test_a_loop_of_parents_ends(book: Book, processes: Processes, connection: Make, parent: int) -> None:
    book.add(7, parent=parent)
    book.add(8, parent=7)
    assert depth(processes.enrich(connection(process=known(processes, 7))).process) <= MOST_DEPTH


@pytest.mark.security
def test_a_chain_of_parents_is_bounded_also_when_it_is_found_link_by_link(book: Book, processes: Processes, connection: Make) -> None:
    length = 4 * MOST_DEPTH
    for pid in range(1, length):
        book.add(pid, NOW + pid / 1000, parent=pid - 1 or None)
    found = [processes.enrich(connection(process=known(processes, pid))).process for pid in range(1, length)]
    assert max(map(depth, found)) <= MOST_DEPTH


def told_by_the_kernel(processes: Processes, parent: Process) -> Process:
    """Make a process that lived too short to be in the book, as the kernel sensor describes it."""
    start = datetime.fromtimestamp(NOW + 5, UTC)
    return Process(pid=9, name="dropper", executable="/tmp/dropper", args=("dropper",), start=start, entity_id="gone", parent=parent)


def test_what_the_kernel_told_stays_and_gets_the_name_of_its_user(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7)
    process = told_by_the_kernel(processes, known(processes, 7))
    again = processes.enrich(connection(process=process, user=User(id="5"), outwatch=Findings(sensor="ebpf", attribution="exact")))
    assert again.user == User(id="5", name="eve")
    assert again.process is not None
    assert (again.process.name, again.process.executable, again.process.args) == ("dropper", "/tmp/dropper", ("dropper",))


def test_parents_that_began_before_the_watch_are_filled_in_once(book: Book, processes: Processes, connection: Make) -> None:
    book.add(1, NOW - 300, name="init")
    book.add(7, parent=1, name="shell")
    record = connection(process=told_by_the_kernel(processes, known(processes, 7)), outwatch=Findings(attribution="exact"))
    first = processes.enrich(record).process
    assert first is not None
    assert first.parent is not None
    assert first.parent.parent is not None
    assert (first.parent.name, first.parent.parent.name) == ("shell", "init")
    reads = book.reads
    assert processes.enrich(record).process == first
    assert book.reads == reads


def test_a_parent_whose_pid_is_somebody_else_s_now_is_not_described(book: Book, processes: Processes, connection: Make) -> None:
    book.add(7)
    parent = known(processes, 7)
    book.add(7, NOW + 1, name="stranger")
    process = processes.enrich(connection(process=told_by_the_kernel(processes, parent), outwatch=Findings(attribution="exact"))).process
    assert process is not None
    assert process.parent == parent


def captured(entity: str) -> Process:
    """Describe a process as somebody with more rights did."""
    return Process(pid=7, name="secret", executable="/root/secret", args=("secret", "-x"), entity_id=entity, hash=Hash(sha256="a" * 64))


@pytest.mark.parametrize("who", ["hidden", "gone", "somebody else", "readable"])
def test_what_somebody_with_more_rights_said_is_not_overwritten(book: Book, processes: Processes, connection: Make, who: str) -> None:
    book.add(7, name="name")
    entity = known(processes, 7).entity_id or ""
    if who == "hidden":
        book.written[7] = Facts(name="name", args=("name",), user_id="5", user_name="eve", mark="m")  # no right to see what it runs
    elif who == "gone":
        book.births.clear()
    elif who == "somebody else":
        book.add(7, NOW + 50, name="impostor")
    record = connection(process=captured(entity), user=User(id="0", name="root"), outwatch=Findings(sensor="x", attribution="inferred"))
    assert processes.enrich(record) == record
    assert processes.enrich(processes.enrich(record)) == record


def test_what_could_not_be_read_here_gives_way_to_what_somebody_with_more_rights_says(
    book: Book, processes: Processes, connection: Make
) -> None:
    book.add(7)
    book.written[7] = Facts(name="name", mark="m")
    bare = connection(process=known(processes, 7), outwatch=Findings(attribution="inferred"))
    assert processes.enrich(bare).process != bare.process
    told = replace(bare, process=captured(known(processes, 7).entity_id or ""))
    assert processes.enrich(told).process == told.process


def test_of_what_was_told_without_a_name_the_account_is_named(book: Book, processes: Processes, connection: Make) -> None:
    record = connection(process=captured("e"), user=User(id="5"), outwatch=Findings(attribution="inferred"))
    assert processes.enrich(record).user == User(id="5", name="eve")


@pytest.mark.security
def test_a_record_with_the_longest_arguments_is_a_line_that_can_be_read_again(connection: Make) -> None:
    args = bounded_args([b"\x01" * 5000] * 300)
    record = connection()
    assert record.process is not None
    line = wire.encode(replace(record, process=replace(record.process, args=args)))
    again = wire.decode(line)
    assert isinstance(again, Connection)
    assert again.process is not None
    assert again.process.args == args


@pytest.mark.parametrize("attribution", ["exact", "inferred"])
def test_what_outwatch_itself_sends_is_marked_however_it_was_seen(connection: Make, attribution: Literal["exact", "inferred"]) -> None:
    processes = Processes(PartConfig(), boot="b")
    own = processes.identify(os.getpid(), time.time())
    assert own is not None
    told = replace(own, executable="/usr/bin/python3", args=("python3",))
    record = connection(process=told, outwatch=Findings(attribution=attribution))
    assert processes.enrich(record).outwatch.own is True
    other = replace(told, entity_id="another process with our pid")
    assert processes.enrich(replace(record, process=other)).outwatch.own is None
