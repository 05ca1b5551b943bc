"""Recorded traffic instead of this machine's (``recordings.py``): how it is read is loaded when something is."""

from collections.abc import Callable, Sequence
from typing import Literal

from outwatch.errors import RuleError
from outwatch.model.interfaces import Part, PartConfig, Sensor
from outwatch.net.addresses import Scopes

Form = Literal["auto", "jsonl", "pcap"]
"""What a recording is: told by its first bytes, lines of outwatch's own, or captured packets."""


def build(
    config: PartConfig, *, paths: Sequence[str], broken: Callable[[RuleError], None], form: Form = "auto", scopes: Scopes | None = None
) -> Sensor:
    """Make the sensor: see ``Replay``."""
    from outwatch.sensors.replay.recordings import Replay  # noqa: PLC0415

    return Replay(config, paths=paths, broken=broken, form=form, scopes=scopes)


PART = Part(name="replay", config=PartConfig, build=build)
