"""Names out of what connections say: answers of name servers, and what clients say first. Passive: nobody is asked."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from outwatch.model.records import NameOrigin
from outwatch.net.protocols import dns, http, quic, tls
from outwatch.sensors.ebpf.decode import CLIENT, QUIC, STREAM, Naming

_MOST_STREAMS, _MOST_BYTES = 2_048, 4 << 20  # connections whose words are not complete yet, and what is held of all of them
_MOST_OF_STREAM = 1 << 17  # bytes; a message of the DNS has half as many
_MOST_AHEAD = 64  # segments of a connection that wait for one before them
_MOST_SETTLED = 8_192
_SEGMENTS = 6  # of a client that the kernel copies
_CUT = 4_096  # bytes of a segment that the kernel copies
_TLS_HANDSHAKE = 0x16
_WRAP = 1 << 32


class Words(NamedTuple):
    """Whom a client asked for (``None``: nobody by name), where that stood, and the fingerprint of its TLS."""

    name: str | None
    origin: NameOrigin
    ja4: str | None


class Hearing:
    """Puts the pieces of first words and answers together, within bounds; the oldest that stay incomplete are given up."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self._streams: OrderedDict[int, _Stream] = OrderedDict()
        self._held = 0
        self._datagrams: OrderedDict[int, quic.Initials] = OrderedDict()
        self._ciphered = 0  # bytes that these hold
        self._settled: OrderedDict[int, None] = OrderedDict()  # connections of which nothing more is to be learnt
        self.without: str | None = None  # why QUIC can't be read here

    def answers(self, one: Naming) -> Iterable[dns.Facts]:
        """Give what a name server answered; what is no answer is passed over."""
        if one.what != STREAM:
            return _read([one.data])
        stream = self._stream(one)
        if stream is None:
            return ()
        messages: list[bytes] = []
        is_over = False
        try:
            messages.extend(dns.over_tcp(bytes(stream.said)))
        except dns.DnsError:
            is_over = True
        whole = sum(2 + len(message) for message in messages)
        if len(one.data) >= _CUT and whole < len(stream.said):  # the rest of this segment was not copied
            messages += _last(bytes(stream.said[whole:]))
            is_over = True
        self._held -= stream.drop(whole)
        self._keep(one.id, stream, is_over=is_over)
        return _read(messages)

    def words(self, one: Naming) -> Words | None:
        """Give what a client said first, once enough of it was heard; within a tunnel through a proxy, what it says there too."""
        if one.what == QUIC:
            return self._quic(one)
        stream = self._stream(one) if one.what == CLIENT else None
        if stream is None:
            return None
        is_cut = stream.segments >= _SEGMENTS or len(one.data) >= _CUT
        words, is_tunnel, is_over = None, False, stream.segments >= _SEGMENTS
        try:
            if stream.said[:1] == bytes([_TLS_HANDSHAKE]):
                words = _hello(bytes(stream.said), is_cut=is_cut)
            elif stream.said:
                words, is_tunnel = _request(bytes(stream.said), is_cut=is_cut)
        except (tls.TlsError, http.HttpError):
            self._held -= stream.drop(len(stream.said))  # some protocols begin TLS later on
        if is_tunnel and not is_over:
            self._held -= stream.drop(len(stream.said))
        else:
            is_over = is_over or words is not None
        self._keep(one.id, stream, is_over=is_over)
        return words

    def _quic(self, one: Naming) -> Words | None:
        if self.without or one.id in self._settled:
            return None
        try:
            initials = self._datagrams.pop(one.id, None) or quic.Initials()
        except quic.QuicUnavailable as error:
            self.without = str(error)
            return None
        self._ciphered -= initials.size
        try:
            hello = initials.add(one.data)
        except (quic.QuicError, tls.TlsError):
            return None
        if hello is not None:
            self._settle(one.id)
            return Words(hello.server_name, "quic", hello.ja4)
        self._datagrams[one.id] = initials
        self._ciphered += initials.size
        while len(self._datagrams) > _MOST_STREAMS or self._ciphered > _MOST_BYTES:
            self._ciphered -= self._datagrams.popitem(last=False)[1].size
        return None

    def _stream(self, one: Naming) -> "_Stream | None":
        """Give a connection's words with a segment more; ``None`` if nobody wants more of them."""
        if one.id in self._settled:
            return None
        stream = self._streams.get(one.id) or _Stream(one.began)
        self._streams[one.id] = stream
        self._held += stream.add(one.sequence, one.data)
        return stream

    def _keep(self, identity: int, stream: "_Stream", *, is_over: bool) -> None:
        """Keep what a connection said until there is more of it, within bounds."""
        if is_over or stream.size > _MOST_OF_STREAM:
            del self._streams[identity]
            self._held -= stream.size
            self._settle(identity)
        while len(self._streams) > _MOST_STREAMS or self._held > _MOST_BYTES:
            oldest, given_up = self._streams.popitem(last=False)
            self._held -= given_up.size
            self._settle(oldest)

    def _settle(self, identity: int) -> None:
        self._settled[identity] = None
        if len(self._settled) > _MOST_SETTLED:
            self._settled.popitem(last=False)


class _Stream:
    """What one side of a connection says, from its first byte on (RFC 9293, 3.4: numbers wrap around). What came first stands."""

    def __init__(self, began: int) -> None:
        """Take the number of the first byte."""
        self._at = began
        self._ahead: dict[int, bytes] = {}
        self.said = bytearray()
        self.segments = 0
        self.size = 0  # bytes that are held

    def add(self, number: int, data: bytes) -> int:
        """Take a segment, in whatever order they come and however often; gives how many bytes more are held."""
        before = self.size
        self.segments += 1
        if len(data) > len(self._ahead.get(number, b"")) and len(self._ahead) < _MOST_AHEAD:
            self._ahead[number] = data
        while (fitting := next((one for one in self._ahead if self._place(one) <= len(self.said)), None)) is not None:
            self.said += self._ahead.pop(fitting)[len(self.said) - self._place(fitting) :]
        self.size = len(self.said) + sum(map(len, self._ahead.values()))
        return self.size - before

    def drop(self, count: int) -> int:
        """Let go of the first bytes; gives how many."""
        del self.said[:count]
        self._at = (self._at + count) % _WRAP
        self.size -= count
        return count

    def _place(self, number: int) -> int:
        """Tell how far a number is behind the first byte that is held; negative if it is before it."""
        return (number - self._at + _WRAP // 2) % _WRAP - _WRAP // 2


def _hello(said: bytes, *, is_cut: bool) -> Words | None:
    hello = tls.client_hello(said)
    if hello is not None:
        return Words(hello.server_name, "sni", hello.ja4)
    name = tls.name_in_part(said) if is_cut else None
    return Words(name, "sni", None) if name else None


def _request(said: bytes, *, is_cut: bool) -> tuple[Words | None, bool]:
    """Read a request, also whether it asks for a tunnel; one that is cut counts only if it says whom it asks for."""
    request = http.request(said)
    if request is None and is_cut:
        request = http.request(said, cut=True)
        if request is not None and request.host is None:
            return None, False
    return (Words(request.host, "http", None), request.is_connect) if request else (None, False)


def _last(rest: bytes) -> list[bytes]:
    """Give a message whose end will never come."""
    try:
        return list(dns.over_tcp(rest, cut=True))
    except dns.DnsError:
        return []


def _read(messages: Iterable[bytes]) -> list[dns.Facts]:
    found = []
    for message in messages:
        try:
            facts = dns.facts(message)
        except dns.DnsError:
            continue
        if facts.is_reply and facts.name:
            found.append(facts)
    return found
