"""Says of each connection which lists have its destination: the user's own and those that came with outwatch."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import OutwatchError, StoreError
from outwatch.guard.files import require_own_folder
from outwatch.intel.index import Found, Index, sorted_out
from outwatch.intel.warninglists import shipped
from outwatch.model.records import Connection, Judged, Listed, Question, asked_name

_EVERY = 2.0  # seconds after which a new index is noticed
_MOST = 64  # entries of each kind that a record holds
_ELSEWHERE = frozenset({"private", "loopback", "link_local", "multicast"})  # scopes of addresses that are somebody else's on every network
_State = tuple[int, int, int, int]
_Entries = tuple[Listed, ...]
_Record = TypeVar("_Record", Connection, Question)


class _Lists(NamedTuple):
    """What is looked up in: indexes, all their lists by name, and those that came with outwatch but are the user's own by now."""

    indexes: tuple[Index, ...]
    names: frozenset[str]
    replaced: frozenset[str]


class Marking:
    """Puts entries of lists that cover a destination on its record: ``outwatch.indicators`` and ``outwatch.warnings``.

    A new index is opened beside the work; until it is ready, and if it can't be used, the one before goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        health: Health,
        defaults: bool = True,
        now: Callable[[], float] = time.monotonic,
        beside: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """Open the index of the user's lists at ``path``, if there is one, and with ``defaults`` the lists that came with outwatch.

        ``now`` gives seconds; ``beside`` starts work without waiting for it, by default in a thread.
        """
        self._path, self._health, self._now = path, health, now
        self._beside = beside or _in_a_thread
        self._came = self._opened(shipped) if defaults else None
        self._seen = self._state()
        self._opening = False
        self._due = now() + _EVERY
        self._lists = self._of(self._opened(self._own) if self._seen else None)

    def enrich(self, connection: Connection) -> Connection:
        """Mark a connection's destination by its address and all its names; what somebody else opened is left alone."""
        return connection if connection.network.direction == "ingress" else self.mark(connection)

    def mark(self, seen: _Record) -> _Record:
        """Mark a record: a connection by its destination, a question by the name that it asks for.

        An entry counts if it had not expired by the record's time. Of lists that are not here, such as those of the machine that recorded
        it, a record keeps what it says.
        """
        if self._now() >= self._due:
            self._look_for_another()
        findings = seen.outwatch
        found = self._covering(seen)
        if not found and findings.indicators is None and findings.warnings is None:
            return seen
        hits = sorted_out(dict.fromkeys(found), seen.timestamp.timestamp())
        indicators = self._with_others(hits.indicators, findings.indicators)
        warnings = self._with_others(hits.warnings, findings.warnings)
        if indicators == findings.indicators and warnings == findings.warnings:
            return seen
        return replace(seen, outwatch=replace(findings, indicators=indicators, warnings=warnings))

    def _covering(self, seen: Judged) -> Found:
        """Look a record's address and names up, the best name first."""
        lists, best, names = self._lists, asked_name(seen), seen.outwatch.names
        ip = seen.destination.ip if isinstance(seen, Connection) and seen.network.scope not in _ELSEWHERE else None
        found: Found = ()
        for index in lists.indexes:
            try:
                there = index.covering_address(ip) if ip else ()
                if best:
                    there += index.covering_name(best)
                for one in names or ():
                    if one.name != best:
                        there += index.covering_name(one.name)
            except StoreError as error:
                self._lose(index, error)
                continue
            if there and index is self._came and lists.replaced:
                there = tuple(one for one in there if one.listed.list_ not in lists.replaced)
            found += there
        return found

    def _with_others(self, mine: _Entries, there: _Entries | None) -> _Entries | None:
        """Add what a record brought with it from other lists."""
        others = [one for one in there if one.list_ not in self._lists.names] if there else []
        return (*mine, *others)[:_MOST] or None

    def _look_for_another(self) -> None:
        self._due = self._now() + _EVERY
        state = None if self._opening else self._state()
        if self._opening or state == self._seen:
            return
        self._seen = state
        if state is None:
            self._lists = self._of(None)
            return
        self._opening = True
        self._beside(self._renew)

    def _renew(self) -> None:
        try:
            index = self._opened(self._own)
            if index is not None:
                self._lists = self._of(index)
        finally:
            self._opening = False

    def _own(self) -> Index:
        require_own_folder(self._path.parent)
        return Index.open(self._path)

    def _opened(self, opening: Callable[[], Index]) -> Index | None:
        """Open an index, or tell why that can't be done."""
        try:
            return opening()
        except OutwatchError as error:
            self._health.problem(f"indicator lists that can't be used: {error}")
            return None

    def _lose(self, index: Index, error: StoreError) -> None:
        """Go on without an index that turned out to be damaged."""
        self._health.problem(f"indicator lists that can't be used any more: {error}")
        if index is self._came:
            self._came = None
        self._lists = self._of(next((one for one in self._lists.indexes if one is not index and one is not self._came), None))

    def _of(self, own: Index | None) -> _Lists:
        indexes = tuple(index for index in (own, self._came) if index is not None)
        mine = frozenset(one.name for one in own.lists) if own is not None else frozenset[str]()
        came = frozenset(one.name for one in self._came.lists) if self._came is not None else frozenset[str]()
        return _Lists(indexes, mine | came, mine & came)

    def _state(self) -> _State | None:
        """Tell one file at the path from another; ``None`` if there is none."""
        try:
            facts = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._health.problem(f"indicator lists that can't be used: {self._path}: {error.strerror or error}")
            return None
        return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


def _in_a_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="indicator lists", daemon=True).start()
