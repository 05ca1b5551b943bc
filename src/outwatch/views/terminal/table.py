"""The table of a scan, and the live one: the worst first, in colours that mean something."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from outwatch.guard.text import printable
from outwatch.model.records import Band, Judged, Summary, asked_name
from outwatch.net.endpoints import endpoint
from outwatch.views.terminal.words import HIDDEN_SCOPES, is_hidden, owner, summary_lines, verdict_words

COLOURS: dict[Band | None, str] = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "normal": "green",
    "allowed": "dim green",
    None: "dim",
}
"""Colour of each verdict; what was not judged is grey."""

_MOST_ROWS = 500
_SHORT_ID = 8


def visible(records: Sequence[Judged], *, show_all: bool) -> tuple[list[Judged], dict[str, int]]:
    """Split records into those to show and the counts, by reason, of those that are not."""
    if show_all:
        return list(records), {}
    shown = [record for record in records if not is_hidden(record)]
    hidden = Counter(_why_hidden(record) for record in records if is_hidden(record))
    return shown, dict(hidden)


def picture(records: Sequence[Judged], summary: Summary, *, show_all: bool = False, most: int = _MOST_ROWS) -> RenderableType:
    """Draw records, worst first as they are given, and the summary below them; at most ``most`` rows."""
    shown, hidden = visible(records, show_all=show_all)
    below = [Text(line, style="dim") for line in summary_lines(summary, hidden)]
    if len(shown) > most:
        below.insert(0, Text(f"… {len(shown) - most:,} more rows; --plain and --jsonl show all", style="bold"))
    if not shown:
        return Group(Text("No connection to the outside." if records else "No connection.", style="bold"), *below)
    return Group(_table(shown[:most]), *below)


def show(console: Console, drawing: RenderableType) -> None:
    """Print a drawing; data in it is never taken for markup."""
    console.print(drawing, markup=False, highlight=False)


def _table(records: Sequence[Judged]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    table.add_column("VERDICT", no_wrap=True)
    table.add_column("SCORE", justify="right", no_wrap=True)
    table.add_column("PROCESS", no_wrap=True, max_width=24, overflow="ellipsis")
    table.add_column("PID", justify="right", no_wrap=True)
    table.add_column("USER", no_wrap=True, max_width=12, overflow="ellipsis")
    table.add_column("DESTINATION", overflow="fold", min_width=21)
    table.add_column("PROTO", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("WHY", overflow="fold", min_width=12)
    table.add_column("ID", no_wrap=True, style="dim")
    for record in records:
        table.add_row(*_row(record))
    return table


def _row(record: Judged) -> list[Text]:
    findings, process, user = record.outwatch, record.process, record.user
    arrow = "← " if record.network.direction == "ingress" else ""
    far = record.source if arrow else record.destination
    reasons = findings.reasons or ()
    why = printable(reasons[0].reason, 120) if reasons else ""
    if len(reasons) > 1:
        why += f" (+{len(reasons) - 1} more)"
    return [
        Text(verdict_words(record), style=COLOURS[findings.verdict]),
        Text("" if findings.score is None else str(findings.score)),
        Text(owner(record)),
        Text("" if process is None or process.pid is None else str(process.pid)),
        Text(printable(user.name or user.id or "", 32) if user else ""),
        Text(arrow + _destination(record, endpoint(far.ip, far.port))),
        Text(printable(record.network.transport or "dns", 12)),
        Text(record.event.action or ""),
        Text(why),
        Text(printable(record.id, 40)[:_SHORT_ID]),
    ]


def _destination(record: Judged, shown: str) -> str:
    name = asked_name(record)
    return f"{printable(name, 80)} ({shown})" if name else shown


def _why_hidden(record: Judged) -> str:
    if record.network.direction == "ingress":
        return "accepted"
    if record.network.scope in HIDDEN_SCOPES:
        scope = (record.network.scope or "").replace("_", "-")
        worrying = record.outwatch.verdict in {"medium", "high", "critical"}
        return f"{scope} with verdict {record.outwatch.verdict}" if worrying else scope
    return "allowed"
