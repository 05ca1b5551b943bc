"""How often the polling sensor looks: a clock that tests turn, and no real waiting."""

import time
from collections.abc import Sequence
from threading import Event
from typing import Any

import msgspec
import psutil
import pytest

from outwatch.errors import SensorUnavailable
from outwatch.model.records import Host, Process
from outwatch.sensors.polling import PollingConfig
from outwatch.sensors.polling.sensor import Polling


class Nobody:
    """A table of processes without any."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return None


class Clock(Event):
    """An event and a clock in one: waiting moves the clock, and after some waits it is time to stop."""

    def __init__(self, takes: Sequence[float]) -> None:
        super().__init__()
        self.now = 1000.0
        self.waits: list[float] = []
        self._takes = list(takes)

    def look(self, kind: str) -> list[Any]:
        """Take as long for a look as the test says."""
        if self._takes:
            self.now += self._takes.pop(0)
        return []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(round(timeout or 0, 6))
        self.now += timeout or 0
        if not self._takes:
            self.set()
        return self.is_set()


def run(monkeypatch: pytest.MonkeyPatch, takes: Sequence[float], interval: float = 0.5) -> tuple[Clock, Polling, int]:
    """Observe with looks that take the given seconds each; give the clock, the sensor and the number of looks."""
    clock = Clock(takes)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(psutil, "net_connections", clock.look)
    sensor = Polling(PollingConfig(interval=interval), processes=Nobody(), host=Host())
    looks = sum(1 for _ in sensor.observe(clock))
    return clock, sensor, looks


def test_quick_looks_keep_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sensor, _ = run(monkeypatch, [0.01, 0.1, 0.05])
    assert clock.waits[:3] == [0.49, 0.4, 0.45]
    assert "polled every 0.5 s: shorter connections are missed" in sensor.blind()


def test_slow_looks_stretch_the_interval_so_that_looking_takes_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, sensor, _ = run(monkeypatch, [0.3, 1.0, 0.01])
    assert clock.waits[:3] == [1.2, 4.0, 0.49]
    for took, wait in zip((0.3, 1.0), clock.waits, strict=False):
        assert took / (took + wait) <= 0.2 + 1e-9
    assert any("up to 5.0 s apart" in said for said in sensor.blind())


def test_the_interval_is_configurable(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, _, _ = run(monkeypatch, [0.0, 0.0], interval=3)
    assert clock.waits[:2] == [3, 3]


def test_it_looks_a_last_time_when_it_is_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, looks = run(monkeypatch, [0.0, 0.0])
    assert looks == 3


@pytest.mark.parametrize("interval", [0, 0.001, -1, 3601, "fast"])
def test_an_interval_out_of_bounds_is_refused(interval: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"interval": interval}, PollingConfig)


@pytest.mark.parametrize("error", [psutil.AccessDenied(), PermissionError(13, "no"), RuntimeError("unsupported")])
def test_a_system_without_a_readable_table_is_told_as_unavailable(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refused(*_: object) -> list[Any]:
        raise error

    monkeypatch.setattr(psutil, "net_connections", refused)
    monkeypatch.setattr(psutil.Process, "net_connections", refused)
    sensor = Polling(PollingConfig(), processes=Nobody(), host=Host())
    with pytest.raises(SensorUnavailable):
        sensor.check()
