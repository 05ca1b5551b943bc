"""The words that tables, lines and explanations share."""

from outwatch.engine.verdict import ORDER
from outwatch.guard.text import printable
from outwatch.model.records import Judged, Summary, Unknown

HIDDEN_SCOPES = frozenset({"private", "loopback", "link_local"})
"""Where nothing leaves for the outside: shown only with ``--all``."""

UNATTRIBUTED: dict[str, str] = {
    "exited": "its process has gone or let go of it",
    "no_rights": "other users' processes",
    "kernel": "kernel",
    "other_namespace": "other namespace",
}
"""Why an owner is not known, in words."""

_SHORT: dict[str, str] = {"exited": "gone", "no_rights": "no rights", "kernel": "kernel", "other_namespace": "other namespace"}


def is_hidden(record: Judged) -> bool:
    """Tell whether a record is left out without ``--all``: not outbound, not to the outside, or allowed."""
    if record.network.direction == "ingress" or record.outwatch.verdict == "allowed":
        return True
    return record.network.scope in HIDDEN_SCOPES


def owner(record: Judged) -> str:
    """Name the process of a record, or say why that can't be done; safe to show."""
    if record.process is not None and (record.process.name or record.process.executable):
        return printable(record.process.name or record.process.executable or "", 60)
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
    said += [f"not seen: {printable(what)}" for what in summary.blind]
    said += [f"problem: {printable(what)}" for what in summary.problems]
    return said


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
