"""Look-ups are asked once for each thing, beside the pipeline, and what they can't answer is counted."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

import pytest

from outwatch.engine.health import Health
from outwatch.engine.slow_lane import SlowLane
from outwatch.errors import LookupFailed
from outwatch.model.records import Connection, EventsLost

MAKE = Callable[..., Connection]
PATIENCE = 10.0


class Asks:
    """A look-up whose key is the destination; ``gate`` holds its answers back."""

    def __init__(self, *, gate: asyncio.Event | None = None, fault: Exception | None = None, at_once: int = 4) -> None:
        self.at_once = at_once
        self.gate, self.fault = gate, fault
        self.asked: list[Hashable] = []
        self.known: set[Hashable] = set()

    def enrich(self, connection: Connection) -> Connection:
        return connection

    def missing(self, connection: Connection) -> Hashable | None:
        return None if connection.destination.ip in self.known else connection.destination.ip

    async def find(self, key: Hashable, connection: Connection) -> None:
        self.asked.append(key)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.known.add(key)


class Answers:
    """Collects the ids of answered connections."""

    def __init__(self) -> None:
        self.ids: list[list[str]] = []

    async def __call__(self, ids: Iterable[str]) -> None:
        self.ids.append(list(ids))


async def turns(count: int = 20) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def drive(lane_of: Callable[[], SlowLane], body: Callable[[SlowLane], Awaitable[None]]) -> None:
    """Run a lane beside ``body`` and end it."""

    async def run() -> None:
        lane = lane_of()
        task = asyncio.create_task(lane.run())
        try:
            await asyncio.wait_for(body(lane), PATIENCE)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_many_connections_that_lack_the_same_ask_once_and_are_all_answered(connection: MAKE) -> None:
    lookup, answers = Asks(), Answers()

    async def body(lane: SlowLane) -> None:
        lane.offer([connection(id=f"c{number}", ip="192.0.2.1") for number in range(100)])
        lane.offer([connection(id="c5", ip="192.0.2.1")])
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([lookup], answers, Health()), body)
    assert lookup.asked == ["192.0.2.1"]
    assert answers.ids == [[f"c{number}" for number in range(100)]]


def test_who_asks_while_the_answer_is_on_its_way_gets_it_too(connection: MAKE) -> None:
    answers = Answers()

    async def body(lane: SlowLane) -> None:
        gate = asyncio.Event()
        lookup.gate = gate
        lane.offer([connection(id="first")])
        await turns()
        assert len(lookup.asked) == 1
        lane.offer([connection(id="second")])
        gate.set()
        await lane.drain(PATIENCE)

    lookup = Asks()
    drive(lambda: SlowLane([lookup], answers, Health()), body)
    assert lookup.asked == ["203.0.113.9"]
    assert answers.ids == [["first", "second"]]


def test_nothing_is_asked_for_what_is_known_or_is_no_connection(connection: MAKE) -> None:
    lookup, answers = Asks(), Answers()
    lookup.known.add("192.0.2.1")

    async def body(lane: SlowLane) -> None:
        lane.offer([connection(ip="192.0.2.1"), connection(ip=None), EventsLost(layer="ring", count=1)])
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([lookup], answers, Health()), body)
    assert lookup.asked == []
    assert answers.ids == []


def test_no_more_is_asked_at_once_than_the_look_up_says(connection: MAKE) -> None:
    lookup = Asks(at_once=3)

    async def body(lane: SlowLane) -> None:
        lookup.gate = asyncio.Event()
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(10)])
        await turns()
        assert len(lookup.asked) == 3
        lookup.gate.set()
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([lookup], Answers(), Health()), body)
    assert len(lookup.asked) == 10


@pytest.mark.security
def test_questions_beyond_the_bound_are_counted_as_not_checked(connection: MAKE) -> None:
    lookup, health = Asks(), Health()

    async def body(lane: SlowLane) -> None:
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(10)])
        lane.offer([connection(id="late", ip="192.0.2.1")])  # what already waits needs no further place
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([lookup], Answers(), health, capacity=4), body)
    assert sorted(map(str, lookup.asked)) == [f"192.0.2.{number}" for number in range(4)]
    assert health.not_checked == {"queue full": 6}


def test_what_is_not_answered_in_time_counts_as_not_checked(connection: MAKE) -> None:
    health = Health()

    async def body(lane: SlowLane) -> None:
        lookup.gate = asyncio.Event()
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(6)])
        await turns()
        await lane.drain(0.01)

    lookup = Asks(at_once=2)
    drive(lambda: SlowLane([lookup], Answers(), health), body)
    assert health.not_checked == {"out of time": 6}


def test_the_end_waits_until_the_last_answer_has_been_passed_on(connection: MAKE) -> None:
    events: list[str] = []

    async def body(lane: SlowLane) -> None:
        lane.offer([connection()])
        await asyncio.wait_for(entered.wait(), PATIENCE)
        draining = asyncio.create_task(lane.drain(PATIENCE))
        await turns()
        events.append("drained" if draining.done() else "waiting")
        gate.set()
        await draining
        events.append("end")

    async def slow(_ids: Iterable[str]) -> None:
        entered.set()
        await gate.wait()
        events.append("passed on")

    entered, gate = asyncio.Event(), asyncio.Event()
    drive(lambda: SlowLane([Asks()], slow, Health()), body)
    assert events == ["waiting", "passed on", "end"]


@pytest.mark.security
def test_a_look_up_that_fails_stops_no_other_and_is_counted(connection: MAKE) -> None:
    broken, sound, answers, health = Asks(fault=ValueError("bad reply")), Asks(), Answers(), Health()

    async def body(lane: SlowLane) -> None:
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(5)])
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([broken, sound], answers, health), body)
    assert len(broken.asked) == len(sound.asked) == 5
    assert sound.known == {f"192.0.2.{number}" for number in range(5)}
    assert health.lost == {"Asks": 5}
    assert health.not_checked == {"Asks failed": 5}


@pytest.mark.security
def test_a_look_up_that_can_not_say_what_is_missing_stops_no_other(connection: MAKE) -> None:
    class Mute(Asks):
        def missing(self, connection: Connection) -> Hashable | None:
            raise KeyError(connection.id)

    sound, health = Asks(), Health()

    async def body(lane: SlowLane) -> None:
        lane.offer([connection()])
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([Mute(), sound], Answers(), health), body)
    assert sound.asked == ["203.0.113.9"]
    assert health.lost == {"Mute": 1}


@pytest.mark.parametrize("lookups", [[], [Asks()]])
def test_the_end_of_an_idle_lane_comes_at_once(lookups: list[Any]) -> None:
    health = Health()
    ended: list[bool] = []

    async def body(lane: SlowLane) -> None:
        await lane.drain(PATIENCE)
        ended.append(True)

    drive(lambda: SlowLane(lookups, Answers(), health), body)
    assert ended == [True]
    assert not health.not_checked


def test_a_lane_can_be_drained_more_than_once(connection: MAKE) -> None:
    answers = Answers()

    async def body(lane: SlowLane) -> None:
        for number in range(3):
            lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}")])
            await lane.drain(PATIENCE)
            assert len(answers.ids) == number + 1

    drive(lambda: SlowLane([Asks()], answers, Health()), body)
    assert answers.ids == [["c0"], ["c1"], ["c2"]]


def test_look_ups_do_not_wait_for_each_other(connection: MAKE) -> None:
    stuck, quick, answers = Asks(at_once=2), Asks(at_once=1), Answers()

    async def body(lane: SlowLane) -> None:
        stuck.gate = asyncio.Event()
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(50)])
        await turns(500)
        assert len(quick.asked) == 50, "one at a time, all of them"
        assert len(stuck.asked) == 2
        assert len(answers.ids) == 50
        stuck.gate.set()
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([stuck, quick], answers, Health()), body)
    assert len(stuck.asked) == 50
    assert len(answers.ids) == 100


def test_an_answer_is_awaited_until_each_look_up_has_given_its_own(connection: MAKE) -> None:
    stuck, quick = Asks(), Asks()

    async def body(lane: SlowLane) -> None:
        stuck.gate = asyncio.Event()
        assert not lane.is_pending("c1")
        lane.offer([connection()])
        assert lane.is_pending("c1")
        await turns()
        assert quick.known == {"203.0.113.9"}
        assert lane.is_pending("c1")
        stuck.gate.set()
        await lane.drain(PATIENCE)
        assert not lane.is_pending("c1")

    drive(lambda: SlowLane([stuck, quick], Answers(), Health()), body)


@pytest.mark.security
def test_each_look_up_has_a_bound_of_its_own(connection: MAKE) -> None:
    stuck, quick, health = Asks(at_once=1), Asks(at_once=1), Health()

    async def body(lane: SlowLane) -> None:
        stuck.gate = asyncio.Event()
        for number in range(10):
            lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}")])
            await turns(50)
        stuck.gate.set()
        await lane.drain(PATIENCE)

    drive(lambda: SlowLane([stuck, quick], Answers(), health, capacity=3), body)
    assert len(quick.asked) == 10
    assert len(stuck.asked) == 4, "one is being asked, three wait"
    assert health.not_checked == {"queue full": 6}


def test_what_nobody_answered_counts_under_its_reason_and_is_no_fault(connection: MAKE) -> None:
    answers, told = Answers(), list[str]()
    health = Health(tell=told.append)

    async def body(lane: SlowLane) -> None:
        lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(5)])
        await lane.drain(PATIENCE)
        assert not any(lane.is_pending(f"c{number}") for number in range(5))

    unheard, unread = Asks(fault=LookupFailed("name server did not answer"), at_once=2), Asks(fault=LookupFailed("no usable answer"))
    drive(lambda: SlowLane([unheard, unread], answers, health), body)
    assert health.not_checked == {"name server did not answer": 5, "no usable answer": 5}
    assert (health.lost, health.problems, told) == ({}, [], [])
    assert len(answers.ids) == 10, "who waited for the answer is let go"


def test_what_comes_after_the_line_was_empty_is_asked_by_as_many_as_before(connection: MAKE) -> None:
    lookup = Asks(at_once=2, fault=LookupFailed("no answer"))

    async def body(lane: SlowLane) -> None:
        for start in range(0, 12, 4):
            lookup.gate = asyncio.Event()
            lane.offer([connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(start, start + 4)])
            await turns()
            assert len(lookup.asked) == start + 2
            lookup.gate.set()
            await lane.drain(PATIENCE)

    drive(lambda: SlowLane([lookup], Answers(), Health()), body)
    assert len(lookup.asked) == 12


def test_what_an_answer_brings_up_is_asked_before_the_end(connection: MAKE) -> None:
    lookup = Asks(at_once=1)
    chain = [connection(id=f"c{number}", ip=f"192.0.2.{number}") for number in range(5)]

    made: list[SlowLane] = []

    async def passed_on(ids: Iterable[str]) -> None:
        (answered,) = ids
        made[0].offer(chain[int(answered[1:]) + 1 :][:1])

    def make() -> SlowLane:
        made.append(SlowLane([lookup], passed_on, Health()))
        return made[0]

    async def body(lane: SlowLane) -> None:
        lane.offer(chain[:1])
        await lane.drain(PATIENCE)

    drive(make, body)
    assert lookup.asked == [one.destination.ip for one in chain]
