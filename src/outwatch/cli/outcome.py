"""What the commands that watch share: how a request is filled in, printed, and turned into an exit code."""

import time
from dataclasses import replace
from datetime import datetime

from outwatch.cli.group import DONE, FAILED, FINDINGS, INCOMPLETE
from outwatch.cli.options import Common, colours, data_output
from outwatch.engine.request import Outcome, Request
from outwatch.engine.verdict import ORDER
from outwatch.model import wire
from outwatch.model.records import Judged
from outwatch.views.terminal.plain import plain_lines, plain_summary
from outwatch.views.terminal.words import is_hidden, visible

SPELLINGS = {"jsonl": wire.encode_lines, "plain": plain_lines}
"""The output modes that print records as they come, and what spells them."""


def prepared(common: Common, request: Request) -> Request:
    """Fill in what the common options say."""
    return replace(
        request,
        sensor=common.sensor,
        lookups=common.lookups,
        dns=not common.no_dns,
        log=common.log,
        shown=None if common.show_all else _outside,
        spell=SPELLINGS.get(common.mode),
    )


def print_outcome(common: Common, outcome: Outcome) -> None:
    """Print the whole picture and the summary."""
    if common.mode == "table":
        from rich.console import Console  # noqa: PLC0415 - 30 ms that other modes don't need

        from outwatch.views.terminal.table import picture, show  # noqa: PLC0415

        console = Console(**colours(common))
        show(console, picture(outcome.records, outcome.summary, show_all=common.show_all, width=console.width))
        return
    records, hidden = visible(outcome.records, show_all=common.show_all)
    out = data_output()
    if common.mode == "json":
        out.write(wire.document(records, outcome.summary) + b"\n")
    else:
        out.writelines(map(SPELLINGS[common.mode], wire.together(records)))
        out.write((wire.encode(outcome.summary) if common.mode == "jsonl" else plain_summary(outcome.summary, hidden)) + b"\n")
    out.flush()


def tell_unanswered(common: Common, outcome: Outcome, command: str) -> None:
    """Say how many answers of services are missing, and how and when to go on."""
    if not outcome.unanswered:
        return
    counts = ", ".join(f"{title} {count:,}" for title, count in outcome.unanswered.items())
    later = outcome.resumes > time.time() + 1.0
    when = f", best from {datetime.fromtimestamp(outcome.resumes).astimezone():%Y-%m-%d %H:%M:%S}" if later else ""
    common.tell(f"answers that are missing: {counts}; {command} goes on{when}")


def exit_code(common: Common, outcome: Outcome) -> int:
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


def _outside(record: Judged) -> bool:
    return not is_hidden(record)
