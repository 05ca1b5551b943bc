"""The slow lane: what takes time is asked here, once for each thing, and detection never waits for it."""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

from outwatch.engine.health import Health
from outwatch.errors import LookupFailed
from outwatch.model.interfaces import Lookup
from outwatch.model.records import Connection, Record


class _Line:
    """The questions of one look-up: those that wait, those being asked, and the connections behind each."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup = lookup
        self.at_once = lookup.at_once
        self.waiting: OrderedDict[Hashable, tuple[Connection, dict[str, None]]] = OrderedDict()
        self.running: dict[Hashable, dict[str, None]] = {}
        self.workers = 0

    def ids(self, key: Hashable) -> dict[str, None] | None:
        return self.running.get(key) or (self.waiting[key][1] if key in self.waiting else None)


class SlowLane:
    """Runs look-ups beside the pipeline; when one is answered, the connections that asked are issued again.

    Look-ups don't wait for each other: each has its own line, and asks as many things at once as it says (``Lookup.at_once``).
    """

    def __init__(
        self,
        lookups: Sequence[Lookup],
        answered: Callable[[Iterable[str]], Awaitable[None]],
        health: Health,
        *,
        capacity: int = 20_000,
    ) -> None:
        """Keep at most ``capacity`` questions of each look-up waiting; more are counted as not checked."""
        self._lines = [_Line(lookup) for lookup in lookups]
        self._answered = answered
        self._health = health
        self._capacity = capacity
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._pending: Counter[str] = Counter()
        self._answering = 0

    def offer(self, records: Iterable[Record]) -> None:
        """Look through freshly judged records for what is missing; never blocks."""
        if not self._lines:
            return
        for record in records:
            if isinstance(record, Connection):
                for line in self._lines:
                    self._ask(line, record)

    def is_pending(self, identity: str) -> bool:
        """Tell whether an answer about this connection is still awaited."""
        return self._pending[identity] > 0

    def _ask(self, line: _Line, connection: Connection) -> None:
        try:
            key = line.lookup.missing(connection)
        except Exception as error:  # noqa: BLE001 - the fence
            self._health.part_failed(type(line.lookup).__name__, error)
            return
        if key is None:
            return
        ids = line.ids(key)
        if ids is None:
            if len(line.waiting) >= self._capacity:
                self._health.not_checked["queue full"] += 1
                return
            ids = {}
            line.waiting[key] = (connection, ids)
            self._wanted.set()
        if connection.id not in ids:
            ids[connection.id] = None
            self._pending[connection.id] += 1

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                for line in self._lines:
                    for _ in range(min(len(line.waiting), line.at_once - line.workers)):
                        line.workers += 1
                        group.create_task(self._work(line))

    async def drain(self, patience: float) -> None:
        """Wait until nothing is left to ask, at most ``patience`` seconds; what is left then counts as not checked."""
        if self._busy():
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)
        left = sum(len(line.waiting) + len(line.running) for line in self._lines)
        if left:
            self._health.not_checked["out of time"] += left

    async def _work(self, line: _Line) -> None:
        """Ask one thing after another while something waits."""
        try:
            while line.waiting:
                key, (connection, ids) = line.waiting.popitem(last=False)
                line.running[key] = ids
                try:
                    await self._find(line.lookup, key, connection)
                finally:
                    del line.running[key]
                await self._answer(ids)
                if not self._busy():
                    self._idle.set()
        finally:
            line.workers -= 1

    async def _find(self, lookup: Lookup, key: Hashable, connection: Connection) -> None:
        try:
            await lookup.find(key, connection)
        except LookupFailed as error:
            self._health.not_checked[error.reason] += 1
        except Exception as error:  # noqa: BLE001 - the fence
            self._health.part_failed(type(lookup).__name__, error)
            self._health.not_checked[f"{type(lookup).__name__} failed"] += 1

    async def _answer(self, ids: dict[str, None]) -> None:
        self._answering += 1
        try:
            for identity in ids:
                self._pending[identity] -= 1
                if not self._pending[identity]:
                    del self._pending[identity]
            await self._answered(ids)
        finally:
            self._answering -= 1

    def _busy(self) -> bool:
        return bool(self._answering or any(line.waiting or line.running for line in self._lines))
