"""What rows add up to: by verdict, by process, by destination, and what was not checked."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from msgspec.structs import replace as replace_record

from outwatch.engine.verdict import ORDER
from outwatch.model.records import NO_EVENT, NO_FINDINGS, Band, Findings, Judged, Reputation, Summary, asked_name
from outwatch.views import known
from outwatch.views.report.columns import COLUMNS_OF_THEIR_OWN, Unchecked, process_name, reputation
from outwatch.views.report.fold import Row, process_key
from outwatch.views.terminal.words import UNATTRIBUTED

_MOST_LISTED = 12  # ports, programs or destinations named in one cell
_MOST_REASONS = 50  # that are told apart, of one service
_MOST_SERVICES = 20


@dataclass(slots=True)
class Group:
    """Rows of one process or of one destination; ``speaker`` is the worst of them.

    Of a destination ``known`` is what services and lists say in any of the rows.
    """

    speaker: Row
    first: datetime
    last: datetime
    connections: int = 0
    rows: int = 0
    sent: int | None = None
    received: int | None = None
    listed: dict[str, None] = field(default_factory=dict)
    more: int = 0
    known: Findings = NO_FINDINGS

    def add(self, row: Row, listed: str) -> None:
        """Add a row, which is about ``listed``: a destination of a process, or a process of a destination."""
        self.rows += 1
        self.connections += row.connections
        self.first, self.last = min(self.first, row.first), max(self.last, row.last)
        sent, received = row.record.source.bytes, row.record.destination.bytes
        self.sent = self.sent if sent is None else (self.sent or 0) + sent
        self.received = self.received if received is None else (self.received or 0) + received
        if len(self.listed) < _MOST_LISTED:
            self.listed[listed] = None
        elif listed not in self.listed:
            self.more += 1

    def informed(self) -> Row:
        """Give the speaker, with what services and lists say of the destination by any of the rows."""
        findings = known.joined(self.speaker.record.outwatch, self.known)
        if findings is self.speaker.record.outwatch:
            return self.speaker
        return replace(self.speaker, record=replace_record(self.speaker.record, outwatch=findings))

    def listing(self) -> str:
        """Name what the rows are about."""
        return ", ".join(self.listed) + (f" and {self.more} more" if self.more else "")


@dataclass(slots=True)
class Service:
    """What one service said of the destinations: how many it answered for, by its opinion, and why of others nothing is known."""

    provider: str
    answers: Counter[str] = field(default_factory=Counter)
    not_checked: Counter[str] = field(default_factory=Counter)

    @property
    def title(self) -> str:
        """Its name for people."""
        return known.title(self.provider)

    def add(self, said: Reputation) -> None:
        """Count what it said of a destination."""
        if said.state == "not_checked":
            self.leave_out(known.spelled(said))
        else:
            self.answers[said.state] += 1

    def leave_out(self, why: str) -> None:
        """Count a destination of which it said nothing."""
        why = why.removeprefix("not checked: ")
        known_reason = why in self.not_checked or len(self.not_checked) < _MOST_REASONS
        self.not_checked[why if known_reason else "other reasons"] += 1


class Overview:
    """Adds rows up as they pass by."""

    def __init__(self, summary: Summary, unasked: Mapping[str, str] | None = None) -> None:
        """Take the summary of the watch, for what was not seen, and why services were not asked at all."""
        self._summary = summary
        self._unasked = unasked or {}
        self.rows = 0
        self.connections = 0
        self.hosts: dict[str, None] = {}
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.verdicts: Counter[Band | None] = Counter()
        self.processes: dict[object, Group] = {}
        self.destinations: dict[object, Group] = {}

    @property
    def host(self) -> str:
        """Name the machine that was watched, or those of a recording."""
        live = self._summary.host.name if self._summary.host else None
        names = list(self.hosts)
        return live or ", ".join(names[:_MOST_LISTED]) + (" and others" if len(names) > _MOST_LISTED else "") or "unknown host"

    @property
    def period(self) -> str:
        """Spell the time that was watched, or that a recording speaks of, in UTC."""
        event = self._summary.event
        ends = (event.start, event.end) if event and self._summary.host else (self.first, self.last)
        return " to ".join(f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for moment in ends if moment) or "unknown time"

    def passing(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Give the rows on, each added up."""
        for row in rows:
            self._add(row)
            yield row

    def _add(self, row: Row) -> None:
        record = row.record
        self.rows += 1
        self.connections += row.connections
        self.first, self.last = min(self.first or row.first, row.first), max(self.last or row.last, row.last)
        if record.host is not None and record.host.name and len(self.hosts) <= _MOST_LISTED:
            self.hosts[record.host.name] = None
        self.verdicts[record.outwatch.verdict] += 1
        who, far, port = process_name(record), known.far_ip(record), record.destination.port
        name = who.why if isinstance(who, Unchecked) else str(who)
        self._group(self.processes, process_key(record), row).add(row, asked_name(record) or far or "unknown")
        destination = self._group(self.destinations, far, row if far in self.destinations else _of_destination(row))
        destination.add(row, f"{name} ({port})" if port is not None else name)
        destination.known = known.joined(destination.known, record.outwatch)

    @staticmethod
    def _group(groups: dict[object, Group], key: object, row: Row) -> Group:
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(row, row.first, row.last)
        return group

    @cached_property
    def services(self) -> list[Service]:
        """What each service said of the destinations, each counted once; to be read when all rows have passed.

        First those that every report speaks of, then others that some row speaks of.
        """
        rows = [group.informed().record for group in self.destinations.values()]
        named = [one.provider for record in rows for one in known.opinions(record)]
        providers = list(dict.fromkeys((*COLUMNS_OF_THEIR_OWN, *self._unasked, *named)))[:_MOST_SERVICES]
        return [self._added_up(provider, rows) for provider in providers]

    def _added_up(self, provider: str, records: list[Judged]) -> Service:
        service = Service(provider)
        for record in records:
            said = known.opinion(record, provider)
            if said is not None:
                service.add(said)
            elif isinstance(cell := reputation(record, provider, self._unasked), Unchecked):
                service.leave_out(cell.why)
        return service

    def unknown(self) -> Iterator[tuple[str, int | None, str]]:
        """Yield what is not known: what, of how many (``None``: not countable), and why."""
        summary = self._summary
        for service in self.services:
            for why, count in service.not_checked.most_common():
                yield f"{service.title}, destinations", count, why
        kinds: tuple[tuple[str, dict[str, int], Callable[[str], str]], ...] = (
            ("Not looked up", summary.not_checked, str),
            ("Connections without a process", summary.unattributed_why, lambda why: UNATTRIBUTED.get(why, why)),
            ("Events lost", summary.lost, str),
            ("Connections a detector knew too little of", summary.without_fact, str),
        )
        for what, counts, spelled in kinds:
            for why, count in counts.items():
                yield what, count, spelled(why)
        if summary.broken_lines:
            yield "Lines of the input", summary.broken_lines, "broken, passed over"
        for text in summary.blind:
            yield "Not seen", None, text
        for text in summary.problems:
            yield "Problem", None, text


def _of_destination(row: Row) -> Row:
    """Keep of a row what is about its destination: when rows only pass by, that is what memory holds."""
    record, findings = row.record, row.record.outwatch
    kept = Findings(
        verdict=findings.verdict,
        score=findings.score,
        names=findings.names,
        reputation=findings.reputation,
        indicators=findings.indicators,
        warnings=findings.warnings,
    )
    return replace(row, record=replace_record(record, process=None, user=None, host=None, event=NO_EVENT, outwatch=kept))


def worst(groups: dict[object, Group]) -> list[Group]:
    """Sort groups: the worst verdict first, then the most connections."""
    return sorted(groups.values(), key=_badness, reverse=True)


def busiest(groups: dict[object, Group], most: int) -> list[Group]:
    """Give the groups with the most connections."""
    return sorted(groups.values(), key=lambda one: one.connections, reverse=True)[:most]


def _badness(group: Group) -> tuple[int, int, int]:
    findings = group.speaker.record.outwatch
    return ORDER[findings.verdict] if findings.verdict else -1, findings.score or 0, group.connections
