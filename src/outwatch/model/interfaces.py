"""What each kind of part must be able to do. Parts of a kind stand in their own room and don't know each other."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from threading import Event
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from outwatch.errors import RuleError
from outwatch.model.records import Connection, Detection, Family, Judged, Observation, Package, Process, Question, Record

Field = Literal["destination.ip", "destination.domain", "process.executable", "process.name"]
"""A fact that a detector can't do without; of a DNS question, the name asked for counts as ``destination.domain``."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """How a module offers its part: ``PART = Part(name=…, config=…, build=…)``; nothing registers itself.

    ``config`` is the type of its table in the configuration, ``build`` makes the part from it; what it needs of
    others is handed over by ``app.py`` as the keyword arguments it names. ``live_only`` parts look at this very machine, so
    they have no say over a recording. ``after`` names the parts of the same kind whose word this one builds on.
    """

    name: str
    config: type[Any]
    build: Callable[..., Any]
    live_only: bool = False
    after: tuple[str, ...] = ()


class PartConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings every part has; a part's own settings inherit from this."""

    enabled: bool = True


@runtime_checkable
class Sensor(Protocol):
    """Sees connections. ``live`` sensors watch a world that does not wait; the others read a recording."""

    name: ClassVar[str]
    live: ClassVar[bool]

    def check(self) -> None:
        """Raise ``SensorUnavailable`` (reason, remedy) if it can't run here."""

    def observe(self, stop: Event) -> Iterator[Sequence[Observation]]:
        """Yield batches until ``stop`` is set; blocks in between. The first batch of a live sensor is the present picture."""

    def blind(self) -> Sequence[str]:
        """Say in words what this sensor could not see."""


@runtime_checkable
class Detailed(Protocol):
    """A sensor of several parts, of which some may not work here."""

    def details(self) -> Sequence[str]:
        """Say of each part whether it works, and what stays unseen if it does not; after ``check``."""


@runtime_checkable
class Enricher(Protocol):
    """Adds what memory and files know; it never asks the network, and the same input gives the same output."""

    def enrich(self, connection: Connection) -> Connection:
        """Give the connection with more facts, or as it is."""


@runtime_checkable
class Learner(Enricher, Protocol):
    """An enricher that learns from questions what it then knows of connections."""

    def learn(self, question: Question) -> Iterable[str]:
        """Remember what a question and its answer say; gives the ids of earlier connections that they say something about."""


@runtime_checkable
class Marker(Enricher, Protocol):
    """An enricher that knows something of questions too."""

    def mark(self, seen: Judged) -> Judged:
        """Give the connection or the question with more facts, or as it is."""


@runtime_checkable
class Lookup(Enricher, Protocol):
    """An enricher whose facts take time: ``enrich`` adds what is there already, ``find`` fetches the rest.

    At most ``at_once`` things are fetched at the same time.
    """

    at_once: int

    def missing(self, connection: Connection) -> Hashable | None:
        """Name what would have to be found for this connection, or ``None``."""

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Find it and remember it for ``enrich``, also that it can't be had (``LookupFailed`` for what nobody answered just now)."""


@runtime_checkable
class Rationed(Lookup, Protocol):
    """A look-up that may not ask whenever it likes, such as one of a service with a quota; ``title`` is its name for people."""

    title: str

    def turn(self) -> float:
        """Give the seconds until one more thing may be fetched; after 0 it is, at once; ``inf``: not before one under way is found.

        ``find`` may raise ``LookupPostponed`` for what has to wait for another turn.
        """

    def give_up(self, key: Hashable) -> str:
        """Remember that nobody waits any longer for something to be found; gives the reason under which that is counted."""


@runtime_checkable
class Detector(Protocol):
    """Finds reasons to worry, or not to. No input, no output, no clock but the event's."""

    name: ClassVar[str]
    family: ClassVar[Family]
    needs: ClassVar[frozenset[Field]]
    problems: Sequence[RuleError]

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield the reasons this record gives."""


@runtime_checkable
class Sink(Protocol):
    """Takes judged records. A ``settled`` sink gets a connection only when every look-up about it is answered."""

    name: ClassVar[str]
    settled: ClassVar[bool]

    async def write(self, records: Sequence[Record]) -> None:
        """Take records; ``OutputError`` pauses this sink and no other."""

    async def close(self) -> None:
        """Finish what was begun."""


@runtime_checkable
class ProcessTable(Protocol):
    """Knows processes by pid and start, so that a reused pid is another process."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        """Give the process that had ``pid`` at ``seen_at`` (seconds of ``time.time``), or ``None``."""


class NoProcesses:
    """The process table of those who switched process facts off."""

    def identify(self, _pid: int, _seen_at: float) -> Process | None:
        """Know nobody."""
        return None


@runtime_checkable
class PackageOwners(Protocol):
    """Knows which package a program belongs to."""

    async def owner(self, connection: Connection) -> Package | None:
        """Give the package of a connection's program as soon as it is known; ``LookupFailed`` if that can't be found out just now."""


class NoOwners:
    """The packages of those who switched them off."""

    async def owner(self, _connection: Connection) -> Package | None:
        """Know none."""
        return None
