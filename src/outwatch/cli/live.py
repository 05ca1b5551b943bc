"""``scan``, ``watch`` and ``replay``: the commands that look at traffic, live or recorded."""

import os
import sys
from dataclasses import replace
from typing import Any, Literal

import rich_click as click

from outwatch.cli.group import INTERRUPTED
from outwatch.cli.options import Common, Duration, colours, common, data_output
from outwatch.cli.outcome import SPELLINGS, exit_code, prepared, print_outcome
from outwatch.engine.request import Companion, Outcome, Request

_MOST_ENDED = 2_000  # connections that a long watch still shows after their end


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
    return INTERRUPTED if outcome.interrupted else exit_code(common, outcome)


@click.command()
@click.option("--for", "seconds", type=Duration(), help="End after that time (30s, 5m).")
@click.option(
    "--from", "recordings", multiple=True, metavar="FILE", help="Follow a recording instead of this machine; - is standard input."
)
@click.option(
    "--simulate",
    type=click.Choice(["overrun"]),
    help="Show what it looks like when events are lost: the kernel sensor with a buffer that is far too small.",
)
@common
def watch(common: Common, seconds: float | None, recordings: tuple[str, ...], simulate: str | None) -> int:
    """Follow connections as they happen.

    On a terminal a live table (Enter redraws, q ends), else a line for each. Ctrl+C ends it.
    """
    live_screen = common.mode == "table" and sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
    if common.mode == "table" and not live_screen:
        common = replace(common, mode="plain")
    companion = _screen(common) if live_screen else None
    if simulate and (recordings or common.sensor not in {"auto", "ebpf"}):
        raise click.UsageError("--simulate overrun is for the kernel sensor on this machine")
    if simulate:
        common = replace(common, sensor="ebpf")
    request = Request(paths=recordings, seconds=seconds, companion=companion, most_ended=_MOST_ENDED, overrun=bool(simulate))
    outcome = _look(common, request, at_end=live_screen)
    return exit_code(common, outcome)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "jsonl", "pcap"]),
    default="auto",
    show_default=True,
    help="What the recording is: outwatch's own lines, or captured packets (pcap and pcapng).",
)
@click.option("--internal", multiple=True, metavar="CIDR", help="Treat this network as private; of a capture: as this side.")
@click.option("--treat-private-as-public", "private_is_public", is_flag=True, help="Judge and show private addresses like public ones.")
@common
def replay(
    common: Common, paths: tuple[str, ...], form: Literal["auto", "jsonl", "pcap"], internal: tuple[str, ...], *, private_is_public: bool
) -> int:
    """Judge recorded traffic: files, folders, .gz, or - for standard input.

    Records keep their own ids and times; of captured packets (tcpdump, Wireshark) connections and DNS questions are put together.
    """
    request = Request(paths=paths, form=form, internal=internal, private_is_public=private_is_public)
    outcome = _look(common, request, at_end=common.mode == "table")
    return INTERRUPTED if outcome.interrupted else exit_code(common, outcome)


def _look(common: Common, request: Request, *, at_end: bool) -> Outcome:
    """Run a watch and print what it saw, as it comes or ``at_end``."""
    app = common.app()
    streaming = not at_end and common.mode in SPELLINGS
    # A recording is judged by what it holds.
    lookups: Any = "off" if request.paths else common.lookups
    request = replace(prepared(common, request), lookups=lookups, stream=data_output() if streaming else None)
    outcome = app.run(request)
    if common.verbose:
        common.tell(f"sensor: {outcome.summary.sensor}")
    if not streaming:
        print_outcome(common, outcome)
    return outcome


def _screen(common: Common) -> Companion:
    """Make the live table of ``watch``."""
    from rich.console import Console  # noqa: PLC0415

    from outwatch.views.terminal.live import LiveTable  # noqa: PLC0415

    table = LiveTable(Console(**colours(common)), show_all=common.show_all)

    async def accompany(drive: Any, picture: Any) -> None:
        await table.run(records=picture.worst_first, summary=drive.summary, stop=drive.stop)

    return accompany
