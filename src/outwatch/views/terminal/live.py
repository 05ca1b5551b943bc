"""The live table of ``watch``: redrawn every second, at once on Enter, ended by q."""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live

from outwatch.model.records import Judged, Summary
from outwatch.views.terminal.table import picture

_EVERY = 1.0  # seconds between drawings
_ROWS_BESIDE = 12  # of the screen, for the header and the lines below the table


class LiveTable:
    """Draws a growing picture on a terminal."""

    def __init__(self, console: Console, *, show_all: bool) -> None:
        """Take the terminal to draw on."""
        self._console = console
        self._show_all = show_all

    async def run(self, *, records: Callable[[], Sequence[Judged]], summary: Callable[[], Summary], stop: Callable[[], None]) -> None:
        """Draw until cancelled; ``stop`` is called when q is pressed."""
        again = asyncio.Event()
        with _keys(again, stop), Live(console=self._console, auto_refresh=False, transient=True, screen=False) as live:
            while True:
                again.clear()
                rows = max(self._console.height - _ROWS_BESIDE, 5)
                live.update(picture(records(), summary(), show_all=self._show_all, most=rows, width=self._console.width), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(again.wait(), _EVERY)


@contextlib.contextmanager
def _keys(again: asyncio.Event, stop: Callable[[], None]) -> Iterator[None]:
    """Watch the keyboard where the terminal can say each key at once; elsewhere only Ctrl+C works."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import os  # noqa: PLC0415
    import termios  # noqa: PLC0415 - not on Windows
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        keys = os.read(descriptor, 64)
        if b"q" in keys:
            stop()
        if not keys:
            loop.remove_reader(descriptor)
        again.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, pressed)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
