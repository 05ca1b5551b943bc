"""The table of a scan, and the live one: the worst first, in colours that mean something."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from outwatch.guard.text import printable
from outwatch.model.records import Band, Judged, Summary, asked_name, stands_for
from outwatch.net.endpoints import endpoint
from outwatch.views.terminal.words import owner, summary_lines, verdict_words, visible

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
_LEAST_WHY = 16  # characters that a reason needs to say something

# Columns in their order: heading, widest, and how soon it gives way on a narrow screen (0: never).
_COLUMNS = (
    ("VERDICT", 10, 0), ("SCORE", 5, 4), ("PROCESS", 24, 0), ("PID", 8, 3), ("USER", 12, 2), ("DESTINATION", 60, 0), ("PROTO", 8, 1),
    ("STATE", 8, 1), ("WHY", 60, 0), ("ID", _SHORT_ID, 0),
)  # fmt: skip
_FOLDING = frozenset({"DESTINATION", "WHY"})


def picture(
    records: Sequence[Judged], summary: Summary, *, show_all: bool = False, most: int = _MOST_ROWS, width: int = 160
) -> RenderableType:
    """Draw records, worst first as they are given, and the summary below them.

    At most ``most`` rows, of columns that leave room for the reason on a screen of ``width`` characters. Connections of one process to
    one destination with the same verdict share a row.
    """
    shown, hidden = visible(records, show_all=show_all)
    rows = _folded(shown)
    below = [Text(line, style="dim") for line in summary_lines(summary, hidden)]
    if len(rows) > most:
        below.insert(0, Text(f"… {len(rows) - most:,} more rows; --plain and --jsonl show all", style="bold"))
    if not rows:
        return Group(Text("No connection to the outside." if records else "No connection.", style="bold"), *below)
    return Group(_table([_row(record, count) for record, count in rows[:most]], width), *below)


def show(console: Console, drawing: RenderableType) -> None:
    """Print a drawing; data in it is never taken for markup."""
    console.print(drawing, markup=False, highlight=False)


def _folded(records: Sequence[Judged]) -> list[tuple[Judged, int]]:
    """Join what differs only in its local port; the first record of each group speaks for it."""
    groups: dict[object, tuple[Judged, int]] = {}
    for record in records:
        process, findings, end, network = record.process, record.outwatch, record.event.action, record.network
        far = record.source.ip if record.network.direction == "ingress" else (record.destination.ip, record.destination.port)
        who = (process.entity_id or process.pid or record.id) if process else record.id
        key = (
            who,
            far,
            (network.transport, network.direction, network.scope, network.namespace),
            asked_name(record),
            end,
            findings.verdict,
            findings.score,
            findings.reasons and findings.reasons[0].reason,
        )
        first, count = groups.get(key, (record, 0))
        groups[key] = first, count + stands_for(record)
    return list(groups.values())


def _table(rows: Sequence[list[Text]], width: int) -> Table:
    """Lay rows out; columns give way, the least important first, until the reason has room."""
    widest = [min(most, max(8, width // 7)) if heading == "PROCESS" else most for heading, most, _ in _COLUMNS]
    natural = [min(widest[at], max(len(heading), *(row[at].cell_len for row in rows))) for at, (heading, _, _) in enumerate(_COLUMNS)]
    kept = list(range(len(_COLUMNS)))
    why = next(at for at, column in enumerate(_COLUMNS) if column[0] == "WHY")
    natural[why] = max(_LEAST_WHY, min(natural[why], 30))
    for step in range(1, 5):
        if sum(natural[at] + 2 for at in kept) <= width:
            break
        kept = [at for at in kept if _COLUMNS[at][2] != step]
    least = {"ID": _SHORT_ID, "WHY": min(_LEAST_WHY, width // 5), "PROCESS": 7, "DESTINATION": min(21, width // 5)}
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False, padding=(0, 2, 0, 0))
    for at in kept:
        heading = _COLUMNS[at][0]
        folds = heading in _FOLDING
        table.add_column(
            heading,
            justify="right" if heading in {"SCORE", "PID"} else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
            min_width=least.get(heading),
            max_width=None if folds else widest[at],
            style="dim" if heading == "ID" else "",
        )
    for row in rows:
        table.add_row(*(row[at] for at in kept))
    return table


def _row(record: Judged, count: int) -> list[Text]:
    findings, process, user = record.outwatch, record.process, record.user
    arrow = "← " if record.network.direction == "ingress" else ""
    far = record.source if arrow else record.destination
    where = endpoint(far.ip, far.port if count == 1 or not arrow else None)
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
        Text(arrow + _destination(record, where) + (f" × {count}" if count > 1 else "")),
        Text(printable(record.network.transport or "dns", 12)),
        Text(record.event.action or ""),
        Text(why),
        Text(printable(record.id, 40)[:_SHORT_ID]),
    ]


def _destination(record: Judged, shown: str) -> str:
    name = asked_name(record)
    return f"{printable(name, 80)} ({shown})" if name else shown
