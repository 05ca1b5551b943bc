"""Storms counted together, sockets with several users, and what is left out because the end repeats it."""

import struct
import sys
from datetime import UTC, datetime, timedelta
from socket import AF_INET, inet_aton
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.model.records import Connection, Host, Tls, TlsClient
from outwatch.sensors.ebpf import decode
from outwatch.sensors.ebpf.cgroups import Groups
from outwatch.sensors.ebpf.connections import Connections
from outwatch.sensors.ebpf.decode import BURST, CLOSE, EXEC, FAILED, INGRESS, OPEN, SHARE, STATE, TOTAL, Flow, Program, needed
from outwatch.sensors.ebpf.hearing import Words
from outwatch.sensors.ebpf.lives import Lives

BOOTED = datetime(2025, 7, 10, tzinfo=UTC)
SECOND = 1_000_000_000
ID = 5 * SECOND << 10
START = 3 * SECOND
AF_PACKET = 17


def when(boot_ns: int) -> datetime:
    return BOOTED + timedelta(microseconds=boot_ns // 1000)


@pytest.fixture
def lives() -> Lives:
    lives = Lives("boot", when, tick=10_000_000, mount_namespace=1)
    for pid, path in ((77, b"/opt/server"), (78, b"/opt/worker")):
        lives.see(
            Program(
                time=0, start=START, parent_start=1, cgroup=0, inode=0, pid=pid, parent=1, uid=0, mntns=1, device=0, links=1,
                comm=b"", path=path, cut=False, folder=b"/", args=(path,), args_cut=False,
            )
        )  # fmt: skip
    return lives


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def table(lives: Lives, groups: Groups) -> Connections:
    return Connections(lives, groups, when, Host())


def flow(kind: int, **changes: Any) -> Flow:
    facts: dict[str, Any] = {
        "flags": 0, "time": 6 * SECOND, "id": ID, "socket": ID, "sent": 0, "received": 0, "start": START, "cgroup": 0, "pid": 77, "uid": 0,
        "netns": 1, "family": AF_INET, "protocol": 6, "local_port": 40000, "remote_port": 443, "error": 0, "type": 1,
        "local": inet_aton("192.0.2.1").ljust(16, b"\0"), "remote": inet_aton("198.51.100.7").ljust(16, b"\0"), "comm": b"",
    }  # fmt: skip
    return Flow(kind=kind, **{**facts, **changes})


def packed(one: Flow) -> bytes:
    return struct.pack("<HBBIQ6Q3I6H16s16s16s", decode.FLOW_SIZE, one.kind, one.flags, 0, *one[2:])


def told(table: Connections) -> list[Connection]:
    return [one for one in table.changed() if isinstance(one, Connection)]


def users(one: Connection) -> list[str | None]:
    return [user.executable for user in one.outwatch.shared_with or ()]


def test_a_storm_is_one_record_that_grows(table: Connections) -> None:
    table.see_burst(flow(BURST, sent=10, received=20, time=6 * SECOND), 3, over=False)
    (first,) = told(table)
    assert (first.outwatch.count, first.source.port, first.source.bytes, first.destination.port) == (3, None, 10, 443)
    assert (first.event.action, first.event.start, first.event.end) == ("traffic", when(5 * SECOND), when(6 * SECOND))
    assert first.process is not None
    assert first.process.executable == "/opt/server"
    table.see_burst(flow(BURST, sent=30, received=20, time=9 * SECOND), 5, over=True)
    (last,) = told(table)
    assert (last.id, last.outwatch.count, last.source.bytes, last.event.action) == (first.id, 5, 30, "close")


def test_a_storm_of_callers_has_their_address_and_our_port(table: Connections) -> None:
    table.see_burst(flow(BURST, flags=INGRESS, local_port=8080, remote_port=5555, sent=1, received=2), 9, over=False)
    (one,) = told(table)
    assert (one.network.direction, one.source.ip, one.source.port, one.source.bytes) == ("ingress", "198.51.100.7", None, 2)
    assert (one.destination.ip, one.destination.port, one.destination.bytes) == ("192.0.2.1", 8080, 1)


def test_a_storm_that_nobody_answers_has_failed_also_while_it_lasts(table: Connections) -> None:
    table.see_burst(flow(BURST, flags=FAILED), 9, over=False)
    assert [one.event.action for one in told(table)] == ["failed"]


def test_another_user_of_a_socket_is_named_beside_its_owner(table: Connections) -> None:
    table.see(flow(STATE))
    table.see(flow(SHARE, pid=78))
    (one,) = told(table)
    assert one.process is not None
    assert (one.process.pid, users(one)) == (77, ["/opt/worker"])
    table.see(flow(SHARE, pid=79))
    table.see(flow(CLOSE))
    (one,) = told(table)
    assert (users(one), one.event.action) == (["/opt/worker", None], "close")


def test_a_user_that_is_known_before_the_connection_is_named_too(table: Connections) -> None:
    table.see(flow(SHARE, pid=78))
    assert told(table) == []
    table.see(flow(STATE))
    assert users(told(table)[0]) == ["/opt/worker"]


def test_who_uses_a_datagram_socket_uses_it_for_every_peer(table: Connections) -> None:
    udp: dict[str, Any] = {"protocol": 17, "type": 2}
    table.see(flow(OPEN, **udp))
    table.see(flow(SHARE, pid=78, **udp))
    table.see(flow(OPEN, id=ID + 1024, **udp))
    assert [users(one) for one in told(table)] == [["/opt/worker"], ["/opt/worker"]]


def test_frames_have_a_process_and_bytes_and_no_addresses(table: Connections) -> None:
    table.see(flow(OPEN, family=AF_PACKET, protocol=0, id=ID + 1024, local_port=0, remote_port=0))
    table.see(flow(TOTAL, family=AF_PACKET, protocol=0, id=ID + 1024, sent=99, local_port=0, remote_port=0))
    (one,) = told(table)
    assert (one.network.transport, one.source.ip, one.source.port, one.source.bytes) == ("packet", None, None, 99)
    assert (one.destination.ip, one.destination.port) == (None, None)


def test_a_connection_that_was_tried_before_its_first_packet_begins_with_that(table: Connections) -> None:
    table.see(flow(OPEN, protocol=17, type=2, time=8 * SECOND))
    assert told(table)[0].timestamp == when(8 * SECOND)


def program_of(pid: int) -> bytes:
    return decode._PROGRAM.pack(decode.PROGRAM_SIZE, EXEC, 0, 0, 0, START, 0, 0, 0, pid, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, b"") + bytes(
        decode.PROGRAM_SIZE - decode._PROGRAM.size
    )


def test_what_an_end_in_the_same_breath_repeats_is_left_out() -> None:
    begun, other, over = packed(flow(STATE)), packed(flow(STATE, id=ID + 1)), packed(flow(CLOSE))
    assert needed([begun, other, over]) == [other, over]


def test_a_beginning_counts_if_its_process_ran_another_program_meanwhile() -> None:
    records = [packed(flow(STATE)), program_of(77), packed(flow(CLOSE))]
    assert needed(records) == records
    assert needed([records[0], program_of(78), records[2]]) == [program_of(78), records[2]]


def test_the_first_datagram_is_never_left_out_because_only_it_has_the_local_end() -> None:
    records = [packed(flow(OPEN, protocol=17)), packed(flow(CLOSE, protocol=17))]
    assert needed(records) == records


def test_two_processes_with_one_pid_in_one_tick_are_two(lives: Lives) -> None:
    first, second = lives.bare((9, START)), lives.bare((9, START + 5))
    assert first.entity_id != second.entity_id
    assert lives.bare((9, START)).entity_id == first.entity_id


def test_the_group_of_a_connection_is_named_by_its_path_also_when_it_has_gone(table: Connections, groups: Groups) -> None:
    groups.see(77, b"/system.slice/docker-" + b"a" * 64 + b".scope")
    groups.see(1, b"/")
    for number, group in enumerate((77, 1, 99)):
        table.see(flow(CLOSE, id=ID + number, cgroup=group))
    told = [one.outwatch.cgroup for one in table.changed() if isinstance(one, Connection)]
    assert told == ["/system.slice/docker-" + "a" * 64 + ".scope", None, None]


def test_of_groups_the_latest_are_remembered(groups: Groups) -> None:
    for number in range(20_001):
        groups.see(number, b"/a%d" % number)
    assert groups.path(0) is None
    assert groups.path(1) == "/a1"
    assert groups.path(20_000) == "/a20000"


def test_a_connection_that_is_told_at_its_end_has_all_that_was_said_on_it(table: Connections) -> None:
    table.named(ID, Words("proxy.example", "http", None))
    table.named(ID, Words("inner.example", "sni", "t13d0101h1_a_b"))
    table.see(flow(CLOSE))
    (one,) = table.changed()
    assert isinstance(one, Connection)
    assert [(name.name, name.origin) for name in one.outwatch.names or ()] == [("proxy.example", "http"), ("inner.example", "sni")]
    assert one.tls == Tls(client=TlsClient(server_name="inner.example", ja4="t13d0101h1_a_b"))
