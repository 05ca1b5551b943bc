"""Records as tab-separated lines (``--plain``), for awk, cut and eyes."""

from collections.abc import Sequence
from datetime import UTC

from outwatch.guard.text import printable
from outwatch.model.records import Connection, EventsLost, Question, Record, Reputation, Summary, asked_name, stands_for
from outwatch.net.endpoints import endpoint
from outwatch.views import known
from outwatch.views.terminal.words import owner, summary_lines, verdict_words

COLUMNS = (
    "time", "action", "verdict", "score", "process", "pid", "user", "direction", "transport", "source", "destination", "domain",
    "reasons", "id", "count", "country", "network", "reputation", "listed", "known",
)  # fmt: skip
"""The columns, in this order; a cell whose value is unknown holds ``-``."""


def plain_lines(records: Sequence[Record]) -> bytes:
    """Spell records as lines of ``COLUMNS``; losses and the summary begin with ``#``."""
    return b"".join([plain(record) + b"\n" for record in records])


def plain(record: Record) -> bytes:
    """Spell a record as one line, without the line break."""
    if isinstance(record, EventsLost):
        return f"# lost {record.count} ({printable(record.layer)})".encode("utf-8", "backslashreplace")
    if isinstance(record, Summary):
        return plain_summary(record)
    return "\t".join(printable(cell, 1000) or "-" for cell in _cells(record)).encode("utf-8", "backslashreplace")


def plain_summary(summary: Summary, hidden: dict[str, int] | None = None) -> bytes:
    """Spell a summary, with the counts of what was not shown."""
    return "\n".join(f"# {line}" for line in summary_lines(summary, hidden)).encode("utf-8", "backslashreplace")


def _cells(record: Connection | Question) -> list[str]:
    findings, process, user = record.outwatch, record.process, record.user
    return [
        record.timestamp.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z",
        record.event.action or "",
        verdict_words(record),
        "" if findings.score is None else str(findings.score),
        owner(record),
        "" if process is None or process.pid is None else str(process.pid),
        (user.name or user.id or "") if user else "",
        record.network.direction or "",
        record.network.transport or ("dns" if isinstance(record, Question) else ""),
        endpoint(record.source.ip, record.source.port),
        endpoint(record.destination.ip, record.destination.port),
        asked_name(record) or "",
        "; ".join(f"{reason.points:+g} {reason.reason}" for reason in findings.reasons or ()),
        record.id,
        str(stands_for(record)),
        known.country(record) or "",
        known.place(None, *known.network(record)),
        "; ".join(f"{one.provider} {_said(one)}" for one in known.opinions(record)),
        "; ".join(one.list_ for one in findings.indicators or ()),
        "; ".join(one.list_ for one in findings.warnings or ()),
    ]


def _said(one: Reputation) -> str:
    """Spell an opinion: its state, and the service's number, or why there is none."""
    number = known.number(one)
    return one.state + (f" ({one.why})" if one.why else "" if number is None else f" {number:g}")
