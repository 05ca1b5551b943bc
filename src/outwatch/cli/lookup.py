"""``lookup``: what services and lists say of given addresses, domains and checksums."""

import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import rich_click as click

from outwatch.cli.group import INTERRUPTED
from outwatch.cli.options import Common, common, data_output, progress, resume_option, wait_option
from outwatch.cli.outcome import exit_code, prepared, tell_unanswered
from outwatch.engine.partial import Kept, Partial
from outwatch.engine.request import Outcome, Request
from outwatch.errors import OutwatchError
from outwatch.guard.text import printable
from outwatch.intel.formats.values import Name, meaning, refanged
from outwatch.model import wire
from outwatch.model.records import Judged
from outwatch.model.reputation import Indicator
from outwatch.views.terminal.lookup import document, line, tabbed, told

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ABOUT = frozenset({"geo", "reputation", "indicator"})
"""The parts that say something of a destination by itself."""


@click.command()
@click.argument("indicators", nargs=-1, metavar="[IP|DOMAIN|SHA256]...")
@wait_option
@resume_option
@common
def lookup(common: Common, indicators: tuple[str, ...], wait: float, *, resume: bool) -> int:
    """Say what reputation services and indicator lists know of addresses, domains and files (by SHA-256).

    Defanged spellings (hxxp://evil[.]example) are understood. What was answered within a day is not asked again.
    """
    if not indicators and not resume:
        raise click.UsageError("name at least one address, domain or SHA-256, or go on with --resume")
    app = common.app()
    partial = Partial(app.config.state_dir, "lookup")
    records = _before(partial) if resume else []
    there = {record.id for record in records}
    records += [record for record in app.named(dict.fromkeys(map(_indicator, indicators))) if record.id not in there]
    request = Request(
        records=records, only=_ABOUT, patience=wait, companion=progress(common, None, doing="asking", things="indicator", end="ends it")
    )
    outcome = app.run(replace(prepared(common, request), log=None, stream=None))
    by_id = {record.id: record for record in outcome.records}
    outcome.records = [by_id[record.id] for record in records if record.id in by_id]  # as they were named
    _print(common, outcome)
    if outcome.unanswered:
        partial.save(outcome.records, outcome.summary, {})
    else:
        partial.clear()
    tell_unanswered(common, outcome, "outwatch lookup --resume")
    return INTERRUPTED if outcome.interrupted else exit_code(common, outcome)


def _before(partial: Partial) -> list[Judged]:
    """Give the records of the look-up that was not finished."""
    kept: Kept | None = partial.load()
    if kept is None:
        raise OutwatchError("there is nothing to go on with: the last look-up got all its answers")
    return kept.records


def _indicator(text: str) -> Indicator:
    """Read what somebody typed; ``UsageError`` if nobody can be asked about it."""
    plain = refanged(text.strip()).lower()
    if _SHA256.match(plain):
        return Indicator("sha256", plain)
    found = meaning(text)
    if isinstance(found, IPv4Address | IPv6Address):
        return Indicator("ip", str(found))
    if isinstance(found, Name):
        return Indicator("domain", found.text)
    raise click.UsageError(f"{printable(text, 100)!r} is no address, domain or SHA-256")


def _print(common: Common, outcome: Outcome) -> None:
    records: Sequence[Judged] = outcome.records
    if common.mode == "table":
        for at, record in enumerate(records):
            click.echo(("\n" if at else "") + "\n".join(told(record)))
        for lack in outcome.summary.blind:
            common.tell(f"not known: {lack}")
        return
    out = data_output()
    if common.mode == "json":
        out.write(document(records, outcome.summary) + b"\n")
    elif common.mode == "jsonl":
        out.writelines(line(record) + b"\n" for record in records)
        out.write(wire.encode(outcome.summary) + b"\n")
    else:
        out.writelines(text.encode("utf-8", "backslashreplace") + b"\n" for record in records for text in tabbed(record))
    out.flush()
