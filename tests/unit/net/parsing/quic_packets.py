"""Packets of QUIC clients to order, enciphered by another implementation (aioquic)."""

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion

V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2
PADDING, PING = b"\x00", b"\x01"
_FIRST = {V1: 0xC0, V2: 0xD0}  # with type Initial


def integer(value: int, octets: int = 0) -> bytes:
    """Write an integer, in the shortest form or in that of so many octets."""
    power = next(one for one in range(4) if value < 1 << (8 << one) - 2 and octets in {0, 1 << one})
    return (value | power << (8 << power) - 2).to_bytes(1 << power)


def crypto(offset: int, data: bytes) -> bytes:
    """Make a frame with a piece of the handshake."""
    return b"\x06" + integer(offset) + integer(len(data)) + data


def initial(
    frames: bytes,
    destination: bytes = b"\x83\x94\xc8\xf0",
    *,
    version: int = V1,
    key: bytes | None = None,
    number: int = 0,
    token: bytes = b"",
    is_client: bool = True,
) -> bytes:
    """Make an Initial packet, under the key that follows from ``key`` or else from the destination."""
    pair = CryptoPair()
    pair.setup_initial(cid=destination if key is None else key, is_client=is_client, version=version)
    frames = frames.ljust(4, PADDING)
    octets = max(1, (number.bit_length() + 7) // 8)
    head = (
        bytes([_FIRST[QuicProtocolVersion(version)] | octets - 1])
        + version.to_bytes(4)
        + bytes([len(destination)])
        + destination
        + b"\x02\xaa\xbb"
        + integer(len(token))
        + token
        + integer(octets + len(frames) + 16, 4)
        + number.to_bytes(octets)
    )
    return pair.encrypt_packet(head, frames, number)


def other(kind: int, version: int = V1, length: int = 30) -> bytes:
    """Make a packet of another type with a length, full of noise: 1 is 0-RTT and 2 Handshake in version 1."""
    return bytes([0xC0 | kind << 4]) + version.to_bytes(4) + b"\x04\x83\x94\xc8\xf0\x02\xaa\xbb" + integer(length) + b"\x5a" * length


def of_aioquic(name: str, version: int = V1, protocols: tuple[str, ...] = ("h3",)) -> list[bytes]:
    """Give the first datagrams of aioquic's client."""
    configuration = QuicConfiguration(is_client=True, server_name=name, alpn_protocols=list(protocols))
    configuration.original_version = version
    configuration.supported_versions = [QuicProtocolVersion(version)]
    client = QuicConnection(configuration=configuration)
    client.connect(("192.0.2.1", 443), now=0.0)
    return [datagram for datagram, _ in client.datagrams_to_send(now=0.0)]
