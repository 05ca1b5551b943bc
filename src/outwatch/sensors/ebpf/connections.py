"""What the kernel says of connections, put together: of each the last word until it is asked for."""

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Literal

from msgspec.structs import replace

from outwatch.guard.text import cleaned
from outwatch.model.records import (
    NO_SOURCE,
    Connection,
    Destination,
    Dns,
    DnsQuestion,
    Event,
    Findings,
    Host,
    Name,
    Network,
    Observation,
    Process,
    Question,
    Source,
    Tls,
    TlsClient,
    Unknown,
    User,
)
from outwatch.model.remembered import Remembered
from outwatch.net.protocols.dns import Facts
from outwatch.net.told import answers_of
from outwatch.sensors.ebpf import decode
from outwatch.sensors.ebpf.decode import Flow, Naming

if sys.platform == "linux":
    from outwatch.sensors.ebpf.cgroups import Groups
    from outwatch.sensors.ebpf.hearing import Words
    from outwatch.sensors.ebpf.lives import Lives

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_NAME = "ebpf"
_MOST_OPEN = 200_000
_MOST_SHARED = 10_000  # sockets of which it is known that several processes use them
_MOST_FINDINGS = 4_000
_TCP, _ICMP = 6, frozenset({1, 58})
_TRANSPORTS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp", 132: "sctp"}
_AF_PACKET, _SOCK_RAW = 17, 3
_ANYWHERE = bytes(16)
_CPU_BITS = 10  # of an id; the rest is when the connection was tried

_Ends = tuple[str | None, str | None, str | None, int | None, str | None, int | None]
"""Network namespace, transport, own end, other end."""


class Connections:
    """The table of connections that are open, and what has changed since the last batch."""

    def __init__(self, lives: Lives, groups: Groups, when: Callable[[int], datetime], host: Host) -> None:
        """Take who knows processes and their groups, what turns nanoseconds of the boot clock into a time, and this machine."""
        self._lives = lives
        self._groups = groups
        self._when = when
        self._host = host
        self._salt = int.from_bytes(os.urandom(8))
        self._open: OrderedDict[int, Connection] = OrderedDict()
        self._left: dict[_Ends, Connection] = {}  # open when the programs in the kernel ended, and not found since
        self._changed: dict[int, Connection] = {}
        self._shared: OrderedDict[int, tuple[Process, ...]] = OrderedDict()
        self._listening: set[tuple[int, int, int, bytes]] = set()  # namespace, protocol, port, address
        self._sockets_gone: set[int] = set()
        self._words: OrderedDict[int, tuple[Words, ...]] = OrderedDict()
        self._questions: list[Question] = []
        self._asked = 0
        self._findings: Remembered[Process, Findings] = Remembered(_MOST_FINDINGS)  # of a process's connections

    def begin_anew(self) -> None:
        """Forget all but what is open: the programs in the kernel begin anew, and give new numbers to what they find."""
        self._left = {_ends_of(one): one for one in self._open.values()}
        self._open.clear()
        self._changed.clear()
        self._shared.clear()
        self._listening.clear()
        self._words.clear()
        self._sockets_gone.clear()

    def end_left(self, now: int) -> None:
        """Tell that what was open before and isn't found any more is over, since when is not known."""
        for number, record in enumerate(self._left.values()):
            began = record.event.start
            over = self._when(now)
            event = Event(action="close", start=began, end=max(began, over) if began else over)
            self._changed[-1 - number] = replace(record, event=event)
        self._left.clear()

    def listening(self, flow: Flow) -> None:
        """Take note that somebody waits for callers."""
        self._listening.add((flow.netns, flow.protocol, flow.local_port, flow.local))

    def changed(self) -> list[Observation]:
        """Give what has changed since the last call: of each connection the last word only."""
        batch: list[Observation] = [*self._questions, *self._changed.values()]  # names first: connections follow their answers
        self._questions.clear()
        self._changed.clear()
        return batch

    def sockets_gone(self) -> set[int]:
        """Give the sockets that were closed since the last call."""
        gone, self._sockets_gone = self._sockets_gone, set()
        return gone

    def get(self, identity: int) -> Connection | None:
        """Give an open connection."""
        return self._open.get(identity)

    def see(self, flow: Flow) -> None:
        """Bring what is known of a connection up to date; one that was never spoken of begins here."""
        if flow.kind == decode.SHARE:
            self._share(flow)
            return
        known = self._changed.get(flow.id) or self._open.get(flow.id)
        record = self._moved(known, flow) if known is not None else self._opened(flow)
        if self._left and known is None and flow.flags & decode.EXISTING and flow.protocol == _TCP:  # others' bytes count from nothing
            before = self._left.pop(_ends_of(record), None)
            record = self._moved(before, flow) if before is not None else record
        self._changed[flow.id] = record
        if flow.kind == decode.CLOSE:
            self._open.pop(flow.id, None)
            if self._shared:
                self._shared.pop(flow.id, None)
            if flow.protocol != _TCP:
                self._sockets_gone.add(flow.socket)
            return
        self._open[flow.id] = record
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def named(self, identity: int, words: Words) -> None:
        """Take note of what a client said first."""
        known = self._changed.get(identity) or self._open.get(identity)
        if known is None:
            self._words[identity] = (*self._words.get(identity, ()), words)  # its connection is told when it is over
            if len(self._words) > _MOST_SHARED:
                self._words.popitem(last=False)
            return
        record = _with_words(known, words)
        self._changed[identity] = record
        if identity in self._open:
            self._open[identity] = record

    def asked(self, said: Naming, facts: Facts) -> None:
        """Tell a question and its answer, as the process that asked got it."""
        known = self._changed.get(said.id) or self._open.get(said.id)
        process, findings, user = self._owner_of(said.pid, said.start, said.uid, b"")
        self._asked += 1
        self._questions.append(
            Question(
                id=f"{said.id ^ self._salt:016x}-{self._asked}",
                timestamp=self._when(said.time),
                host=self._host,
                network=_network(_TRANSPORTS.get(said.protocol, "udp"), "egress", said.netns),
                source=known.source if known else NO_SOURCE,
                destination=Destination(ip=_address(said.family, said.remote), port=said.remote_port),
                process=process,
                user=user,
                dns=Dns(
                    question=DnsQuestion(name=facts.name, type=facts.type),
                    response_code=facts.rcode,
                    resolved_ip=tuple(one.ip for one in facts.addresses) or None,
                    answers=answers_of(facts),
                ),
                outwatch=replace(findings, names=None),
            )
        )

    def see_burst(self, flow: Flow, count: int, *, over: bool) -> None:
        """Tell connections that were counted together as one record."""
        known = self._open.get(flow.id)
        if known is None:
            known = self._opened(flow._replace(kind=decode.CLOSE))
            known = replace(known, source=replace(known.source, port=None))
        ingress = known.network.direction == "ingress"
        sent, received = (flow.received, flow.sent) if ingress else (flow.sent, flow.received)
        failed = bool(flow.flags & decode.FAILED)
        end = max(known.timestamp, self._when(flow.time))
        record = replace(
            known,
            event=Event(action="failed" if failed else "close" if over else "traffic", start=known.timestamp, end=end),
            source=replace(known.source, bytes=sent),
            destination=replace(known.destination, bytes=received),
            outwatch=replace(known.outwatch, count=count),
        )
        self._changed[flow.id] = record
        if over:
            self._open.pop(flow.id, None)
        else:
            self._open[flow.id] = record

    def carried(self, flow: Flow) -> bool:
        """Tell whether a connection has carried anything since it was told last."""
        record = self._open[flow.id]
        sent, received = (flow.received, flow.sent) if record.network.direction == "ingress" else (flow.sent, flow.received)
        return (record.source.bytes, record.destination.bytes) != (sent, received)

    def _share(self, flow: Flow) -> None:
        """Name another process that uses a socket."""
        told = self._lives.describe((flow.pid, flow.start))
        process = replace(told[0], parent=None) if told else self._lives.bare((flow.pid, flow.start))
        users = (*self._shared.get(flow.id, ()), process)
        self._shared[flow.id] = users
        if len(self._shared) > _MOST_SHARED:
            self._shared.popitem(last=False)
        known = self._changed.get(flow.id) or self._open.get(flow.id)
        if known is not None:
            record = replace(known, outwatch=replace(known.outwatch, shared_with=users))
            self._changed[flow.id] = record
            if flow.id in self._open:
                self._open[flow.id] = record

    def _opened(self, flow: Flow) -> Connection:
        existing = bool(flow.flags & decode.EXISTING)
        by_id = flow.kind != decode.OPEN or flow.protocol == _TCP
        began = self._when(flow.id >> _CPU_BITS if by_id and not existing else flow.time)
        ingress = bool(flow.flags & decode.INGRESS) or (existing and self._is_listener(flow))
        process, findings, user = self._owner(flow)
        if self._shared and flow.socket in self._shared:
            findings = replace(findings, shared_with=self._shared[flow.socket])
        local, local_port = _address(flow.family, flow.local), flow.local_port or None
        remote, remote_port = _address(flow.family, flow.remote), flow.remote_port or None
        sent: int | None = flow.sent
        received: int | None = flow.received
        if flow.kind == decode.OPEN or (existing and flow.protocol != _TCP):
            sent = received = None
        if ingress:
            source, destination = Source(ip=remote, port=remote_port, bytes=received), Destination(ip=local, port=local_port, bytes=sent)
        else:
            source, destination = Source(ip=local, port=local_port, bytes=sent), Destination(ip=remote, port=remote_port, bytes=received)
        record = Connection(
            id=f"{flow.id ^ self._salt:016x}",
            timestamp=began,
            event=self._end(flow, began)
            if flow.kind == decode.CLOSE
            else Event(action="existing")
            if existing
            else Event(action="connect", start=began),
            host=self._host,
            network=_network_of(flow.family, flow.type, flow.protocol, "ingress" if ingress else "egress", flow.netns),
            source=source,
            destination=destination,
            process=process,
            user=user,
            outwatch=findings,
        )
        for words in self._words.pop(flow.id, ()) if self._words else ():
            record = _with_words(record, words)
        return record

    def _moved(self, record: Connection, flow: Flow) -> Connection:
        """Bring a connection up to date: its own end, which is known once it is answered, what it has carried, and its end."""
        ingress = record.network.direction == "ingress"
        source, destination = record.source, record.destination
        if not ingress and source.port is None and flow.local_port:
            source = replace(source, ip=_address(flow.family, flow.local), port=flow.local_port)
        if flow.kind in {decode.CLOSE, decode.TOTAL}:
            sent, received = (flow.received, flow.sent) if ingress else (flow.sent, flow.received)
            source, destination = replace(source, bytes=sent), replace(destination, bytes=received)
        if flow.kind == decode.CLOSE:
            event = self._end(flow, record.event.start)
        elif record.event.action == "connect" and flow.id in self._changed:
            event = record.event
        else:
            event = replace(record.event, action="traffic")
        return replace(record, event=event, source=source, destination=destination)

    def _end(self, flow: Flow, began: datetime | None) -> Event:
        action: Literal["failed", "close"] = "failed" if flow.flags & decode.FAILED else "close"
        over = self._when(flow.time)
        return Event(action=action, start=began, end=max(began, over) if began else over)

    def _owner(self, flow: Flow) -> tuple[Process | None, Findings, User | None]:
        """Name the process of a connection in the kernel's own words."""
        if not flow.pid or flow.flags & decode.KERNEL:
            return None, _KERNELS, None
        return self._owner_of(flow.pid, flow.start, flow.uid, flow.comm, flow.cgroup)

    def _owner_of(self, pid: int, start: int, uid: int, comm: bytes, cgroup: int | None = None) -> tuple[Process, Findings, User]:
        told = self._lives.describe((pid, start))
        group = self._groups.path(cgroup) if cgroup is not None else None
        if told is None:
            bare = replace(self._lives.bare((pid, start)), name=cleaned(comm.partition(b"\0")[0]) or None)
            return bare, Findings(sensor=_NAME, attribution="exact", cgroup=group), _user(uid)
        process, state = told
        findings = self._findings.get(process)
        if findings is None or (findings.executable, findings.cgroup) != (state, group):
            file = self._lives.file((pid, start))
            findings = Findings(sensor=_NAME, attribution="exact", executable=state, file=file, cgroup=group)
            self._findings.put(process, findings)
        return process, findings, _user(uid)

    def _is_listener(self, flow: Flow) -> bool:
        """Tell whether somebody waits for callers at a connection's local end."""
        return any((flow.netns, flow.protocol, flow.local_port, local) in self._listening for local in (flow.local, _ANYWHERE))


def _ends_of(record: Connection) -> _Ends:
    ends = (record.source, record.destination)
    own, far = reversed(ends) if record.network.direction == "ingress" else ends
    return record.network.namespace, record.network.transport, own.ip, own.port, far.ip, far.port


def _with_words(record: Connection, words: Words) -> Connection:
    """Add what a client said first."""
    client = TlsClient(server_name=words.name, ja4=words.ja4) if words.ja4 else None
    names = (*(record.outwatch.names or ()), Name(name=words.name, origin=words.origin)) if words.name else record.outwatch.names
    return replace(record, tls=Tls(client=client) if client else record.tls, outwatch=replace(record.outwatch, names=names))


_KERNELS = Findings(sensor=_NAME, attribution=Unknown(unknown="kernel"))


@lru_cache(maxsize=1024)
def _user(uid: int) -> User:
    return User(id=str(uid))


@lru_cache(maxsize=8_192)
def _address(family: int, raw: bytes) -> str | None:
    if family == AF_INET:
        return inet_ntop(AF_INET, raw[:4])
    return inet_ntop(AF_INET6, raw) if family == AF_INET6 else None


def _transport(family: int, kind: int, protocol: int) -> str:
    """Name what is spoken; a raw socket speaks for itself, whatever its protocol: own TCP stacks do."""
    if family == _AF_PACKET:
        return "packet"
    if kind == _SOCK_RAW and protocol not in _ICMP:
        return f"raw:{protocol}"
    return _TRANSPORTS.get(protocol, f"raw:{protocol}")


@lru_cache(maxsize=4096)
def _network_of(family: int, kind: int, protocol: int, direction: Literal["ingress", "egress"], namespace: int) -> Network:
    return _network(_transport(family, kind, protocol), direction, namespace)


def _network(transport: str, direction: Literal["ingress", "egress"], namespace: int) -> Network:
    return Network(transport=transport, direction=direction, namespace=str(namespace) if namespace else None)
