"""``report --preview``: what would be sent to whom, and how long the quotas would make it take."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import rich_click as click

from outwatch.app import App
from outwatch.cli.group import DONE
from outwatch.cli.options import Common, data_output
from outwatch.cli.outcome import prepared
from outwatch.engine.request import Request
from outwatch.guard.text import printable
from outwatch.lookups.reverse_names.asking import system_servers
from outwatch.model.records import Connection
from outwatch.model.reputation import Indicator
from outwatch.reputation.service import Errand, Standing
from outwatch.reputation.subjects import indicator_of

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def preview(common: Common, app: App, recordings: Sequence[str], seconds: float | None) -> int:
    """Look at what there is, send nothing, and print what a report would send."""
    request = Request(paths=recordings, once=not recordings and seconds is None, seconds=seconds)
    outcome = app.run(replace(prepared(common, request), lookups="off", dns=False, log=None, stream=None))
    connections = [record for record in outcome.records if isinstance(record, Connection)]
    services = app.services()
    try:
        errands, standings = services.errands(connections), services.standings()
    finally:
        services.close()
    names = _asked_for_names(common, app, connections)
    if common.mode in {"json", "jsonl"}:
        out = data_output()
        out.write(msgspec.json.encode(_document(errands, standings, names)) + b"\n")
        out.flush()
    else:
        click.echo("\n".join(printable(line, 100_000) for line in _lines(errands, standings, names)))
    return DONE


def _asked_for_names(common: Common, app: App, connections: Sequence[Connection]) -> list[str]:
    """Give the addresses whose names name servers would be asked for."""
    if common.no_dns or common.lookups != "auto" or "reverse_names" not in {part.name for part, _ in app.parts("lookups")}:
        return []
    found = dict.fromkeys(indicator for one in connections if (indicator := indicator_of(one)) is not None)
    return [indicator.value for indicator in found]


def _document(errands: Sequence[Errand], standings: Sequence[Standing], names: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": "outwatch/1",
        "kind": "preview",
        "services": [
            {
                "provider": one.name,
                "url": one.base,
                "indicators": [indicator.value for indicator in one.indicators],
                "known": one.known,
                "seconds": round(one.seconds, 1),
            }
            for one in errands
        ],
        "not_asked": [{"provider": one.name, "why": one.why_not} for one in standings if one.why_not],
        "name_servers": {"servers": list(system_servers()) if names else [], "addresses": list(names)},
    }


def _lines(errands: Sequence[Errand], standings: Sequence[Standing], names: Sequence[str]) -> list[str]:
    lines = []
    for one in errands:
        known = f"; {one.known} known already" if one.known else ""
        takes = f"; its quota makes that take {length(one.seconds)}" if one.seconds >= 1 else ""
        lines.append(f"{one.title} ({one.base}): {_count(one.indicators)}{known}{takes}")
        lines += [f"  {indicator.value}" for indicator in one.indicators]
    if names:
        lines.append(f"name servers of this system ({', '.join(system_servers())}): the names of {_count(names)}")
    lines += [f"not asked: {one.title} ({one.why_not})" for one in standings if one.why_not]
    return [*lines, "Nothing was sent."]


def _count(things: Sequence[str | Indicator]) -> str:
    return f"{len(things):,} address{'' if len(things) == 1 else 'es'}"


def length(seconds: float) -> str:
    """Spell a length of time by its two largest units: ``2 h 5 min``."""
    left = round(seconds)
    parts: list[str] = []
    for unit, name in _UNITS:
        count, left = divmod(left, int(unit))
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(filter(None, parts[:2])) or "0 s"
