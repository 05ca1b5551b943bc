"""``report``: watch for a while, then write a file that can be sent to somebody."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rich_click as click
from msgspec import structs

from outwatch.app import App
from outwatch.cli.options import Common, Duration, common, progress, resume_option, wait_option
from outwatch.cli.outcome import exit_code, prepared, print_outcome, tell_unanswered
from outwatch.cli.preview import preview
from outwatch.engine.partial import Kept, Partial
from outwatch.engine.request import Outcome, Request
from outwatch.errors import OutputError, OutwatchError
from outwatch.guard.files import new_file, require_writable
from outwatch.model.records import Summary
from outwatch.views.report import DEFAULT_NAME, FORMS, Report, form_of, free_name, render
from outwatch.views.report.fold import folded
from outwatch.views.terminal.words import summary_lines, visible

_SECONDS = 100.0
_ENDINGS = ", ".join(FORMS)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The values of the command's own options."""

    output: Path | None
    seconds: float | None
    recordings: tuple[str, ...]
    force: bool
    files: bool
    preview: bool
    wait: float
    resume: bool


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where the report goes: a ``numbered`` name may get a number if it is taken, another one is replaced or not."""

    named: Path
    form: str
    numbered: bool
    replaces: bool

    @property
    def path(self) -> Path:
        return free_name(self.named) if self.numbered else self.named


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
    help="Report on a recording instead (- is standard input); its addresses are looked up too, unless --no-dns and --lookups off.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option("--files", is_flag=True, help="Add the files that each process holds open.")
@click.option("--preview", is_flag=True, help="Say what would be sent to whom, and how long quotas would make that take; send nothing.")
@wait_option
@resume_option
@common
def report(common: Common, **given: Any) -> int:
    """Watch for 100 seconds and write a report: a workbook, or what the file's ending asks for.

    One row for each process, destination, port and transport. Ctrl+C ends the watching early and still writes the report.
    """
    wanted = _Wanted(**given)
    if wanted.recordings and wanted.seconds is not None:
        raise click.UsageError("--for and --from exclude each other: a recording is read to its end")
    if wanted.resume and (wanted.recordings or wanted.seconds is not None or wanted.preview):
        raise click.UsageError("--resume goes on with what was seen: --for, --from and --preview don't fit to it")
    app = common.app()
    if wanted.preview:
        return preview(common, app, wanted.recordings, wanted.seconds)
    partial = Partial(app.config.state_dir, "report")
    before = _before(partial) if wanted.resume else None
    facts: Mapping[str, Any] = before.facts if before else {}
    place = _place(wanted, facts)
    require_writable(place.path, replaces=place.replaces)
    wanted = replace(wanted, files=wanted.files or bool(facts.get("files")))
    common = replace(common, show_all=common.show_all or bool(facts.get("all")))
    outcome = app.run(prepared(common, _request(common, wanted, before)))
    if before:
        outcome.summary = _continued(before.summary, outcome.summary)
    path = _written(common, app, outcome, place, files=wanted.files)
    _keep_or_clear(partial, outcome, path, {"files": wanted.files, "all": common.show_all})
    if common.mode != "table":
        print_outcome(common, outcome)
        common.tell(f"written: {path}")
    else:
        for line in summary_lines(outcome.summary, visible(outcome.records, show_all=common.show_all)[1]):
            common.tell(line)
        click.echo(path)
    tell_unanswered(common, outcome, "outwatch report --resume")
    return exit_code(common, outcome)


def _request(common: Common, wanted: _Wanted, before: Kept | None) -> Request:
    """Say what is to be watched, or gone on with."""
    length = None if wanted.recordings or before else wanted.seconds if wanted.seconds is not None else _SECONDS
    return Request(
        paths=wanted.recordings,
        records=before.records if before else (),
        seconds=length,
        switched_on=frozenset({"open_files"} if wanted.files else ()),
        patience=wanted.wait,
        companion=progress(common, length, doing="asking" if before else "reading", things="connection", end="writes the report now"),
    )


def _before(partial: Partial) -> Kept:
    """Give what the last report could not finish."""
    kept = partial.load()
    if kept is None:
        raise OutwatchError("there is nothing to go on with: the last report got all its answers")
    return kept


def _continued(before: Summary, now: Summary) -> Summary:
    """Say of a report that went on what was seen then, and what is not known now; services' reasons begin with their names."""
    kept = {why: count for why, count in before.not_checked.items() if ": " not in why}
    problems = tuple(dict.fromkeys((*before.problems, *now.problems)))
    return structs.replace(before, verdicts=now.verdicts, not_checked={**kept, **now.not_checked}, problems=problems)


def _place(wanted: _Wanted, facts: Mapping[str, Any]) -> _Place:
    """Say where the report goes; one that goes on takes the place of what was written before, unless that was changed since."""
    earlier = Path(str(facts["output"])) if wanted.output is None and "output" in facts else None
    named = earlier or wanted.output or Path(DEFAULT_NAME)
    form = form_of(named)
    if form is None:
        raise click.UsageError(f"{named}: the name must end in one of {_ENDINGS}")
    replaces = wanted.force or (earlier is not None and _state(earlier) == (facts.get("size"), facts.get("changed")))
    return _Place(named=named, form=form, numbered=wanted.output is None and not replaces, replaces=replaces)


def _state(path: Path) -> tuple[int, int] | None:
    """Give what tells whether a file was changed."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _keep_or_clear(partial: Partial, outcome: Outcome, path: Path, facts: Mapping[str, bool]) -> None:
    """Remember a report that lacks answers, so that it can go on."""
    if not outcome.unanswered:
        partial.clear()
        return
    size, changed = _state(path) or (0, 0)
    partial.save(outcome.records, outcome.summary, {**facts, "output": str(path.absolute()), "size": size, "changed": changed})


def _written(common: Common, app: App, outcome: Outcome, place: _Place, *, files: bool) -> Path:
    """Write the report and give its path; what was seen is kept if that fails."""
    try:
        with _interruptible():
            return _write(common, outcome, place, files=files)
    except OutwatchError as error:
        raise OutwatchError(f"{error}; {_kept(app, outcome)}") from error
    except BaseException:
        common.tell(_kept(app, outcome))
        raise


def _kept(app: App, outcome: Outcome) -> str:
    """Keep what was seen although there is no report of it, and say where."""
    try:
        return f"what was seen is kept: outwatch report --from {app.keep(outcome)}"
    except OutwatchError as error:
        return f"and what was seen is lost: {error}"


def _write(common: Common, outcome: Outcome, place: _Place, *, files: bool) -> Path:
    """Write the report and give its path, which for a numbered name may have got a number."""
    shown, hidden = visible(outcome.records, show_all=common.show_all)
    summary = outcome.summary
    until = summary.event.end if summary.host and summary.event else None
    rows = folded(shown, until)
    while True:
        path = place.path
        try:
            with new_file(path, replaces=place.replaces) as file:
                render(
                    Report(rows=rows, summary=summary, made=datetime.now(UTC), hidden=hidden, files=files, unasked=outcome.unasked),
                    place.form,
                    file,
                )
        except OutputError:
            if place.numbered and os.path.lexists(path):  # somebody else took the name just now
                continue
            raise
        return path


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the writing like Ctrl+C does, so that nothing half-written stays."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
