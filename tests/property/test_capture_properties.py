"""Whatever bytes a capture holds: nothing is raised but what its reader says, and everything else is still told."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.errors import RuleError
from outwatch.model import wire
from outwatch.model.records import Observation
from outwatch.net.addresses import Scopes
from outwatch.sensors.replay import pcap
from outwatch.sensors.replay.captured import Captures
from outwatch.sensors.replay.packets import LINKS, PacketError, datagram

pytestmark = pytest.mark.security

HEADS = [
    struct.pack(order + "I2H4I", magic, 2, 4, 0, 0, 65_535, link)
    for order in "<>"
    for magic in (0xA1B2C3D4, 0xA1B23C4D)
    for link in (1, 101, 113)
]
SECTION = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
INTERFACE = struct.pack("<IIHHII", 1, 20, 101, 0, 0, 20)


def came_to(data: bytes, *, chunk: int = 7, pauses: bool = True) -> tuple[list[Observation], list[RuleError]]:
    """Read bytes in small pieces, perhaps with pauses."""
    broken: list[RuleError] = []
    captures = Captures(Scopes(), broken.append)
    pieces: list[bytes | None] = []
    for at in range(0, len(data), chunk):
        pieces += [data[at : at + chunk], None] if pauses else [data[at : at + chunk]]
    found = [one for one in captures.read(pieces, "any") if one is not None]
    found += captures.finish()
    return found, broken


def record(data: bytes, kept: int | None = None) -> bytes:
    """Write a packet of a pcap file, perhaps with another length than it has."""
    return struct.pack("<4I", 1_700_000_000, 0, len(data) if kept is None else kept, len(data)) + data


LIKE_IP = st.builds(
    lambda protocol, ends, payload, flags: (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, flags, 64, protocol, 0) + bytes(ends) + payload
    ),
    st.sampled_from([1, 6, 17, 47, 132]),
    st.lists(st.sampled_from([1, 2]), min_size=8, max_size=8),
    st.binary(max_size=80),
    st.sampled_from([0, 0, 0, 0x2000, 0x2001, 1]),
)
LIKE_UDP = st.builds(
    lambda ports, data: struct.pack("!HHHH", *ports, 8 + len(data), 0) + data,
    st.tuples(*[st.sampled_from([53, 443, 999])] * 2),
    st.binary(max_size=60),
)
LIKE_TCP = st.builds(
    lambda ports, sequence, flags, data: struct.pack("!HHIIBBHHH", *ports, sequence, 0, 0x50, flags, 0, 0, 0) + data,
    st.tuples(*[st.sampled_from([53, 80, 443])] * 2),
    st.integers(0, 40) | st.integers(2**32 - 20, 2**32 - 1),
    st.integers(0, 31),
    st.binary(max_size=40) | st.sampled_from([b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03", b"GET / HTTP/1.1\r\nHost: ", b"\0\x11"]),
)
WHOLE = st.builds(
    lambda inner, back: (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner[1]), 1, 0, 64, inner[0], 0)
        + (b"\x0a\0\0\x01\x0a\0\0\x02" if back else b"\x0a\0\0\x02\x0a\0\0\x01")
        + inner[1]
    ),
    st.tuples(st.just(17), LIKE_UDP) | st.tuples(st.just(6), LIKE_TCP),
    st.booleans(),
)


@given(head=st.sampled_from([*HEADS, SECTION, SECTION + INTERFACE, b"", b"\x0a\x0d\x0d\x0a"]), rest=st.binary(max_size=400))
@settings(deadline=None, max_examples=300)
def test_any_bytes_behind_any_head_end_in_words_and_not_in_an_error(head: bytes, rest: bytes) -> None:
    found, broken = came_to(head + rest)
    for one in found:
        assert wire.decode(wire.encode(one)) is not None
    assert all(problem.path == "any" for problem in broken)


@given(link=st.sampled_from(sorted(LINKS)) | st.integers(0, 300), data=st.binary(max_size=200))
@settings(deadline=None, max_examples=500)
def test_a_packet_of_any_bytes_is_a_datagram_nothing_or_refused(link: int, data: bytes) -> None:
    try:
        found = datagram(link, data)
    except PacketError:
        return
    assert found is None or len(found.payload) <= len(data)


@given(packets=st.lists(LIKE_IP | WHOLE, max_size=30))
@settings(deadline=None, max_examples=200)
def test_packets_of_any_content_are_told_or_named_and_what_comes_out_can_be_read_again(packets: list[bytes]) -> None:
    data = struct.pack("<I2H4I", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101) + b"".join(map(record, packets))
    found, _ = came_to(data, chunk=1_000)
    for one in found:
        assert wire.decode(wire.encode(one)) == one


@given(packets=st.lists(WHOLE, min_size=1, max_size=10), lie=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=100)
def test_what_was_whole_before_a_lie_is_told_as_without_it(packets: list[bytes], lie: int) -> None:
    whole = struct.pack("<I2H4I", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101) + b"".join(map(record, packets))
    expected, _ = came_to(whole, pauses=False)
    found, broken = came_to(whole + record(b"", kept=max(lie, 1)), pauses=False)
    assert found == expected
    assert any("reading ends here" in problem.reason for problem in broken)


@given(pieces=st.lists(st.binary(max_size=40) | st.none(), max_size=20))
@settings(deadline=None)
def test_the_reader_raises_its_own_error_only(pieces: list[bytes | None]) -> None:
    try:
        found = list(pcap.packets(pieces, lambda _number, _reason: None))
    except pcap.CaptureError:
        return
    assert b"".join(piece or b"" for piece in pieces)[:4] in pcap.MAGICS or found == []
