"""Reads captures as ``outwatch replay`` does, and where those lie that are not part of this repository."""

import os
import threading
from pathlib import Path

import pytest

from outwatch.errors import RuleError
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, EventsLost, Observation, Question
from outwatch.net.addresses import Scopes, parse_network
from outwatch.sensors.replay import Form
from outwatch.sensors.replay.recordings import Replay

from . import frames

# In ``shared/data`` beside this repository or where TEST_MATERIAL says.
MATERIAL = Path(os.environ.get("TEST_MATERIAL") or Path(__file__).parents[5] / "shared" / "data")


class Read:
    """What came of recordings."""

    def __init__(self, found: list[Observation], broken: list[RuleError], blind: list[str]) -> None:
        self.connections = [one for one in found if isinstance(one, Connection)]
        self.questions = [one for one in found if isinstance(one, Question)]
        self.losses = [one for one in found if isinstance(one, EventsLost)]
        self.broken = broken
        self.blind = blind

    @property
    def reasons(self) -> list[tuple[int | None, str]]:
        """Where something is wrong, and what."""
        return [(problem.line, problem.reason) for problem in self.broken]

    def one(self) -> Connection:
        """Give the only connection; nothing may be wrong."""
        assert self.reasons == []
        (connection,) = self.connections
        return connection


def read(*paths: Path | str, form: Form = "auto", internal: str | None = None) -> Read:
    """Read recordings, with networks that are inside."""
    broken: list[RuleError] = []
    network = parse_network(internal) if internal else None
    scopes = Scopes(private=[network] if network else [])
    sensor = Replay(PartConfig(), paths=[str(path) for path in paths], broken=broken.append, form=form, scopes=scopes)
    sensor.check()
    found = [one for batch in sensor.observe(threading.Event()) for one in batch]
    return Read(found, broken, list(sensor.blind()))


def captured(tmp_path: Path, packets: list[frames.Frame], internal: str | None = None) -> Read:
    """Read these packets from a file."""
    (tmp_path / "x.pcap").write_bytes(frames.pcap(packets))
    return read(tmp_path / "x.pcap", internal=internal)


def material(name: str) -> Path:
    """Give a capture that others made, or skip the test that needs it."""
    path = MATERIAL / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not here")
    return path
