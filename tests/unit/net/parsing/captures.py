"""Reads the recordings that some tests use; just enough of pcap, pcapng, Ethernet, IP, UDP and TCP for those.

They are not part of this repository: they lie in ``shared/data`` beside it or where ``TEST_MATERIAL`` says.
"""

import gzip
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

MATERIAL = Path(os.environ.get("TEST_MATERIAL") or Path(__file__).parents[5] / "shared" / "data")
_PCAPNG, _PCAP = b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1"
_SYN = 2


def material(name: str) -> Path:
    """Give a file of the recordings, or skip the test that needs it."""
    path = MATERIAL / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not here")
    return path


Ends = tuple[bytes, int, bytes, int]
"""Address and port of the sender, then of the receiver."""


class Packet(NamedTuple):
    """A packet above IP: ``sequence`` and ``flags`` are TCP's."""

    transport: str
    ends: Ends
    sequence: int
    flags: int
    payload: bytes


def packets(path: Path) -> Iterator[Packet]:
    """Yield all TCP and UDP packets of a recording (little-endian, Ethernet)."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    assert data.startswith((_PCAPNG, _PCAP))
    for frame in _of_pcapng(data) if data.startswith(_PCAPNG) else _of_pcap(data):
        packet = _above_ip(frame)
        if packet is not None:
            yield packet


def sent(path: Path) -> tuple[dict[Ends, bytes], dict[Ends, list[bytes]]]:
    """Give what each side sent, in both directions: octets over TCP from the beginning that was recorded, and datagrams."""
    streams: dict[Ends, dict[int, bytes]] = {}
    begins: dict[Ends, int] = {}
    datagrams: dict[Ends, list[bytes]] = {}
    for packet in packets(path):
        if packet.transport == "udp":
            datagrams.setdefault(packet.ends, []).append(packet.payload)
        elif packet.flags & _SYN:
            begins[packet.ends] = packet.sequence + 1
        elif packet.payload:
            streams.setdefault(packet.ends, {}).setdefault(packet.sequence, packet.payload)
    return {ends: _joined(pieces, begins.get(ends, min(pieces))) for ends, pieces in streams.items()}, datagrams


def _joined(pieces: dict[int, bytes], begin: int) -> bytes:
    stream = b""
    for sequence, piece in sorted(pieces.items(), key=lambda item: (item[0] - begin) % (1 << 32)):
        at = (sequence - begin) % (1 << 32)
        if at > len(stream):
            break
        stream = stream[:at] + piece
    return stream


def _of_pcap(data: bytes) -> Iterator[bytes]:
    at = 24
    while at < len(data):
        _, _, length, _ = struct.unpack_from("<4I", data, at)
        yield data[at + 16 : at + 16 + length]
        at += 16 + length


def _of_pcapng(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<2I", data, at)
        if kind == 6:  # enhanced packet
            (captured,) = struct.unpack_from("<I", data, at + 20)
            yield data[at + 28 : at + 28 + captured]
        at += length


def _above_ip(frame: bytes) -> Packet | None:
    ether, ip = frame[12:14], frame[14:]
    if ether == b"\x08\x00":
        protocol, source, destination = ip[9], ip[12:16], ip[16:20]
        above = ip[4 * (ip[0] & 15) : int.from_bytes(ip[2:4])]
    elif ether == b"\x86\xdd":
        protocol, source, destination = ip[6], ip[8:24], ip[24:40]
        above = ip[40 : 40 + int.from_bytes(ip[4:6])]
    else:
        return None
    if protocol not in {6, 17} or len(above) < 8:
        return None
    ports = struct.unpack_from("!2H", above)
    ends = (source, ports[0], destination, ports[1])
    if protocol == 17:
        return Packet("udp", ends, 0, 0, above[8:])
    return Packet("tcp", ends, int.from_bytes(above[4:8]), above[13], above[4 * (above[12] >> 4) :])
