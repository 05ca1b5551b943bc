"""From connections to rows: what one process did with one port of one destination is one row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from outwatch.model.records import NO_FINDINGS, Connection, Event, Findings, Judged, Name, Question, Unknown, asked_name
from outwatch.views.known import joined

_OVER = frozenset({"close", "failed"})


@dataclass(frozen=True, slots=True)
class Row:
    """A record that stands for ``connections`` of them, seen from ``first`` to ``last``.

    Verdict, reasons and process are those of the worst one; bytes are summed, names, files and what is known of the destination
    brought together.
    """

    record: Judged
    connections: int
    first: datetime
    last: datetime


@dataclass(slots=True)
class _Group:
    """What has been added up so far."""

    worst: Judged
    first: datetime
    last: datetime
    records: int = 0
    count: int = 0
    over: bool = True
    sent: int | None = None
    received: int | None = None
    ports: set[int | None] = field(default_factory=set)
    names: dict[Name, None] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)
    domain: str | None = None
    known: Findings = NO_FINDINGS  # what services and lists say of the destination

    def add(self, record: Judged, last: datetime) -> None:
        findings = record.outwatch
        self.records += 1
        self.count += findings.count or 1
        self.first, self.last = min(self.first, _began(record)), max(self.last, last)
        self.over = self.over and record.event.action in _OVER
        self.sent, self.received = _sum(self.sent, record.source.bytes), _sum(self.received, record.destination.bytes)
        if len(self.ports) < 2:  # noqa: PLR2004 - whether there is one or more
            self.ports.add(record.source.port)
        self.names.update(dict.fromkeys(findings.names or ()))
        self.files.update(dict.fromkeys(findings.open_files or ()))
        self.domain = self.domain or record.destination.domain
        self.known = joined(self.known, findings)

    def row(self) -> Row:
        """Give the row; a record that is alone stays as it is."""
        worst = self.worst
        findings = replace(worst.outwatch, last_seen=self.last if not self.over and self.last > self.first else None)
        record = replace(worst, outwatch=findings) if findings != worst.outwatch else worst
        if self.records > 1:
            record = replace(
                worst,
                timestamp=self.first,
                event=Event(action=worst.event.action, start=self.first, end=self.last if self.over else None),
                source=replace(worst.source, port=next(iter(self.ports)) if len(self.ports) == 1 else None, bytes=self.sent),
                destination=replace(worst.destination, domain=self.domain, bytes=self.received),
                outwatch=replace(
                    findings,
                    count=self.count,
                    names=tuple(self.names) or None,
                    open_files=tuple(self.files) or None,
                    reputation=self.known.reputation,
                    indicators=self.known.indicators,
                    warnings=self.known.warnings,
                ),
            )
        return Row(record, self.count, self.first, self.last)


def folded(records: Iterable[Judged], until: datetime | None = None) -> list[Row]:
    """Bring records (worst first) together; the order of the rows is that of the worst record of each.

    What was still open at the end of a live watch was seen ``until`` then.
    """
    groups: dict[object, _Group] = {}
    for record in records:
        key = _key(record)
        group = groups.get(key)
        last = _last(record, until)
        if group is None:
            group = groups[key] = _Group(record, _began(record), last)
        group.add(record, last)
    return [group.row() for group in groups.values()]


def _key(record: Judged) -> object:
    destination, ingress = record.destination, record.network.direction == "ingress"
    far = record.source.ip if ingress else destination.ip
    asked = (asked_name(record),) if isinstance(record, Question) else None
    return process_key(record), ingress, far, destination.port, record.network.transport, asked


def process_key(record: Judged) -> object:
    """Tell processes apart, also those of several hosts; what has no process, by why."""
    process, attribution = record.process, record.outwatch.attribution
    host = (record.host.id or record.host.name) if record.host else None
    if process is not None:
        return host, process.entity_id or (process.pid, process.executable, process.name)
    return host, attribution.unknown if isinstance(attribution, Unknown) else None


def _began(record: Judged) -> datetime:
    return min(record.timestamp, record.event.start) if record.event.start else record.timestamp


def _last(record: Judged, until: datetime | None) -> datetime:
    known = max(moment for moment in (record.timestamp, record.event.end, record.outwatch.last_seen) if moment is not None)
    if until is not None and isinstance(record, Connection) and record.event.action not in _OVER:
        return max(known, until)
    return known


def _sum(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else one + other
