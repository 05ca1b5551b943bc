"""How the signals that ask a program to end reach its event loop."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def ending_signals(loop: asyncio.AbstractEventLoop, interrupt: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM end the watch in order."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    if sys.platform == "win32":
        previous = [signal.signal(number, lambda *_: loop.call_soon_threadsafe(interrupt)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)
        return
    for number in numbers:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
