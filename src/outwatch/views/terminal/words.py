"""The words that tables, lines and explanations share."""

from collections import Counter
from collections.abc import Sequence

from outwatch.engine.verdict import ORDER
from outwatch.guard.text import printable
from outwatch.model.records import Judged, Question, Summary, Unknown

HIDDEN_SCOPES = frozenset({"private", "loopback", "link_local"})
"""Where nothing leaves for the outside: shown only with ``--all``."""

UNATTRIBUTED: dict[str, str] = {
    "exited": "its process has gone or let go of it",
    "no_rights": "other users' processes",
    "kernel": "no process holds it: kernel, or not accepted yet",
    "other_namespace": "other namespace",
}
"""Why an owner is not known, in words."""

_SHORT: dict[str, str] = {"exited": "gone", "no_rights": "no rights", "kernel": "kernel", "other_namespace": "other namespace"}


def is_hidden(record: Judged) -> bool:
    """Tell whether a record is left out without ``--all``: not outbound, not to the outside, allowed, or a question like any other."""
    if _is_only_heard(record):
        return True
    if record.network.direction == "ingress" or record.outwatch.verdict == "allowed":
        return True
    return record.network.scope in HIDDEN_SCOPES


def visible(records: Sequence[Judged], *, show_all: bool) -> tuple[list[Judged], dict[str, int]]:
    """Split records into those to show and the counts, by reason, of those that are not."""
    if show_all:
        return list(records), {}
    shown = [record for record in records if not is_hidden(record)]
    hidden = Counter(_why_hidden(record) for record in records if is_hidden(record))
    return shown, dict(hidden)


def _is_only_heard(record: Judged) -> bool:
    """Tell whether a record is a question that was heard on the way, for the name of a connection, and nothing is odd about it."""
    return isinstance(record, Question) and record.outwatch.sensor == "ebpf" and record.outwatch.verdict in {None, "normal"}


def _why_hidden(record: Judged) -> str:
    if _is_only_heard(record):
        return "questions for names"
    if record.network.direction == "ingress":
        return "accepted"
    if record.network.scope in HIDDEN_SCOPES:
        scope = (record.network.scope or "").replace("_", "-")
        worrying = record.outwatch.verdict in {"medium", "high", "critical"}
        return f"{scope} with verdict {record.outwatch.verdict}" if worrying else scope
    return "allowed"


def owner(record: Judged) -> str:
    """Name the process of a record, or say why that can't be done; safe to show."""
    if record.process is not None and (record.process.name or record.process.executable):
        name = printable(record.process.name or record.process.executable or "", 60)
        return f"{name} (outwatch itself)" if record.outwatch.own else name
    attribution = record.outwatch.attribution
    if isinstance(attribution, Unknown):
        return f"({_SHORT[attribution.unknown]})"
    return "(unattributed)"


def verdict_words(record: Judged) -> str:
    """Give a verdict, or that there is none."""
    return record.outwatch.verdict or "not judged"


def summary_lines(summary: Summary, hidden: dict[str, int] | None = None) -> list[str]:
    """Tell a summary in plain sentences: what was seen, what is hidden, what is not known."""
    verdicts = ", ".join(
        f"{count} {verdict}"
        for verdict, count in sorted(summary.verdicts.items(), key=lambda one: -ORDER.get(one[0], 0))  # type: ignore[call-overload]
    )
    said = [f"{_count(summary.seen, 'connection')} seen by {summary.sensor or 'no sensor'}" + (f": {verdicts}" if verdicts else "")]
    if summary.not_judged:
        said[0] += f", {summary.not_judged} accepted (not judged)"
    if hidden:
        said.append(f"not shown: {', '.join(f'{count} {why}' for why, count in hidden.items())} (--all shows them)")
    if summary.unattributed:
        why = ", ".join(f"{UNATTRIBUTED.get(one, one)}: {count}" for one, count in summary.unattributed_why.items())
        said.append(f"unattributed: {summary.unattributed} ({why})")
    for label, counts in (
        ("lost", summary.lost),
        ("not checked", summary.not_checked),
        ("too little known to judge", summary.without_fact),
    ):
        if counts:
            said.append(f"{label}: {', '.join(f'{count} ({printable(what)})' for what, count in counts.items())}")
    if summary.broken_lines:
        said.append(f"broken lines passed over: {summary.broken_lines}")
    if summary.blind:
        said.append(f"not seen: {'; '.join(printable(what) for what in summary.blind)}")
    said += [f"problem: {printable(what)}" for what in summary.problems]
    return said


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
