"""The portable sensor (``sensor.py``): its settings, and how it is made. psutil is loaded where it is used."""

from typing import Annotated

import msgspec

from outwatch.model.interfaces import Part, PartConfig, ProcessTable, Sensor
from outwatch.model.records import Host


class PollingConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``interval``: seconds between looks; it grows by itself so that looking takes at most a fifth of the time."""

    interval: Annotated[float, msgspec.Meta(ge=0.01, le=3600)] = 0.5


def build(config: PollingConfig, *, processes: ProcessTable, host: Host) -> Sensor:
    """Make the sensor; ``processes`` says which process a pid is."""
    from outwatch.sensors.polling.sensor import Polling  # noqa: PLC0415

    return Polling(config, processes=processes, host=host)


PART = Part(name="polling", config=PollingConfig, build=build)
