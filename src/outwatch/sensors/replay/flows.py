"""Connections, put together from captured packets.

The client is who sent the SYN (of SCTP, the INIT); where that was not captured, the end whose port is no service's, else who was heard
first. Flows that are over stay a moment for what comes late. Everything is bounded: of too many flows the one that was silent longest
is let go, told as it stands.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from outwatch.net.services import service
from outwatch.sensors.replay import tcp
from outwatch.sensors.replay.icmp import IcmpError, Message, read
from outwatch.sensors.replay.packets import Datagram, PacketError
from outwatch.sensors.replay.tcp import Direction

_SECOND = 1_000_000_000
ICMP, TCP, UDP, ICMP6, SCTP = 1, 6, 17, 58, 132
TRANSPORTS = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmp", SCTP: "sctp"}
_PATIENCE = {TCP: 3_600 * _SECOND}  # silence after which a flow is over
_ELSE = 300 * _SECOND
_LINGER = 60 * _SECOND  # for what comes after the end
_MOST = 32_768
_MOST_LINGERING = 8_192
_MOST_HELD = 64 << 20  # bytes of openings
_KEPT = 65_536  # bytes of what a client says first
_KEPT_DNS = 65_537  # a message and its length
DOMAIN = 53
"""The port of DNS."""

_LOW_PORTS = 1_024  # below are those of services
_UDP_HEADER, _SCTP_HEADER = struct.Struct("!HHHH"), struct.Struct("!HHI4x")
_DATA, _INIT, _INIT_ACK, _ABORT, _SHUTDOWN_COMPLETE = 0, 1, 2, 6, 14  # chunks, RFC 9260, 3.2
_CHUNK_HEADER, _DATA_HEADER = 4, 16

End = tuple[bytes, int | None]
"""An address as it is on the wire, and a port."""

_Key = tuple[int, End, End]


class Flow:
    """One connection: both ends, when, how much, and how it ended."""

    __slots__ = (
        "answered",
        "began",
        "client",
        "first_ns",
        "from_client",
        "from_server",
        "icmp",
        "key",
        "last_ns",
        "over",
        "protocol",
        "refused",
        "server",
        "silent",
        "talk",
        "told_ns",
        "touched",
    )

    def __init__(self, key: _Key, protocol: int, client: End, server: End, time_ns: int) -> None:
        """Begin with the first packet."""
        self.key = key
        self.protocol = protocol
        self.client = client
        self.server = server
        self.first_ns = self.last_ns = time_ns
        self.from_client, self.from_server = Direction(), Direction()
        self.began = True
        """Whether its first packet was captured."""
        self.answered = self.refused = self.over = self.silent = False
        self.icmp: tuple[bytes, bytes, int, int] | None = None
        """Of ICMP who sent its first message to whom, the type and the code."""
        self.talk: object | None = None
        """What was made of the first bytes; whoever listens keeps it here."""
        self.touched = 0
        """Which packet was its latest, counted over all flows."""
        self.told_ns: int | None = None
        """How late it was when it was told, though not over; whoever tells it notes this here."""

    @property
    def failed(self) -> bool:
        """Whether nobody answered although an answer belongs to it, or the answer was no."""
        return not self.answered and (self.refused or (self.protocol in {TCP, SCTP} and self.began))

    def turn(self) -> None:
        """Take the other end for the client."""
        self.client, self.server = self.server, self.client
        self.from_client, self.from_server = self.from_server, self.from_client


class Words(NamedTuple):
    """What an end of a flow said: over TCP all from its first byte on, else a datagram. ``last``: nobody will hear more of it."""

    flow: Flow
    by_client: bool
    text: bytes
    time_ns: int
    last: bool = False


Hear = Callable[[Words], bool]
"""Is told what an end says; true when enough was heard of it."""


class Flows:
    """All flows that are not over, and those that were over a moment ago; ``hear`` gets what they say first."""

    def __init__(self, hear: Hear) -> None:
        """Begin without any."""
        self._hear = hear
        self._flows: OrderedDict[_Key, Flow] = OrderedDict()
        self._lingering: OrderedDict[_Key, Flow] = OrderedDict()
        self._heard: OrderedDict[_Key, Flow] = OrderedDict()  # those with openings
        self._held = 0
        self._began_ns: int | None = None
        self._told: list[Flow] = []
        self._packets = self._asked_at = 0

    def see(self, datagram: Datagram, time_ns: int) -> None:
        """Take a packet; ``PacketError`` if its transport's header is cut off or lies."""
        if self._began_ns is None:
            self._began_ns = time_ns
        self._packets += 1
        self._expire(time_ns)
        try:
            if datagram.protocol == TCP:
                self._tcp(datagram, time_ns)
            elif datagram.protocol == UDP:
                self._udp(datagram, time_ns)
            elif datagram.protocol == SCTP:
                self._sctp(datagram, time_ns)
            elif datagram.protocol in {ICMP, ICMP6}:
                self._icmp(datagram, time_ns)
            else:
                self._other(datagram, time_ns)
        except (struct.error, IndexError) as error:
            raise PacketError("a packet that is cut off") from error

    def ended(self) -> list[Flow]:
        """Give the flows that ended, or were let go, since the last call."""
        told, self._told = self._told, []
        return told

    def touched(self) -> Iterator[Flow]:
        """Give the flows that are not over and had packets since the last call, the latest first."""
        since, self._asked_at = self._asked_at, self._packets
        for flow in reversed(self._flows.values()):
            if flow.touched <= since:
                break
            yield flow

    def finish(self) -> None:
        """End: all flows are told as they stand, the oldest first."""
        for flow in sorted((*self._lingering.values(), *self._flows.values()), key=lambda one: one.first_ns):
            self._let_go(flow)

    def _tcp(self, datagram: Datagram, time_ns: int) -> None:
        segment = tcp.read(datagram.payload, datagram.length)
        here, there = (datagram.source, segment.port), (datagram.destination, segment.to_port)
        flow = self._conversation(segment, here, there, time_ns)
        if flow is None:
            return
        by_client = here == flow.client
        speaker = flow.from_client if by_client else flow.from_server
        if not speaker.begun:
            speaker.begin(segment.first, self._wanted(flow, by_client=by_client))
        reset = bool(segment.flags & tcp.RST)
        # Who goes on was answered, also where the capture shows one direction only.
        flow.answered = flow.answered or not (reset or (by_client and segment.flags & tcp.SYN))
        if segment.length and not reset:  # a RST may carry a message for people, RFC 9293, 3.5.3
            self._held += (held := speaker.carry(segment.first, segment.length, segment.data))
            if held:
                self._listen(flow, speaker, time_ns, by_client=by_client)
        speaker.finished = speaker.finished or bool(segment.flags & tcp.FIN)
        if reset or (flow.from_client.finished and flow.from_server.finished):
            self._close(flow)

    def _conversation(self, segment: tcp.Segment, here: End, there: End, time_ns: int) -> Flow | None:
        """Give the flow of a segment; ``None`` for the refusal of something that was not captured."""
        opens = segment.flags & (tcp.SYN | tcp.ACK)
        flow = self._find(TCP, here, there, time_ns, anew=lambda known: opens == tcp.SYN and _is_other_syn(known, here, segment.first))
        if flow is None and not segment.flags & tcp.RST:
            flow = self._begin(TCP, here, there, time_ns)
            flow.began = bool(opens & tcp.SYN)
            if opens == tcp.SYN | tcp.ACK or (not flow.began and _is_service(here, there, TCP)):
                flow.turn()
        return flow

    def _listen(self, flow: Flow, speaker: Direction, time_ns: int, *, by_client: bool) -> None:
        """Pass on what an end of a TCP connection said so far, and forget it once that was enough."""
        opening = speaker.opening
        if opening is not None and self._hear(Words(flow, by_client, opening.beginning(), time_ns)):
            self._deafen(speaker)
        if flow.from_client.opening is not None or flow.from_server.opening is not None:
            self._heard[flow.key] = flow
        else:
            self._heard.pop(flow.key, None)
        while self._held > _MOST_HELD and self._heard:
            _, oldest = self._heard.popitem(last=False)
            self._hear_out(oldest)

    def _hear_out(self, flow: Flow) -> None:
        """Pass on for the last time what is held of a flow's opening."""
        for speaker, by_client in ((flow.from_client, True), (flow.from_server, False)):
            if speaker.opening is not None:
                self._hear(Words(flow, by_client, speaker.opening.beginning(), flow.last_ns, last=True))
            self._deafen(speaker)

    def _deafen(self, speaker: Direction) -> None:
        self._held -= speaker.forget()

    def _wanted(self, flow: Flow, *, by_client: bool) -> int:
        """Say how much of what an end says first is wanted."""
        if DOMAIN in {flow.server[1], flow.client[1]}:
            return _KEPT_DNS
        return _KEPT if by_client else 0

    def _udp(self, datagram: Datagram, time_ns: int) -> None:
        port, to_port, length, _ = _UDP_HEADER.unpack_from(datagram.payload)
        # Zero: a jumbogram, or left to the network card. More than there is: a piece of it never came.
        length = min(length or datagram.length, datagram.length)
        if length < _UDP_HEADER.size:
            raise PacketError("a UDP datagram of a length that can't be")
        flow, by_client = self._exchange(UDP, (datagram.source, port), (datagram.destination, to_port), time_ns)
        flow.answered = flow.answered or not by_client
        (flow.from_client if by_client else flow.from_server).bytes += length - _UDP_HEADER.size
        self._hear(Words(flow, by_client, datagram.payload[_UDP_HEADER.size : length], time_ns))

    def _sctp(self, datagram: Datagram, time_ns: int) -> None:
        """Read the chunks of an SCTP packet (RFC 9260, 3)."""
        data = datagram.payload
        port, to_port, _ = _SCTP_HEADER.unpack_from(data)
        here, there = (datagram.source, port), (datagram.destination, to_port)
        first = data[_SCTP_HEADER.size] if len(data) > _SCTP_HEADER.size else None
        known = self._find(SCTP, here, there, time_ns, anew=lambda flow: flow.over and first == _INIT)
        flow, by_client = self._exchange(SCTP, here, there, time_ns)
        if known is None:
            flow.began = first in {_INIT, _INIT_ACK}
            if (first == _INIT and not by_client) or (first == _INIT_ACK and by_client):
                flow.turn()
                by_client = not by_client
        if not by_client and first != _ABORT:
            flow.answered = True
        at = _SCTP_HEADER.size
        while at + _CHUNK_HEADER <= len(data):
            kind, _, length = struct.unpack_from("!BBH", data, at)
            if length < _CHUNK_HEADER:
                raise PacketError("an SCTP chunk of a length that can't be")
            if kind == _DATA and length >= _DATA_HEADER:
                (flow.from_client if by_client else flow.from_server).bytes += length - _DATA_HEADER
            if kind in {_ABORT, _SHUTDOWN_COMPLETE}:
                self._close(flow)
            at += length + 3 & ~3

    def _icmp(self, datagram: Datagram, time_ns: int) -> None:
        try:
            message = read(datagram.protocol, datagram.payload)
        except IcmpError as error:
            raise PacketError(str(error)) from error
        if message.about is not None and message.about[1][0] == datagram.destination and self._refuse(message):
            return
        here, there = (datagram.source, message.identity), (datagram.destination, message.identity)
        flow, by_client = self._exchange(datagram.protocol, here, there, time_ns)
        if flow.icmp is None:
            if message.is_reply:
                flow.turn()
                by_client = False
            flow.icmp = datagram.source, datagram.destination, message.type, message.code
        flow.answered = flow.answered or not by_client
        (flow.from_client if by_client else flow.from_server).bytes += datagram.length

    def _refuse(self, message: Message) -> bool:
        """Note that a network or a host would not have what a flow sent; false if that flow is not known."""
        protocol, here, there = message.about or (0, (b"", None), (b"", None))
        flow = self._flows.get(_key(protocol, here, there)) or self._lingering.get(_key(protocol, here, there))
        if flow is None:
            return False
        if message.is_refusal and here == flow.client:
            flow.refused = True
        return True

    def _other(self, datagram: Datagram, time_ns: int) -> None:
        flow, by_client = self._exchange(datagram.protocol, (datagram.source, None), (datagram.destination, None), time_ns)
        (flow.from_client if by_client else flow.from_server).bytes += datagram.length

    def _exchange(self, protocol: int, here: End, there: End, time_ns: int) -> tuple[Flow, bool]:
        """Give the flow of a packet, a new one if it is the first, and whether its client sent it."""
        flow = self._find(protocol, here, there, time_ns, anew=lambda _: False)
        if flow is None:
            flow = self._begin(protocol, here, there, time_ns)
            # Later on the first packet of a flow is captured: then nobody is taken for a server for the port he chose.
            if time_ns - (self._began_ns or 0) < _ELSE and _is_service(here, there, protocol):
                flow.turn()
        return flow, here == flow.client

    def _find(self, protocol: int, here: End, there: End, time_ns: int, anew: Callable[[Flow], bool]) -> Flow | None:
        """Give the flow a packet belongs to, brought up to date; one that is over, or is begun ``anew``, is let go."""
        key = _key(protocol, here, there)
        flow = self._flows.get(key)
        if flow is not None:
            self._flows.move_to_end(key)
        else:
            flow = self._lingering.get(key)
            if flow is None:
                return None
        silent = abs(time_ns - flow.last_ns) > _patience(flow)
        if silent or anew(flow):
            self._let_go(flow, silent=silent)
            return None
        flow.last_ns = max(flow.last_ns, time_ns)
        flow.touched = self._packets
        return flow

    def _begin(self, protocol: int, here: End, there: End, time_ns: int) -> Flow:
        key = _key(protocol, here, there)
        flow = self._flows[key] = Flow(key, protocol, here, there, time_ns)
        flow.touched = self._packets
        if len(self._flows) > _MOST:
            self._let_go(next(iter(self._flows.values())))
        return flow

    def _close(self, flow: Flow) -> None:
        if flow.over:
            return
        flow.over = True
        self._flows.pop(flow.key, None)
        self._lingering[flow.key] = flow
        if len(self._lingering) > _MOST_LINGERING:
            self._let_go(next(iter(self._lingering.values())))

    def _expire(self, time_ns: int) -> None:
        for table in (self._lingering, self._flows):
            while table:
                flow = next(iter(table.values()))
                if time_ns - flow.last_ns <= _patience(flow):
                    break
                self._let_go(flow, silent=True)

    def _let_go(self, flow: Flow, *, silent: bool = False) -> None:
        """Tell a flow for the last time; nobody hears of it again."""
        flow.silent = silent
        (self._lingering if flow.over else self._flows).pop(flow.key, None)
        self._heard.pop(flow.key, None)
        self._hear_out(flow)
        self._told.append(flow)


def _patience(flow: Flow) -> int:
    return _LINGER if flow.over else _PATIENCE.get(flow.protocol, _ELSE)


def _key(protocol: int, here: End, there: End) -> _Key:
    """Name a flow alike in both directions."""
    return (protocol, here, there) if (here[0], here[1] or 0) <= (there[0], there[1] or 0) else (protocol, there, here)


def _is_other_syn(flow: Flow, here: End, sequence: int) -> bool:
    """Tell whether a SYN begins another connection between the same ends, and is not just sent again."""
    speaker = flow.from_client if here == flow.client else flow.from_server
    return speaker.begun and not speaker.starts_at(sequence)


def _is_service(here: End, there: End, protocol: int) -> bool:
    """Tell whether a packet seems to come from a server, by the ports alone."""
    return _rank(here[1], protocol) > _rank(there[1], protocol)


def _rank(port: int | None, protocol: int) -> int:
    """Say how much a port looks like that of a service."""
    if port is None:
        return 0
    return 2 if port < _LOW_PORTS else int(service(port, TRANSPORTS[protocol]) is not None)
