"""The ring as a test reads it: what comes out, beside what the kernel counts of what went in."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf.decode import KINDS, decode
from outwatch.sensors.ebpf.hooks import PROCESSES, TCP, Hooks, programs_of


class Counted(NamedTuple):
    """How many records of a kind there were to write, and how many of them the full ring refused."""

    happened: int
    refused: int


class Ring:
    """Hooks whose ring is read only when a test asks for it."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.events: list[Any] = []
        self.delivered: Counter[int] = Counter()
        self.broken = 0
        hooks.open_ring(self._take)

    def _take(self, data: bytes) -> None:
        event = decode(data)
        if event is None:
            self.broken += 1
        else:
            self.events.append(event)
            self.delivered[data[2]] += 1

    def counts(self) -> dict[int, Counted]:
        """Give what the kernel counts by kind."""
        found = {}
        for kind in range(1, KINDS):
            values = self._hooks._object.per_cpu("counts", kind, 16)
            found[kind] = Counted(*(sum(int.from_bytes(one[at : at + 8], "little") for one in values) for at in (0, 8)))
        return found

    def settled(self) -> tuple[dict[int, Counted], dict[int, Counted]]:
        """Read, and give the counts before and after: the same ones, unless other programs on this machine never rest."""
        for _ in range(200):
            before = self.counts()
            self._hooks.poll(0)
            after = self.counts()
            if before == after:
                break
        return before, after


def let_go(hooks: Hooks, chosen: Callable[[str], bool]) -> list[str]:
    """Detach the chosen ones of the programs that see TCP and processes; gives their names."""
    attached = [name for hook in (TCP, PROCESSES) for name in programs_of(hook)]  # first, in this order
    for at, name in reversed(list(enumerate(attached))):
        if chosen(name):
            hooks._object._libbpf.bpf_link__destroy(hooks._object._links.pop(at))
    return [name for name in attached if chosen(name)]
