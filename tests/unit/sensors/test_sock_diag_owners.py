"""Whose sockets are whose: a made-up /proc, and processes that come and go."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from outwatch.model.records import Process
from outwatch.sensors.sock_diag import owners as module
from outwatch.sensors.sock_diag.owners import Owners

WHEN = datetime(2025, 7, 10, tzinfo=UTC)


class Machine:
    """Processes whose births a test sets, and their descriptors below a folder."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.births: dict[int, int] = {}
        self.asked: list[int] = []

    def identify(self, pid: int, _seen_at: float) -> Process | None:
        self.asked.append(pid)
        birth = self.births.get(pid)
        return None if birth is None else Process(pid=pid, start=WHEN, entity_id=f"{pid}@{birth}")

    def runs(self, pid: int, *links: str, birth: int = 1) -> None:
        folder = self.proc / str(pid) / "fd"
        folder.mkdir(parents=True)
        for number, link in enumerate(links):
            (folder / str(number)).symlink_to(link)
        self.births[pid] = birth


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def owners(machine: Machine) -> Owners:
    return Owners(machine, str(machine.proc))


def pids(found: dict[int, Process | None]) -> dict[int, int | None]:
    return {inode: one.pid if one else None for inode, one in found.items()}


def test_one_pass_finds_the_holders_of_all_sockets(machine: Machine, owners: Owners) -> None:
    machine.runs(7, "/dev/null", "socket:[100]", "socket:[101]", "pipe:[102]")
    machine.runs(8, "socket:[200]")
    assert pids(owners.find({100, 101, 200})) == {100: 7, 101: 7, 200: 8}
    assert sorted(machine.asked) == [7, 8], "once for each process, however many sockets it holds"


def test_sockets_that_nobody_holds_are_not_found(machine: Machine, owners: Owners) -> None:
    machine.runs(7, "socket:[100]", "pipe:[300]", "socket:[]", "socket:[x]")
    assert pids(owners.find({100, 300})) == {100: 7}


def test_what_is_no_process_or_may_not_be_read_is_passed_over(machine: Machine, owners: Owners) -> None:
    (machine.proc / "net").mkdir()
    (machine.proc / "9").mkdir()  # no fd: it has just ended
    machine.runs(7, "socket:[100]")
    assert pids(owners.find({100})) == {100: 7}


@pytest.mark.security
def test_a_pid_that_went_to_somebody_else_is_not_blamed(machine: Machine, owners: Owners) -> None:
    machine.runs(7, "socket:[100]")
    del machine.births[7]  # ``identify`` knows nobody who had this pid then
    assert owners.find({100}) == {100: None}


def test_a_missing_proc_finds_nobody(machine: Machine) -> None:
    assert Owners(machine, str(machine.proc / "none")).find({1}) == {}


def test_holders_that_ended_are_told_once(machine: Machine, owners: Owners) -> None:
    machine.runs(7, "socket:[100]")
    machine.runs(8, "socket:[200]")
    owners.find({100, 200})
    assert owners.gone() == set()
    del machine.births[7]
    machine.births[8] = 2  # the pid was used again
    assert owners.gone() == {7, 8}
    assert owners.gone() == set()


def test_only_holders_of_something_are_remembered(machine: Machine, owners: Owners) -> None:
    machine.runs(7, "socket:[100]")
    owners.find({100})
    owners.keep(set())
    del machine.births[7]
    assert owners.gone() == set()


@pytest.mark.security
def test_a_process_with_countless_descriptors_delays_no_other(machine: Machine, owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FEW", 10)
    machine.runs(1, *(f"socket:[{number}]" for number in range(1000, 1050)))
    machine.runs(7, "socket:[100]")
    read: list[tuple[str, int]] = []
    whole = Owners._read

    def noted(self: Owners, pid: str, start: int) -> list[str]:
        read.append((pid, start))
        return whole(self, pid, start)

    monkeypatch.setattr(Owners, "_read", noted)
    assert pids(owners.find({100, *range(1000, 1050)})) == {100: 7, **dict.fromkeys(range(1000, 1050), 1)}
    assert [pid for pid, start in read if start == 0] == [pid for pid, _ in read[:2]], "first a few of everybody's, then the rest"


@pytest.mark.security
def test_a_pass_ends_when_its_time_is_over(machine: Machine, owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", -1.0)
    for pid in range(1, 20):
        machine.runs(pid, f"socket:[{pid}]")
    assert len(owners.find(set(range(1, 20)))) == 1
