"""Bars for commands that watch before they say anything: the seconds that are left, and how far each service has answered."""

import asyncio
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from outwatch.engine.slow_lane import Standing
from outwatch.guard.text import printable
from outwatch.model.records import Summary

_EVERY = 0.25  # seconds between drawings
_WORTH_SAYING = 1.5  # seconds of pause


class Countdown:
    """Draws how long a watch still takes, how much it has seen, and what services have still to be asked."""

    def __init__(
        self,
        console: Console,
        seconds: float | None,
        *,
        doing: str = "reading",
        things: str = "connection",
        end: str = "writes the report now",
    ) -> None:
        """Take the terminal, the length of the watch (``None``: it takes as long as it takes), and the words for it.

        They are what is ``doing`` then, what is counted, and what Ctrl+C does.
        """
        self._console = console
        self._seconds = seconds
        self._doing = "watching" if seconds else doing
        self._things, self._end = things, f"Ctrl+C {end}"

    async def run(self, summary: Callable[[], Summary], standing: Callable[[], Sequence[Standing]] = lambda: ()) -> None:
        """Draw until cancelled."""
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TextColumn("{task.fields[said]}", markup=False))
        began = time.monotonic()
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task(self._doing, total=self._seconds, said="")
            services: dict[str, TaskID] = {}
            while True:
                gone = time.monotonic() - began
                bar.update(task, completed=gone, said=self._said(gone, summary().seen))
                for one in standing():
                    if one.found + one.left:
                        if one.title not in services:
                            services[one.title] = bar.add_task(printable(one.title, 30), total=None, said="")
                        bar.update(services[one.title], total=one.found + one.left, completed=one.found, said=said(one))
                bar.refresh()
                await asyncio.sleep(_EVERY)

    def _said(self, gone: float, seen: int) -> str:
        count = f"{seen:,} {self._things}{'' if seen == 1 else 's'}"
        if self._seconds is None:
            return f"{count} · {self._end}"
        left = self._seconds - gone
        if left <= 0:
            return f"{count} · waiting for the last look-ups · {self._end}"
        return f"{left:.0f} s left · {count} · {self._end}"


def said(one: Standing) -> str:
    """Say how far a service is: what is answered, what is left, and how long its quota makes us wait."""
    told = f"{one.found:,} of {one.found + one.left:,} answered"
    if one.left and _WORTH_SAYING < one.pause < float("inf"):
        told += f" · goes on in {one.pause:.0f} s"
    return told
