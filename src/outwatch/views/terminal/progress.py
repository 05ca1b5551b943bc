"""A bar with the seconds that are left, for commands that watch before they say anything."""

import asyncio
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from outwatch.model.records import Summary

_EVERY = 0.25  # seconds between drawings


class Countdown:
    """Draws how long a watch still takes and how much it has seen."""

    def __init__(self, console: Console, seconds: float | None) -> None:
        """Take the terminal, and the length of the watch (``None``: a recording, which takes as long as it takes)."""
        self._console = console
        self._seconds = seconds

    async def run(self, summary: Callable[[], Summary]) -> None:
        """Draw until cancelled."""
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}", markup=False))
        began = time.monotonic()
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task("watching" if self._seconds else "reading", total=self._seconds, said="")
            while True:
                gone = time.monotonic() - began
                bar.update(task, completed=gone, said=self._said(gone, summary().seen), refresh=True)
                await asyncio.sleep(_EVERY)

    def _said(self, gone: float, seen: int) -> str:
        count = f"{seen:,} connection{'' if seen == 1 else 's'}"
        if self._seconds is None:
            return count
        left = self._seconds - gone
        if left <= 0:
            return f"{count} · waiting for the last look-ups"
        return f"{left:.0f} s left · {count} · Ctrl+C writes the report now"
