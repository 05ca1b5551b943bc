"""The way out to one sink: its fence, its pause when it can't write, and what waits for it meanwhile."""

import time
from collections.abc import Callable, Sequence

from outwatch.engine.health import Health
from outwatch.errors import OutputError
from outwatch.model.interfaces import Sink
from outwatch.model.records import Record

_PAUSE = 5.0  # seconds until a sink that could not write is tried again
_MOST_WAITING = 10_000  # records


class Outlet:
    """Gives records to a sink. What can't be written waits, within bounds, and is counted as lost when it can't be kept either."""

    def __init__(self, sink: Sink, health: Health, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the sink; ``failure`` will hold its first ``OutputError``."""
        self.settled = sink.settled
        self.failure: OutputError | None = None
        self._sink = sink
        self._layer = f"sink {sink.name}"
        self._health = health
        self._clock = clock
        self._waiting: list[Record] = []
        self._paused_until = 0.0

    async def write(self, records: Sequence[Record]) -> None:
        """Write what waits and what is new; only ``BrokenPipeError`` comes out: whoever read has gone."""
        if not records and not self._waiting:
            return
        if self._waiting:
            records = [*self._waiting, *records]
            if self._clock() < self._paused_until:
                self._keep(records)
                return
        self._waiting = []
        try:
            await self._sink.write(records)
        except BrokenPipeError:
            raise
        except OutputError as error:
            if self.failure is None:
                self.failure = error
                self._health.tell(f"{error}; trying again every {_PAUSE:g} s")
            self._paused_until = self._clock() + _PAUSE
            self._keep(records)
        except Exception as error:  # noqa: BLE001 - the fence around sinks
            if len(records) == 1:
                self._health.part_failed(self._layer, error)
                return
            for record in records:  # one that can't be written costs no other
                await self.write([record])

    async def close(self) -> None:
        """Try a last time, count what is left as lost, and close the sink."""
        self._paused_until = 0.0
        if self._waiting:
            await self.write([])
        if self._waiting:
            self._health.lose(self._layer, len(self._waiting))
        try:
            await self._sink.close()
        except OutputError as error:
            self.failure = self.failure or error
        except Exception as error:  # noqa: BLE001 - the fence
            self._health.part_failed(self._layer, error, 0)

    def _keep(self, records: Sequence[Record]) -> None:
        """Keep the newest records; the oldest are counted as lost."""
        too_many = max(0, len(records) - _MOST_WAITING)
        if too_many:
            self._health.lose(self._layer, too_many)
        self._waiting = list(records[too_many:])
