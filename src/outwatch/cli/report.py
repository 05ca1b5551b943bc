"""``report``: watch for a while, then write a file that can be sent to somebody."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click

from outwatch.app import App, Companion, Outcome, Request
from outwatch.cli.options import Common, Duration, colours, common
from outwatch.cli.outcome import exit_code, prepared, print_outcome
from outwatch.errors import OutputError, OutwatchError
from outwatch.guard.files import new_file, require_writable
from outwatch.views.report import DEFAULT_NAME, FORMS, Report, form_of, free_name, render
from outwatch.views.report.fold import folded
from outwatch.views.terminal.words import summary_lines, visible

_SECONDS = 100.0
_ENDINGS = ", ".join(FORMS)


@click.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help=f"The file; its ending decides the kind: {_ENDINGS}.  [default: {DEFAULT_NAME}]"
)
@click.option("--for", "seconds", type=Duration(), help="Watch that long (30s, 5m).  [default: 100s]")
@click.option(
    "--from",
    "recordings",
    multiple=True,
    metavar="FILE",
    help="Report on a recording instead (- is standard input); its addresses are looked up too, unless --no-dns.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--files", is_flag=True, help="Add the files that each process holds open.")
@common
def report(common: Common, output: Path | None, seconds: float | None, recordings: tuple[str, ...], *, force: bool, files: bool) -> int:
    """Watch for 100 seconds and write a report: a workbook, or what the file's ending asks for.

    One row for each process, destination, port and transport. Ctrl+C ends the watching early and still writes the report.
    """
    if recordings and seconds is not None:
        raise click.UsageError("--for and --from exclude each other: a recording is read to its end")
    named = output if output is not None else Path(DEFAULT_NAME)
    form = form_of(named)
    if form is None:
        raise click.UsageError(f"{named}: the name must end in one of {_ENDINGS}")
    length = None if recordings else seconds if seconds is not None else _SECONDS
    numbered = output is None and not force
    require_writable(free_name(named) if numbered else named, replaces=force)
    app = common.app()
    request = Request(
        paths=recordings,
        seconds=length,
        switched_on=frozenset({"open_files"} if files else ()),
        companion=_bar(common, length),
    )
    outcome = app.run(prepared(common, request))
    try:
        with _interruptible():
            path = _write(common, outcome, named, form, numbered=numbered, force=force, files=files)
    except OutwatchError as error:
        raise OutwatchError(f"{error}; {_kept(app, outcome)}") from error
    except BaseException:
        common.tell(_kept(app, outcome))
        raise
    if common.mode != "table":
        print_outcome(common, outcome)
        common.tell(f"written: {path}")
    else:
        for line in summary_lines(outcome.summary, visible(outcome.records, show_all=common.show_all)[1]):
            common.tell(line)
        click.echo(path)
    return exit_code(common, outcome)


def _kept(app: App, outcome: Outcome) -> str:
    """Keep what was seen although there is no report of it, and say where."""
    try:
        return f"what was seen is kept: outwatch report --from {app.keep(outcome)}"
    except OutwatchError as error:
        return f"and what was seen is lost: {error}"


def _write(common: Common, outcome: Outcome, named: Path, form: str, *, numbered: bool, force: bool, files: bool) -> Path:
    """Write the report and give its path, which for a ``numbered`` name may have got a number."""
    shown, hidden = visible(outcome.records, show_all=common.show_all)
    summary = outcome.summary
    until = summary.event.end if summary.host and summary.event else None
    rows = folded(shown, until)
    while True:
        path = free_name(named) if numbered else named
        try:
            with new_file(path, replaces=force) as file:
                render(Report(rows=rows, summary=summary, made=datetime.now(UTC), hidden=hidden, files=files), form, file)
        except OutputError:
            if numbered and os.path.lexists(path):  # somebody else took the name just now
                continue
            raise
        return path


def _bar(common: Common, seconds: float | None) -> Companion | None:
    """Make the bar, for people who wait in front of a terminal."""
    if common.quiet or not sys.stderr.isatty() or os.environ.get("TERM") in {"dumb", "unknown"}:
        return None
    from rich.console import Console  # noqa: PLC0415 - only for a terminal

    from outwatch.views.terminal.progress import Countdown  # noqa: PLC0415

    countdown = Countdown(Console(**{**colours(common), "stderr": True, "width": None}), seconds)

    async def accompany(drive: Any, _picture: Any) -> None:
        await countdown.run(drive.summary)

    return accompany


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the writing like Ctrl+C does, so that nothing half-written stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
