"""Tells how much a sensor's first batch, the present picture, holds: who hands it over must know when it is whole."""

from collections.abc import Callable, Iterator, Sequence
from threading import Event as StopEvent
from typing import cast

from outwatch.model.interfaces import Sensor
from outwatch.model.records import Judged, Observation


class _FirstLook:
    """Passes everything on, and says before the first batch of all how many connections it has (sensor's thread)."""

    def __init__(self, sensor: Sensor, tell: Callable[[int], None]) -> None:
        self.name, self.live = sensor.name, sensor.live
        self.check, self.blind = sensor.check, sensor.blind
        self._sensor = sensor
        self._tell: Callable[[int], None] | None = tell

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Observation]]:
        for batch in self._sensor.observe(stop):
            if self._tell is not None:
                self._tell(sum(isinstance(one, Judged) for one in batch))
                self._tell = None
            yield batch


def first_look(sensor: Sensor, tell: Callable[[int], None]) -> Sensor:
    """Give a sensor like this one that tells the size of its first batch just before it yields it."""
    return cast("Sensor", _FirstLook(sensor, tell))  # its name is that of another, so no constant of the class
