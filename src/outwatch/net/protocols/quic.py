"""The first datagrams of a QUIC client: its ClientHello, deciphered (RFC 9000; RFC 9001, 5; version 2: RFC 9369).

Initial packets are encrypted with keys that follow from what stands in them, so that everybody on the way may read them but nobody by
accident. Needs the library ``cryptography`` (extra ``quic``), which is imported when a connection is to be read.
"""

import hmac
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from outwatch.net.protocols.tls import ClientHello, TlsError, from_handshake

MOST_DATAGRAMS = 8
"""Datagrams that are looked at for one hello: ordinary ones need one or two."""

LARGEST = 1 << 16
"""Octets of a datagram, and of the hello that is put together."""

_MOST_PACKETS = 4  # of one datagram
_MOST_KEYS = 3  # of one connection: the first, after Retry, after another version was agreed on
_MOST_FRAMES = 64  # of one packet; browsers shuffle about twenty
_LONG_HEADER, _TYPE, _NUMBER_LENGTH, _PROTECTED = 0x80, 0x30, 0x03, 0x0F
_LONGEST_ID, _SAMPLE, _TAG = 20, 16, 16
_CRYPTO, _CLOSE = 0x06, 0x1C
_ACKS = frozenset({0x02, 0x03})
_EMPTY_FRAMES = re.compile(rb"[\x00\x01]*")  # PADDING, PING


class QuicError(ValueError):
    """Datagrams of which no ClientHello can come any more."""


class QuicUnavailable(Exception):
    """The library that deciphers is not installed; the text says what to do."""


class _Version(NamedTuple):
    salt: bytes
    prefix: bytes  # of the labels that keys are made with
    initial: int  # this type of packet


_VERSIONS = {
    b"\x00\x00\x00\x01": _Version(bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic", 0x00),
    b"\x6b\x33\x43\xcf": _Version(bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2", 0x10),
}


def is_initial(datagram: bytes) -> bool:
    """Tell at little cost whether a datagram begins like an Initial packet of a version that can be read."""
    version = _VERSIONS.get(datagram[1:5])
    return version is not None and datagram[0] & _LONG_HEADER != 0 and datagram[0] & _TYPE == version.initial


class Initials:
    """The datagrams that a client sends at first, put together; one for each connection."""

    def __init__(self) -> None:
        """Look for the library; ``QuicUnavailable`` without it."""
        self._ciphers = _ciphers()
        self._seen = 0
        self._attempts: dict[tuple[bytes, bytes], _Attempt] = {}

    @property
    def size(self) -> int:
        """Octets that are held."""
        return sum(attempt.size for attempt in self._attempts.values())

    def add(self, datagram: bytes) -> ClientHello | None:
        """Take the next datagram: ``None`` while more are wanted, ``QuicError`` if no hello can come any more.

        What is no Initial packet of this client (the server's, Retry, other versions, damage) is passed over, but it counts: after eight
        datagrams without a hello nothing more is looked at.
        """
        self._seen += 1
        if self._seen > MOST_DATAGRAMS:
            raise QuicError("no ClientHello in the first datagrams")
        if len(datagram) > LARGEST:
            raise QuicError("a datagram that is too long")
        for packet in _packets(datagram):
            opened = self._opened(packet)
            if opened is None:
                continue
            attempt, payload = opened
            for offset, piece in _crypto(payload):
                attempt.put(offset, piece)
            hello = attempt.hello()
            if hello is not None:
                return hello
        return None

    def _opened(self, packet: "_Packet") -> "tuple[_Attempt, bytes] | None":
        """Decipher a packet with its own key, or with one that the connection has begun with (RFC 9001, 5.2); ``None`` if none fits."""
        key = (packet.version, packet.destination)
        for known, attempt in self._attempts.items():
            if known[0] == packet.version and (payload := attempt.open(packet)) is not None:
                return attempt, payload
        if key in self._attempts or len(self._attempts) >= _MOST_KEYS:
            return None
        attempt = _Attempt(self._ciphers, packet)
        payload = attempt.open(packet)
        if payload is None:
            return None
        self._attempts[key] = attempt
        return attempt, payload


class _Packet(NamedTuple):
    """An Initial packet: its octets from the first to the last, and where in them its number begins."""

    version: bytes
    destination: bytes
    data: bytes
    number_at: int


class _Attempt:
    """What was sent under one key."""

    def __init__(self, ciphers: "_Ciphers", packet: _Packet) -> None:
        version = _VERSIONS[packet.version]
        first = hmac.digest(version.salt, packet.destination, "sha256")
        secret = _expanded(first, b"client in", 32)
        self._vector = int.from_bytes(_expanded(secret, version.prefix + b" iv", 12))
        self._mask = ciphers.mask(_expanded(secret, version.prefix + b" hp", 16))
        self._open = ciphers.open(_expanded(secret, version.prefix + b" key", 16))
        self._data, self._known = bytearray(), bytearray()

    @property
    def size(self) -> int:
        """Octets that are held."""
        return len(self._data) + len(self._known)

    def open(self, packet: _Packet) -> bytes | None:
        """Take the protection off a packet; ``None`` if it is not of this key."""
        at = packet.number_at
        sample = packet.data[at + 4 : at + 4 + _SAMPLE]
        if len(sample) < _SAMPLE:
            return None
        mask = self._mask(sample)
        first = packet.data[0] ^ mask[0] & _PROTECTED
        length = (first & _NUMBER_LENGTH) + 1
        # Whole as it stands: nothing of what a client sends so early was acknowledged long before (RFC 9000, 17.1).
        number = bytes(a ^ b for a, b in zip(packet.data[at : at + length], mask[1:], strict=False))
        nonce = (self._vector ^ int.from_bytes(number)).to_bytes(12)
        return self._open(nonce, packet.data[at + length :], bytes([first]) + packet.data[1:at] + number)

    def put(self, offset: int, piece: bytes) -> None:
        """Put a piece of the handshake where it belongs; ``QuicError`` if something else was there, or far off."""
        end = offset + len(piece)
        if end > LARGEST:
            raise QuicError("a handshake that is too long")
        if end > len(self._data):
            more = bytes(end - len(self._data))
            self._data += more
            self._known += more
        before, known = int.from_bytes(self._data[offset:end]), int.from_bytes(self._known[offset:end])
        if (before ^ int.from_bytes(piece)) & known:
            raise QuicError("two different things in one place")
        self._data[offset:end] = piece
        self._known[offset:end] = b"\xff" * len(piece)

    def hello(self) -> ClientHello | None:
        """Read the hello if all of it is here."""
        gap = self._known.find(0)
        here = len(self._known) if gap < 0 else gap
        if here and self._data[0] != 1:
            raise QuicError("no ClientHello")
        if here < 4:  # noqa: PLR2004 - type and length of a message
            return None
        wanted = 4 + int.from_bytes(self._data[1:4])
        if wanted > LARGEST:
            raise QuicError("a ClientHello that is too long")
        if here < wanted:
            return None
        try:
            return from_handshake(bytes(self._data[:wanted]), transport="q")
        except TlsError as error:
            raise QuicError(f"no ClientHello: {error}") from error


def _packets(datagram: bytes) -> Iterator[_Packet]:
    """Yield the Initial packets of a datagram (RFC 9000, 17.2); nothing more once it can't be followed."""
    at = 0
    try:
        for _ in range(_MOST_PACKETS):
            version = _VERSIONS.get(datagram[at + 1 : at + 5])
            if version is None or not datagram[at] & _LONG_HEADER:
                return
            begin, kind = at, (datagram[at] & _TYPE) - version.initial & _TYPE
            at += 5
            destination = datagram[at + 1 : at + 1 + datagram[at]]
            source_at = at + 1 + datagram[at]
            if datagram[at] > _LONGEST_ID or datagram[source_at] > _LONGEST_ID or kind == _TYPE:  # Retry, which ends its datagram
                return
            at = source_at + 1 + datagram[source_at]
            if kind == 0:
                token, at = _integer(datagram, at)
                at += token
            length, at = _integer(datagram, at)
            end = at + length
            if end > len(datagram):
                return
            if kind == 0:
                yield _Packet(datagram[begin + 1 : begin + 5], destination, datagram[begin:end], at - begin)
            at = end
    except IndexError:
        return


def _crypto(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield what CRYPTO frames of an Initial packet hold, each with its place (RFC 9000, 19); ``QuicError`` if they can't be told apart."""
    at = frames = 0
    try:
        while (at := _EMPTY_FRAMES.match(payload, at).end()) < len(payload):  # type: ignore[union-attr]  # it always matches
            kind, at = payload[at], at + 1
            frames += 1
            if frames > _MOST_FRAMES:
                raise QuicError("too many frames")
            if kind == _CRYPTO:
                offset, at = _integer(payload, at)
                length, at = _integer(payload, at)
                piece = payload[at : at + length]
                if len(piece) < length:
                    raise QuicError("a frame that is cut off")
                at += length
                yield offset, piece
            elif kind in _ACKS:
                at, ranges = _after_ack(payload, at, kind)
                frames += ranges // 4
            elif kind == _CLOSE:
                return  # the client gives up
            else:
                raise QuicError("a frame that does not belong here")
    except IndexError as error:
        raise QuicError("a frame that is cut off") from error


def _after_ack(payload: bytes, at: int, kind: int) -> tuple[int, int]:
    """Find the end of an ACK frame, and how many ranges it has (RFC 9000, 19.3)."""
    _, at = _integer(payload, at)
    _, at = _integer(payload, at)
    ranges, at = _integer(payload, at)
    if ranges > 4 * _MOST_FRAMES:
        raise QuicError("too many acknowledgements")
    for _ in range(1 + 2 * ranges + (3 if kind & 1 else 0)):  # with counts of ECN
        _, at = _integer(payload, at)
    return at, ranges


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer of one, two, four or eight octets (RFC 9000, 16); with it where it ends. ``IndexError`` if it is cut off."""
    first = data[at]
    end = at + (1 << (first >> 6))
    if end > len(data):
        raise IndexError
    return int.from_bytes(data[at:end]) & (1 << 8 * (end - at) - 2) - 1, end


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    """Derive a key (RFC 8446, 7.1: HKDF-Expand-Label; RFC 5869, 2.3). All that is needed here fits into one block."""
    label = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(label)]) + label + b"\x00"
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


class _Ciphers(NamedTuple):
    """The two uses of AES, each made ready with a key."""

    mask: Callable[[bytes], Callable[[bytes], bytes]]
    open: Callable[[bytes], Callable[[bytes, bytes, bytes], bytes | None]]


def _ciphers() -> _Ciphers:
    try:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only those who watch QUIC need it
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
    except ImportError as error:
        raise QuicUnavailable("reading QUIC needs the package cryptography; install outwatch[quic]") from error

    def mask(key: bytes) -> Callable[[bytes], bytes]:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update  # noqa: S305 - RFC 9001, 5.4.3 has it so

    def opened(cipher: Any, nonce: bytes, data: bytes, header: bytes) -> bytes | None:
        try:
            plain: bytes = cipher.decrypt(nonce, data, header)
        except InvalidTag:
            return None
        return plain

    return _Ciphers(mask, lambda key: partial(opened, AESGCM(key)))
