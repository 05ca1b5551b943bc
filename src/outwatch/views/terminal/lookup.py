"""What services and lists say of things that somebody asked about: for people, as tab-separated lines, as JSON."""

from collections.abc import Iterator, Sequence

import msgspec

from outwatch.guard.text import printable
from outwatch.model import wire
from outwatch.model.records import Judged, Reputation, Summary
from outwatch.views import known
from outwatch.views.terminal.words import verdict_words

COLUMNS = ("indicator", "kind", "verdict", "score", "service", "state", "number", "checked", "words")
"""The tab-separated columns, a line for each service; a cell whose value is unknown holds ``-``."""


def subject(record: Judged) -> tuple[str, str]:
    """Give the kind of what was asked about, and the thing itself."""
    kind, _, value = record.id.partition(":")
    return kind, value


def told(record: Judged) -> Iterator[str]:
    """Tell everything about one indicator in lines that are safe to show."""
    findings = record.outwatch
    score = "" if findings.score is None else f" {findings.score}"
    where = known.where(record)
    yield printable(f"{subject(record)[1]}  {verdict_words(record)}{score}" + (f"  {where}" if where else ""), 400)
    width = max((len(known.title(one.provider)) for one in known.opinions(record)), default=0)
    for one in known.opinions(record):
        when = f"  ({one.checked_at.astimezone():%Y-%m-%d %H:%M})" if one.checked_at else ""
        yield printable(f"  {known.title(one.provider).ljust(width)}  {known.spelled(one)}{when}", 600)
    for listed in known.listing(findings.indicators):
        yield printable(f"  on the list {listed}", 600)
    for listed in known.listing(findings.warnings):
        yield printable(f"  well known, {listed}", 600)
    for reason in findings.reasons or ():
        yield printable(f"  {reason.points:+g}  {reason.reason}", 600)
    if not findings.reputation:
        yield "  no service was asked"


def tabbed(record: Judged) -> Iterator[str]:
    """Spell what each service says of an indicator as one line of ``COLUMNS``."""
    findings = record.outwatch
    kind, value = subject(record)
    score = "" if findings.score is None else str(findings.score)
    for one in known.opinions(record):
        number = known.number(one)
        cells = (value, kind, verdict_words(record), score, one.provider, one.state, "" if number is None else f"{number:g}", *_rest(one))
        yield "\t".join(printable(cell, 600) or "-" for cell in cells)


def _rest(one: Reputation) -> tuple[str, str]:
    when = f"{one.checked_at:%Y-%m-%dT%H:%M:%SZ}" if one.checked_at else ""
    return when, known.spelled(one)


def document(records: Sequence[Judged], summary: Summary) -> bytes:
    """Write one JSON document: the answers and the summary."""
    said = b",\n".join(map(line, records))
    return b'{"schema":"outwatch/1","records":[\n' + said + b'\n],"summary":' + wire.encode(summary) + b"}"


def line(record: Judged) -> bytes:
    """Write what is known of one indicator as one JSON object: the keys of a record that speak of it."""
    tree = msgspec.json.decode(wire.encode(record), type=dict[str, msgspec.Raw])  # pieces as they are, with their escapes
    kind, value = subject(record)
    kept = {key: tree[key] for key in ("@timestamp", "destination") if key in tree}
    findings = msgspec.json.decode(tree["outwatch"], type=dict[str, msgspec.Raw]) if "outwatch" in tree else {}
    told = {key: findings[key] for key in _FINDINGS if key in findings}
    return msgspec.json.encode(
        {"schema": tree["schema"], "kind": "lookup", "indicator": {"type": kind, "value": value}, **kept, "outwatch": told}
    )


_FINDINGS = ("verdict", "score", "reasons", "reputation", "indicators", "warnings")
