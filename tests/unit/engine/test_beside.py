"""Work that may hang is done beside: its result or its error comes back, and nobody waits for ever."""

import asyncio
import threading

import pytest

from outwatch.engine.beside import beside


def test_the_result_comes_from_another_thread() -> None:
    assert asyncio.run(beside(threading.get_ident, 10, "test")) != threading.get_ident()


def test_an_error_is_raised_where_the_result_is_awaited() -> None:
    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(beside(fail, 10, "test"))


def test_work_that_hangs_is_left_alone_and_does_not_hold_the_end() -> None:
    release = threading.Event()
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(beside(lambda: release.wait(60), 0.01, "test"))
    finally:
        release.set()


def test_work_that_ends_after_its_loop_disturbs_nobody() -> None:
    release, ended = threading.Event(), threading.Event()

    def late() -> None:
        release.wait(60)
        ended.set()

    with pytest.raises(TimeoutError):
        asyncio.run(beside(late, 0.01, "late"))
    release.set()
    assert ended.wait(60)
    for thread in threading.enumerate():
        if thread.name == "late":
            thread.join(60)
            assert not thread.is_alive()
