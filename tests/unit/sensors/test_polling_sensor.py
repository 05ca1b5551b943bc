"""The polling sensor over a made-up table of sockets: what each difference between two looks means."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Any, NamedTuple

import psutil
import pytest

from outwatch.model.records import Connection, Host, Process, Unknown
from outwatch.sensors.polling import PollingConfig
from outwatch.sensors.polling import sensor as polling
from outwatch.sensors.polling.sensor import Polling

NOW = 1_752_169_321.25
HERE, THERE = "192.0.2.10", "203.0.113.9"


class Address(NamedTuple):
    """One end of a socket, as psutil gives it."""

    ip: str
    port: int


class Row(NamedTuple):
    """A row of psutil's table."""

    type: int
    laddr: Address | tuple[()]
    raddr: Address | tuple[()]
    status: str
    pid: int | None


def row(
    status: str = "ESTABLISHED",
    *,
    pid: int | None = 7,
    port: int = 40000,
    here: str = HERE,
    there: str = THERE,
    far: int = 443,
    kind: int = SOCK_STREAM,
) -> Row:
    """Make the row of a connection."""
    return Row(kind, Address(here, port), Address(there, far), status, pid)


def listener(ip: str, port: int, kind: int = SOCK_STREAM) -> Row:
    """Make the row of a socket that waits for callers."""
    return Row(kind, Address(ip, port), (), "LISTEN" if kind == SOCK_STREAM else "NONE", 5)


class Machine:
    """A machine whose sockets, processes and clock a test sets."""

    def __init__(self) -> None:
        self.rows: Sequence[Row] = []
        self.births: dict[int, float] = {}
        self.now = NOW
        self.listing_takes = 0.0

    def net_connections(self, kind: str) -> list[Row]:
        assert kind == "inet"
        self.now += self.listing_takes
        return list(self.rows)

    def identify(self, pid: int, seen_at: float) -> Process | None:
        start = self.births.get(pid)
        if start is None or start > seen_at:
            return None
        return Process(pid=pid, start=datetime.fromtimestamp(start, UTC), entity_id=f"{pid}@{start}")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Put a made-up machine under psutil and the clock."""
    made = Machine()
    made.births[7] = NOW - 100
    monkeypatch.setattr(psutil, "net_connections", made.net_connections)
    monkeypatch.setattr(time, "time", lambda: made.now)
    monkeypatch.setattr(polling, "sees_other_users", lambda: True)
    return made


@pytest.fixture
def sensor(machine: Machine) -> Polling:
    """Give a sensor that looks at that machine."""
    return Polling(PollingConfig(), processes=machine, host=Host(name="h"))


Watch = Callable[..., list[list[Connection]]]


@pytest.fixture
def watch(machine: Machine, sensor: Polling) -> Watch:
    """Look once at each table given, half a second apart."""

    def looks(*tables: Sequence[Row]) -> list[list[Connection]]:
        found = []
        for table in tables:
            machine.rows = table
            found.append(sensor.look())
            machine.now += 0.5
        return found

    return looks


def actions(look: Sequence[Connection]) -> list[str | None]:
    """Give the events of a look."""
    return [record.event.action for record in look]


def test_the_first_look_gives_what_exists_without_a_start(watch: Watch) -> None:
    ((found,),) = watch([row()])
    assert (found.event.action, found.event.start, found.event.end) == ("existing", None, None)
    assert (found.source.ip, found.source.port, found.destination.ip, found.destination.port) == (HERE, 40000, THERE, 443)
    assert (found.network.transport, found.network.direction) == ("tcp", "egress")
    assert (found.outwatch.sensor, found.outwatch.attribution) == ("polling", "inferred")
    assert found.process is not None
    assert found.process.pid == 7
    assert found.timestamp == datetime.fromtimestamp(NOW, UTC)


def test_a_connection_is_told_when_it_opens_and_when_it_ends(watch: Watch) -> None:
    nothing, opened, unchanged, ended, after = watch([], [row()], [row()], [], [])
    assert (nothing, unchanged, after) == ([], [], [])
    assert (actions(opened), actions(ended)) == (["connect"], ["close"])
    assert opened[0].id == ended[0].id
    assert opened[0].event.start == ended[0].event.start == datetime.fromtimestamp(NOW + 0.5, UTC)
    assert ended[0].event.end == datetime.fromtimestamp(NOW + 1.5, UTC)
    assert opened[0].event.end is None


@pytest.mark.parametrize("status", ["SYN_SENT", "SYN_RECV"])
def test_an_answered_call_becomes_traffic_of_the_same_connection(watch: Watch, status: str) -> None:
    _, calling, answered = watch([], [row(status)], [row()])
    assert (actions(calling), actions(answered)) == (["connect"], ["traffic"])
    assert answered[0].id == calling[0].id
    assert answered[0].event.start == calling[0].event.start


@pytest.mark.parametrize("status", ["CLOSE_WAIT", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING"])
def test_a_connection_that_is_ending_says_nothing_new(watch: Watch, status: str) -> None:
    _, ending, gone = watch([row()], [row(status)], [])
    assert ending == []
    assert actions(gone) == ["close"]


@pytest.mark.parametrize("pid", [7, None])
def test_time_wait_ends_a_connection_once_and_keeps_its_process(watch: Watch, pid: int | None) -> None:
    opened, over, still, gone = watch([row()], [row("TIME_WAIT", pid=pid)], [row("TIME_WAIT", pid=None)], [])
    assert (actions(over), still, gone) == (["close"], [], [])
    assert over[0].id == opened[0].id
    assert over[0].process == opened[0].process
    assert over[0].outwatch.attribution == "inferred"


def test_what_was_over_before_the_watch_began_is_not_told(watch: Watch) -> None:
    assert watch([row("TIME_WAIT", pid=None)], [row("TIME_WAIT", pid=None)], []) == [[], [], []]


def test_a_connection_first_seen_over_is_told_as_ended_once(watch: Watch) -> None:
    _, over, gone = watch([], [row("TIME_WAIT", pid=None)], [])
    assert (actions(over), gone) == (["close"], [])
    assert over[0].outwatch.attribution == Unknown(unknown="exited")


@pytest.mark.parametrize("before", [[row("TIME_WAIT", pid=None)], [row(), row("TIME_WAIT", pid=None)]])
def test_the_same_two_ends_used_again_are_another_connection(watch: Watch, before: list[Row]) -> None:
    *earlier, again = watch(*([one] for one in before), [row()])
    assert actions(again) == ["connect"]
    assert again[0].id not in {record.id for look in earlier for record in look}


def test_a_socket_that_another_process_holds_now_is_the_same_connection(watch: Watch, machine: Machine) -> None:
    machine.births[8] = NOW
    first, second = watch([row(pid=7)], [row(pid=8)])
    assert actions(second) == ["traffic"]
    assert second[0].id == first[0].id
    assert second[0].process is not None
    assert second[0].process.pid == 8


def test_two_ends_that_open_again_are_another_connection(watch: Watch, machine: Machine) -> None:
    machine.births[8] = NOW
    first, second = watch([row(pid=7)], [row("SYN_SENT", pid=8)])
    assert actions(second) == ["close", "connect"]
    assert (second[0].id, second[0].process) == (first[0].id, first[0].process)
    assert second[1].id != first[0].id
    assert second[1].process is not None
    assert second[1].process.pid == 8


def test_a_call_that_nobody_answered_over_several_looks_has_failed(watch: Watch) -> None:
    *_, gone = watch([], [row("SYN_SENT")], [row("SYN_SENT")], [])
    assert actions(gone) == ["failed"]


def test_a_call_that_was_seen_opening_only_once_may_have_been_answered(watch: Watch) -> None:
    *_, gone = watch([], [row("SYN_SENT")], [])
    assert actions(gone) == ["close"]


def test_a_connection_whose_process_let_go_has_ended_and_stays_its_own(watch: Watch) -> None:
    opened, orphaned, gone = watch([row()], [row("FIN_WAIT1", pid=None)], [])
    assert actions(orphaned) == ["close"]
    assert orphaned[0].process == opened[0].process
    assert gone == []


@pytest.mark.parametrize(
    ("seen", "sees_all", "why"),
    [
        (row(pid=None), False, "no_rights"),
        (row(pid=None), True, "kernel"),
        (row(pid=99), True, "exited"),  # gone between the two questions
        (row("FIN_WAIT2", pid=None), False, "exited"),
        (row("LAST_ACK", pid=None), False, "exited"),
        (row(pid=0), False, "no_rights"),
    ],
)
def test_an_unknown_process_is_said_so_with_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, seen: Row, why: Any, *, sees_all: bool
) -> None:
    monkeypatch.setattr(polling, "sees_other_users", lambda: sees_all)
    machine.rows = [seen]
    (found,) = Polling(PollingConfig(), processes=machine, host=Host()).look()
    assert found.process is None
    assert found.outwatch.attribution == Unknown(unknown=why)


@pytest.mark.security
def test_a_process_that_began_after_the_look_is_not_blamed(watch: Watch, machine: Machine) -> None:
    machine.births[7] = NOW + 5  # the pid was given to somebody else meanwhile
    ((found,),) = watch([row()])
    assert found.process is None
    assert found.outwatch.attribution == Unknown(unknown="exited")


def test_a_process_that_becomes_known_later_is_added(watch: Watch) -> None:
    _, opened, known = watch([], [row(pid=None)], [row(pid=7)])
    assert opened[0].process is None
    assert (actions(known), known[0].id) == (["traffic"], opened[0].id)
    assert known[0].process is not None
    assert known[0].outwatch.attribution == "inferred"


def test_a_process_born_while_the_table_was_read_is_known_at_the_next_look_at_the_latest(watch: Watch, machine: Machine) -> None:
    machine.listing_takes = 0.4  # thousands of sockets
    machine.births[7] = NOW + 0.2
    looks = watch([row()], [row()], [row()])
    last = [record for look in looks for record in look][-1]
    assert last.process is not None
    assert last.process.pid == 7


@pytest.mark.parametrize(
    ("waiting", "here", "direction"),
    [
        (HERE, HERE, "ingress"),
        ("0.0.0.0", HERE, "ingress"),
        ("::", HERE, "ingress"),  # dual stack
        ("::", "2001:db8::1", "ingress"),
        ("0.0.0.0", "::ffff:192.0.2.10", "ingress"),
        (HERE, "::ffff:192.0.2.10", "ingress"),
        ("::ffff:192.0.2.10", HERE, "ingress"),
        ("0.0.0.0", "2001:db8::1", "egress"),
        ("192.0.2.11", HERE, "egress"),
        ("127.0.0.1", HERE, "egress"),
    ],
)
def test_who_calls_a_local_listener_is_the_source(watch: Watch, waiting: str, here: str, direction: str) -> None:
    found = watch([listener(waiting, 8080), row(here=here, port=8080, far=50000)])[0][0]
    assert found.network.direction == direction
    ends = [(found.source.ip, found.source.port), (found.destination.ip, found.destination.port)]
    assert ends == ([(THERE, 50000), (here, 8080)] if direction == "ingress" else [(here, 8080), (THERE, 50000)])


def test_both_halves_of_a_loopback_connection_are_told_apart(watch: Watch) -> None:
    caller = row(here="127.0.0.1", there="127.0.0.1", port=50000, far=8080)
    called = row(here="127.0.0.1", there="127.0.0.1", port=8080, far=50000)
    (found,) = watch([caller, called, listener("127.0.0.1", 8080)])
    assert [record.network.direction for record in found] == ["egress", "ingress"]


def test_a_udp_socket_that_waits_is_no_listener_of_tcp(watch: Watch) -> None:
    (found,) = watch([listener("0.0.0.0", 8080, SOCK_DGRAM), row(port=8080)])
    assert found[0].network.direction == "egress"


@pytest.mark.security
def test_a_call_that_is_still_unanswered_is_ours_even_from_a_listening_port(watch: Watch) -> None:
    # With SO_REUSEPORT a program can call out from a port on which it listens, and would escape judgement.
    (found,) = watch([listener("0.0.0.0", 8080), row("SYN_SENT", port=8080)])
    assert found[0].network.direction == "egress"


def test_a_server_that_takes_one_caller_and_stops_listening_was_called(watch: Watch) -> None:
    _, accepted = watch([listener("0.0.0.0", 8080)], [row(port=8080, far=50000)])
    assert [record.network.direction for record in accepted] == ["ingress"]


def test_connected_udp_is_a_connection_and_unconnected_udp_is_counted(watch: Watch, sensor: Polling) -> None:
    ((found,),) = watch([row("NONE", kind=SOCK_DGRAM, far=53), listener("0.0.0.0", 5353, SOCK_DGRAM), listener("::", 68, SOCK_DGRAM)])
    assert (found.network.transport, found.destination.port) == ("udp", 53)
    assert "unconnected UDP has no destination (2 such sockets)" in sensor.blind()


def test_tcp_and_udp_between_the_same_ends_are_two_connections(watch: Watch) -> None:
    (found,) = watch([row("NONE", kind=SOCK_DGRAM), row()])
    assert sorted(str(record.network.transport) for record in found) == ["tcp", "udp"]
    assert len({record.id for record in found}) == 2


def test_listeners_alone_are_no_connections(watch: Watch) -> None:
    assert watch([listener("0.0.0.0", 22), listener("::", 22)]) == [[]]


def test_ids_never_repeat(watch: Watch) -> None:
    (found,) = watch([row(port=port) for port in range(1, 2001)])
    assert len({record.id for record in found}) == 2000
    assert all(len(record.id) == 16 and int(record.id, 16) >= 0 for record in found)


def test_a_socket_that_two_processes_share_is_one_connection(watch: Watch, machine: Machine) -> None:
    # Where the system lists sockets by process, a parent and its child both show the one they share.
    machine.births[8] = NOW - 50
    shared = [row(pid=7), row(pid=8)]
    first, second, third, gone = watch(shared, shared, shared, [])
    assert len(first) == 1
    assert (second, third) == ([], [])
    assert [(one.id, one.event.action) for one in gone] == [(first[0].id, "close")]


class Owner:
    """A process of psutil's process by process list."""

    def __init__(self, pid: int, answer: Sequence[Row] | Exception) -> None:
        self.pid, self._answer = pid, answer

    def net_connections(self, kind: str) -> list[Row]:
        assert kind == "inet"
        if isinstance(self._answer, Exception):
            raise self._answer
        return [one._replace(pid=None) for one in self._answer]  # psutil's rows of a process carry no pid


def test_where_the_whole_list_is_refused_it_goes_process_by_process(
    sensor: Polling, monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    asked: list[str] = []

    def refused(_kind: str) -> list[Row]:
        asked.append("whole")
        raise psutil.AccessDenied

    owners = [
        Owner(1, psutil.AccessDenied()),
        Owner(2, psutil.NoSuchProcess(2)),
        Owner(3, PermissionError(13, "no")),
        Owner(7, [row()]),
    ]
    monkeypatch.setattr(psutil, "net_connections", refused)
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(owners))
    assert not any("not listed" in said for said in sensor.blind())
    (found,) = sensor.look()
    assert found.process is not None
    assert found.process.pid == 7
    assert sensor.look() == []
    assert asked == ["whole"]
    assert "sockets of other users are not listed by this system" in sensor.blind()


def test_what_can_not_be_seen_is_said_in_words(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "sees_other_users", lambda: False)
    sensor = Polling(PollingConfig(interval=2), processes=machine, host=Host())
    sensor.look()
    assert "one look: what is not open just now is missed" in sensor.blind()
    sensor.look()
    assert "polled every 2 s: shorter connections are missed" in sensor.blind()
    assert "processes of other users are not visible without root" in sensor.blind()
