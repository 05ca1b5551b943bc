"""The slow lane: what takes time is asked here, once for each thing, and detection never waits for it."""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence

from outwatch.engine.health import Health
from outwatch.model.interfaces import Lookup
from outwatch.model.records import Connection, Record

_Task = tuple[Lookup, Hashable]


class SlowLane:
    """Runs look-ups beside the pipeline; when one is answered, the connections that asked are issued again."""

    def __init__(
        self,
        lookups: Sequence[Lookup],
        answered: Callable[[Iterable[str]], Awaitable[None]],
        health: Health,
        *,
        workers: int = 4,
        capacity: int = 20_000,
    ) -> None:
        """Ask at most ``workers`` at once and keep at most ``capacity`` questions; more are counted as not checked."""
        self._lookups = lookups
        self._answered = answered
        self._health = health
        self._capacity = capacity
        self._workers = workers
        self._waiting: OrderedDict[_Task, tuple[Connection, dict[str, None]]] = OrderedDict()
        self._running: dict[_Task, dict[str, None]] = {}
        self._work = asyncio.Semaphore(0)
        self._idle = asyncio.Event()
        self._pending: Counter[str] = Counter()
        self._answering = 0

    def offer(self, records: Iterable[Record]) -> None:
        """Look through freshly judged records for what is missing; never blocks."""
        if not self._lookups:
            return
        for record in records:
            if isinstance(record, Connection):
                for lookup in self._lookups:
                    self._ask(lookup, record)

    def is_pending(self, identity: str) -> bool:
        """Tell whether an answer about this connection is still awaited."""
        return self._pending[identity] > 0

    def _ask(self, lookup: Lookup, connection: Connection) -> None:
        try:
            key = lookup.missing(connection)
        except Exception as error:  # noqa: BLE001 - the fence
            self._health.part_failed(type(lookup).__name__, error)
            return
        if key is None:
            return
        task = (lookup, key)
        ids = self._running.get(task) or (self._waiting[task][1] if task in self._waiting else None)
        if ids is None:
            if len(self._waiting) >= self._capacity:
                self._health.not_checked["queue full"] += 1
                return
            ids = {}
            self._waiting[task] = (connection, ids)
            self._work.release()
        if connection.id not in ids:
            ids[connection.id] = None
            self._pending[connection.id] += 1

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers if self._lookups else 0):
                group.create_task(self._worker())

    async def drain(self, patience: float) -> None:
        """Wait until nothing is left to ask, at most ``patience`` seconds; what is left then counts as not checked."""
        if self._busy():
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)
        left = len(self._waiting) + len(self._running)
        if left:
            self._health.not_checked["out of time"] += left

    async def _worker(self) -> None:
        while True:
            await self._work.acquire()
            task, (connection, ids) = self._waiting.popitem(last=False)
            self._running[task] = ids
            lookup, key = task
            try:
                await lookup.find(key, connection)
            except Exception as error:  # noqa: BLE001 - the fence
                self._health.part_failed(type(lookup).__name__, error)
                self._health.not_checked[f"{type(lookup).__name__} failed"] += 1
            finally:
                del self._running[task]
            self._answering += 1
            try:
                for identity in ids:
                    self._pending[identity] -= 1
                    if not self._pending[identity]:
                        del self._pending[identity]
                await self._answered(ids)
            finally:
                self._answering -= 1
            if not self._busy():
                self._idle.set()

    def _busy(self) -> bool:
        return bool(self._waiting or self._running or self._answering)
