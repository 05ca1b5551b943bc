"""The sensor around a made-up kernel: when it looks and listens, what it counts as lost, and what it says it can't see."""

import struct
from collections.abc import Callable, Iterator, Sequence
from socket import AF_INET, inet_pton
from threading import Event
from typing import Any, Self

import msgspec
import pytest

from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model.records import Connection, Host, Process
from outwatch.sensors import sock_diag
from outwatch.sensors.sock_diag import SockDiag, SockDiagConfig
from outwatch.sensors.sock_diag.rows import CLOSE, ESTABLISHED, TCP, Counters, Row


def row(cookie: int, state: int = ESTABLISHED) -> Row:
    ends = struct.pack("!HH16s16s", 40000 + cookie, 443, inet_pton(AF_INET, "192.0.2.1"), inet_pton(AF_INET, "203.0.113.9"))
    return Row(TCP, 2, state, False, ends, 0, cookie, 0, 0, 0, 0, Counters(1, 0, 0))


class Nobody:
    """A table of processes without any."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return None


class Script(Event):
    """A kernel whose answers are written down, and the event that ends the watch after them."""

    def __init__(self, ended: Sequence[Sequence[Row]] = (), lost: Sequence[int] = (), *, tells_ends: bool = True) -> None:
        super().__init__()
        self.missing: set[str] = set()
        self.tells_ends = tells_ends
        self.opened = self.looks = 0
        self.waits: list[float] = []
        self._ended, self._lost = list(ended), list(lost)
        self.error: OSError | None = None

    def __call__(self) -> Self:
        if self.error:
            raise self.error
        return self

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.opened -= 1

    def probe(self) -> None:
        pass

    def sockets(self) -> Iterator[Row]:
        self.looks += 1
        return iter([row(1)])

    def remains(self, row: Row) -> int | None:
        return None

    def ended(self, most: int) -> list[Row]:
        return list(self._ended.pop(0)) if self._ended else []

    def stop_hearing(self) -> None:
        pass

    def lost(self) -> int:
        return self._lost.pop(0) if self._lost else 0

    def wait(self, timeout: float | None = None) -> bool:
        """Don't wait; stop when everything was told."""
        self.waits.append(timeout or 0)
        if not self._ended and not self._lost:
            self.set()
        return self.is_set()


Make = Callable[[Any], tuple[SockDiag, Health]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(sock_diag, "sees_other_users", lambda: True)

    def build(kernel: Any) -> tuple[SockDiag, Health]:
        health = Health()
        return SockDiag(SockDiagConfig(), processes=Nobody(), host=Host(), health=health, kernel=kernel), health

    return build


def actions(batches: Sequence[Sequence[Connection]]) -> list[list[str | None]]:
    return [[one.event.action for one in batch] for batch in batches]


def test_the_first_batch_is_the_present_picture_and_what_closes_follows(make: Make) -> None:
    kernel = Script(ended=[[row(2, CLOSE)], [], [row(1, CLOSE), row(3, CLOSE)]])
    sensor, _ = make(kernel)
    batches = list(sensor.observe(kernel))
    assert actions(batches)[:3] == [["existing"], ["close"], ["close", "close"]]
    assert kernel.opened == 0, "the way to the kernel is closed again"


def test_it_hears_often_between_two_looks(make: Make) -> None:
    kernel = Script(ended=[[], [row(2, CLOSE)]])
    list(make(kernel)[0].observe(kernel))
    assert max(kernel.waits) <= 0.1


def test_where_nothing_is_told_it_sleeps_until_the_next_look(make: Make) -> None:
    kernel = Script(tells_ends=False)
    list(make(kernel)[0].observe(kernel))
    assert kernel.waits[0] > 0.3


def test_what_was_lost_is_counted_and_looked_for_at_once(make: Make) -> None:
    kernel = Script(lost=[0, 25, 3, 0])
    sensor, health = make(kernel)
    list(sensor.observe(kernel))
    assert health.lost == {"netlink": 28}
    assert kernel.looks >= 3, "after each loss, and at the end"
    (loss,) = health.losses()
    assert (loss.layer, loss.count) == ("netlink", 28)


def test_it_looks_a_last_time_when_it_is_to_stop(make: Make) -> None:
    kernel = Script()
    kernel.set()
    assert actions(list(make(kernel)[0].observe(kernel))) == [["existing"]]
    assert kernel.looks == 1


@pytest.mark.parametrize(
    "error", [PermissionError(1, "Operation not permitted"), OSError(97, "Address family not supported"), OSError("?")]
)
def test_a_kernel_without_netlink_is_told_as_unavailable_with_the_remedy(make: Make, error: OSError) -> None:
    kernel = Script()
    kernel.error = error
    with pytest.raises(SensorUnavailable) as raised:
        make(kernel)[0].check()
    assert (error.strerror or str(error)) in raised.value.reason
    assert "--sensor polling" in raised.value.remedy


def test_other_systems_have_no_such_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    sensor = SockDiag(SockDiagConfig(), processes=Nobody(), host=Host(), health=Health())
    with pytest.raises(SensorUnavailable, match="Linux"):
        sensor.check()


def test_what_one_look_misses_is_said(make: Make) -> None:
    kernel = Script()
    sensor, _ = make(kernel)
    next(iter(sensor.observe(kernel)))
    assert "one look: what is not open just now is missed" in sensor.blind()


@pytest.mark.parametrize(("tells_ends", "said"), [(True, "of shorter connections the process is not known"), (False, "CAP_NET_ADMIN")])
def test_what_can_not_be_seen_depends_on_what_the_kernel_tells(make: Make, tells_ends: bool, said: str) -> None:
    kernel = Script(tells_ends=tells_ends, lost=[0, 1, 0])
    kernel.missing = {"UDP over IPv6"}
    sensor, _ = make(kernel)
    list(sensor.observe(kernel))
    blind = " ".join(sensor.blind())
    assert said in blind
    assert "UDP over IPv6 is not listed by this kernel" in sensor.blind()
    assert "namespace" in blind
    assert "unconnected UDP" in blind


def test_missing_rights_to_see_processes_are_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sock_diag, "sees_other_users", lambda: False)
    assert "processes of other users are not visible without root" in make(Script())[0].blind()


@pytest.mark.parametrize("settings", [{"interval": 0}, {"interval": 4000}, {"buffer_mib": 0}, {"buffer_mib": 1000}, {"buffer_mib": "big"}])
def test_settings_out_of_bounds_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, SockDiagConfig)
