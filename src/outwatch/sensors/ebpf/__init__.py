"""The kernel sensor (BPF, Linux)."""

import sys
from collections.abc import Iterator, Sequence
from threading import Event as StopEvent
from typing import Annotated, ClassVar

import msgspec

from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model.interfaces import Part, PartConfig, ProcessTable, Sensor
from outwatch.model.records import Host, Observation


class EbpfConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``ring_kib``: memory for what the kernel has seen and we have not read yet, a power of two."""

    ring_kib: Annotated[int, msgspec.Meta(ge=4, le=1 << 20)] = 4096


class Elsewhere:
    """What stands in its place on systems that are not Linux."""

    name: ClassVar[str] = "ebpf"
    live: ClassVar[bool] = True

    def check(self) -> None:
        """Say that it can't be had."""
        raise SensorUnavailable("BPF is Linux's", "use --sensor polling")

    def observe(self, _stop: StopEvent) -> Iterator[Sequence[Observation]]:
        """Yield nothing."""
        return iter(())

    def blind(self) -> Sequence[str]:
        """Say that it sees nothing."""
        return ["everything"]


def build(config: EbpfConfig, *, processes: ProcessTable, host: Host, boot: str, health: Health) -> Sensor:
    """Make the sensor; its modules can be imported on Linux only."""
    if sys.platform == "linux":
        from outwatch.sensors.ebpf.sensor import Ebpf  # noqa: PLC0415

        return Ebpf(config.ring_kib << 10, processes=processes, host=host, boot=boot, health=health)
    return Elsewhere()


PART = Part(name="ebpf", config=EbpfConfig, build=build)
