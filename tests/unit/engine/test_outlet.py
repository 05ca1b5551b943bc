"""The way out to a sink: what can't be written waits, and what can't wait is counted."""

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from outwatch.engine import outlet as module
from outwatch.engine.health import Health
from outwatch.engine.outlet import Outlet
from outwatch.errors import OutputError
from outwatch.model.records import Connection, Record

Make = Callable[..., Connection]


class Disk:
    """A sink that writes only while there is room."""

    name: ClassVar[str] = "disk"
    settled: ClassVar[bool] = False

    def __init__(self) -> None:
        self.full = False
        self.ids: list[str] = []

    async def write(self, records: Sequence[Record]) -> None:
        if self.full:
            raise OutputError("disk", "no space")
        self.ids += [record.id for record in records if isinstance(record, Connection)]

    async def close(self) -> None:
        self.full = True


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.security
def test_what_a_full_disk_refused_is_written_in_order_when_there_is_room_again(connection: Make) -> None:
    disk, clock, health = Disk(), Clock(), Health()
    outlet = Outlet(disk, health, clock)

    async def body() -> None:
        disk.full = True
        await outlet.write([connection(id="a")])
        disk.full = False
        await outlet.write([connection(id="b")])
        assert disk.ids == [], "it is left alone for a while"
        clock.now += 60
        await outlet.write([connection(id="c")])

    asyncio.run(body())
    assert disk.ids == ["a", "b", "c"]
    assert outlet.failure is not None
    assert not health.lost


@pytest.mark.security
def test_what_waits_is_bounded_and_the_oldest_are_counted(connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    disk, health = Disk(), Health()
    outlet = Outlet(disk, health, Clock())

    async def body() -> None:
        disk.full = True
        for identity in "abcde":
            await outlet.write([connection(id=identity)])
        disk.full = False
        await outlet.close()

    asyncio.run(body())
    assert disk.ids == ["c", "d", "e"]
    assert health.lost == {"sink disk": 2}


def test_what_can_not_be_written_at_the_end_is_lost_and_counted(connection: Make) -> None:
    disk, health = Disk(), Health()
    outlet = Outlet(disk, health, Clock())

    async def body() -> None:
        disk.full = True
        await outlet.write([connection(id="a"), connection(id="b")])
        await outlet.close()

    asyncio.run(body())
    assert disk.ids == []
    assert health.lost == {"sink disk": 2}
