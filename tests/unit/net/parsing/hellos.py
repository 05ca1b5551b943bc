"""ClientHellos to order, and those that real clients make."""

import ssl
import struct
from collections.abc import Sequence

GREASE = [0x0A0A + 0x1010 * number for number in range(16)]

# RFC 8448, 3: the ClientHello of the simple handshake, as the message and in its record.
RFC_8448 = bytes.fromhex(
    "010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7000006130113031302010000910000000b00090000067365"
    "72766572ff01000100000a00140012001d0017001800190100010101020103010400230000003300260024001d002099381de560e4bd43d23d8e435a7d"
    "bafeb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e040305030603020308040805080604010501060102010402050206020202"
    "002d00020101001c00024001"
)


def extension(kind: int, data: bytes = b"") -> bytes:
    """Make an extension."""
    return struct.pack("!2H", kind, len(data)) + data


def listed(width: int, data: bytes) -> bytes:
    """Put the length of some octets in front of them."""
    return len(data).to_bytes(width) + data


def numbers(values: Sequence[int]) -> bytes:
    """Write numbers of two octets."""
    return struct.pack(f"!{len(values)}H", *values)


def server_name(name: bytes) -> bytes:
    """Make the extension that asks for a name."""
    return extension(0, listed(2, b"\x00" + listed(2, name)))


def alpn(*protocols: bytes) -> bytes:
    """Make the extension that offers protocols."""
    return extension(16, listed(2, b"".join(listed(1, one) for one in protocols)))


def versions(*offered: int) -> bytes:
    """Make the extension that offers versions."""
    return extension(43, listed(1, numbers(offered)))


def signatures(*offered: int) -> bytes:
    """Make the extension that offers signature algorithms."""
    return extension(13, listed(2, numbers(offered)))


def hello(suites: Sequence[int] = (0x1301,), extensions: Sequence[bytes] | None = (), legacy: int = 0x0303, session: bytes = b"") -> bytes:
    """Make a whole ClientHello; without a block of extensions for ``None``."""
    body = struct.pack("!H", legacy) + bytes(range(32)) + listed(1, session) + listed(2, numbers(suites)) + b"\x01\x00"
    if extensions is not None:
        body += listed(2, b"".join(extensions))
    return b"\x01" + listed(3, body)


def records(message: bytes, *sizes: int) -> bytes:
    """Put a message into records: of the given sizes, then of the largest."""
    found, at = b"", 0
    for size in [*sizes, *[1 << 14] * 8]:
        piece = message[at : at + size]
        if piece:
            found += b"\x16\x03\x01" + listed(2, piece)
        at += size
    assert at >= len(message)
    return found


def of_openssl(name: str | None, protocols: list[str], newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
    """Give what OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = newest
    if protocols:
        context.set_alpn_protocols(protocols)
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("nobody answered, and yet the handshake is done")
