"""Writes captures byte by byte: packets from the inside out, then the files around them."""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Literal, NamedTuple

CLIENT, SERVER = "192.168.1.10", "198.51.100.7"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
BEGAN = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)  # the same
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
Order = Literal["<", ">"]


class Frame(NamedTuple):
    """A packet with its link's header, and when it was seen."""

    data: bytes
    time_ns: int = START


def ipv4(payload: bytes, protocol: int, ends: tuple[str, str] = (CLIENT, SERVER), *, piece: tuple[int, int, bool] = (0, 0, False)) -> bytes:
    """Wrap a payload; ``piece`` is identity, offset in bytes, and whether more follow."""
    identity, offset, more = piece
    place = offset // 8 | (0x2000 if more else 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identity, place, 64, protocol, 0)
    return head + ip_address(ends[0]).packed + ip_address(ends[1]).packed + payload


def ipv6(payload: bytes, protocol: int, ends: tuple[str, str]) -> bytes:
    """Wrap a payload, which may begin with extension headers."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return head + ip_address(ends[0]).packed + ip_address(ends[1]).packed + payload


def ip(payload: bytes, protocol: int, ends: tuple[str, str]) -> bytes:
    """Wrap a payload in the version of its addresses."""
    return ipv6(payload, protocol, ends) if ":" in ends[0] else ipv4(payload, protocol, ends)


def ethernet(packet: bytes, *tags: int) -> bytes:
    """Put a packet on Ethernet, behind VLAN tags of these types."""
    kind = {4: 0x0800, 6: 0x86DD}[packet[0] >> 4]
    return bytes(12) + b"".join(struct.pack("!HH", tag, 7) for tag in tags) + struct.pack("!H", kind) + packet


def udp(data: bytes, ports: tuple[int, int]) -> bytes:
    """Make a datagram."""
    return struct.pack("!HHHH", *ports, 8 + len(data), 0) + data


def tcp(ports: tuple[int, int], flags: int, sequence: int, data: bytes = b"") -> bytes:
    """Make a segment."""
    return struct.pack("!HHIIBBHHH", *ports, sequence % (1 << 32), 0, 5 << 4, flags, 8192, 0, 0) + data


class Side(NamedTuple):
    """One end of a conversation, as the sender of frames."""

    here: tuple[str, int]
    there: tuple[str, int]

    def back(self) -> "Side":
        """Give the other end."""
        return Side(self.there, self.here)

    def tcp(self, flags: int, sequence: int, data: bytes = b"", at: float = 0.0) -> Frame:
        """Send a segment, so many seconds after the start."""
        segment = tcp((self.here[1], self.there[1]), flags, sequence, data)
        return Frame(ethernet(ip(segment, 6, (self.here[0], self.there[0]))), START + round(at * SECOND))

    def udp(self, data: bytes, at: float = 0.0) -> Frame:
        """Send a datagram."""
        datagram = udp(data, (self.here[1], self.there[1]))
        return Frame(ethernet(ip(datagram, 17, (self.here[0], self.there[0]))), START + round(at * SECOND))

    def other(self, protocol: int, payload: bytes, at: float = 0.0) -> Frame:
        """Send the payload of another protocol."""
        return Frame(ethernet(ip(payload, protocol, (self.here[0], self.there[0]))), START + round(at * SECOND))


WEB = Side((CLIENT, 40_000), (SERVER, 443))


def after(seconds: float) -> datetime:
    """Give the time so many seconds after the start."""
    return BEGAN + timedelta(seconds=seconds)


def conversation(side: Side, say: Sequence[bytes], answer: Sequence[bytes], at: float = 0.0) -> list[Frame]:
    """Make a whole TCP connection in which the client says all, then the server, then both go."""
    back = side.back()
    frames = [side.tcp(SYN, 1000, at=at), back.tcp(SYN | ACK, 5000, at=at + 0.01), side.tcp(ACK, 1001, at=at + 0.02)]
    ours, theirs = 1001, 5001
    for piece in say:
        frames.append(side.tcp(PSH | ACK, ours, piece, at=at + 0.03))
        ours += len(piece)
    for piece in answer:
        frames.append(back.tcp(PSH | ACK, theirs, piece, at=at + 0.04))
        theirs += len(piece)
    return [
        *frames,
        side.tcp(FIN | ACK, ours, at=at + 0.05),
        back.tcp(FIN | ACK, theirs, at=at + 0.06),
        side.tcp(ACK, ours + 1, at=at + 0.07),
    ]


def pcap(frames: Iterable[Frame], order: Order = "<", unit: int = 1_000, link: int = 1) -> bytes:
    """Write a pcap file; times count units of so many nanoseconds."""
    magic = 0xA1B2C3D4 if unit == 1_000 else 0xA1B23C4D
    head = struct.pack(order + "I2H4I", magic, 2, 4, 0, 0, 262_144, link)
    return head + b"".join(pcap_record(frame, order, unit) for frame in frames)


def pcap_record(frame: Frame, order: Order = "<", unit: int = 1_000, *, kept: int | None = None) -> bytes:
    """Write one packet, of which only the first bytes may have been ``kept``."""
    data = frame.data[:kept]
    seconds, rest = divmod(frame.time_ns, SECOND)
    return struct.pack(order + "4I", seconds, rest // unit, len(data), len(frame.data)) + data


def block(kind: int, body: bytes, order: Order = "<") -> bytes:
    """Write a block of a pcapng file."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: Order = "<") -> bytes:
    """Write the beginning of a section."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: Order = "<") -> bytes:
    """Write an option."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(link: int = 1, order: Order = "<", options: bytes = b"", snap: int = 0) -> bytes:
    """Write the description of an interface."""
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order)


def enhanced(frame: Frame, order: Order = "<", *, number: int = 0, per_second: int = 1_000_000, offset: int = 0) -> bytes:
    """Write an enhanced packet block."""
    time = (frame.time_ns - offset * SECOND) * per_second // SECOND
    head = struct.pack(order + "5I", number, time >> 32, time & 0xFFFFFFFF, len(frame.data), len(frame.data))
    return block(6, head + frame.data + bytes(-len(frame.data) % 4) + option(0, b"", order), order)


def pcapng(frames: Iterable[Frame], order: Order = "<", link: int = 1) -> bytes:
    """Write a pcapng file with one interface."""
    return section(order) + interface(link, order) + b"".join(enhanced(frame, order) for frame in frames)


def name(text: str) -> bytes:
    """Write a DNS name."""
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def dns_query(text: str, identity: int = 7, kind: int = 1) -> bytes:
    """Write a DNS question."""
    return struct.pack("!6H", identity, 0x0100, 1, 0, 0, 0) + name(text) + struct.pack("!HH", kind, 1)


def dns_reply(text: str, addresses: Sequence[str], identity: int = 7, *, alias: str | None = None, ttl: int = 300, rcode: int = 0) -> bytes:
    """Write the answer to a DNS question for addresses, perhaps through an alias."""
    records = []
    owner = text
    if alias is not None:
        records.append(name(owner) + struct.pack("!HHIH", 5, 1, ttl, len(name(alias))) + name(alias))
        owner = alias
    records += [name(owner) + struct.pack("!HHIH", 1, 1, ttl, 4) + ip_address(one).packed for one in addresses]
    head = struct.pack("!6H", identity, 0x8180 | rcode, 1, len(records), 0, 0)
    return head + name(text) + struct.pack("!HH", 1, 1) + b"".join(records)


def client_hello(server_name: str, *, padding: int = 0) -> bytes:
    """Write a TLS record with a ClientHello that asks for a server, as long as wanted."""
    host = server_name.encode()
    names = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extensions = struct.pack("!HH", 0, len(names)) + names + struct.pack("!HHBH", 43, 3, 2, 0x0304)
    extensions += struct.pack("!HH", 21, padding) + bytes(padding) if padding else b""
    body = (
        struct.pack("!H", 0x0303)
        + bytes(32)
        + b"\0"
        + struct.pack("!HH", 2, 0x1301)
        + b"\1\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    message = b"\x01" + len(body).to_bytes(3) + body
    return b"".join(b"\x16\x03\x01" + struct.pack("!H", len(piece)) + piece for piece in _pieces(message))


def _pieces(message: bytes) -> Iterable[bytes]:
    return [message[at : at + 16_384] for at in range(0, len(message), 16_384)]
