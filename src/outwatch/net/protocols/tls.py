"""The first message of a TLS client: whom it asks for and what it can do (RFC 8446, 4.1.2; RFC 5246, 7.4.1.2).

Also its fingerprint JA4: transport, version, counts, and two hashes over what the client offers, put into an order of its own. (Of FoxIO's
methods only this one, "TLS client fingerprinting", is BSD-3-Clause; the others of JA4+ have another licence and are not here.)
"""

import struct
from hashlib import sha256
from typing import Literal, NamedTuple

from outwatch.guard.text import cleaned
from outwatch.net.protocols import names

LARGEST = 1 << 16
"""Octets of a hello that is read; the largest in use, with keys against quantum computers and a ticket, have a few thousand."""

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_LONGEST_RECORD = 1 << 14
_MOST_RECORDS = 256  # that one hello may be cut into
_MOST_SUITES, _MOST_EXTENSIONS, _MOST_PROTOCOLS = 1_024, 256, 32
_SERVER_NAME, _SIGNATURES, _ALPN, _VERSIONS, _ECH = 0x0000, 0x000D, 0x0010, 0x002B, 0xFE0D
_HOST_NAME = 0
_NOTHING = "0" * 12  # JA4's hash of an empty list
_VERSION_NAMES = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_GREASE = frozenset(0x0A0A + 0x1010 * number for number in range(16))  # RFC 8701: offered only so that servers learn to ignore the unknown
_GREASE_PROTOCOLS = frozenset(struct.pack("!H", value) for value in _GREASE)
_PAIR = struct.Struct("!2H")


class TlsError(ValueError):
    """Bytes that are no ClientHello."""


class ClientHello(NamedTuple):
    """What a client says first.

    ``server_name`` is in lower case, with strange octets escaped; ``None`` if it asks for none. ``versions`` are those offered
    (``0x0304``: TLS 1.3). With ``has_ech`` the name may be that of a front only; but browsers also send this extension without use.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    has_ech: bool
    ja4: str


def client_hello(stream: bytes) -> ClientHello | None:
    """Read the first octets that a client sent over TCP: ``None`` while more are wanted, ``TlsError`` if this is no ClientHello.

    The hello may lie in several records. What follows it is not looked at.
    """
    message, wanted = _message(stream)
    return from_handshake(bytes(message[:wanted]), transport="t") if wanted is not None and len(message) >= wanted else None


def name_in_part(stream: bytes) -> str | None:
    """Give the name that a client asks for when the rest of its hello will never come; ``None`` if it does not stand in what is there."""
    try:
        message, _ = _message(stream)
        reader = _Reader(bytes(message), _MESSAGE_HEADER + 2 + 32)
        for width in (1, 2, 1):  # session, suites, compression
            reader.vector(width)
        reader.take(2)  # length of the extensions
        for _ in range(_MOST_EXTENSIONS):
            kind, data = int.from_bytes(reader.take(2)), reader.vector(2)
            if kind == _SERVER_NAME:
                return _server_name(data)
    except TlsError:
        pass
    return None


def _message(stream: bytes) -> tuple[bytearray, int | None]:
    """Take the handshake message out of its records, as far as it is here; with it how long it is, if that is known."""
    message = bytearray()
    wanted = None
    at = 0
    for _ in range(_MOST_RECORDS):
        header = stream[at : at + _RECORD_HEADER]
        if not _may_begin_record(header):
            raise TlsError("no TLS handshake record")
        if len(header) < _RECORD_HEADER:
            return message, wanted
        at += _RECORD_HEADER
        length = header[3] << 8 | header[4]
        message += stream[at : at + length]
        wanted = _wanted(message)
        at += length
        if at > len(stream) or (wanted is not None and len(message) >= wanted):
            return message, wanted
    raise TlsError("in too many records")


def from_handshake(message: bytes, *, transport: Literal["t", "q"]) -> ClientHello:
    """Read a whole handshake message, with its header; ``transport`` is TCP or QUIC, for JA4. ``TlsError`` if it is no ClientHello."""
    if _wanted(message) != len(message):
        raise TlsError("no whole ClientHello")
    reader = _Reader(message, _MESSAGE_HEADER)
    legacy = int.from_bytes(reader.take(2))
    reader.take(32)  # random
    reader.vector(1)  # session
    suites = _numbers(reader.vector(2), _MOST_SUITES)
    reader.vector(1)  # compression
    extensions = _extensions(reader.vector(2)) if reader.left else {}
    if reader.left:
        raise TlsError("more than a ClientHello")
    protocols = _protocols(extensions[_ALPN]) if _ALPN in extensions else []
    versions = _listed(extensions[_VERSIONS], 1) if _VERSIONS in extensions else [legacy]
    kinds = [kind for kind in extensions if kind not in _GREASE]
    start = (
        transport
        + _VERSION_NAMES.get(max(versions, default=0), "00")
        + ("d" if _SERVER_NAME in extensions else "i")
        + f"{min(len(suites), 99):02d}{min(len(kinds), 99):02d}"
        + (_first_and_last(protocols[0]) if protocols else "00")
    )
    signatures = _listed(extensions[_SIGNATURES], 2) if _SIGNATURES in extensions else []
    return ClientHello(
        _server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None,
        tuple(cleaned(one) for one in protocols),
        tuple(versions),
        _ECH in extensions,
        f"{start}_{_hash_of_suites(suites)}_{_hash_of_extensions(kinds, signatures)}",
    )


def _may_begin_record(header: bytes) -> bool:
    """Tell whether these octets, five or fewer, can be the header of a record with a part of a handshake (RFC 8446, 5.1)."""
    return (
        header[:1] in {b"", b"\x16"}
        and header[1:2] in {b"", b"\x03"}
        and (len(header) <= 2 or header[2] <= 4)  # noqa: PLR2004 - no version 3.5 was ever sent
        and (len(header) < _RECORD_HEADER or 0 < header[3] << 8 | header[4] <= _LONGEST_RECORD)
    )


def _wanted(message: bytes | bytearray) -> int | None:
    """Tell how long the message is by its header, if that much is here; ``TlsError`` if it can't become a ClientHello."""
    if message and message[0] != _CLIENT_HELLO:
        raise TlsError("another handshake message")
    if len(message) < _MESSAGE_HEADER:
        return None
    wanted = _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER])
    if wanted > LARGEST:
        raise TlsError("too long")
    if len(message) > _MESSAGE_HEADER and message[_MESSAGE_HEADER] != 3:  # noqa: PLR2004 - SSL 3 to TLS 1.3
        raise TlsError("of an unknown version")
    return wanted


class _Reader:
    """Takes pieces off the front of some octets."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self._at = data, at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise TlsError("cut off")
        self._at += count
        return taken

    def vector(self, width: int) -> bytes:
        """Take a length of so many octets, and then as much as it says."""
        return self.take(int.from_bytes(self.take(width)))


def _extensions(data: bytes) -> dict[int, bytes]:
    """Split extensions, in their order. Each kind may come once (RFC 8446, 4.2): of two names nobody knows which one the server takes."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if len(data) - at < _PAIR.size:
            raise TlsError("cut off")
        kind, length = _PAIR.unpack_from(data, at)
        at += _PAIR.size + length
        if at > len(data) or kind in found or len(found) >= _MOST_EXTENSIONS:
            raise TlsError("extensions that don't fit, come twice or are too many")
        found[kind] = data[at - length : at]
    return found


def _numbers(data: bytes, most: int) -> list[int]:
    """Read numbers of two octets without GREASE."""
    if len(data) % 2 or len(data) > 2 * most:
        raise TlsError("a list that is uneven or too long")
    return [value for value in struct.unpack(f"!{len(data) // 2}H", data) if value not in _GREASE]


def _listed(data: bytes, width: int) -> list[int]:
    """Read an extension that is a list of numbers of two octets behind its length."""
    reader = _Reader(data)
    numbers = _numbers(reader.vector(width), _MOST_SUITES)
    if reader.left:
        raise TlsError("more than a list")
    return numbers


def _server_name(data: bytes) -> str | None:
    """Read the name asked for (RFC 6066, 3): the only one of its type, or none."""
    if not data:
        return None
    reader = _Reader(data)
    entries = _Reader(reader.vector(2))
    if reader.left:
        raise TlsError("more than names")
    found = None
    while entries.left:
        kind, name = entries.take(1)[0], entries.vector(2)
        if kind != _HOST_NAME or found is not None:
            raise TlsError("names of an unknown kind, or several")
        found = name
    return names.host(found) if found is not None else None


def _protocols(data: bytes) -> list[bytes]:
    """Read the names of application protocols (RFC 7301, 3.1), the first ones if there are very many, without GREASE."""
    reader = _Reader(data)
    entries = _Reader(reader.vector(2))
    if reader.left:
        raise TlsError("more than protocols")
    found: list[bytes] = []
    while entries.left and len(found) < _MOST_PROTOCOLS:
        found.append(entries.vector(1))
    return [one for one in found if one and one not in _GREASE_PROTOCOLS]


def _first_and_last(protocol: bytes) -> str:
    """Shorten a protocol for JA4: its first and last character, or of its hexadecimal digits if one of the two is no letter or digit."""
    text = protocol.decode("ascii", "replace")
    ends = text[0] + text[-1]
    if ends.isascii() and ends.isalnum():
        return ends
    digits = protocol.hex()
    return digits[0] + digits[-1]


def _hash_of_suites(suites: list[int]) -> str:
    return _shortened(_spelled(sorted(suites))) if suites else _NOTHING


def _hash_of_extensions(kinds: list[int], signatures: list[int]) -> str:
    """Hash the extensions, sorted, but name and protocols, which say whom and not who; then signature algorithms as they stand."""
    counted = sorted(kind for kind in kinds if kind not in {_SERVER_NAME, _ALPN})
    if not counted:
        return _NOTHING
    return _shortened(f"{_spelled(counted)}_{_spelled(signatures)}" if signatures else _spelled(counted))


def _spelled(numbers: list[int]) -> str:
    return struct.pack(f"!{len(numbers)}H", *numbers).hex(",", 2)


def _shortened(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]
