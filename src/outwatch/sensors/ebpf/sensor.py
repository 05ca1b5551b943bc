"""The kernel sensor: every connection as it is tried, with the process that tries it, however short that lives."""

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop
from threading import Event as StopEvent
from typing import ClassVar, Literal

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.model.interfaces import ProcessTable
from outwatch.model.records import Connection, Destination, Event, Findings, Host, Network, Observation, Process, Source, Unknown, User
from outwatch.sensors.ebpf import decode
from outwatch.sensors.ebpf.decode import Flow

if sys.platform == "linux":
    from outwatch.sensors.ebpf.hooks import Hooks
    from outwatch.sensors.ebpf.lives import Lives

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_PAUSE = 0.03  # seconds between two times of reading, while there is something to read
_STORM = 500  # changes in one batch from which on there is no pause
_POLL = 50  # milliseconds; the kernel wakes us earlier when a quarter of the ring is full
_TOTALS_EVERY = 2.0  # seconds
_MOST_OPEN = 200_000
_TCP, _ICMP = 6, frozenset({1, 58})
_TRANSPORTS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp", 132: "sctp"}
_LAYERS = ("kernel ring", "kernel map")
_SOCK_RAW = 3
_ANYWHERE = bytes(16)
_SECOND = 1_000_000_000
_CPU_BITS = 10  # of an id; the rest is when the connection was tried
_SILENT = 60 * _SECOND  # after which a talk between two datagram sockets is over


class Ebpf:
    """Loads programs into the kernel and reads what they say."""

    name: ClassVar[str] = "ebpf"
    live: ClassVar[bool] = True

    def __init__(self, ring_bytes: int, *, processes: ProcessTable, host: Host, boot: str, health: Health) -> None:
        """Take the size of the ring, who knows processes that were there before, and where to count losses; nothing is loaded yet."""
        self._ring_bytes = ring_bytes
        self._processes = processes
        self._host = host
        self._health = health
        self._hooks: Hooks | None = None
        self._salt = int.from_bytes(os.urandom(8))
        self._offset = 0
        self._lives = Lives(boot, self._when, tick=_SECOND // _ticks(), mount_namespace=_mount_namespace())
        self._open: OrderedDict[int, Connection] = OrderedDict()
        self._changed: dict[int, Connection] = {}
        self._listening: set[tuple[int, int, int, bytes]] = set()  # namespace, protocol, port, address
        self._gone: set[int] = set()  # sockets that were closed since the last totals
        self._lost: dict[str, int] = {}
        self._broken = 0
        self._missing: Sequence[str] = ()

    def check(self) -> None:
        """Load and attach; ``SensorUnavailable`` says what stands in the way."""
        if self._hooks is None:
            self._hooks = Hooks(self._ring_bytes)
            self._missing = self._hooks.missing

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Observation]]:
        """Yield what is there, then what happens; once more when it is to stop."""
        self.check()
        hooks = self._hooks
        if hooks is None:
            return
        try:
            self._lost, self._gone = dict.fromkeys(_LAYERS, 0), set()  # counters begin anew with the programs
            self._open.clear()
            hooks.open_ring(self._take)
            self._set_clock()
            self._there_already(hooks)
            yield self._batch()
            told = time.monotonic()
            ending = False
            while not ending:
                ending = stop.is_set()
                hooks.poll(0 if ending else _POLL)
                if ending or time.monotonic() - told >= _TOTALS_EVERY:
                    told = time.monotonic()
                    self._set_clock()
                    self._totals(hooks)
                    self._count_losses(hooks)
                if batch := self._batch():
                    yield batch
                    if len(batch) < _STORM:
                        stop.wait(_PAUSE)  # else a busy machine would wake us for every record
        finally:
            hooks.close()
            self._hooks = None

    def blind(self) -> Sequence[str]:
        """Say what these hooks can't see."""
        return ["protocols that bypass the kernel's sockets (AF_PACKET, XDP)", *self._missing]

    def _take(self, data: bytes) -> None:
        event = decode.decode(data)
        if event is None:
            self._broken += 1
        elif isinstance(event, Flow):
            self._flow(event)
        else:
            self._lives.see(event)

    def _flow(self, flow: Flow) -> None:
        """Bring what is known of a connection up to date; one that was never spoken of begins here."""
        known = self._changed.get(flow.id) or self._open.get(flow.id)
        record = self._moved(known, flow) if known is not None else self._opened(flow)
        if flow.kind == decode.CLOSE:
            record = self._closed(record, flow)
            self._open.pop(flow.id, None)
            self._gone.add(flow.socket)
        else:
            self._open[flow.id] = record
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        self._changed[flow.id] = record

    def _opened(self, flow: Flow) -> Connection:
        began = self._when(flow.id >> _CPU_BITS)
        existing = bool(flow.flags & decode.EXISTING)
        ingress = bool(flow.flags & decode.INGRESS) or (existing and self._is_listener(flow))
        process, findings, user = self._owner(flow)
        local = _address(flow.family, flow.local), flow.local_port or None
        remote = _address(flow.family, flow.remote), flow.remote_port or None
        here, there = (remote, local) if ingress else (local, remote)
        sent, received = (flow.received, flow.sent) if ingress else (flow.sent, flow.received)
        known = flow.kind != decode.OPEN and not (existing and flow.protocol != _TCP)
        return Connection(
            id=f"{(flow.id ^ self._salt) & (2**64 - 1):016x}",
            timestamp=began,
            event=Event(action="existing" if existing else "connect", start=None if existing else began),
            host=self._host,
            network=_network(_transport(flow), "ingress" if ingress else "egress", flow.netns),
            source=Source(ip=here[0], port=here[1], bytes=sent if known else None),
            destination=Destination(ip=there[0], port=there[1], bytes=received if known else None),
            process=process,
            user=user,
            outwatch=findings,
        )

    def _moved(self, record: Connection, flow: Flow) -> Connection:
        """Bring a connection up to date: its own end, which is known once it is answered, and what it has carried."""
        ingress = record.network.direction == "ingress"
        source, destination = record.source, record.destination
        if not ingress and source.port is None and flow.local_port:
            source = replace(source, ip=_address(flow.family, flow.local), port=flow.local_port)
        if flow.kind in {decode.CLOSE, decode.TOTAL}:
            sent, received = (flow.received, flow.sent) if ingress else (flow.sent, flow.received)
            source, destination = replace(source, bytes=sent), replace(destination, bytes=received)
        event = record.event if record.event.action == "connect" and flow.id in self._changed else replace(record.event, action="traffic")
        return replace(record, event=event, source=source, destination=destination)

    def _closed(self, record: Connection, flow: Flow) -> Connection:
        action: Literal["failed", "close"] = "failed" if flow.flags & decode.FAILED else "close"
        return replace(record, event=Event(action=action, start=record.event.start, end=max(record.timestamp, self._when(flow.time))))

    def _owner(self, flow: Flow) -> tuple[Process | None, Findings, User | None]:
        """Name the process of a connection, from the kernel's own words, or from /proc if it began before this watch."""
        if not flow.pid or flow.flags & decode.KERNEL:
            return None, Findings(sensor=self.name, attribution=Unknown(unknown="kernel")), None
        user = User(id=str(flow.uid))
        told = self._lives.describe((flow.pid, flow.start))
        if told is not None:
            return told[0], Findings(sensor=self.name, attribution="exact", executable=told[1]), user
        return self._lives.bare((flow.pid, flow.start)), Findings(sensor=self.name, attribution="exact"), user

    def _there_already(self, hooks: Hooks) -> None:
        for program in hooks.running():
            self._lives.see(program)
        flows = [flow for flow in hooks.existing() if flow is not None]
        self._listening = {(flow.netns, flow.protocol, flow.local_port, flow.local) for flow in flows if flow.flags & decode.LISTENS}
        for flow in flows:
            if not flow.flags & decode.LISTENS:
                self._flow(flow)

    def _is_listener(self, flow: Flow) -> bool:
        """Tell whether somebody waits for callers at a connection's local end."""
        return any((flow.netns, flow.protocol, flow.local_port, local) in self._listening for local in (flow.local, _ANYWHERE))

    def _totals(self, hooks: Hooks) -> None:
        """Take what open connections have carried; talks of datagram sockets end with their socket, or when nobody says anything."""
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for flow in hooks.totals():
            if flow is None:
                self._broken += 1
                continue
            is_talk = flow.id != flow.socket
            if is_talk and (flow.socket in self._gone or now - flow.start > _SILENT):
                hooks.forget(flow)
                flow = flow._replace(kind=decode.CLOSE, time=flow.start)  # noqa: PLW2901
            if flow.kind == decode.OPEN or (flow.id in self._open and (flow.kind == decode.CLOSE or self._carried(flow))):
                self._flow(flow)
        self._gone.clear()

    def _carried(self, flow: Flow) -> bool:
        """Tell whether a connection has carried anything since it was told last."""
        record = self._open[flow.id]
        sent, received = (flow.received, flow.sent) if record.network.direction == "ingress" else (flow.sent, flow.received)
        return (record.source.bytes, record.destination.bytes) != (sent, received)

    def _batch(self) -> list[Observation]:
        """Give what has changed since the last batch: of each connection the last word only."""
        batch: list[Observation] = list(self._changed.values())
        self._changed.clear()
        return batch

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


@lru_cache(maxsize=65_536)
def _address(family: int, raw: bytes) -> str | None:
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[:4])
    return inet_ntop(AF_INET6, raw) if family == AF_INET6 else None


def _transport(flow: Flow) -> str:
    """Name what is spoken; a raw socket speaks for itself, whatever its protocol: own TCP stacks do."""
    if flow.type == _SOCK_RAW and flow.protocol not in _ICMP:
        return f"raw:{flow.protocol}"
    return _TRANSPORTS.get(flow.protocol, f"raw:{flow.protocol}")


@lru_cache(maxsize=4096)
def _network(transport: str, direction: Literal["ingress", "egress"], namespace: int) -> Network:
    return Network(transport=transport, direction=direction, namespace=str(namespace) if namespace else None)


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _mount_namespace() -> int | None:
    try:
        return Path("/proc/self/ns/mnt").stat().st_ino
    except OSError:
        return None
