"""Names out of what connections say: answers of name servers, and what clients say first. Passive: nobody is asked."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from outwatch.model.records import NameOrigin
from outwatch.net.protocols import dns, http, quic, tls
from outwatch.sensors.ebpf.decode import CLIENT, QUIC, STREAM, Naming

_MOST_STREAMS = 2_048  # connections whose first words are not complete yet
_MOST_PIECES = 64
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
        self._streams: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self._datagrams: OrderedDict[int, quic.Initials] = OrderedDict()
        self._told: OrderedDict[int, int] = OrderedDict()  # messages of a connection to a name server that were told
        self.without: str | None = None  # why QUIC can't be read here

    def answers(self, one: Naming) -> Iterable[dns.Facts]:
        """Give what a name server answered; what is no answer is passed over."""
        if one.what != STREAM:
            return _read([one.data])
        pieces = self._streams.setdefault(one.id, {})
        pieces[one.sequence] = one.data
        self._bound()
        try:
            messages = list(dns.over_tcp(_joined(pieces)))
        except dns.DnsError:
            self.forget(one.id)
            return ()
        told = self._told.get(one.id, 0)
        self._told[one.id] = len(messages)
        return _read(messages[told:])

    def words(self, one: Naming) -> Words | None:
        """Give what a client said first, once enough of it was heard."""
        if one.what == QUIC:
            return self._quic(one)
        if one.what != CLIENT:
            return None
        pieces = self._streams.setdefault(one.id, {})
        pieces[one.sequence] = one.data
        self._bound()
        said = _joined(pieces)
        try:
            if said[:1] == bytes([_TLS_HANDSHAKE]):
                hello = tls.client_hello(said)
                words = Words(hello.server_name, "sni", hello.ja4) if hello else None
            else:
                request = http.request(said) or http.request(said, cut=len(pieces) > 1 or len(said) >= _CUT)
                words = Words(request.host, "http", None) if request else None
        except (tls.TlsError, http.HttpError):
            self.forget(one.id)
            return None
        if words is not None:
            self.forget(one.id)
        return words

    def _quic(self, one: Naming) -> Words | None:
        if self.without:
            return None
        try:
            initials = self._datagrams.get(one.id) or quic.Initials()
            self._datagrams[one.id] = initials
            self._bound()
            hello = initials.add(one.data)
        except quic.QuicUnavailable as error:
            self.without = str(error)
            return None
        except (quic.QuicError, tls.TlsError):
            self.forget(one.id)
            return None
        if hello is None:
            return None
        self.forget(one.id)
        return Words(hello.server_name, "quic", hello.ja4)

    def forget(self, identity: int) -> None:
        """Let a connection's pieces go."""
        self._streams.pop(identity, None)
        self._datagrams.pop(identity, None)
        self._told.pop(identity, None)

    def _bound(self) -> None:
        for table in (self._streams, self._datagrams, self._told):
            if len(table) > _MOST_STREAMS:
                table.popitem(last=False)


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


def _joined(pieces: dict[int, bytes]) -> bytes:
    """Join segments from the first one on, as far as they follow each other (RFC 9293, 3.4: numbers wrap around)."""
    if len(pieces) > _MOST_PIECES:
        return b""
    first = next(iter(pieces))
    said = bytearray()
    for number, data in sorted(pieces.items(), key=lambda one: (one[0] - first + _WRAP // 2) % _WRAP):
        at = (number - first) % _WRAP
        if at < _WRAP // 2 and at <= len(said):
            said[at:] = data if at + len(data) > len(said) else said[at:]
    return bytes(said)
