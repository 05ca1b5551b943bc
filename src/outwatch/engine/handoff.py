"""From a sensor's thread to the event loop: a bounded queue that counts what it can't take.

``loop.call_soon_threadsafe`` for each batch would look bounded and not be: a stalled loop piles the calls up. Here the
batches wait in a deque under a lock, and the loop is woken only when it has nothing left.

When it is full the sensor waits, also a live one: what happens meanwhile waits in the kernel, which counts what it can't hold.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence

from outwatch.engine.health import Health
from outwatch.model.records import Observation

LAYER = "handoff"
"""The name under which losses are counted here."""


class Handoff:
    """A queue of batches between one thread and one event loop, bounded by the number of observations in it.

    What is handed over to a full queue after the end is counted as lost.
    """

    def __init__(self, health: Health, *, capacity: int = 4_096) -> None:
        """Hold at most ``capacity`` observations."""
        self._health = health
        self._capacity = capacity
        self._batches: deque[Sequence[Observation]] = deque()
        self._held = 0
        self._closed = False
        self._room = threading.Condition()
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def put(self, batch: Sequence[Observation]) -> None:
        """Hand a batch over (sensor's thread), when there is room for it. One larger than the capacity is taken when the queue is empty."""
        with self._room:
            while self._held and self._held + len(batch) > self._capacity:
                if self._closed:
                    self._health.lose(LAYER, len(batch))
                    return
                self._room.wait(timeout=1.0)
            self._batches.append(batch)
            self._held += len(batch)
            wake = len(self._batches) == 1
        if wake:
            self._wake()

    def close(self) -> None:
        """Say that nothing more comes (any thread)."""
        with self._room:
            self._closed = True
            self._room.notify_all()
        self._wake()

    def abandon(self, more: int = 0) -> None:
        """Count what waits, and so many ``more`` that were taken already, as lost: nobody will work on it."""
        with self._room:
            lost = self._held + more
            self._batches.clear()
            self._held = 0
            self._room.notify_all()
        if lost:
            self._health.lose(LAYER, lost)

    async def get(self) -> Sequence[Observation] | None:
        """Wait for the next batch; ``None`` when the sensor has ended and everything was taken."""
        while True:
            with self._room:
                if self._batches:
                    batch = self._batches.popleft()
                    self._held -= len(batch)
                    self._room.notify()
                    return batch
                if self._closed:
                    return None
                self._ready.clear()
            await self._ready.wait()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)
