"""Records that are there already: those of a report that goes on, or one for each thing that somebody wants looked up."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import ClassVar

from outwatch.model.records import Connection, Destination, Findings, Hash, Judged, Network, Observation, Process
from outwatch.model.reputation import NAMED, Indicator
from outwatch.net.addresses import Scopes


class Given:
    """Gives its records, once."""

    name: ClassVar[str] = "given"
    live: ClassVar[bool] = False

    def __init__(self, records: Sequence[Judged]) -> None:
        """Take the records."""
        self._records = records

    def check(self) -> None:
        """Run anywhere."""

    def observe(self, stop: Event) -> Iterator[Sequence[Observation]]:
        """Yield the records."""
        if not stop.is_set():
            yield self._records

    def blind(self) -> Sequence[str]:
        """Look at everything that was given."""
        return ()


def standing_for(indicator: Indicator, scopes: Scopes) -> Connection:
    """Make the record that stands for an indicator."""
    value, network = indicator.value, Network(direction="egress")
    destination, process = Destination(), None
    if indicator.kind == "ip":
        network, destination = Network(direction="egress", scope=scopes.place(value)[1]), Destination(ip=value)
    elif indicator.kind == "domain":
        destination = Destination(domain=value)
    else:
        process = Process(hash=Hash(sha256=value))
    return Connection(
        id=f"{indicator.kind}:{value}",
        timestamp=datetime.now(UTC),
        network=network,
        destination=destination,
        process=process,
        outwatch=Findings(sensor=NAMED),
    )
