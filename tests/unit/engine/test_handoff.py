"""Batches pass from a thread to the loop: none unbounded, none lost without being counted."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from outwatch.engine.handoff import LAYER, Handoff
from outwatch.engine.health import Health
from outwatch.model.records import Connection, Observation

Batch = list[Observation]
MAKE = Callable[..., Connection]
PATIENCE = 10.0


def batch(make: MAKE, size: int, name: str = "b") -> Batch:
    return [make(id=f"{name}{number}") for number in range(size)]


async def everything(handoff: Handoff) -> list[str]:
    """Take until the end, and give the ids."""
    found: list[str] = []
    while (taken := await asyncio.wait_for(handoff.get(), PATIENCE)) is not None:
        found += [one.id for one in taken if isinstance(one, Connection)]
    return found


def test_what_is_put_in_comes_out_in_its_order_and_then_the_end(connection: MAKE) -> None:
    async def run() -> list[str]:
        handoff = Handoff(Health())
        for name in "abc":
            handoff.put(batch(connection, 2, name))
        handoff.close()
        return await everything(handoff)

    assert asyncio.run(run()) == ["a0", "a1", "b0", "b1", "c0", "c1"]


def test_a_batch_larger_than_the_bound_is_taken_when_nothing_else_waits(connection: MAKE) -> None:
    async def run() -> int:
        handoff = Handoff(health, capacity=3)
        handoff.put(batch(connection, 5))
        handoff.close()
        return len(await everything(handoff))

    health = Health()
    assert asyncio.run(run()) == 5
    assert not health.lost


def test_room_is_free_again_once_a_batch_was_taken(connection: MAKE) -> None:
    async def run() -> None:
        handoff = Handoff(health, capacity=4)
        for _ in range(10):
            handoff.put(batch(connection, 4))
            assert len(await handoff.get() or ()) == 4

    health = Health()
    asyncio.run(run())
    assert not health.lost


def test_what_a_live_sensor_hands_over_after_the_end_to_a_full_queue_is_counted(connection: MAKE) -> None:
    async def run() -> int:
        handoff = Handoff(health, capacity=2)
        handoff.put(batch(connection, 2))
        handoff.close()
        handoff.put(batch(connection, 2, "late"))
        return len(await everything(handoff))

    health = Health()
    taken = asyncio.run(run())
    assert taken + health.lost[LAYER] == 4


def test_a_sensor_waits_for_room_and_loses_nothing(connection: MAKE) -> None:
    def feed(handoff: Handoff) -> None:
        for number in range(50):
            handoff.put(batch(connection, 3, f"{number}-"))
        handoff.close()

    async def run() -> list[str]:
        handoff = Handoff(health, capacity=7)
        thread = threading.Thread(target=feed, args=(handoff,), daemon=True)
        thread.start()
        found = await everything(handoff)
        await asyncio.to_thread(thread.join, PATIENCE)
        return found

    health = Health()
    found = asyncio.run(run())
    assert found == [f"{number}-{at}" for number in range(50) for at in range(3)]
    assert not health.lost


def test_a_sensor_that_waits_is_let_go_by_the_end(connection: MAKE) -> None:
    async def run() -> bool:
        handoff = Handoff(Health(), capacity=1)
        handoff.put(batch(connection, 1))
        thread = threading.Thread(target=handoff.put, args=(batch(connection, 1),), daemon=True)
        thread.start()
        handoff.close()
        await asyncio.to_thread(thread.join, PATIENCE)
        return thread.is_alive()

    assert not asyncio.run(run())


def test_who_waits_for_a_batch_is_woken_by_it_and_by_the_end(connection: MAKE) -> None:
    async def run() -> tuple[int, object]:
        handoff = Handoff(Health())
        waiting = asyncio.ensure_future(handoff.get())
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(handoff.put, batch(connection, 2))
        first = await asyncio.wait_for(waiting, PATIENCE)
        ending = asyncio.ensure_future(handoff.get())
        await asyncio.sleep(0)
        assert not ending.done()
        await asyncio.to_thread(handoff.close)
        return len(first or ()), await asyncio.wait_for(ending, PATIENCE)

    assert asyncio.run(run()) == (2, None)


def test_a_sensor_that_outlives_the_loop_is_not_stopped_by_it(connection: MAKE) -> None:
    async def run() -> Handoff:
        return Handoff(Health())

    handoff = asyncio.run(run())
    handoff.put(batch(connection, 1))
    handoff.close()
    assert handoff._closed


@pytest.mark.security
def test_everything_that_was_sent_is_taken_under_a_flood(connection: MAKE) -> None:
    def flood(handoff: Handoff) -> None:
        for _ in range(400):
            handoff.put(one)
        handoff.close()

    async def run() -> int:
        handoff = Handoff(health, capacity=60)
        thread = threading.Thread(target=flood, args=(handoff,), daemon=True)
        thread.start()
        return len(await everything(handoff))

    health, one = Health(), batch(connection, 7)
    assert asyncio.run(run()) == 2800
    assert not health.lost


def test_what_is_abandoned_is_counted_and_gone(connection: MAKE) -> None:
    async def run() -> list[str]:
        handoff = Handoff(health)
        handoff.put(batch(connection, 3))
        handoff.abandon(2)
        handoff.close()
        return await everything(handoff)

    health = Health()
    assert asyncio.run(run()) == []
    assert health.lost[LAYER] == 5
