"""What the differences between two lists of sockets mean, and the kernel's word on those that close."""

import struct
import time
from collections.abc import Callable, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

import pytest

from outwatch.model.records import Connection, Host, Process, Unknown, User
from outwatch.sensors.sock_diag import rows
from outwatch.sensors.sock_diag.rows import TCP, UDP, Counters, Row
from outwatch.sensors.sock_diag.table import Table

CLOSE, CLOSING, ESTABLISHED, LAST_ACK, LISTEN = rows.CLOSE, rows.CLOSING, rows.ESTABLISHED, rows.LAST_ACK, rows.LISTEN
FIN_WAIT1, FIN_WAIT2, SYN_SENT, TIME_WAIT = rows.FIN_WAIT1, rows.FIN_WAIT2, rows.SYN_SENT, rows.TIME_WAIT
HERE, THERE = "192.0.2.10", "203.0.113.9"


def ends(here: str, port: int, there: str, far: int) -> bytes:
    packed = [inet_pton(AF_INET6 if ":" in one else AF_INET, one).ljust(16, b"\0") for one in (here, there)]
    return struct.pack("!HH", port, far) + b"".join(packed)


def row(
    state: int = ESTABLISHED,
    *,
    cookie: int = 1,
    inode: int = 100,
    sent: int = 0,
    received: int = 0,
    kind: int = TCP,
    here: str = HERE,
    port: int = 40000,
    there: str = THERE,
    far: int = 443,
    called: bool = True,
    remains: bool = False,
    answered: bool = True,
) -> Row:
    """Make a socket whose counters are as the kernel's would be; ``received`` is what the kernel counts, with a FIN."""
    signs = called + (state in {CLOSE, FIN_WAIT2, TIME_WAIT}) if answered else 0
    unacked = int(called and not answered)
    counters = Counters(sent + signs, received, sent, 0, int(received > 1), answered) if kind == TCP and not remains else None
    family = 10 if ":" in here else 2
    return Row(kind, family, state, remains, ends(here, port, there, far), 0, cookie, 0, unacked, 1000, inode, counters)


def listener(ip: str, port: int, kind: int = TCP) -> Row:
    state = LISTEN if kind == TCP else CLOSE
    return row(state, cookie=99, here=ip, port=port, there="::" if ":" in ip else "0.0.0.0", far=0, kind=kind)


def accepted(**changes: Any) -> Row:
    return row(port=8080, far=50000, called=False, **changes)


class Machine:
    """Holders of sockets, set by a test; ``asked`` are the inodes that were searched."""

    def __init__(self) -> None:
        self.holds: dict[int, int | None] = {100: 7}
        self.ended: set[int] = set()
        self.asked: list[set[int]] = []
        self.clock = 1000.0

    def find(self, wanted: set[int]) -> dict[int, Process | None]:
        self.asked.append(wanted)
        return {inode: Process(pid=pid, entity_id=f"e{pid}") if pid else None for inode, pid in self.holds.items() if inode in wanted}

    def gone(self) -> set[int]:
        ended, self.ended = self.ended, set()
        return ended

    def keep(self, pids: set[int]) -> None:
        self.kept = pids


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(time, "monotonic", lambda: made.clock)
    return made


@pytest.fixture
def table(machine: Machine) -> Table:
    return Table(machine, host=Host(name="h"), sees_all=True)


Watch = Callable[..., list[list[Connection]]]


@pytest.fixture(params=[True, False], ids=["ends told", "ends not told"])
def watch(request: pytest.FixtureRequest, table: Table, machine: Machine) -> Watch:
    """Look at each list given, a second apart, on a kernel that tells ends (but does not in these tests), and on one that does not."""

    def looks(*lists: Sequence[Row]) -> list[list[Connection]]:
        found = []
        for number, listed in enumerate(lists, 1):
            found.append(table.look(listed, tells_ends=request.param, last=number == len(lists)))
            machine.clock += 1
        return found

    return looks


def actions(look: Sequence[Connection]) -> list[str | None]:
    return [record.event.action for record in look]


def forgotten(_row: Row) -> int | None:
    return None


def remembered(_row: Row) -> int | None:
    return FIN_WAIT2


def test_the_first_look_gives_what_exists_without_a_start(watch: Watch) -> None:
    ((found,),) = watch([row(sent=10, received=20)])
    assert (found.event.action, found.event.start, found.event.end) == ("existing", None, None)
    assert (found.source.ip, found.source.port, found.source.bytes) == (HERE, 40000, 10)
    assert (found.destination.ip, found.destination.port, found.destination.bytes) == (THERE, 443, 20)
    assert (found.network.transport, found.network.direction) == ("tcp", "egress")
    assert (found.outwatch.sensor, found.outwatch.attribution) == ("sock_diag", "inferred")
    assert found.process is not None
    assert found.process.pid == 7
    assert found.user == User(id="1000")


def test_a_connection_is_told_when_it_opens_and_when_it_is_gone(watch: Watch) -> None:
    nothing, opened, unchanged, *later = watch([], [row()], [row()], [], [])
    assert (nothing, unchanged) == ([], [])
    (ended,) = [one for look in later for one in look]
    assert (actions(opened), ended.event.action, ended.id) == (["connect"], "close", opened[0].id)
    assert opened[0].event.start == ended.event.start
    assert ended.event.end is not None


def test_the_kernel_gets_until_the_next_look_to_say_how_a_connection_ended(table: Table) -> None:
    table.look([row()], tells_ends=True)
    assert table.look([], tells_ends=True) == []
    (ended,) = table.ended([row(CLOSE, inode=0, sent=5, received=8)], remembered)
    assert (ended.event.action, ended.source.bytes, ended.destination.bytes) == ("close", 5, 8)
    assert table.look([], tells_ends=True) == []


def test_the_last_look_waits_for_nobody(table: Table) -> None:
    table.look([row(sent=3)], tells_ends=True)
    (ended,) = table.look([], tells_ends=True, last=True)
    assert (ended.event.action, ended.source.bytes) == ("close", 3)


def test_a_socket_that_is_held_after_its_connection_died_adds_its_last_bytes(table: Table) -> None:
    table.look([row(sent=3)], tells_ends=True)
    table.look([], tells_ends=True)
    (ended,) = table.look([], tells_ends=True)
    (final,) = table.ended([row(CLOSE, inode=0, sent=4)], remembered)
    assert (final.id, final.event, final.source.bytes) == (ended.id, ended.event, 4)
    assert table.ended([row(CLOSE, inode=0, sent=4)], remembered)[0].id != ended.id, "its cookie is free again"


def test_an_end_that_says_nothing_new_is_not_told_twice(table: Table) -> None:
    table.look([row(sent=3)], tells_ends=True)
    for _ in range(2):
        table.look([], tells_ends=True)
    assert table.ended([row(CLOSE, inode=0, sent=3)], remembered) == []


def test_what_opened_and_closed_between_two_looks_is_told_once_with_its_bytes(table: Table) -> None:
    table.look([], tells_ends=True)
    (one,) = table.ended([row(CLOSE, inode=0, sent=70, received=9)], remembered)
    assert (one.event.action, one.source.bytes, one.destination.bytes) == ("close", 70, 9)
    assert one.event.start == one.event.end is not None
    assert (one.process, one.user, one.outwatch.attribution) == (None, None, Unknown(unknown="exited"))
    assert table.look([], tells_ends=True) == []


def test_closed_listeners_and_unconnected_sockets_are_no_connections(table: Table) -> None:
    table.look([], tells_ends=True)
    assert table.ended([listener("0.0.0.0", 80), listener("::", 53, UDP)], forgotten) == []
    disconnected = row(CLOSE, kind=UDP, far=0)
    assert table.ended([disconnected], forgotten) == []


@pytest.mark.parametrize(("answered", "action"), [(False, "failed"), (True, "close")])
def test_of_a_call_whose_far_port_is_forgotten_the_address_stands(table: Table, answered: bool, action: str) -> None:
    table.look([], tells_ends=True)
    (one,) = table.ended([row(CLOSE, inode=0, here="0.0.0.0", far=0, answered=answered)], forgotten)
    assert (one.event.action, one.network.direction) == (action, "egress")
    assert (one.source.ip, one.source.port, one.source.bytes) == (None, 40000, None)
    assert (one.destination.ip, one.destination.port, one.destination.bytes) == (THERE, None, None)


def test_a_connection_that_its_program_reset_keeps_the_bytes_that_were_seen(table: Table) -> None:
    table.look([row(sent=50, received=60)], tells_ends=True)
    (ended,) = table.ended([row(CLOSE, inode=0, here="0.0.0.0", far=0)], forgotten)
    assert (ended.event.action, ended.source.bytes, ended.destination.bytes) == ("close", 50, 60)
    assert (ended.source.ip, ended.destination.port) == (HERE, 443)


def test_an_answered_call_becomes_traffic_of_the_same_connection(watch: Watch) -> None:
    _, calling, answered = watch([], [row(SYN_SENT, answered=False)], [row()])
    assert (actions(calling), actions(answered)) == (["connect"], ["traffic"])
    assert answered[0].id == calling[0].id


def test_a_call_that_nobody_answered_over_several_looks_has_failed(watch: Watch) -> None:
    calling = row(SYN_SENT, answered=False)
    looks = watch([], [calling], [calling], [], [])
    assert [action for look in looks for action in actions(look)] == ["connect", "failed"]


def test_a_refused_call_has_failed_however_short_it_was_seen(table: Table) -> None:
    table.look([row(SYN_SENT, answered=False)], tells_ends=True)
    assert actions(table.ended([row(CLOSE, inode=0, answered=False)], forgotten)) == ["failed"]
    assert actions(table.ended([row(CLOSE, cookie=2, inode=0, answered=False)], forgotten)) == ["failed"], "also if it was not seen at all"


def test_a_call_that_was_seen_opening_and_then_answered_has_not_failed(table: Table) -> None:
    table.look([row(SYN_SENT, answered=False)], tells_ends=True)
    (ended,) = table.ended([row(CLOSE, inode=0, sent=9)], remembered)
    assert (ended.event.action, ended.source.bytes) == ("close", 9)


def test_totals_of_an_open_connection_are_told_when_they_changed_but_not_at_every_look(watch: Watch) -> None:
    # One second between looks, two between totals.
    looks = watch([row()], [row(sent=1)], [row(sent=2)], [row(sent=3)], [row(sent=3)], [row(sent=3)])
    assert [[one.source.bytes for one in look] for look in looks] == [[0], [], [2], [], [3], []]
    assert actions(looks[2]) == ["traffic"]


@pytest.mark.parametrize("state", [FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING])
def test_a_connection_whose_process_let_go_has_ended_and_stays_its_own(watch: Watch, state: int) -> None:
    opened, orphaned, *later = watch([row()], [row(state, inode=0)], [row(state, inode=0)], [], [])
    assert actions(orphaned) == ["close"]
    assert orphaned[0].process == opened[0].process
    assert [one for look in later for one in look] == []


def test_what_leaves_the_buffer_after_its_process_let_go_is_still_counted(table: Table) -> None:
    table.look([row(sent=5)], tells_ends=True)
    (over,) = table.look([row(FIN_WAIT1, inode=0, sent=6)], tells_ends=True)
    (final,) = table.ended([row(CLOSE, inode=0, sent=900)], remembered)
    assert (over.source.bytes, final.source.bytes) == (6, 900)
    assert (final.id, final.event) == (over.id, over.event)


@pytest.mark.parametrize("old", [row(FIN_WAIT1, inode=0), row(TIME_WAIT, inode=0, remains=True)])
def test_what_was_over_before_the_watch_began_is_not_told(watch: Watch, table: Table, old: Row) -> None:
    assert watch([old], [old], [], []) == [[], [], [], []]


def test_an_orphan_from_before_the_watch_ends_silently(table: Table) -> None:
    table.look([row(LAST_ACK, inode=0)], tells_ends=True)
    assert table.ended([row(CLOSE, inode=0, sent=9)], forgotten) == []


def test_remains_tell_of_a_missed_connection_only_where_ends_are_not_told(table: Table) -> None:
    table.look([], tells_ends=False)
    (missed,) = table.look([row(TIME_WAIT, inode=0, remains=True)], tells_ends=False)
    assert (missed.event.action, missed.outwatch.attribution) == ("close", Unknown(unknown="exited"))
    assert table.look([row(TIME_WAIT, cookie=2, inode=0, remains=True)], tells_ends=True) == []


def test_remains_end_a_known_connection_once(table: Table) -> None:
    (opened,) = table.look([row(sent=4)], tells_ends=False)
    left = row(TIME_WAIT, inode=0, remains=True)
    looks = [table.look(listed, tells_ends=False) for listed in ([left], [left], [])]
    assert [actions(look) for look in looks] == [["close"], [], []]
    assert looks[0][0].id == opened.id


def test_a_socket_that_goes_on_to_somebody_else_is_another_connection(watch: Watch) -> None:
    # A UDP socket may be connected again and again.
    first, second = watch([row(kind=UDP)], [row(kind=UDP, there="198.51.100.7")])
    assert actions(second) == ["close", "connect"]
    assert second[0].id == first[0].id
    assert second[1].destination.ip == "198.51.100.7"
    assert second[1].destination.bytes is None, "the kernel does not count those of UDP"


def test_a_socket_that_went_on_between_looks_ends_both_connections(table: Table) -> None:
    (first,) = table.look([row(kind=UDP)], tells_ends=True)
    ended = table.ended([row(CLOSE, kind=UDP, there="198.51.100.7")], forgotten)
    assert actions(ended) == ["close", "close"]
    assert (ended[0].id, ended[1].destination.ip) == (first.id, "198.51.100.7")


@pytest.mark.parametrize(
    ("seen", "holds", "sees_all", "why"),
    [
        (row(), {}, False, "no_rights"),
        (row(), {}, True, "kernel"),
        (row(), {100: None}, True, "exited"),  # gone between the two questions
        (row(inode=0), {}, False, "kernel"),  # nobody has accepted it yet
    ],
)
def test_an_unknown_process_is_said_so_with_the_reason(
    machine: Machine, seen: Row, holds: dict[int, int | None], sees_all: bool, why: Any
) -> None:
    machine.holds = holds
    (found,) = Table(machine, host=Host(), sees_all=sees_all).look([seen], tells_ends=True)
    assert (found.process, found.outwatch.attribution) == (None, Unknown(unknown=why))


def test_an_open_socket_without_a_holder_that_closes_was_of_one_that_exited(table: Table, machine: Machine) -> None:
    machine.holds = {}
    table.look([row()], tells_ends=True)
    (ended,) = table.ended([row(CLOSE, inode=0)], remembered)
    assert ended.outwatch.attribution == Unknown(unknown="exited")


def test_a_holder_that_becomes_known_later_is_added(watch: Watch, machine: Machine, table: Table) -> None:
    machine.holds = {}
    watch([row()])
    machine.holds = {100: 7}
    ((known,),) = watch([row()])
    assert known.event.action == "traffic"
    assert known.process is not None
    assert (known.process.pid, known.outwatch.attribution) == (7, "inferred")


def test_a_holder_that_is_never_found_is_searched_ever_more_rarely(watch: Watch, machine: Machine) -> None:
    machine.holds = {}
    watch(*[[row()]] * 100)
    assert 4 < len(machine.asked) < 9


def test_known_holders_are_not_searched_again(watch: Watch, machine: Machine) -> None:
    watch(*[[row()]] * 10)
    assert machine.asked == [{100}]
    assert machine.kept == {7}


def test_a_connection_whose_holder_ended_goes_to_who_holds_it_now(watch: Watch, machine: Machine) -> None:
    ((first,),) = watch([row()])
    machine.ended, machine.holds = {7}, {100: 8}
    ((handed,),) = watch([row()])
    assert (handed.id, handed.event.action) == (first.id, "traffic")
    assert handed.process is not None
    assert handed.process.pid == 8


def test_a_connection_whose_holder_ended_stays_its_own_while_nobody_else_is_found(watch: Watch, machine: Machine) -> None:
    watch([row()])
    machine.ended, machine.holds = {7}, {}
    assert watch([row()]) == [[]]
    machine.holds = {100: 8}
    later = [one for look in watch(*[[row()]] * 5) for one in look]
    assert [one.process.pid for one in later if one.process] == [8]


def test_a_connection_is_its_servers_from_when_it_is_accepted(watch: Watch, machine: Machine) -> None:
    door = listener("0.0.0.0", 8080)
    waiting, taken = watch([door, accepted(inode=0)], [door, accepted()])
    assert waiting[0].process is None
    assert taken[0].process is not None
    assert (taken[0].id, taken[0].process.pid) == (waiting[0].id, 7)


@pytest.mark.parametrize("door", ["0.0.0.0", "::", HERE])
def test_who_calls_a_local_listener_is_the_source_and_sent_what_was_received(watch: Watch, door: str) -> None:
    ((found,),) = watch([listener(door, 8080), accepted(sent=3, received=4)])
    assert found.network.direction == "ingress"
    assert (found.source.ip, found.source.port, found.source.bytes) == (THERE, 50000, 4)
    assert (found.destination.ip, found.destination.port, found.destination.bytes) == (HERE, 8080, 3)


@pytest.mark.security
def test_who_has_called_is_not_hidden_by_listening_on_the_same_port(watch: Watch) -> None:
    ((found,),) = watch([listener("0.0.0.0", 8080), row(port=8080, far=50000)])
    assert found.network.direction == "egress"


def test_a_missed_connection_to_a_listener_is_ingress_with_the_bytes_turned(table: Table) -> None:
    table.look([listener("0.0.0.0", 8080)], tells_ends=True)
    ended = row(CLOSE, inode=0, port=8080, far=50000, called=False, sent=3, received=5)
    (found,) = table.ended([ended], forgotten)
    assert (found.network.direction, found.source.bytes, found.destination.bytes) == ("ingress", 4, 3)


def test_unconnected_udp_is_counted(table: Table) -> None:
    assert table.look([listener("0.0.0.0", 5353, UDP), listener("::", 68, UDP), listener("::", 22)], tells_ends=True) == []
    assert table.unconnected == 2


def test_connections_that_are_over_are_not_remembered_without_end(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outwatch.sensors.sock_diag.table._MOST_OVER", 10)
    table.look([row(cookie=number) for number in range(1, 51)], tells_ends=True)
    for _ in range(3):
        table.look([], tells_ends=True)
    assert len(table._over) == 10
    assert table._open == {}
