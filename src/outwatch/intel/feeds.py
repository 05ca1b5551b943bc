"""MISP feeds: a manifest, and a file for each event that it names. Only events that have changed are fetched."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import BinaryIO

from outwatch.errors import RuleError
from outwatch.intel import formats
from outwatch.intel.download import Downloads, Version, beside
from outwatch.intel.entries import Entry
from outwatch.intel.formats import Ledger
from outwatch.intel.stored import Event, Writing

_AT_ONCE = 8
_MOST = 5_000  # events of a feed, the newest


async def read_feed(
    source: str, listed: Mapping[str, int], before: Iterable[Entry | Event], downloads: Downloads, writing: Writing, ledger: Ledger
) -> None:
    """Write the entries of all events: those that are as they were from ``before``, the others fetched.

    An event that is missing or can't be understood is counted as broken. ``RuleError`` if the feed as a whole must be refused,
    ``LookupFailed`` if nobody answers.
    """
    newest = sorted(listed, key=lambda name: listed[name], reverse=True)
    for name in newest[_MOST:]:
        ledger.leave_out(None, f"{name}.json", "older events", f"only the newest {_MOST:,} events of a feed are read")
    wanted = {name: listed[name] for name in newest[:_MOST]}
    there = set()
    kept = False
    for line in before:
        if isinstance(line, Event):
            kept = wanted.get(line.event) == line.changed and line.event not in there
            if kept:
                there.add(line.event)
                writing.begin(line)
        elif kept:
            writing.add(ledger.keep(line))
    missing = [name for name in wanted if name not in there]
    for at in range(0, len(missing), _AT_ONCE):
        await _fetch([Event(name, wanted[name]) for name in missing[at : at + _AT_ONCE]], source, downloads, writing, ledger)
    ledger.form = "MISP feed"
    ledger.check()


async def _fetch(events: list[Event], source: str, downloads: Downloads, writing: Writing, ledger: Ledger) -> None:
    """Fetch some events together, and read them one after another."""
    async with AsyncExitStack() as stack:
        names = [f"{event.event}.json" for event in events]
        files = [stack.enter_async_context(downloads.fetched(beside(source, name), Version())) for name in names]
        for event, name, found in zip(events, names, await asyncio.gather(*files, return_exceptions=True), strict=True):
            if isinstance(found, RuleError):
                ledger.break_(None, name, found.reason)
            elif isinstance(found, BaseException):
                raise found
            elif found is not None:
                _read(event, found.file, writing, ledger)


def _read(event: Event, file: BinaryIO, writing: Writing, ledger: Ledger) -> None:
    """Write the entries of one event; if it can't be read it is counted, and fetched again the next time."""
    begun = False
    try:
        for entry in formats.read_event(file, ledger):
            if not begun:
                writing.begin(event)
                begun = True
            writing.add(entry)
    except RuleError as error:
        if begun:  # a part of it is written
            raise
        ledger.break_(None, f"{event.event}.json", error.reason)
        return
    if not begun:
        writing.begin(event)
    if ledger.entries.total() > ledger.bounds.most_lines:
        raise ledger.refused(f"has more than {ledger.bounds.most_lines:,} entries")
