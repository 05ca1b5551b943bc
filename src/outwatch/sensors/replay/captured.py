"""Captures as a recording: what the packets of ``pcap.py`` come to, as connections and DNS questions."""

from collections.abc import Callable, Iterator

from outwatch.errors import RuleError
from outwatch.model.records import EventsLost, Observation
from outwatch.net.addresses import Scopes
from outwatch.net.protocols import dns, quic
from outwatch.sensors.replay import packets, pcap
from outwatch.sensors.replay.flows import DOMAIN, TCP, Flows, Words
from outwatch.sensors.replay.fragments import Fragments
from outwatch.sensors.replay.questions import Questions, Stream
from outwatch.sensors.replay.talk import Talk
from outwatch.sensors.replay.telling import Telling
from outwatch.sensors.replay.unpacked import FAILURES, Pieces

_LAYER = "capture file"
_AGAIN_NS = 1_000_000_000  # between two words on a flow that goes on


class Captures:
    """Reads captures one after another as pieces of one recording: a connection may begin in one and end in the next."""

    def __init__(self, scopes: Scopes, broken: Callable[[RuleError], None]) -> None:
        """Take the table of scopes, which says who is inside, and who is told of packets that can't be used."""
        self._broken = broken
        self._fragments = Fragments()
        self._flows = Flows(self._hear)
        self._questions = Questions()
        self._telling = Telling(scopes)
        self._name, self._number, self._now = "", 0, 0
        self.blind: str | None = None
        """What could not be read for want of something on this machine."""

    def read(self, pieces: Pieces, name: str) -> Iterator[Observation | None]:
        """Yield what of a capture is over, and ``None`` where it pauses, then with what is new of the rest.

        Packets that can't be used are told by their number in the file; so is where reading ends too early.
        """
        self._name, self._number = name, 0
        links: set[int] = set()
        try:
            for packet in pcap.packets(pieces, self._problem):
                if packet is None:
                    yield from self._news()
                    yield None
                elif isinstance(packet, pcap.Dropped):
                    yield EventsLost(layer=_LAYER, count=packet.packets)
                elif packet.link in packets.LINKS:
                    self._number, self._now = packet.number, packet.time_ns
                    self._take(packet)
                    yield from self._over()
                elif packet.link not in links:
                    links.add(packet.link)
                    self._problem(packet.number, f"packets of a link of type {packet.link} can't be read; all of them are passed over")
        except (pcap.CaptureError, *FAILURES) as error:
            self._problem(self._number + 1, f"reading ends here: {error}")

    def finish(self) -> Iterator[Observation]:
        """Yield what is not over where the last capture ends."""
        for whole in self._fragments.finish():
            self._see(whole)
        self._tell_lost()
        self._flows.finish()
        self._questions.finish()
        yield from self._over()

    def _problem(self, number: int, reason: str) -> None:
        self._broken(RuleError(self._name, number or None, reason))

    def _take(self, packet: pcap.Packet) -> None:
        try:
            datagram = packets.datagram(packet.link, packet.data)
        except packets.PacketError as error:
            self._problem(packet.number, str(error))
            return
        if datagram is not None and datagram.fragment is None:
            self._see(datagram)
        elif datagram is not None:
            for whole in self._fragments.add(datagram, packet.time_ns):
                self._see(whole)
            self._tell_lost()

    def _tell_lost(self) -> None:
        if self._fragments.lost:
            self._problem(self._number, f"{self._fragments.lost} packets that were sent in pieces came without their first one")
            self._fragments.lost = 0

    def _see(self, datagram: packets.Datagram) -> None:
        try:
            self._flows.see(datagram, self._now)
        except packets.PacketError as error:
            self._problem(self._number, str(error))

    def _hear(self, words: Words) -> bool:
        """Listen to the beginning of a connection, and to DNS for as long as it is kept."""
        flow = words.flow
        if DOMAIN in {flow.server[1], flow.client[1]} and not isinstance(flow.talk, Talk):
            try:
                return self._hear_dns(words)
            except dns.DnsError:
                pass  # whatever it is: it is no DNS
        if not words.by_client:
            return True
        talk = flow.talk
        if not isinstance(talk, Talk):
            talk = flow.talk = Talk()
        if talk.done:
            return True
        if flow.protocol == TCP:
            return talk.stream(words.text, last=words.last)
        try:
            return talk.datagram(words.text)
        except quic.QuicUnavailable as error:
            self.blind = str(error)
            return True

    def _hear_dns(self, words: Words) -> bool:
        flow = words.flow
        if flow.protocol != TCP:
            self._questions.message(words)
            return True
        stream = flow.talk
        if not isinstance(stream, Stream):
            stream = flow.talk = Stream()
        self._questions.stream(words, stream)
        return False

    def _over(self) -> Iterator[Observation]:
        """Yield what came to its end."""
        for asked in self._questions.told():
            yield self._telling.question(asked)
        for flow in self._flows.ended():
            yield self._telling.connection(flow)

    def _news(self) -> Iterator[Observation]:
        """Yield the flows that go on and are new, or had packets since they were told."""
        for flow in reversed(list(self._flows.touched())):
            if flow.told_ns is None or abs(self._now - flow.told_ns) >= _AGAIN_NS:
                yield self._telling.connection(flow, goes_on=True)
                flow.told_ns = self._now
