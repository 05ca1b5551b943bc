"""Runs a watch from its first look to its summary: a thread for the sensor, the loop for the rest.

``Drive.run`` is the way to read: sensor thread, handoff, pipeline, sinks, with the slow lane beside them.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from outwatch.engine.handoff import Handoff
from outwatch.engine.health import Health
from outwatch.engine.outlet import Outlet
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.slow_lane import SlowLane, Standing
from outwatch.errors import OutwatchError, SensorFailed
from outwatch.model.interfaces import Lookup, Sensor, Sink
from outwatch.model.records import Event, Host, Judged, Record, Summary

_BATCH = 256  # records that go through the fast lane before the loop may do something else
_LONGEST_PAUSE = 30.0  # seconds between attempts to restart a sensor
_LOSSES_EVERY = 1.0  # seconds
_LONGEST_HELD = 5.0  # seconds that a record waits for its look-ups
_MOST_COUNT = 2**53 - 1
_LONGEST_END = 4.0  # seconds in which what was seen must have been worked off after the end
_HURRY = 2.0  # seconds that look-ups get when somebody wants the watch to end now
_GRACE = 3.0  # seconds that a sensor has to end


class Drive:
    """One watch: what the sensor sees goes through the pipeline to the sinks."""

    def __init__(
        self,
        *,
        sensor: Sensor,
        pipeline: Pipeline,
        sinks: Sequence[Sink],
        lookups: Sequence[Lookup],
        health: Health,
        host: Host,
    ) -> None:
        """Take the parts; nothing starts before ``run``."""
        self._sensor = sensor
        self._pipeline = pipeline
        self._outlets = [Outlet(sink, health) for sink in sinks]
        self._health = health
        self._host = host
        self._stop = threading.Event()
        self._lane = SlowLane(lookups, self._answered, health)
        self._held: dict[str, tuple[float, Record]] = {}
        self._fatal: OutwatchError | None = None
        self._reader_gone = self._hurried = False
        self._end: Callable[[], None] = lambda: None
        self._late_from = math.inf
        self._began = self._ended = datetime.now(UTC)

    def stop(self) -> None:
        """End the watch soon (any thread, also a signal handler)."""
        if not self._stop.is_set():
            self._late_from = time.monotonic() + _LONGEST_END
        self._stop.set()
        self._end()

    def hurry(self) -> None:
        """End the watch, and wait no longer for look-ups than somebody who wants it to end does (in the loop's thread)."""
        self._hurried = True
        self.stop()
        self._lane.hurry(_HURRY)

    @property
    def failure(self) -> OutwatchError | None:
        """The first failure of a sink to write."""
        return next((outlet.failure for outlet in self._outlets if outlet.failure), None)

    async def run(self, *, once: bool = False, seconds: float | None = None, patience: float = 2.0) -> Summary:
        """Watch until the sensor ends, ``seconds`` are over, ``stop`` is called, or (``once``) after the first picture.

        Then the slow lane gets ``patience`` seconds to finish. Raises what made the watch impossible (``OutwatchError``), and
        ``BrokenPipeError`` when the reader of the output has gone.
        """
        self._began = datetime.now(UTC)
        handoff = Handoff(self._health)
        loop = asyncio.get_running_loop()
        self._end = lambda: _close_later(loop, handoff)
        thread = threading.Thread(
            target=self._watch, args=(handoff,), kwargs={"once": once}, name=f"sensor-{self._sensor.name}", daemon=True
        )
        timer = loop.call_later(seconds, self.stop) if seconds is not None else None
        beside = [loop.create_task(self._lane.run()), loop.create_task(self._tell_losses())]
        thread.start()
        try:
            await self._work_off(handoff)
            await self._lane.drain(min(patience, _HURRY) if self._hurried else patience)
        finally:
            self._stop.set()
            handoff.close()
            if timer:
                timer.cancel()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._ended = datetime.now(UTC)
        await self._release(0.0)
        await self._write(self._losses())
        if self._fatal is not None or self._reader_gone:
            await self._close()
            raise self._fatal or BrokenPipeError
        return self.summary()

    async def finish(self, summary: Summary) -> None:
        """Give the summary to the sinks and close them."""
        await self._write([summary])
        await self._close()

    def standing(self) -> list[Standing]:
        """Say how far the look-ups are that may not ask whenever they like."""
        return self._lane.standing()

    def summary(self) -> Summary:
        """Say what was seen so far, and what was not."""
        tally, health = self._pipeline.tally, self._health
        ended = self._ended if self._ended > self._began else datetime.now(UTC)
        return Summary(
            host=self._host if self._sensor.live else None,
            event=Event(start=self._began, end=ended),
            sensor=self._sensor.name,
            seen=_bounded(tally.seen),
            not_judged=_bounded(tally.not_judged),
            verdicts=_positive(tally.verdicts),
            scopes=_positive(tally.scopes),
            unattributed=_bounded(sum(tally.unattributed.values())),
            unattributed_why=_positive(tally.unattributed),
            lost=dict(health.lost),
            blind=(*self._sensor.blind(), *health.blind),
            not_checked=dict(health.not_checked),
            without_fact=_positive(tally.without_fact),
            broken_lines=health.broken_lines,
            problems=tuple(health.problems),
        )

    def _watch(self, handoff: Handoff, *, once: bool) -> None:
        """Run the sensor and restart it with growing pauses when it dies (sensor's thread)."""
        pause = 0.5
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    for batch in self._sensor.observe(self._stop):
                        handoff.put(batch)
                        if once:
                            break
                except SensorFailed as error:
                    crash: Exception = error
                except OutwatchError as error:
                    self._fatal = error
                    return
                except Exception as error:  # noqa: BLE001 - the fence around sensors
                    crash = error
                else:
                    return
                self._health.part_failed(f"sensor {self._sensor.name}", crash)
                if once or not self._sensor.live:
                    return
                pause = 0.5 if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
                self._stop.wait(pause)
        finally:
            handoff.close()

    async def _work_off(self, handoff: Handoff) -> None:
        """Process what comes until nothing more does; what is left some seconds after the end is counted as lost."""
        while (batch := await handoff.get()) is not None:
            for start in range(0, len(batch), _BATCH):
                if time.monotonic() > self._late_from:
                    handoff.abandon(len(batch) - start)
                    return
                await self._deliver(self._pipeline.process(batch[start : start + _BATCH]))

    async def _deliver(self, records: Sequence[Record]) -> None:
        self._lane.offer(records)
        await self._write(records)
        await asyncio.sleep(0)

    async def _answered(self, ids: Iterable[str]) -> None:
        """Issue connections again whose look-up was answered, and let go of those that only waited for that."""
        again = self._pipeline.reissue(ids)
        self._lane.offer(again)  # what one look-up found may be what another asks about
        await self._write(again)
        await self._write_settled([self._held[identity][1] for identity in ids if identity in self._held])

    async def _write(self, records: Sequence[Record]) -> None:
        if not records:
            return
        await self._give([outlet for outlet in self._outlets if not outlet.settled], records)
        await self._write_settled(records)

    async def _write_settled(self, records: Sequence[Record]) -> None:
        """Give sinks that want settled records those whose look-ups are all answered; the others are held."""
        ready: list[Record] = []
        for record in records:
            if isinstance(record, Judged):
                if self._lane.is_pending(record.id):
                    since = self._held[record.id][0] if record.id in self._held else time.monotonic()
                    self._held[record.id] = since, record
                    continue
                self._held.pop(record.id, None)
            ready.append(record)
        await self._give([outlet for outlet in self._outlets if outlet.settled], ready)

    async def _release(self, patience: float) -> None:
        """Let go of records that were held for longer than ``patience`` seconds: an answer that never comes must not silence a log."""
        now = time.monotonic()
        overdue = [identity for identity, (since, _) in self._held.items() if now - since >= patience]
        records = [self._held.pop(identity)[1] for identity in overdue]
        if records:
            await self._give([outlet for outlet in self._outlets if outlet.settled], records)

    async def _give(self, outlets: Sequence[Outlet], records: Sequence[Record]) -> None:
        for outlet in outlets:
            try:
                await outlet.write(records)
            except BrokenPipeError:
                self._outlets.remove(outlet)
                self._reader_gone = True
                self.hurry()

    async def _close(self) -> None:
        for outlet in self._outlets:
            await outlet.close()

    def _losses(self) -> list[Record]:
        return [replace(loss, sensor=self._sensor.name) for loss in self._health.losses()]

    async def _tell_losses(self) -> None:
        while True:
            await asyncio.sleep(_LOSSES_EVERY)
            await self._release(_LONGEST_HELD)
            await self._write(self._losses())


def _close_later(loop: asyncio.AbstractEventLoop, handoff: Handoff) -> None:
    """Leave a sensor behind that does not end when it is told to."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.call_later, _GRACE, handoff.close)


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {name: _bounded(count) for name, count in sorted(counts.items()) if count > 0}


def _bounded(count: int) -> int:
    """Keep a sum of numbers that a hostile recording may have made up within what every reader of JSON takes (RFC 8259, 6)."""
    return min(count, _MOST_COUNT)
