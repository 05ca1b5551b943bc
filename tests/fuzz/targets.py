"""One function for each parser: it takes any octets, raises for what must not be, and tells whether the parser made sense of them."""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import MappingProxyType
from typing import TypeVar

from outwatch.errors import RuleError
from outwatch.intel import formats
from outwatch.intel.formats import Bounds, Ledger
from outwatch.intel.formats.values import meaning
from outwatch.net import domains
from outwatch.net.addresses import Scopes
from outwatch.net.protocols import dns, http, quic, tls

T = TypeVar("T")


def read_dns(data: bytes) -> bool:
    """Read a message for ourselves, as it was seen, and as what came over TCP."""
    with suppress(dns.DnsError):
        dns.read(data).chain()
    with suppress(dns.DnsError):
        for message in dns.over_tcp(data, cut=True):
            dns.facts(message)
    try:
        found = dns.facts(data)
    except dns.DnsError:
        return False
    _is_text(*found.chain, *found.alpn)
    return True


def read_tls(data: bytes) -> bool:
    """Read what a client sent; the same must come of it when it comes in two parts."""
    found = _or_none(tls.client_hello, tls.TlsError, data)
    _or_none(lambda message: tls.from_handshake(message, transport="q"), tls.TlsError, data)
    early = _or_none(tls.client_hello, tls.TlsError, data[: len(data) // 2])
    if early is not None and early != found:
        raise AssertionError("a hello that changes when more comes")
    part = tls.name_in_part(data)
    if found is not None and part != found.server_name:
        raise AssertionError("another name in a part than in the whole")
    if found is not None:
        _is_text(found.server_name, found.ja4, *found.alpn)
    _is_text(part)
    return found is not None


def read_quic(data: bytes) -> bool:
    """Read datagrams, each behind its length."""
    initials = quic.Initials()
    try:
        found = [hello for datagram in _framed(data) if (hello := initials.add(datagram)) is not None]
    except quic.QuicError:
        return False
    return bool(found)


def read_quic_frames(data: bytes) -> bool:
    """Read what was inside of a packet; random octets would never pass its seal."""
    attempt = quic._Attempt(quic._ciphers(), quic._Packet(b"\x00\x00\x00\x01", b"id", b"", 0))
    try:
        for offset, piece in quic._crypto(data):
            attempt.put(offset, piece)
        return attempt.hello() is not None
    except quic.QuicError:
        return False


def read_http(data: bytes) -> bool:
    """Read what a client sent, also as if no more would come."""
    found = _or_none(http.request, http.HttpError, data)
    cut = _or_none(lambda stream: http.request(stream, cut=True), http.HttpError, data)
    if found is not None and found != cut:
        raise AssertionError("a whole head that is read differently at the end")
    if cut is not None:
        _is_text(cut.host, cut.target, cut.user_agent)
    return found is not None


def read_list(data: bytes) -> bool:
    """Read a list of indicators: whatever it is, its entries are canonical."""
    ledger = Ledger("list", Bounds(most_octets=1 << 20), Scopes(), now=0.0)
    try:
        for entry in formats.read(io.BytesIO(data), ledger):
            _is_text(entry.value, entry.note)
            if str(meaning(entry.value) if entry.kind != "domain" else domains.hostname(entry.value)) != entry.value:
                raise AssertionError(f"not canonical: {entry}")
    except RuleError as error:
        _is_text(str(error))
        return False
    return True


TARGETS = MappingProxyType(
    {"dns": read_dns, "http": read_http, "list": read_list, "quic": read_quic, "quic_frames": read_quic_frames, "tls": read_tls}
)


def _or_none(read: Callable[[bytes], T], error: type[Exception], data: bytes) -> T | None:
    try:
        return read(data)
    except error:
        return None


def _framed(data: bytes) -> Iterator[bytes]:
    while data:
        length = int.from_bytes(data[:2])
        yield data[2 : 2 + length]
        data = data[2 + length :]


def _is_text(*texts: str | None) -> None:
    for text in texts:
        (text or "").encode("utf-8")
