"""The kernel sensor: every connection as it is tried, with the process that tries it, however short that lives."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as StopEvent
from typing import ClassVar

import msgspec

from outwatch.engine.health import Health
from outwatch.engine.uncollected import uncollected
from outwatch.errors import SensorUnavailable
from outwatch.model.records import Host, Observation
from outwatch.sensors.ebpf import EbpfConfig, decode
from outwatch.sensors.ebpf.decode import Flow, Group, Life, Naming, Program

if sys.platform == "linux":
    from outwatch.sensors.ebpf.cgroups import Groups, cgroup_root
    from outwatch.sensors.ebpf.connections import Connections
    from outwatch.sensors.ebpf.hearing import Hearing
    from outwatch.sensors.ebpf.hooks import HOOKS, Hooks
    from outwatch.sensors.ebpf.lives import Lives

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_PAUSE = 0.05  # seconds between two times of reading, while there is something to read
_POLL, _LONGEST_POLL = 50, 400  # milliseconds; the kernel wakes us earlier when a quarter of the ring is full
_MANY = 100  # changes in one batch from which on we wait for more …
_ENOUGH = 800  # … until so many come together: that costs less for each
_TOTALS_EVERY = 2.0  # seconds
_LAYERS = ("kernel ring", "kernel map", "kernel program")
_SECOND = 1_000_000_000
_SILENT = 60 * _SECOND  # after which a talk between two datagram sockets, or a storm, is over
_SMALLEST = 4  # KiB
_STALLED = 0.5  # seconds between two times of reading when an overrun is asked for


class Ebpf:
    """Loads programs into the kernel and reads what they say."""

    name: ClassVar[str] = "ebpf"
    live: ClassVar[bool] = True

    def __init__(
        self, config: EbpfConfig, *, host: Host, boot: str, health: Health, once: bool = False, overrun: bool = False, names: bool = True
    ) -> None:
        """Take the settings, and where to count losses; nothing is loaded yet.

        ``once``: the first picture is all that is wanted. With ``overrun`` the ring is the smallest and read so seldom that a busy
        machine must lose something.
        """
        self._config = msgspec.structs.replace(config, ring_kib=_SMALLEST, storm=0) if overrun else config
        self._once, self._overrun, self._names = once, overrun, names
        self._hearing = Hearing()
        self._health = health
        self._hooks: Hooks | None = None
        self._offset = 0
        self._lives = Lives(boot, self._when, tick=_SECOND // _ticks(), mount_namespace=_mount_namespace())
        self._groups = Groups()
        self._connections = Connections(self._lives, self._groups, self._when, host)
        self._raw: list[bytes] = []
        self._untold: list[Flow] = []  # ends that the kernel did not tell, of connections of which nothing is known yet
        self._storms: dict[int, int] = {}  # how many were told of each
        self._lost: dict[str, int] = {}
        self._broken = 0
        self._off: dict[str, str] = {}
        self._missing: Sequence[str] = ()

    def check(self) -> None:
        """Load and attach; ``SensorUnavailable`` says what stands in the way."""
        if self._hooks is None:
            self._hooks = Hooks(
                self._config.ring_kib << 10, storm=self._config.storm, without=self._config.without, once=self._once, names=self._names
            )
            self._missing, self._off = self._hooks.blind(), self._hooks.off

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Observation]]:
        """Yield what is there, then what happens; once more when it is to stop."""
        self.check()
        hooks = self._hooks
        if hooks is None:
            return
        try:
            self._lost = dict.fromkeys(_LAYERS, 0)  # counters begin anew with the programs
            self._connections.begin_anew()
            for left in (self._storms, self._raw, self._untold):
                left.clear()
            if not self._once:
                hooks.open_ring(self._raw.append)
            self._set_clock()
            with uncollected():
                self._there_already(hooks)
                there = self._connections.changed()
            yield there
            if self._once:
                return
            told = time.monotonic()
            ending, patience = False, _POLL
            while not ending:
                ending = stop.is_set()
                hooks.poll(0 if ending or self._overrun else patience)
                self._take()
                if ending or time.monotonic() - told >= _TOTALS_EVERY:
                    told = time.monotonic()
                    self._set_clock()
                    self._totals(hooks, ending=ending)
                    if ending:  # what ended between the last reading and these totals
                        hooks.poll(0)
                        self._take()
                    self._take_storms(hooks, ending=ending)
                    self._count_losses(hooks)
                batch = self._connections.changed()
                if batch:
                    yield batch
                patience = _patience(patience, len(batch))
                if self._overrun or 0 < len(batch) < _MANY:
                    stop.wait(_STALLED if self._overrun else _PAUSE)  # else a busy machine would wake us for every record
        finally:
            hooks.close()
            self._hooks = None

    def blind(self) -> Sequence[str]:
        """Say what these hooks can't see."""
        without = [f"names in QUIC: {self._hearing.without}"] if self._hearing.without else []
        return ["protocols that bypass the kernel's sockets (XDP, and AF_PACKET through shared memory)", *without, *self._missing]

    def details(self) -> Sequence[str]:
        """Say of each hook whether it is on, and what it costs that it is not."""
        return [
            f"{hook.name}: off ({self._off[hook.name]}); {hook.lack}" if hook.name in self._off else f"{hook.name}: on" for hook in HOOKS
        ]

    def _take(self) -> None:
        """Work through what came out of the ring."""
        raw, self._raw[:] = self._raw[:], []
        see = self._connections.see
        for data in decode.needed(raw):
            event = decode.decode(data)
            if isinstance(event, Flow):
                see(event)
            elif event is None:
                self._broken += 1
            elif isinstance(event, Naming):
                self._hear(event)
            elif isinstance(event, Group):
                self._groups.see(event.id, event.path)
            else:
                self._lives.see(event)
        while self._untold:
            see(self._untold.pop())

    def _hear(self, said: Naming) -> None:
        """Take note of a name that a connection has said or heard."""
        if said.what in {decode.ANSWER, decode.STREAM}:
            for facts in self._hearing.answers(said):
                self._connections.asked(said, facts)
            return
        words = self._hearing.words(said)
        if words is not None:
            self._connections.named(said.id, words)

    def _there_already(self, hooks: Hooks) -> None:
        with contextlib.suppress(SensorUnavailable, OSError), cgroup_root() as root:
            self._groups.look(root)
        for program in hooks.running():
            self._lives.see(program)
        flows = {flow.id: flow for flow in hooks.existing()}  # several processes may hold a socket
        self._look_ahead(hooks)
        for flow in flows.values():
            if flow.flags & decode.LISTENS:
                self._connections.listening(flow)
        for flow in flows.values():
            if not flow.flags & decode.LISTENS:
                self._connections.see(flow)
        self._connections.end_left(time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def _totals(self, hooks: Hooks, *, ending: bool) -> None:
        """Take what open connections have carried; talks of datagram sockets end with their socket, or when nobody says anything."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        gone = self._connections.sockets_gone()
        unknown = []
        for flow in hooks.totals(last=ending):
            is_talk = flow.id != flow.socket
            if is_talk and (flow.socket in gone or now - flow.start > _SILENT):
                hooks.forget(flow)
                flow = flow._replace(kind=decode.CLOSE, time=flow.start)  # noqa: PLW2901
            known = self._connections.get(flow.id)
            if known is None:
                if not is_talk:  # it was counted with others and lives on, or its first record was lost or not yet read
                    unknown.append(flow)
            elif flow.kind in {decode.CLOSE, decode.OPEN} or self._connections.carried(flow):
                self._connections.see(flow)
        if unknown:
            self._look_ahead(hooks)
        for flow in unknown:
            if flow.kind == decode.CLOSE:  # its beginning may be among what is worked through later, which would open it again
                self._untold.append(flow)
            else:
                self._connections.see(flow)

    def _look_ahead(self, hooks: Hooks) -> None:
        """Learn who began since the ring was read: what was just found open may be theirs. It is all worked through later, in its order."""
        hooks.poll(0)
        for event in map(decode.decode, decode.beginnings(self._raw)):
            if isinstance(event, Group):
                self._groups.see(event.id, event.path)
            elif isinstance(event, Life | Program):
                self._lives.see(event)

    def _take_storms(self, hooks: Hooks, *, ending: bool) -> None:
        """Tell connections that were counted together: their number grows in one record while the storm lasts."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for one in hooks.bursts():
            if one is None:
                self._broken += 1
                continue
            flow, count = one
            over = now - flow.time > _SILENT
            if over or ending or count != self._storms.get(flow.id):
                self._storms[flow.id] = count
                self._connections.see_burst(flow, count, over=over or ending)
            if over:
                hooks.forget_burst(flow)
                del self._storms[flow.id]

    def _count_losses(self, hooks: Hooks) -> None:
        for layer, count in zip(_LAYERS, hooks.refused(), strict=True):
            if count > self._lost[layer]:
                self._health.lose(layer, count - self._lost[layer])
                self._lost[layer] = count
        if self._broken:
            self._health.lose("kernel record", self._broken)
            self._broken = 0

    def _set_clock(self) -> None:
        """Note how far the boot clock is from the time of day, which may have been set meanwhile."""
        self._offset = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def _when(self, boot_ns: int) -> datetime:
        return datetime.fromtimestamp((boot_ns + self._offset) / _SECOND, UTC)


def _patience(before: int, changes: int) -> int:
    """Give the milliseconds to wait for the next batch, after one with so many changes: what is rare is told at once."""
    return _POLL if changes < _MANY else min(_LONGEST_POLL, max(_POLL, before * _ENOUGH // changes))


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _mount_namespace() -> int | None:
    try:
        return Path("/proc/self/ns/mnt").stat().st_ino
    except OSError:
        return None
