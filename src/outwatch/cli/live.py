"""``scan``, ``watch`` and ``replay``: the commands that look at traffic, live or recorded."""

import os
import sys
from dataclasses import replace
from typing import Any

import rich_click as click

from outwatch.app import Companion, Outcome, Request
from outwatch.cli.group import DONE, FAILED, FINDINGS, INCOMPLETE, INTERRUPTED
from outwatch.cli.options import Common, Duration, colours, common
from outwatch.engine.verdict import ORDER
from outwatch.model import wire
from outwatch.model.records import Judged
from outwatch.views.terminal.plain import plain, plain_summary
from outwatch.views.terminal.words import is_hidden, visible

_MOST_ENDED = 5_000  # connections that a long watch still shows after their end
_SPELLINGS = {"jsonl": wire.encode, "plain": plain}


@click.command()
@click.option("--for", "seconds", type=Duration(), help="Watch that long first, then show all that was seen (10s, 5m).")
@click.option("--from", "recordings", multiple=True, metavar="FILE", help="Judge a recording instead of this machine; - is standard input.")
@common
def scan(common: Common, seconds: float | None, recordings: tuple[str, ...]) -> int:
    """Show what is connected now, judged, the worst first.

    Works without root, configuration, keys or internet.
    """
    once = seconds is None and not recordings
    outcome = _look(common, Request(paths=recordings, once=once, seconds=seconds), at_end=True)
    return INTERRUPTED if outcome.interrupted else _code(common, outcome)


@click.command()
@click.option("--for", "seconds", type=Duration(), help="End after that time (30s, 5m).")
@click.option(
    "--from", "recordings", multiple=True, metavar="FILE", help="Follow a recording instead of this machine; - is standard input."
)
@common
def watch(common: Common, seconds: float | None, recordings: tuple[str, ...]) -> int:
    """Follow connections as they happen.

    On a terminal a live table (Enter redraws, q ends), else a line for each. Ctrl+C ends it.
    """
    live_screen = common.mode == "table" and sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    if common.mode == "table" and not live_screen:
        common = replace(common, mode="plain")
    companion = _screen(common) if live_screen else None
    outcome = _look(common, Request(paths=recordings, seconds=seconds, companion=companion, most_ended=_MOST_ENDED), at_end=live_screen)
    return _code(common, outcome)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option("--format", "kind", type=click.Choice(["auto", "jsonl"]), default="auto", show_default=True, help="What the recording is.")
@click.option("--internal", multiple=True, metavar="CIDR", help="Treat this network as private.")
@click.option("--treat-private-as-public", "private_is_public", is_flag=True, help="Judge and show private addresses like public ones.")
@common
def replay(common: Common, paths: tuple[str, ...], kind: str, internal: tuple[str, ...], *, private_is_public: bool) -> int:
    """Judge recorded traffic: files, folders, .gz, or - for standard input.

    Records keep their own ids and times.
    """
    del kind  # every recording of this version is JSON lines
    request = Request(paths=paths, internal=internal, private_is_public=private_is_public)
    outcome = _look(common, request, at_end=common.mode == "table")
    return INTERRUPTED if outcome.interrupted else _code(common, outcome)


def _look(common: Common, request: Request, *, at_end: bool) -> Outcome:
    """Run a watch and print what it saw, as it comes or ``at_end``."""
    app = common.app()
    streaming = not at_end and common.mode in _SPELLINGS
    request = replace(
        request,
        sensor=common.sensor,
        lookups=common.lookups,
        log=common.log,
        shown=_everything if common.show_all else _outside,
        stream=sys.stdout.buffer if streaming else None,
        spell=_SPELLINGS.get(common.mode),
    )
    outcome = app.run(request)
    if common.verbose:
        common.tell(f"sensor: {outcome.summary.sensor}")
    if not streaming:
        _print(common, outcome)
    return outcome


def _print(common: Common, outcome: Outcome) -> None:
    """Print the whole picture and the summary."""
    if common.mode == "table":
        from rich.console import Console  # noqa: PLC0415 - 30 ms that other modes don't need

        from outwatch.views.terminal.table import picture, show  # noqa: PLC0415

        console = Console(**colours(common))
        show(console, picture(outcome.records, outcome.summary, show_all=common.show_all, width=console.width))
        return
    records, hidden = visible(outcome.records, show_all=common.show_all)
    out = sys.stdout.buffer
    if common.mode == "json":
        out.write(wire.document(records, outcome.summary) + b"\n")
    else:
        spell = _SPELLINGS[common.mode]
        out.writelines((spell(record) or b"") + b"\n" for record in records)
        out.write((wire.encode(outcome.summary) if common.mode == "jsonl" else plain_summary(outcome.summary, hidden)) + b"\n")
    out.flush()


def _screen(common: Common) -> Companion:
    """Make the live table of ``watch``."""
    from rich.console import Console  # noqa: PLC0415

    from outwatch.views.terminal.live import LiveTable  # noqa: PLC0415

    table = LiveTable(Console(**colours(common)), show_all=common.show_all)

    async def accompany(drive: Any, picture: Any) -> None:
        await table.run(records=picture.worst_first, summary=drive.summary, stop=drive.stop)

    return accompany


def _code(common: Common, outcome: Outcome) -> int:
    """Give the exit code: failed, findings, incomplete, done, in this order."""
    if outcome.failure is not None:
        if common.quiet:
            raise outcome.failure  # else it was told when it happened
        return FAILED
    summary = outcome.summary
    reached = {band for band, order in ORDER.items() if common.fail_on and order >= ORDER[common.fail_on]}
    if any(summary.verdicts.get(band) for band in reached):
        return FINDINGS
    incomplete = (
        summary.lost or summary.not_checked or summary.broken_lines or summary.problems or summary.unattributed_why.get("no_rights")
    )
    return INCOMPLETE if common.strict and incomplete else DONE


def _everything(_record: Judged) -> bool:
    return True


def _outside(record: Judged) -> bool:
    return not is_hidden(record)
