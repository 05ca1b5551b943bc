"""Work that may hang, such as reading a file of a network's file system: in a thread that nobody waits for, at the end or for ever."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

_Found = TypeVar("_Found")


async def beside(work: Callable[[], _Found], longest: float, name: str) -> _Found:
    """Do ``work`` in a thread called ``name`` and give its result; ``TimeoutError`` after ``longest`` seconds, else what it raises."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Found] = loop.create_future()

    def tell(say: Callable[[], None]) -> None:
        if not answer.done():
            say()

    def run() -> None:
        say: Callable[[], None]
        try:
            say = partial(answer.set_result, work())
        except Exception as error:  # noqa: BLE001 - it is raised again where the result is awaited
            say = partial(answer.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, say)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await asyncio.wait_for(answer, longest)
