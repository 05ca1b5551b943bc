"""What somebody told against what the generators counted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Sent:
    """One connection as its generator counted it; ``pids`` are all processes that used it, ``own`` the local port."""

    pids: frozenset[int]
    transport: str
    own: int | None
    ip: str
    port: int | None
    sent: int
    received: int

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Sent":
        """Take one flow of a generator's JSON."""
        return cls(
            frozenset(told["pids"]),
            told["transport"],
            told["own"] or None,
            told["ip"],
            told["port"] or None,
            told["sent"],
            told["received"],
        )


@dataclass(frozen=True)
class Told:
    """One connection (``count``: so many) as a tool told it, seen from the local end. ``ip`` is ``None`` where it tells only processes."""

    pid: int | None
    transport: str
    own: int | None
    ip: str | None
    port: int | None
    sent: int | None = None
    received: int | None = None
    count: int = 1
    others: frozenset[int] = frozenset()
    """Pids of further processes that used its socket."""


@dataclass
class Verdict:
    """How much of a scenario a tool told rightly."""

    happened: int = 0
    detected: int = 0
    attributed: int = 0
    surplus: int = 0
    """Connections told of these processes that did not happen."""
    up: int = 0
    down: int = 0
    """Bytes off, summed without their signs over the connections of which bytes were told."""
    counted: int = 0
    """Connections of which bytes were told."""
    wrong: list[str] = field(default_factory=list)
    """The first few findings, in words."""

    def note(self, what: str) -> None:
        """Keep an example."""
        if len(self.wrong) < 5:
            self.wrong.append(what)

    def bytes_off(self, told: Iterable[Told], happened: Sequence[Sent]) -> None:
        """Add the difference of connections that were told together, if their bytes were."""
        some = [one for one in told if one.sent is not None or one.received is not None]
        if not some:
            return
        up = sum(one.sent or 0 for one in some) - sum(one.sent for one in happened)
        down = sum(one.received or 0 for one in some) - sum(one.received for one in happened)
        self.up, self.down, self.counted = self.up + abs(up), self.down + abs(down), self.counted + len(happened)
        if up or down:
            self.note(f"bytes {up:+d} up, {down:+d} down: {happened[:3]}")

    @property
    def perfect(self) -> bool:
        """Whether all is there, each with the right processes, no byte off and nothing too much."""
        whole = self.detected == self.attributed == self.happened and not self.surplus
        return whole and self.counted == self.happened and not self.up and not self.down


Key = tuple[str, int | None, str | None, int | None]


def judge(sent: Sequence[Sent], told: Iterable[Told], *, alone: bool = True) -> Verdict:
    """Compare, connection by connection; what was folded stands for as many as it says, of its process and destination.

    ``alone``: these processes did nothing else, so what is told of them beyond that did not happen.
    """
    pids = frozenset().union(*(one.pids for one in sent))
    exact: dict[Key, list[Told]] = defaultdict(list)
    folded: list[Told] = []
    surplus = 0
    known = {_key(one) for one in sent}
    for one in told:
        if _key(one) in known:
            exact[_key(one)].append(one)
        elif alone and one.pid in pids:
            folded.append(one)
    verdict = Verdict(happened=len(sent))
    left: dict[tuple[str, str | None, int | None], list[Sent]] = defaultdict(list)
    for here in sent:
        found = exact[_key(here)]
        if here.own is None and len(found) != 1:  # nothing but the process tells such connections apart
            found = [one for one in found if one.pid in here.pids]
        if found:
            _whole(verdict, here, found)
        else:
            left[here.transport, here.ip, here.port].append(here)
    for one in folded:
        surplus += _part(verdict, one, left[one.transport, one.ip, one.port])
    verdict.surplus = surplus
    for rest in left.values():
        for here in rest:
            verdict.note(f"not told: {here}")
    return verdict


def _key(one: Sent | Told) -> Key:
    return one.transport, one.own, one.ip or None, one.port


def _whole(verdict: Verdict, here: Sent, found: Sequence[Told]) -> None:
    """Judge a connection that was told by its own ends; what several processes did with it may be told apart."""
    verdict.detected += 1
    owners = {one.pid for one in found}
    named = owners.union(*(one.others for one in found))
    if named == here.pids:
        verdict.attributed += 1
    else:
        verdict.note(f"process {named} instead of {set(here.pids)}: {here}")
    verdict.surplus += len(found) - len(owners)
    verdict.bytes_off(found, [here])


def _part(verdict: Verdict, told: Told, rest: list[Sent]) -> int:
    """Judge a record without own end, which may stand for many; gives how many it tells too much."""
    mine = [here for here in rest if told.pid in here.pids][: told.count]
    for here in mine:
        rest.remove(here)
    verdict.detected += len(mine)
    verdict.attributed += len(mine)
    verdict.bytes_off([told], mine)
    if len(mine) < told.count:
        verdict.note(f"told, but did not happen: {told}")
    return told.count - len(mine)


def judge_processes(sent: Sequence[Sent], told: Iterable[Told]) -> Verdict:
    """Compare with a tool that tells processes only: all connections of one that is named with traffic count as seen."""
    verdict = Verdict(happened=len(sent))
    by_pid = {one.pid: one for one in told if one.pid}
    groups: dict[frozenset[int], list[Sent]] = defaultdict(list)
    for one in sent:
        groups[one.pids].append(one)
    for pids, group in groups.items():
        found = [by_pid[pid] for pid in pids if pid in by_pid]
        if found:
            verdict.detected += len(group)
            verdict.attributed += len(group) if len(found) == len(pids) else 0
            verdict.bytes_off(found, group)
    return verdict
