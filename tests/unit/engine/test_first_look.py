"""Who hands the first picture on is told its size before it comes, and of no other batch."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import pytest

from outwatch.engine.first_look import first_look
from outwatch.errors import SensorFailed, SensorUnavailable
from outwatch.model.interfaces import Sensor
from outwatch.model.records import Connection, EventsLost, Observation


class Fake:
    """A sensor with given batches, that can't run."""

    name: ClassVar[str] = "fake"
    live: ClassVar[bool] = True

    def __init__(self, batches: Sequence[Sequence[Observation]]) -> None:
        self._batches = batches

    def check(self) -> None:
        raise SensorUnavailable("no", "never")

    def observe(self, _stop: threading.Event) -> Iterator[Sequence[Observation]]:
        yield from self._batches
        raise SensorFailed("died")

    def blind(self) -> Sequence[str]:
        return ("the dark",)


def test_the_number_of_connections_is_told_before_the_first_batch_alone(connection: Callable[..., Connection]) -> None:
    batches: list[list[Observation]] = [[connection(), EventsLost(layer="x", count=1), connection()], [connection()]]
    told: list[object] = []
    sensor = first_look(Fake(batches), told.append)
    for _ in range(2):  # it died, and is started again
        with pytest.raises(SensorFailed):
            told.extend(sensor.observe(threading.Event()))
    assert told == [2, *batches, *batches]


def test_an_empty_picture_is_a_picture() -> None:
    told: list[int] = []
    next(iter(first_look(Fake([[]]), told.append).observe(threading.Event())))
    assert told == [0]


def test_all_else_is_the_sensors_own() -> None:
    sensor = first_look(Fake([]), lambda _size: None)
    assert isinstance(sensor, Sensor)
    assert (sensor.name, sensor.live, sensor.blind()) == ("fake", True, ("the dark",))
    with pytest.raises(SensorUnavailable):
        sensor.check()
