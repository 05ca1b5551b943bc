"""What a command asks of a watch, and what it gets."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from outwatch.engine.drive import Drive
from outwatch.errors import OutwatchError
from outwatch.model.records import Judged, Record, Summary

Companion = Callable[[Drive, Any], Awaitable[None]]
"""What runs beside a watch, such as a screen: it gets the watch and its picture."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to watch and where the records go.

    ``paths`` are recordings (none: this machine, live), and ``form`` says what they are. ``once`` stops after the first picture,
    ``seconds`` after that time.
    With ``records`` these are judged again, as if they had just been seen, and services are asked only what those records lack. Of
    enrichers, look-ups and detectors ``only`` those named work (none given: all).
    With ``overrun`` the sensor's buffer is too small, to show what a loss looks like. ``dns`` allows name servers to be asked; look-ups
    that are under way at the end get ``patience`` seconds. Parts that are ``switched_on`` work whatever the configuration says.
    ``stream`` and ``spell`` print records as they come; ``shown`` picks those to print (none given: all). Of connections that ended the
    picture keeps ``most_ended`` (none given: all).
    """

    paths: Sequence[str] = ()
    records: Sequence[Judged] = ()
    only: frozenset[str] | None = None
    form: Literal["auto", "jsonl", "pcap"] = "auto"
    sensor: str = "auto"
    overrun: bool = False
    once: bool = False
    seconds: float | None = None
    lookups: Literal["auto", "cached", "off"] = "auto"
    log: Path | None = None
    internal: Sequence[str] = ()
    private_is_public: bool = False
    dns: bool = True
    switched_on: frozenset[str] = frozenset()
    patience: float = 2.5
    stream: BinaryIO | None = None
    spell: Callable[[Sequence[Record]], bytes] | None = None
    shown: Callable[[Judged], bool] | None = None
    most_ended: int | None = None
    companion: Companion | None = None

    @property
    def live(self) -> bool:
        """Tell whether this machine is watched."""
        return not self.paths and not self.records


@dataclass
class Outcome:
    """How a watch ended: its records, worst first, its summary, and what went wrong on the way.

    ``unanswered`` counts, by the titles of services, the indicators about which they could still be asked, and that from ``resumes`` on
    (seconds since the epoch). ``unasked`` says of services, by the names of their providers, why nothing is asked there at all.
    """

    summary: Summary
    records: list[Judged] = field(default_factory=list)
    interrupted: bool = False
    failure: OutwatchError | None = None
    unanswered: dict[str, int] = field(default_factory=dict)
    resumes: float = 0.0
    unasked: dict[str, str] = field(default_factory=dict)
