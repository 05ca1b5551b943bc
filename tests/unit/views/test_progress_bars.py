"""The bars say what is left, of the watch and of each service."""

import asyncio
import io
import math
from collections.abc import Sequence

import pytest
from rich.console import Console

from outwatch.engine.slow_lane import Standing
from outwatch.model.records import Summary
from outwatch.views.terminal.progress import Countdown, said


@pytest.mark.parametrize(
    ("standing", "words"),
    [
        (Standing("VirusTotal", 4, 36, 41.6), "4 of 40 answered · goes on in 42 s"),
        (Standing("VirusTotal", 4, 36, 0.0), "4 of 40 answered"),
        (Standing("VirusTotal", 4, 36, math.inf), "4 of 40 answered"),
        (Standing("VirusTotal", 40, 0, 41.6), "40 of 40 answered"),
        (Standing("VirusTotal", 1200, 34, 0.2), "1,200 of 1,234 answered"),
    ],
)
def test_a_service_tells_what_is_left_and_when_it_goes_on(standing: Standing, words: str) -> None:
    assert said(standing) == words


def drawn(countdown: Countdown, out: io.StringIO, standing: Sequence[Standing]) -> str:
    """Draw once and give what stands on the terminal."""

    async def run() -> None:
        drawing = asyncio.create_task(countdown.run(lambda: Summary(seen=2), lambda: standing))
        for _ in range(5):
            await asyncio.sleep(0)
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)

    asyncio.run(run())
    return out.getvalue()


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=120, color_system=None), out


def test_there_is_a_bar_for_each_service_that_has_something_to_do() -> None:
    console, out = terminal()
    text = drawn(Countdown(console, 100.0), out, [Standing("VirusTotal", 4, 36, 41.6), Standing("IPinfo", 0, 0, 0.0)])
    assert "watching" in text
    assert "2 connections · Ctrl+C writes the report now" in text
    assert "VirusTotal" in text
    assert "4 of 40 answered · goes on in 42 s" in text
    assert "IPinfo" not in text


@pytest.mark.security
def test_names_of_services_can_not_draw_anything_else() -> None:
    console, out = terminal()
    text = drawn(Countdown(console, None, doing="asking", things="indicator", end="ends it"), out, [Standing("\x1b[31m[b]x", 1, 1, 0.0)])
    assert "\\x1b[31m[b]x" in text
    assert "asking" in text
    assert "2 indicators · Ctrl+C ends it" in text
