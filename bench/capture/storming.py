"""Loops of connections, run together and counted."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from capture.lab import THERE, Generator, Lab
from capture.watching import Outwatch

FIRST_PORT = 20_000


@dataclass(frozen=True)
class Loop:
    """One loop: how many ports it calls in turn, when it ends, how many a second it makes (0: all it can), and on which core."""

    ports: int = 1
    seconds: int = 0
    count: int = 0
    rate: int = 0
    core: int = -1


@dataclass(frozen=True)
class Made:
    """What a loop made."""

    pid: int
    count: int
    sent: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Connections a second."""
        return self.count / self.seconds


@contextlib.contextmanager
def started(lab: Lab, loops: Sequence[Loop]) -> Iterator[list[Generator]]:
    """Start loops that wait for their beginning; each has its own ports."""
    program = lab.program("storm")
    with contextlib.ExitStack() as stack:
        running = []
        for number, loop in enumerate(loops):
            port = FIRST_PORT + 100 * number
            numbers = (port, loop.ports, loop.seconds, loop.count, loop.rate, loop.core)
            argv = [program, f"/run/netns/{lab.there}", THERE, *map(str, numbers)]
            generator = stack.enter_context(lab.running(lab.here, argv))
            generator.line()
            running.append(generator)
        yield running


def storm(lab: Lab, loops: Sequence[Loop]) -> list[Made]:
    """Run loops together to their end."""
    with started(lab, loops) as running:
        for generator in running:
            generator.begin()
        return [Made(**generator.line()) for generator in running]


@dataclass(frozen=True)
class Balance:
    """What happened and what was told of some processes: connections that they opened, the bytes they sent, and losses."""

    happened: int
    told: int
    records: int
    sent: int
    bytes_told: int
    lost: int
    """Sum over the layers of the summary; a layer counts records, of which a connection has several."""

    @property
    def whole(self) -> bool:
        """Whether every connection was told, or what is missing was counted as lost."""
        return 0 <= self.happened - self.told <= self.lost


def balance(made: Sequence[Made], watch: Outwatch) -> Balance:
    """Count what a watch that has ended told of the loops; records that were folded stand for many."""
    pids = {one.pid for one in made}
    last: dict[str, tuple[int, int]] = {}
    summary: dict[str, Any] = {}
    for record in watch.records():
        if record["kind"] == "summary":
            summary = record
        elif (
            record["kind"] == "connection"
            and record["network"].get("direction") == "egress"
            and record.get("process", {}).get("pid") in pids
        ):
            last[record["id"]] = record.get("outwatch", {}).get("count", 1), record["source"].get("bytes", 0)
    if not summary:
        raise RuntimeError(f"{watch.name}: no summary at the end")
    return Balance(
        happened=sum(one.count for one in made),
        told=sum(count for count, _size in last.values()),
        records=len(last),
        sent=sum(one.sent for one in made),
        bytes_told=sum(size for _count, size in last.values()),
        lost=sum(summary["lost"].values()),
    )
