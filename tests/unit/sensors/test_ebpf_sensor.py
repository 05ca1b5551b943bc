"""What the kernel sensor makes of the kernel's records: one record a connection, the right ends, every loss counted."""

import struct
import sys
from collections.abc import Callable, Iterator
from socket import AF_INET, inet_aton
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model.records import Connection, Host, Unknown
from outwatch.sensors.ebpf import EbpfConfig
from outwatch.sensors.ebpf import sensor as module
from outwatch.sensors.ebpf.decode import CLOSE, EXISTING, FAILED, FORK, GROUP, INGRESS, KERNEL, LISTENS, OPEN, STATE, TOTAL, Flow, Program
from outwatch.sensors.ebpf.sensor import Ebpf

LOCAL, REMOTE, OTHER = "192.0.2.1", "198.51.100.7", "203.0.113.5"
ID = 5_000_000_000 << 10  # five seconds after the boot


def flow(kind: int, *, flags: int = 0, remote: str = REMOTE, local: str = LOCAL, at: int = 5_000_000_001, **changes: Any) -> Flow:
    facts: dict[str, Any] = {
        "id": ID, "socket": ID, "sent": 0, "received": 0, "start": 1_000_000_000, "cgroup": 0, "pid": 77, "uid": 1000, "netns": 4026531840,
        "family": AF_INET, "protocol": 6, "local_port": 40000, "remote_port": 443, "error": 0, "type": 1, "comm": b"curl".ljust(16, b"\0"),
    }  # fmt: skip
    facts.update(changes)
    return Flow(
        kind=kind, flags=flags, time=at, local=inet_aton(local).ljust(16, b"\0"), remote=inet_aton(remote).ljust(16, b"\0"), **facts
    )


def packed(one: Flow) -> bytes:
    facts = [getattr(one, name) for name in Flow._fields[3:]]
    return struct.pack("<HBBIQ6Q3I6H16s16s16s", 136, one.kind, one.flags, 0, one.time, *facts)


class Kernel:
    """Stands for the programs in the kernel: each patient poll gives the next batch, and tells when there is nothing more.

    What ``came`` meanwhile, a poll that doesn't wait gives too.
    """

    def __init__(self) -> None:
        self.stop = Event()
        self.there: list[Flow] = []
        self.programs: list[Program] = []
        self.batches: list[list[bytes]] = []
        self.came: list[bytes] = []
        self.carried: list[Flow] = []
        self.lost = (0, 0, 0)
        self.forgotten: list[Flow] = []
        self.closed = 0
        self.off = {"datagrams": "not here"}
        self.storms: list[tuple[Flow, int] | None] = []

    def open_ring(self, taken: Callable[[bytes], None]) -> None:
        self._taken = taken

    def poll(self, milliseconds: int) -> None:
        came, self.came = self.came, []
        for data in came:
            self._taken(data)
        if not milliseconds and not self.stop.is_set():
            return
        for data in self.batches.pop(0) if self.batches else ():
            self._taken(data)
        if not self.batches:
            self.stop.set()

    def running(self) -> Iterator[Program]:
        return iter(self.programs)

    def existing(self) -> Iterator[Flow]:
        return iter(self.there)

    def totals(self, *, last: bool = False) -> Iterator[Flow]:
        return iter(self.carried)

    def bursts(self) -> Iterator[tuple[Flow, int] | None]:
        return iter(self.storms)

    def forget(self, talk: Flow) -> None:
        self.forgotten.append(talk)

    def forget_burst(self, one: Flow) -> None:
        self.forgotten.append(one)

    def blind(self) -> list[str]:
        return [f"UDP: {reason}" for reason in self.off.values()]

    def refused(self) -> tuple[int, int, int]:
        return self.lost

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(module, "Hooks", lambda _size, **_: kernel)
    return kernel


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def sensor(health: Health) -> Ebpf:
    return Ebpf(EbpfConfig(), host=Host(name="here"), boot="boot", health=health)


def observed(sensor: Ebpf, kernel: Kernel, *batches: list[Flow]) -> list[list[Connection]]:
    """Let these happen, batch by batch, and give the batches that come out; the first is what was there."""
    kernel.batches = [[packed(one) for one in batch] for batch in batches]
    kernel.stop.clear()
    found = []
    for batch in sensor.observe(kernel.stop):
        assert all(isinstance(one, Connection) for one in batch)
        found.append([one for one in batch if isinstance(one, Connection)])
    return found


def ends(one: Connection) -> tuple[object, ...]:
    return one.source.ip, one.source.port, one.source.bytes, one.destination.ip, one.destination.port, one.destination.bytes


def test_a_connection_that_begins_and_ends_within_a_batch_is_one_record(sensor: Ebpf, kernel: Kernel) -> None:
    opened, answered = flow(OPEN, local_port=0), flow(STATE)
    _, batch = observed(sensor, kernel, [opened, answered, flow(CLOSE, sent=10, received=2000, at=6_000_000_000)])
    (one,) = batch
    assert ends(one) == (LOCAL, 40000, 10, REMOTE, 443, 2000)
    assert (one.event.action, one.network.direction, one.network.transport) == ("close", "egress", "tcp")
    assert one.event.start is not None
    assert one.event.end is not None
    assert (one.event.end - one.event.start).total_seconds() == pytest.approx(1.0)
    assert one.user is not None
    assert one.user.id == "1000"


def test_a_connection_over_several_batches_keeps_its_id_and_its_start(sensor: Ebpf, kernel: Kernel) -> None:
    _, first, last = observed(sensor, kernel, [flow(STATE)], [flow(CLOSE, sent=1)])
    assert (first[0].event.action, last[0].event.action) == ("connect", "close")
    assert (first[0].id, first[0].event.start) == (last[0].id, last[0].event.start)


def test_an_accepted_connection_has_the_caller_as_its_source(sensor: Ebpf, kernel: Kernel) -> None:
    told: dict[str, Any] = {"flags": INGRESS, "local_port": 8080, "remote_port": 5555}
    _, batch = observed(sensor, kernel, [flow(OPEN, **told), flow(CLOSE, sent=10, received=2000, **told)])
    assert ends(batch[0]) == (REMOTE, 5555, 2000, LOCAL, 8080, 10)
    assert batch[0].network.direction == "ingress"


def test_an_attempt_without_an_answer_has_failed(sensor: Ebpf, kernel: Kernel) -> None:
    _, batch = observed(sensor, kernel, [flow(CLOSE, flags=FAILED, error=111)])
    assert batch[0].event.action == "failed"
    assert batch[0].event.start is not None


def test_an_end_whose_beginning_was_lost_is_told_with_its_own_start(sensor: Ebpf, kernel: Kernel) -> None:
    _, batch = observed(sensor, kernel, [flow(CLOSE, sent=5, received=6, at=9_000_000_000)])
    (one,) = batch
    assert ends(one) == (LOCAL, 40000, 5, REMOTE, 443, 6)
    assert one.event.start is not None
    assert one.event.end is not None
    assert (one.event.end - one.event.start).total_seconds() == pytest.approx(4.0)


def test_what_is_there_already_comes_first_and_has_no_start(sensor: Ebpf, kernel: Kernel) -> None:
    kernel.there = [flow(TOTAL, flags=EXISTING, sent=3, received=4)]
    first, *_ = observed(sensor, kernel)
    assert (first[0].event.action, first[0].event.start) == ("existing", None)
    assert ends(first[0]) == (LOCAL, 40000, 3, REMOTE, 443, 4)


@pytest.mark.parametrize(
    ("listener", "direction"),
    [
        ({"local": "0.0.0.0"}, "ingress"),
        ({"local": LOCAL}, "ingress"),
        ({"local": OTHER}, "egress"),
        ({"local": "0.0.0.0", "netns": 1}, "egress"),
        ({"local": "0.0.0.0", "local_port": 1}, "egress"),
    ],
    ids=["everywhere", "here", "at another address", "in another namespace", "at another port"],
)
def test_who_opened_what_is_there_is_told_by_who_listens(sensor: Ebpf, kernel: Kernel, listener: dict[str, Any], direction: str) -> None:
    waits = flow(TOTAL, **{"flags": EXISTING | LISTENS, "id": ID + 1, "remote": "0.0.0.0", "remote_port": 0, **listener})
    kernel.there = [flow(TOTAL, flags=EXISTING), waits]
    first, *_ = observed(sensor, kernel)
    assert [one.network.direction for one in first] == [direction]


def test_bytes_of_a_datagram_socket_that_was_there_are_not_known(sensor: Ebpf, kernel: Kernel) -> None:
    kernel.there = [flow(TOTAL, flags=EXISTING, protocol=17, type=2)]
    first, *_ = observed(sensor, kernel)
    assert (first[0].source.bytes, first[0].destination.bytes) == (None, None)


def test_a_talk_with_a_further_peer_is_a_connection_that_ends_with_its_socket(sensor: Ebpf, kernel: Kernel) -> None:
    udp: dict[str, Any] = {"protocol": 17, "type": 2}
    first, further = flow(OPEN, **udp), flow(OPEN, id=ID + 1024, remote=OTHER, **udp)
    kernel.carried = [flow(TOTAL, id=ID + 1024, remote=OTHER, sent=44, received=5, start=5_500_000_000, **udp)]
    batches = observed(sensor, kernel, [first, further, flow(CLOSE, sent=33, **udp)])
    latest = {one.destination.ip: one for batch in batches for one in batch}
    assert {ip: (one.event.action, one.source.bytes) for ip, one in latest.items()} == {REMOTE: ("close", 33), OTHER: ("close", 44)}
    assert latest[REMOTE].id != latest[OTHER].id
    assert [one.id for one in kernel.forgotten] == [ID + 1024]


def test_totals_bring_open_connections_up_to_date(sensor: Ebpf, kernel: Kernel) -> None:
    kernel.carried = [flow(TOTAL, sent=7, received=8)]
    batches = observed(sensor, kernel, [flow(STATE)])
    assert [ends(one) for batch in batches[1:] for one in batch][-1:] == [(LOCAL, 40000, 7, REMOTE, 443, 8)]
    assert len({one.id for batch in batches for one in batch}) == 1


def test_an_open_connection_whose_beginning_was_lost_is_told_with_its_totals(sensor: Ebpf, kernel: Kernel) -> None:
    kernel.carried = [flow(TOTAL, sent=7, received=8)]
    _, batch = observed(sensor, kernel, [])
    assert [(one.event.action, ends(one)) for one in batch] == [("connect", (LOCAL, 40000, 7, REMOTE, 443, 8))]


@pytest.mark.parametrize("found", ["there", "carried"])
def test_whose_beginning_is_not_yet_read_has_its_process_all_the_same(
    sensor: Ebpf, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    kernel.programs = [
        Program(0, 1, 0, 0, 0, 5, 1, 0, 0, 0, 1, comm=b"sh", path=b"/bin/sh", cut=False, folder=b"", args=(b"sh",), args_cut=False)
    ]

    def look(*, last: bool = False) -> Iterator[Flow]:
        kernel.came = [
            struct.pack("<HBBIQ2Q2I", 40, FORK, 0, 0, 0, 1_000_000_000, 1, 77, 5),
            struct.pack("<HBBIQQ", 38, GROUP, 0, 0, 0, 4711) + b"/late.service\0",
        ]
        return iter([flow(TOTAL, flags=EXISTING, cgroup=4711)])

    monkeypatch.setattr(kernel, "existing" if found == "there" else "totals", look)
    (told,) = [one for batch in observed(sensor, kernel, []) for one in batch]
    assert told.process is not None
    assert (told.process.pid, told.process.executable, told.process.args) == (77, "/bin/sh", ("sh",))
    assert told.outwatch.cgroup == "/late.service"


@pytest.mark.parametrize("begun", [[], [flow(STATE)]])
def test_an_end_that_the_kernel_did_not_tell_is_the_last_word_also_if_the_beginning_is_not_yet_read(
    sensor: Ebpf, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, begun: list[Flow]
) -> None:
    def look(*, last: bool = False) -> Iterator[Flow]:
        kernel.came = [packed(one) for one in begun]
        return iter([flow(CLOSE, sent=7)])

    monkeypatch.setattr(kernel, "totals", look)
    told = [one for batch in observed(sensor, kernel, []) for one in batch]
    assert [(one.event.action, one.source.bytes) for one in told] == [("close", 7)]


def test_a_talk_that_nobody_heard_of_has_no_process_and_is_left_out(sensor: Ebpf, kernel: Kernel) -> None:
    kernel.carried = [flow(TOTAL, id=ID + 1, sent=1)]
    assert observed(sensor, kernel, []) == [[]]


@pytest.mark.parametrize("changes", [{"pid": 0}, {"flags": KERNEL}])
def test_what_the_kernel_does_itself_is_nobodys(sensor: Ebpf, kernel: Kernel, changes: dict[str, Any]) -> None:
    _, batch = observed(sensor, kernel, [flow(STATE, **changes)])
    assert (batch[0].process, batch[0].user, batch[0].outwatch.attribution) == (None, None, Unknown(unknown="kernel"))


@pytest.mark.parametrize(
    ("protocol", "kind", "transport"), [(17, 2, "udp"), (1, 3, "icmp"), (58, 2, "icmp"), (253, 3, "raw:253"), (6, 3, "raw:6")]
)
def test_transports_have_their_names(sensor: Ebpf, kernel: Kernel, protocol: int, kind: int, transport: str) -> None:
    _, batch = observed(sensor, kernel, [flow(OPEN, protocol=protocol, type=kind)])
    assert batch[0].network.transport == transport


def test_losses_are_counted_by_layer_and_once(sensor: Ebpf, kernel: Kernel, health: Health) -> None:
    kernel.lost = (12, 3, 0)
    kernel.batches = [[b"no record", bytes(136)], []]
    for _ in sensor.observe(kernel.stop):
        pass
    assert dict(health.lost) == {"kernel ring": 12, "kernel map": 3, "kernel record": 2}


def test_after_a_restart_losses_are_counted_from_the_new_programs_zero(sensor: Ebpf, kernel: Kernel, health: Health) -> None:
    kernel.lost = (12, 0, 0)
    observed(sensor, kernel, [])
    kernel.lost = (5, 0, 0)
    observed(sensor, kernel, [])
    assert health.lost["kernel ring"] == 17
    assert kernel.closed == 2


def test_after_a_restart_what_is_still_open_goes_on_and_the_rest_is_over(sensor: Ebpf, kernel: Kernel) -> None:
    gone: dict[str, Any] = {"local_port": 40001, "id": ID + 1, "socket": ID + 1}
    asks: dict[str, Any] = {"protocol": 17, "type": 2, "id": ID + 2, "socket": ID + 2}
    again: dict[str, Any] = {"id": ID + 7, "socket": ID + 7}
    kernel.carried = [flow(TOTAL, sent=5)]
    _, *batches = observed(sensor, kernel, [flow(OPEN), flow(STATE), flow(OPEN, **gone), flow(STATE, **gone), flow(OPEN, **asks)])
    first = {(one.network.transport, one.source.port): one for batch in batches for one in batch}
    kernel.carried, kernel.there = [], [flow(TOTAL, flags=EXISTING, sent=9, **again)]
    there, last = observed(sensor, kernel, [flow(CLOSE, sent=11, **again)])
    after = {(one.network.transport, one.source.port): one for one in there}
    assert {key: one.id for key, one in after.items()} == {key: one.id for key, one in first.items()}
    assert {key: one.event.action for key, one in after.items()} == {
        ("tcp", 40000): "traffic",
        ("tcp", 40001): "close",
        ("udp", 40000): "close",
    }
    assert after["tcp", 40000].timestamp == first["tcp", 40000].timestamp
    assert [(one.id, one.event.action, one.source.bytes) for one in last] == [(first["tcp", 40000].id, "close", 11)]


def test_after_a_restart_bytes_that_count_from_nothing_are_anothers(sensor: Ebpf, kernel: Kernel) -> None:
    asks: dict[str, Any] = {"protocol": 17, "type": 2}
    kernel.carried = [flow(TOTAL, sent=500, **asks)]
    _, *batches = observed(sensor, kernel, [flow(OPEN, **asks)])
    kernel.carried, kernel.there = [], [flow(TOTAL, flags=EXISTING, id=ID + 7, socket=ID + 7, **asks)]
    there = observed(sensor, kernel, [])[0]
    (known,) = {one.id for batch in batches for one in batch}
    assert {one.id == known: (one.event.action, one.source.bytes) for one in there} == {True: ("close", 500), False: ("existing", None)}


def test_programs_leave_the_kernel_when_the_watch_is_left_early(sensor: Ebpf, kernel: Kernel) -> None:
    watching = sensor.observe(Event())
    next(iter(watching))
    watching.close()  # type: ignore[attr-defined]
    assert kernel.closed == 1


def test_what_hooks_are_missing_is_said(sensor: Ebpf, kernel: Kernel) -> None:
    sensor.check()
    assert "UDP: not here" in sensor.blind()


def test_why_the_kernel_refuses_is_passed_on(sensor: Ebpf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_size: int, **_: object) -> None:
        raise SensorUnavailable("it needs CAP_BPF", "run it as root")

    monkeypatch.setattr(module, "Hooks", refuse)
    with pytest.raises(SensorUnavailable, match="CAP_BPF"):
        sensor.check()


@given(
    st.lists(
        st.one_of(st.binary(max_size=200), st.binary(min_size=133, max_size=133).map(lambda rest: b"\x88\x00" + rest[:1] + rest)),
        max_size=20,
    )
)
def test_no_record_however_broken_stops_the_sensor(records: list[bytes]) -> None:
    sensor = Ebpf(EbpfConfig(), host=Host(), boot="", health=Health())
    sensor._raw.extend(records)
    sensor._take()
    assert len(sensor._connections.changed()) + sensor._broken <= len(records)


@pytest.mark.parametrize(
    ("before", "changes", "wanted"),
    [
        (50, 0, 50),
        (400, 0, 50),
        (400, 99, 50),
        (50, 100, 400),
        (50, 200, 200),
        (200, 400, 400),
        (400, 800, 400),
        (400, 6400, 50),
        (50, 100_000, 50),
    ],
)
def test_rare_changes_are_read_soon_and_many_together(before: int, changes: int, wanted: int) -> None:
    assert module._patience(before, changes) == wanted
