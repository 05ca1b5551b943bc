"""Brings lists up to date: asked for no more often than allowed, read, checked, and taken as a whole or not at all."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from msgspec.structs import replace

from outwatch.engine.indicator_settings import IntelConfig
from outwatch.errors import LookupFailed, RuleError, StoreError
from outwatch.guard.files import private_folder
from outwatch.intel import formats
from outwatch.intel.download import Downloads, Fetched, Version
from outwatch.intel.entries import Entry
from outwatch.intel.feeds import read_feed
from outwatch.intel.formats import Ledger
from outwatch.intel.indexing import build
from outwatch.intel.layout import ListFacts
from outwatch.intel.lists import KnownList, bounds, is_url
from outwatch.intel.stored import Asked, Contents, Event, Shelf
from outwatch.net.addresses import Scopes
from outwatch.net.http import Http, host_of

_AT_ONCE = 4  # lists that are fetched at the same time
_HOUR, _DAY = 3600.0, 86_400.0
_SOON = 60.0  # seconds by which a list may be asked too early: a timer is never exact

Result = Literal["read", "unchanged", "waits", "failed"]


class Outcome(NamedTuple):
    """What became of one list: ``words`` for people, and how many of its lines could not be used."""

    name: str
    result: Result
    words: str
    broken: int = 0


class Updating:
    """Renews lists on a shelf. ``tell`` gets the lines that can't be used; ``now`` is the time in seconds since the epoch."""

    def __init__(
        self,
        shelf: Shelf,
        settings: IntelConfig,
        scopes: Scopes,
        *,
        tell: Callable[[RuleError], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the shelf and the settings of all lists."""
        self._shelf, self._settings, self._scopes = shelf, settings, scopes
        self._tell, self._now = tell, now

    async def renew(self, lists: Sequence[KnownList], *, accept_smaller: bool = False, at_once: bool = False) -> list[Outcome]:
        """Ask for each list that it is time for (``at_once``: for all of them) and give what became of them, in their order.

        ``accept_smaller`` takes a list also if it has lost nearly everything. ``OutputError`` if the state folder can't be written.
        """
        private_folder(self._shelf.folder)
        permitted = {host for one in lists if not one.offered and (host := host_of(one.source)) is not None}
        gate, reading = asyncio.Semaphore(_AT_ONCE), asyncio.Lock()
        async with Http(permitted=permitted) as http:
            downloads = Downloads(
                http,
                self._shelf.folder,
                most=self._settings.most_mib << 20,
                ratio=self._settings.ratio,
                seconds=self._settings.seconds,
            )

            async def one(known: KnownList) -> Outcome:
                early = None if at_once else self._too_early(known)
                if early:
                    return Outcome(known.name, "waits", early)
                async with gate:
                    return await self._renew(known, downloads, reading, accept_smaller=accept_smaller)

            return list(await asyncio.gather(*map(one, lists)))

    def _too_early(self, known: KnownList) -> str | None:
        asked = self._shelf.asked(known.name)
        if asked is None or asked.source != known.source or asked.at > self._now():
            return None
        due = asked.at + known.every_hours * _HOUR
        if self._now() >= due - min(_SOON, known.every_hours * _HOUR / 2):
            return None
        return f"asked at {_time(asked.at)}, and may be asked again after {_time(due)}"

    async def _renew(self, known: KnownList, downloads: Downloads, reading: asyncio.Lock, *, accept_smaller: bool) -> Outcome:
        """Fetch and read one list, and keep how that went."""
        before, asked = self._before(known), self._shelf.asked(known.name)
        if asked is None or asked.source != known.source:
            asked = Asked(source=known.source, at=0)
        at = int(self._now())
        try:
            version = Version(before.etag, before.last_modified) if before is not None else Version()
            async with downloads.fetched(known.source, version) as found:
                if found is not None:
                    async with reading:
                        outcome = await self._read(known, found, before, downloads, accept_smaller=accept_smaller)
                else:
                    outcome = Outcome(known.name, "unchanged", f"unchanged: {_amount(before)}")
        except LookupFailed as error:  # nobody was asked, so there is no need to wait
            return self._failed(known, replace(asked, problem=error.reason))
        except RuleError as error:
            return self._failed(known, replace(asked, at=at, problem=error.reason))
        except StoreError as error:  # what was kept is damaged, which a feed needs
            self._shelf.remove(known.name)
            return self._failed(known, replace(asked, problem=error.reason))
        self._shelf.note(known.name, Asked(source=known.source, at=at, confirmed=at))
        return outcome

    def _before(self, known: KnownList) -> Contents | None:
        """Give what there is of a list from its present source; what is damaged counts as nothing."""
        try:
            contents = self._shelf.contents(known.name)
        except StoreError:
            return None
        return contents if contents is not None and contents.source == known.source else None

    def _failed(self, known: KnownList, asked: Asked) -> Outcome:
        self._shelf.note(known.name, asked)
        before = self._before(known)
        stays = f"; what was read {_time(before.read_at)} stays" if before is not None else ""
        return Outcome(known.name, "failed", f"{asked.problem}{stays}")

    async def _read(
        self, known: KnownList, found: Fetched, before: Contents | None, downloads: Downloads, *, accept_smaller: bool
    ) -> Outcome:
        """Read a file to the shelf. ``RuleError`` if it must be refused: what was there before stays."""
        now = self._now()
        warns = known.kind == "warning" if known.kind is not None else None
        path = known.name if is_url(known.source) else known.source
        ledger = Ledger(path, bounds(self._settings), self._scopes, now, warns, self._tell)
        with self._shelf.writing(known.name) as writing:
            events = await asyncio.to_thread(formats.events, found.file, ledger)
            if events is not None:
                kept = self._shelf.entries(known.name) if before is not None else ()
                await read_feed(known.source, events, kept, downloads, writing, ledger)
            else:
                await asyncio.to_thread(writing.add_all, formats.read(found.file, ledger))
            contents = Contents(
                name=known.name,
                source=known.source,
                kind="warning" if ledger.warns else "indicator",
                form=ledger.form,
                read_at=int(now),
                counts=dict(ledger.entries),
                unused=ledger.unused(),
                etag=found.version.etag,
                last_modified=found.version.last_modified,
            )
            if not accept_smaller:
                self._require_most(before, contents, ledger)
            writing.finish(contents)
        return Outcome(known.name, "read", _amount(contents), ledger.broken)

    def _require_most(self, before: Contents | None, now: Contents, ledger: Ledger) -> None:
        """Refuse a list that has lost nearly all that it had."""
        lost = before.entries - now.entries if before is not None else 0
        if before is not None and lost > 0 and lost >= self._settings.shrunk * before.entries:
            raise ledger.refused(f"has lost {lost:,} of its {before.entries:,} entries; --accept-smaller takes it all the same")


def make_index(shelf: Shelf, lists: Sequence[KnownList], tell: Callable[[str], None]) -> None:
    """Make the index anew from what is kept of the lists; one that is damaged is told and left out.

    ``OutputError`` if it can't be written: the index before stays.
    """
    private_folder(shelf.folder)
    left = list(lists)
    while True:
        reading: list[KnownList] = []  # the last one is being read
        try:
            build(shelf.index_path, _of_each(shelf, left, reading))
        except StoreError as error:
            if not reading:
                raise
            tell(f"{reading[-1].name} is left out: {error}")
            left.remove(reading[-1])
        else:
            return


def _of_each(shelf: Shelf, lists: Iterable[KnownList], reading: list[KnownList]) -> Iterator[tuple[ListFacts, Iterator[Entry]]]:
    for known in lists:
        reading.append(known)
        contents = shelf.contents(known.name)
        if contents is None:
            continue
        asked = shelf.asked(known.name)
        confirmed = asked.confirmed if asked is not None and asked.source == contents.source else None
        since = max(confirmed or 0, contents.read_at)
        facts = ListFacts(
            name=known.name,
            kind=known.kind or contents.kind,
            confidence=known.confidence,
            meaning=known.meaning,
            title=known.title,
            licence=known.licence,
            source=known.shown,
            date=f"{datetime.fromtimestamp(since, UTC):%Y-%m-%d}",
        )
        yield facts, _with_end(shelf.entries(known.name), known.expires_days, since)
    reading.clear()


def _with_end(entries: Iterable[Entry | Event], days: float | None, since: int) -> Iterator[Entry]:
    """Give entries without an end of their own the one that the settings give them."""
    for entry in entries:
        if isinstance(entry, Event):
            continue
        if days is not None and entry.expires is None:
            yield entry._replace(expires=int((entry.last_seen or since) + days * _DAY))
        else:
            yield entry


def _amount(contents: Contents | None) -> str:
    """Say how much there is of a list, and what of it is not used."""
    if contents is None:
        return "nothing"
    unused = ", ".join(f"{what} ({count:,})" for what, count in contents.unused.items())
    return f"{contents.entries:,} {'entry' if contents.entries == 1 else 'entries'}" + (f"; not used: {unused}" if unused else "")


def _time(seconds: float) -> str:
    """Spell a time for people, in their own zone."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
