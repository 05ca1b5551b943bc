"""Runs a watch from its first look to its summary: a thread for the sensor, the loop for the rest.

``Drive.run`` is the way to read: sensor thread, handoff, pipeline, sinks, with the slow lane beside them.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from outwatch.engine.handoff import Handoff
from outwatch.engine.health import Health
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.slow_lane import SlowLane
from outwatch.errors import OutputError, OutwatchError
from outwatch.model.interfaces import Lookup, Sensor, Sink
from outwatch.model.records import Event, Host, Record, Summary

_BATCH = 256  # records that go through the fast lane before the loop may do something else
_LONGEST_PAUSE = 30.0  # seconds between attempts to restart a sensor
_LOSSES_EVERY = 1.0  # seconds


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
        """Take the parts; nothing starts before ``run``. ``failed_sink`` will hold the first failure to write."""
        self._sensor = sensor
        self._pipeline = pipeline
        self._sinks = list(sinks)
        self._health = health
        self._host = host
        self._stop = threading.Event()
        self._lane = SlowLane(lookups, self._answered, health)
        self._fatal: OutwatchError | None = None
        self.failed_sink: OutputError | None = None
        self._began = self._ended = datetime.now(UTC)

    def stop(self) -> None:
        """End the watch soon (any thread, also a signal handler)."""
        self._stop.set()

    async def run(self, *, once: bool = False, seconds: float | None = None, patience: float = 2.0) -> Summary:
        """Watch until the sensor ends, ``seconds`` are over, ``stop`` is called, or (``once``) after the first picture.

        Then the slow lane gets ``patience`` seconds to finish. Raises what made the watch impossible (``OutwatchError``).
        """
        self._began = datetime.now(UTC)
        handoff = Handoff(self._health, waits=not self._sensor.live)
        thread = threading.Thread(
            target=self._watch, args=(handoff,), kwargs={"once": once}, name=f"sensor-{self._sensor.name}", daemon=True
        )
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self.stop) if seconds is not None else None
        lane = loop.create_task(self._lane.run())
        tell = loop.create_task(self._tell_losses())
        thread.start()
        try:
            while (batch := await handoff.get()) is not None:
                for start in range(0, len(batch), _BATCH):
                    await self._deliver(self._pipeline.process(batch[start : start + _BATCH]))
            await self._lane.drain(patience)
        finally:
            self.stop()
            handoff.close()
            if timer:
                timer.cancel()
            for task in (lane, tell):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self._ended = datetime.now(UTC)
        await self._write(self._health.losses())
        if self._fatal is not None:
            await self._close()
            raise self._fatal
        return self.summary()

    async def finish(self, summary: Summary) -> None:
        """Give the summary to the sinks and close them."""
        await self._write([summary])
        await self._close()

    def summary(self) -> Summary:
        """Say what was seen so far, and what was not."""
        tally, health = self._pipeline.tally, self._health
        ended = self._ended if self._ended > self._began else datetime.now(UTC)
        return Summary(
            host=self._host if self._sensor.live else None,
            event=Event(start=self._began, end=ended),
            sensor=self._sensor.name,
            seen=tally.seen,
            not_judged=tally.not_judged,
            verdicts=_positive(tally.verdicts),
            scopes=_positive(tally.scopes),
            unattributed=sum(tally.unattributed.values()),
            unattributed_why=_positive(tally.unattributed),
            lost=dict(health.lost),
            blind=tuple(self._sensor.blind()),
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
                except OutwatchError as error:
                    self._fatal = error
                except Exception as error:  # noqa: BLE001 - the fence around sensors
                    self._health.part_failed(f"sensor {self._sensor.name}", error)
                    if self._sensor.live and not once:
                        pause = 0.5 if time.monotonic() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
                        self._stop.wait(pause)
                        continue
                return
        finally:
            handoff.close()

    async def _deliver(self, records: Sequence[Record]) -> None:
        await self._write(records)
        self._lane.offer(records)
        await asyncio.sleep(0)

    async def _answered(self, ids: Iterable[str]) -> None:
        await self._write(self._pipeline.reissue(ids))

    async def _write(self, records: Sequence[Record]) -> None:
        if not records:
            return
        for sink in list(self._sinks):
            try:
                await sink.write(records)
            except BrokenPipeError:
                raise
            except OutputError as error:
                self._sinks.remove(sink)
                self.failed_sink = self.failed_sink or error
                self._health.lose(f"sink {sink.name}", len(records))
            except Exception as error:  # noqa: BLE001 - the fence around sinks
                self._health.part_failed(f"sink {sink.name}", error)

    async def _close(self) -> None:
        for sink in self._sinks:
            try:
                await sink.close()
            except OutputError as error:
                self.failed_sink = self.failed_sink or error

    async def _tell_losses(self) -> None:
        while True:
            await asyncio.sleep(_LOSSES_EVERY)
            await self._write(self._health.losses())


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count > 0}
