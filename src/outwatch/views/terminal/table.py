"""The table of a scan, and the live one: the worst first, in colours that mean something."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from outwatch.guard.text import printable
from outwatch.model.records import Band, Judged, Reputation, Summary, asked_name, stands_for
from outwatch.net.endpoints import endpoint
from outwatch.views import known
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

# Columns in their order: heading, widest, and when there is room for it: 0 always, then the lowest first.
_COLUMNS = (
    ("VERDICT", 10, 0), ("SCORE", 5, 3), ("PROCESS", 24, 0), ("PID", 8, 4), ("USER", 12, 5), ("DESTINATION", 60, 0), ("WHERE", 5, 2),
    ("NETWORK", 24, 6), ("REPUTATION", 30, 1), ("PROTO", 8, 7), ("STATE", 8, 7), ("WHY", 60, 0), ("ID", _SHORT_ID, 0),
)  # fmt: skip
_TURNS = range(1, 8)
_WORTH_FOLDING = frozenset({1, 2})  # turns of columns for which destinations may be folded, and that don't keep others out
_DESTINATION, _WHY, _REPUTATION = ([heading for heading, *_ in _COLUMNS].index(one) for one in ("DESTINATION", "WHY", "REPUTATION"))
_LEAST_REPUTATION = 16
_FOLDING = frozenset({"DESTINATION", "WHY"})
_IF_KNOWN = frozenset({"WHERE", "NETWORK", "REPUTATION"})  # not there if they are empty in every row
_SHADES: dict[known.Shade, str] = {"malicious": "bold red", "suspicious": "yellow", "hint": "", "clean": "green", "unknown": "dim"}
_SILENT, _WORRIED = frozenset({"not_checked", "no_data"}), frozenset({"malicious", "suspicious"})
_NUMBERS = {"virustotal": "VT", "abuseipdb": "abuse"}


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
    drawn = rows[:most]
    return Group(
        _table([_row(record, count) for record, count in drawn], width, rated=any(_is_rated(record) for record, _ in drawn)), *below
    )


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


def _table(rows: Sequence[list[Text]], width: int, *, rated: bool) -> Table:
    """Lay rows out, with as many columns as leave room for the reason."""
    widest = [min(most, max(8, width // 7)) if heading == "PROCESS" else most for heading, most, _ in _COLUMNS]
    natural = [min(widest[at], max(len(heading), *(row[at].cell_len for row in rows))) for at, (heading, _, _) in enumerate(_COLUMNS)]
    natural[_WHY] = max(_LEAST_WHY, min(natural[_WHY], 30))
    natural[_REPUTATION] = min(natural[_REPUTATION], _LEAST_REPUTATION)
    there = [at for at, (heading, *_) in enumerate(_COLUMNS) if heading not in _IF_KNOWN or any(row[at] for row in rows)]
    kept = _kept([at for at in there if rated or at != _REPUTATION], natural, width)
    if sum(natural[at] + 2 for at in kept) + widest[_REPUTATION] - _LEAST_REPUTATION > width:
        widest[_REPUTATION] = _LEAST_REPUTATION
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


def _kept(there: Sequence[int], natural: Sequence[int], width: int) -> list[int]:
    """Choose columns, the most important first, as long as they fit."""
    kept = [at for at in there if not _COLUMNS[at][2]]
    saved = max(0, natural[_DESTINATION] - max(30, width // 4))  # what folded destinations leave
    for turn in _TURNS:
        more = sorted([*kept, *(at for at in there if _COLUMNS[at][2] == turn)])
        if sum(natural[at] + 2 for at in more) - (saved if turn in _WORTH_FOLDING else 0) <= width:
            kept = more
        elif turn not in _WORTH_FOLDING:
            break
    return kept


def _row(record: Judged, count: int) -> list[Text]:
    findings, process, user = record.outwatch, record.process, record.user
    arrow = "← " if record.network.direction == "ingress" else ""
    far = record.source if arrow else record.destination
    where = endpoint(far.ip, far.port if count == 1 or not arrow else None)
    reasons = findings.reasons or ()
    why = printable(reasons[0].reason, 120) if reasons else ""
    if len(reasons) > 1:
        why += f" (+{len(reasons) - 1} more)"
    number, name = known.network(record)
    return [
        Text(verdict_words(record), style=COLOURS[findings.verdict]),
        Text("" if findings.score is None else str(findings.score)),
        Text(owner(record)),
        Text("" if process is None or process.pid is None else str(process.pid)),
        Text(printable(user.name or user.id or "", 32) if user else ""),
        Text(arrow + _destination(record, where) + (f" × {count}" if count > 1 else "")),
        Text(printable(known.country(record) or "", 8)),
        Text(printable(name or (f"AS{number}" if number is not None else ""), 40)),
        _reputation(record),
        Text(printable(record.network.transport or "dns", 12)),
        Text(record.event.action or ""),
        Text(why),
        Text(printable(record.id, 40)[:_SHORT_ID]),
    ]


def _is_rated(record: Judged) -> bool:
    """Tell whether a service or a list knows anything of a destination."""
    findings = record.outwatch
    return bool(findings.indicators or findings.warnings) or any(one.state not in _SILENT for one in findings.reputation or ())


def _reputation(record: Judged) -> Text:
    """Say in a few words what services and lists know, and which services do not."""
    said, lists = known.opinions(record), record.outwatch.indicators or ()
    words = [(_opinion(one), _SHADES[known.shade(one)]) for one in said if one.provider in _NUMBERS or one.state in _WORRIED]
    if lists:
        names = {one.list_ for one in lists}
        words.insert(0, (f"{len(names)} list{'' if len(names) == 1 else 's'}", "bold red"))
    words += [(f"known: {printable(one.list_, 20)}", "dim") for one in (record.outwatch.warnings or ())[:1]]
    return Text(" · ").join(Text(text, style=style) for text, style in words)


def _opinion(said: Reputation) -> str:
    """Spell a service's opinion: its number, ``?`` if nobody asked, ``–`` if it knows nothing; others, which worry, by their name alone."""
    if said.provider not in _NUMBERS:
        return printable(known.title(said.provider), 20)
    number = known.number(said)
    shown = {"not_checked": "?", "no_data": "–"}.get(said.state, said.state if number is None else f"{number:g}")
    return f"{_NUMBERS[said.provider]} {shown}"


def _destination(record: Judged, shown: str) -> str:
    name = asked_name(record)
    return f"{printable(name, 80)} ({shown})" if name else shown
