"""What travels in a packet is found behind every link, tag and extension header; what lies is refused."""

import struct

import pytest

from outwatch.sensors.replay.packets import LINKS, Datagram, PacketError, datagram

from . import frames
from .frames import ethernet, ipv4, ipv6, udp

V4, V6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")
DATA = udp(b"hello", (1, 2))
FOUR, SIX = ipv4(DATA, 17, V4), ipv6(DATA, 17, V6)


def cooked2(kind: int) -> bytes:
    return struct.pack("!HHIHBB8s", kind, 0, 2, 1, 0, 6, bytes(8))


def pppoe(packet: bytes, protocol: bytes) -> bytes:
    return bytes(12) + b"\x88\x64" + struct.pack("!BBHH", 0x11, 0, 1, len(packet) + 2) + protocol + packet


LAYERS = [
    pytest.param(1, ethernet(FOUR), FOUR, id="Ethernet"),
    pytest.param(1, ethernet(SIX), SIX, id="Ethernet, IPv6"),
    pytest.param(1, ethernet(FOUR, 0x8100), FOUR, id="VLAN"),
    pytest.param(1, ethernet(SIX, 0x88A8, 0x8100), SIX, id="QinQ"),
    pytest.param(1, ethernet(FOUR, 0x9100, 0x8100), FOUR, id="QinQ, old"),
    pytest.param(1, pppoe(FOUR, b"\x00\x21"), FOUR, id="PPPoE"),
    pytest.param(1, pppoe(SIX, b"\x00\x57"), SIX, id="PPPoE, IPv6"),
    pytest.param(101, FOUR, FOUR, id="raw"),
    pytest.param(101, SIX, SIX, id="raw, IPv6"),
    pytest.param(12, FOUR, FOUR, id="raw, as BSD numbers it"),
    pytest.param(14, FOUR, FOUR, id="raw, as OpenBSD numbers it"),
    pytest.param(228, FOUR, FOUR, id="IPv4"),
    pytest.param(229, SIX, SIX, id="IPv6"),
    pytest.param(113, bytes(14) + b"\x08\x00" + FOUR, FOUR, id="cooked"),
    pytest.param(113, bytes(14) + b"\x81\x00\x00\x07\x86\xdd" + SIX, SIX, id="cooked, VLAN"),
    pytest.param(276, cooked2(0x0800) + FOUR, FOUR, id="cooked 2"),
    pytest.param(276, cooked2(0x86DD) + SIX, SIX, id="cooked 2, IPv6"),
    pytest.param(0, b"\x02\0\0\0" + FOUR, FOUR, id="loopback, little"),
    pytest.param(0, b"\0\0\0\x1e" + SIX, SIX, id="loopback of macOS, big"),
    pytest.param(108, b"\0\0\0\x02" + FOUR, FOUR, id="loopback of OpenBSD"),
    pytest.param(9, b"\x00\x21" + FOUR, FOUR, id="PPP"),
    pytest.param(9, b"\xff\x03\x21" + FOUR, FOUR, id="PPP, short protocol"),
    pytest.param(50, b"\xff\x03\x00\x57" + SIX, SIX, id="PPP, serial"),
]


@pytest.mark.parametrize(("link", "data", "inside"), LAYERS)
def test_the_packet_is_found_behind_its_link(link: int, data: bytes, inside: bytes) -> None:
    assert link in LINKS
    found = datagram(link, data)
    assert found == datagram(101, inside)
    assert found is not None
    assert (found.protocol, found.payload, found.length) == (17, DATA, len(DATA))
    # Padding of short frames is no payload.
    assert datagram(link, data + b"padding") == found


@pytest.mark.parametrize(("link", "data", "inside"), LAYERS)
def test_a_packet_that_is_cut_in_its_headers_is_none_and_later_only_short(link: int, data: bytes, inside: bytes) -> None:
    for kept in range(len(data) - len(DATA)):
        try:
            found = datagram(link, data[:kept])
        except PacketError:
            continue
        assert found is None  # not even what it carries is there
    short = datagram(link, data[:-3])
    assert short is not None
    assert (short.payload, short.length) == (DATA[:-3], len(DATA))


@pytest.mark.parametrize(
    ("link", "data"),
    [
        pytest.param(1, bytes(12) + b"\x08\x06" + bytes(28), id="ARP"),
        pytest.param(1, bytes(12) + b"\x00\x26" + bytes(38), id="a length and no type"),
        pytest.param(1, bytes(12) + b"\x81\x00\x00\x07" * 6 + b"\x08\x00" + FOUR, id="more tags than anybody uses"),
        pytest.param(1, pppoe(bytes(8), b"\xc0\x21"), id="PPP about itself"),
        pytest.param(101, b"\x50" + bytes(40), id="no version of IP"),
    ],
)
def test_what_carries_no_ip_is_passed_over(link: int, data: bytes) -> None:
    assert datagram(link, data) is None


def test_options_of_ipv4_are_no_payload() -> None:
    packet = bytearray(ipv4(b"\x01" * 8 + DATA, 17, V4))
    packet[0] = 0x47
    found = datagram(101, bytes(packet))
    assert found is not None
    assert (found.payload, found.length) == (DATA, len(DATA))


def extension(following: int, size: int) -> bytes:
    return bytes([following, size]) + bytes(6 + size * 8)


@pytest.mark.parametrize(
    ("first", "headers"),
    [
        pytest.param(0, extension(17, 0), id="hop by hop"),
        pytest.param(0, extension(43, 1) + extension(60, 2) + extension(17, 0), id="hop by hop, routing, destination"),
        pytest.param(51, bytes([17, 4]) + bytes(22), id="authentication"),
        pytest.param(135, extension(139, 0) + extension(140, 0) + extension(17, 0), id="mobility, HIP, shim6"),
        pytest.param(44, b"\x11\0\0\0\0\0\0\x01", id="a fragment that is whole"),
    ],
)
def test_the_payload_of_ipv6_is_found_behind_its_extension_headers(first: int, headers: bytes) -> None:
    found = datagram(101, ipv6(headers + DATA, first, V6))
    assert found is not None
    assert (found.protocol, found.payload, found.length, found.fragment) == (17, DATA, len(DATA), None)


def test_a_length_of_zero_is_what_network_cards_leave_that_cut_packets_themselves() -> None:
    four, six = bytearray(FOUR), bytearray(SIX)
    four[2:4] = six[4:6] = b"\0\0"
    for packet in (four, six):
        found = datagram(101, bytes(packet))
        assert found is not None
        assert (found.payload, found.length) == (DATA, len(DATA))


def changed(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + bytes([value]) + packet[at + 1 :]


@pytest.mark.security
@pytest.mark.parametrize(
    ("link", "data"),
    [
        pytest.param(101, changed(FOUR, 0, 0x44), id="a header that is too short to be one"),
        pytest.param(101, changed(FOUR, 3, 19), id="shorter than its header"),
        pytest.param(1, ethernet(FOUR)[:14] + b"\x60" + FOUR[1:], id="another version than the link says"),
        pytest.param(1, ethernet(SIX)[:14] + b"\x40" + SIX[1:], id="another version than the link says, IPv6"),
        pytest.param(101, ipv6(b"\x3c\x05" + bytes(6), 0, V6) + bytes(60), id="extensions that end behind the packet"),
    ],
)
def test_a_packet_that_lies_is_refused(link: int, data: bytes) -> None:
    with pytest.raises(PacketError):
        datagram(link, data)


@pytest.mark.security
def test_endless_extension_headers_are_not_followed_for_ever() -> None:
    found = datagram(101, ipv6(extension(0, 0) * 1_000, 0, V6))
    assert found is not None
    assert found.protocol == 0


def test_pieces_of_both_versions_say_where_they_belong() -> None:
    four = datagram(101, frames.ipv4(b"x" * 16, 17, V4, piece=(77, 1480, True)))
    six = datagram(101, ipv6(b"\x11\0" + struct.pack("!HI", 1480 | 1, 77) + b"x" * 16, 44, V6))
    assert isinstance(four, Datagram)
    assert isinstance(six, Datagram)
    assert four.fragment == six.fragment == (77, 1480, True)
    assert four.payload == six.payload == b"x" * 16
