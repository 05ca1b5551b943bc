"""The kernel sensor (BPF, Linux)."""

import sys
from collections.abc import Iterator, Sequence
from threading import Event as StopEvent
from typing import Annotated, ClassVar, Literal

import msgspec

from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model.interfaces import Part, PartConfig, Sensor
from outwatch.model.records import Host, Observation


class EbpfConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``ring_kib``: memory for what the kernel has seen and we have not read yet, a power of two.

    Of connections of one process to one place, those beyond ``storm`` in a second are counted together (0: never), and beyond a sixteenth
    of that while a storm lasts. ``without`` names hooks that stay off.
    """

    ring_kib: Annotated[int, msgspec.Meta(ge=4, le=1 << 20)] = 4096
    storm: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 2000
    without: tuple[Literal["datagrams", "sharing", "storms", "groups"], ...] = ()


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


def build(
    config: EbpfConfig, *, host: Host, boot: str, health: Health, once: bool = False, overrun: bool = False, names: bool = True
) -> Sensor:
    """Make the sensor; its modules can be imported on Linux only. ``once``: only what is there; ``overrun``: see ``Ebpf``."""
    if sys.platform == "linux":
        from outwatch.sensors.ebpf.sensor import Ebpf  # noqa: PLC0415

        return Ebpf(config, host=host, boot=boot, health=health, once=once, overrun=overrun, names=names)
    return Elsewhere()


PART = Part(name="ebpf", config=EbpfConfig, build=build)
