"""A look-up that may not ask whenever it likes: its turn is awaited, what is most suspicious goes first, and what is left says why."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.engine.slow_lane import SlowLane
from outwatch.errors import LookupFailed, LookupPostponed
from outwatch.model.records import Connection

MAKE = Callable[..., Connection]
PATIENCE = 10.0


class Rations:
    """Asks as often as it has ``turns``; then after ``pause`` seconds, which it waits for itself."""

    title = "Rations"

    def __init__(self, turns: int = 0, pause: float = math.inf, at_once: int = 1) -> None:
        self.turns, self.pause, self.at_once = turns, pause, at_once
        self.asked: list[Hashable] = []
        self.given_up: list[Hashable] = []
        self.faults: list[Exception] = []
        self.known: set[Hashable] = set()
        self.gate: asyncio.Event | None = None

    def enrich(self, connection: Connection) -> Connection:
        return connection

    def missing(self, connection: Connection) -> Hashable | None:
        ip = connection.destination.ip
        return None if ip in self.known or ip in self.given_up else ip

    def turn(self) -> float:
        if not self.turns:
            return self.pause
        self.turns -= 1
        return 0.0

    async def find(self, key: Hashable, connection: Connection) -> None:
        self.asked.append(key)
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop()
        self.known.add(key)

    def give_up(self, key: Hashable) -> str:
        self.given_up.append(key)
        return "rations: used up"


class Lane:
    """A lane in a loop, and what it answered."""

    def __init__(self, *lookups: Any, capacity: int = 100) -> None:
        self.health = Health()
        self.answered: list[str] = []
        self.lane = SlowLane(lookups, self._answer, self.health, capacity=capacity)

    async def _answer(self, ids: Iterable[str]) -> None:
        self.answered += ids

    def run(self, body: Callable[[SlowLane], Awaitable[None]]) -> None:
        async def both() -> None:
            task = asyncio.create_task(self.lane.run())
            try:
                await asyncio.wait_for(body(self.lane), PATIENCE)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(both())


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def scored(record: Connection, score: int) -> Connection:
    return replace(record, outwatch=replace(record.outwatch, score=score))


@pytest.fixture
def seen(connection: MAKE) -> Callable[[int, int], Connection]:
    return lambda number, score: scored(connection(id=f"c{number}", ip=f"192.0.2.{number}"), score)


def test_a_small_quota_is_spent_on_what_is_most_suspicious(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(turns=2)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(1, 0), seen(2, 50), seen(3, 10)])
        slow.offer([scored(seen(1, 0), 90)])
        await slow.drain(PATIENCE)

    lane.run(body)
    assert rations.asked == ["192.0.2.1", "192.0.2.2"]
    assert lane.answered == ["c1", "c2", "c3"], "the last one to learn that there is no answer, and why"
    assert lane.health.not_checked == {"rations: used up": 1}


def test_the_end_does_not_wait_for_what_may_not_be_asked_before_it(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(pause=3600.0)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(number, 0) for number in range(5)])
        await slow.drain(1800.0)  # else the test times out

    lane.run(body)
    assert sorted(map(str, rations.given_up)) == [f"192.0.2.{number}" for number in range(5)]
    assert not lane.lane.is_pending("c1")


def test_the_end_waits_for_a_turn_that_comes_in_time(seen: Callable[[int, int], Connection]) -> None:
    class Soon(Rations):
        def turn(self) -> float:
            pause = super().turn()
            self.turns = 1
            return pause

    rations = Soon(pause=0.01)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(number, 0) for number in range(3)])
        await slow.drain(PATIENCE)

    lane.run(body)
    assert len(rations.asked) == 3
    assert rations.given_up == []


def test_the_end_waits_for_a_turn_that_what_is_under_way_brings(seen: Callable[[int, int], Connection]) -> None:
    class OneTries(Rations):
        """While one finds out whether anybody answers, the others wait for that."""

        async def find(self, key: Hashable, connection: Connection) -> None:
            await super().find(key, connection)
            self.turns = 100

    rations = OneTries(turns=1, at_once=4)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        rations.gate = asyncio.Event()
        slow.offer([seen(number, 0) for number in range(3)])
        draining = asyncio.create_task(slow.drain(PATIENCE))
        await turns()
        rations.gate.set()
        await draining

    lane.run(body)
    assert len(rations.asked) == 3
    assert rations.given_up == []


def test_a_question_that_is_postponed_is_put_back_with_all_that_wait_for_it(
    seen: Callable[[int, int], Connection], connection: MAKE
) -> None:
    rations = Rations(turns=1, pause=0.01)
    rations.faults = [LookupPostponed()]
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(1, 0)])
        await turns()
        assert rations.asked == ["192.0.2.1"]
        assert lane.answered == []
        assert slow.is_pending("c1")
        slow.offer([connection(id="other", ip="192.0.2.1")])
        rations.turns = 1
        await slow.drain(PATIENCE)

    lane.run(body)
    assert rations.asked == ["192.0.2.1", "192.0.2.1"]
    assert lane.answered == ["c1", "other"]
    assert not lane.health.not_checked


def test_no_more_is_asked_at_once_than_it_says_although_there_are_turns(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(turns=100, at_once=3)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        rations.gate = asyncio.Event()
        slow.offer([seen(number, 0) for number in range(10)])
        await turns()
        assert len(rations.asked) == 3
        assert rations.turns == 97, "no turn is taken that is not used"
        rations.gate.set()
        await slow.drain(PATIENCE)

    lane.run(body)
    assert len(rations.asked) == 10


def test_how_far_it_is_can_be_told(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(turns=2, pause=60.0)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(number, 0) for number in range(5)])
        await turns()
        (standing,) = slow.standing()
        assert standing[:3] == ("Rations", 2, 3)
        assert 50 < standing.pause <= 60

    lane.run(body)


def test_who_can_not_wait_any_longer_ends_the_waiting(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(turns=1)
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        rations.gate = asyncio.Event()  # never set
        slow.offer([seen(1, 0)])
        draining = asyncio.create_task(slow.drain(3600.0))
        await turns()
        assert not draining.done()
        slow.hurry(0.0)
        await draining

    lane.run(body)
    assert rations.given_up == ["192.0.2.1"]


@pytest.mark.security
def test_a_look_up_that_can_not_say_when_its_turn_is_stops_no_other(seen: Callable[[int, int], Connection]) -> None:
    class Broken(Rations):
        def turn(self) -> float:
            raise ZeroDivisionError

    broken, sound = Broken(), Rations(turns=9)
    lane = Lane(broken, sound)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(1, 0)])
        await slow.drain(PATIENCE)

    lane.run(body)
    assert sound.asked == ["192.0.2.1"]
    assert broken.given_up == ["192.0.2.1"]
    assert lane.health.lost == {"Broken": 1}


def test_failures_are_counted_by_their_reason_and_the_next_one_is_asked(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations(turns=9)
    rations.faults = [LookupFailed("rations: timeout")]
    lane = Lane(rations)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(1, 0), seen(2, 0)])
        await slow.drain(PATIENCE)

    lane.run(body)
    assert len(rations.asked) == 2
    assert lane.health.not_checked == {"rations: timeout": 1}


@pytest.mark.security
def test_a_suspicious_connection_is_asked_about_although_a_flood_has_filled_the_line(seen: Callable[[int, int], Connection]) -> None:
    rations = Rations()
    lane = Lane(rations, capacity=4)

    async def body(slow: SlowLane) -> None:
        slow.offer([seen(number, 0) for number in range(100)])
        slow.offer([seen(200, 60)])
        rations.turns = 1
        await slow.drain(PATIENCE)

    lane.run(body)
    assert rations.asked == ["192.0.2.200"]
    assert lane.health.not_checked == {"queue full": 97, "rations: used up": 3}
    assert not any(lane.lane.is_pending(f"c{number}") for number in range(201))
