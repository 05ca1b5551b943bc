"""Packets become connections: who called whom, how much, and how it ended."""

import os
import struct
import tracemalloc
from pathlib import Path

import pytest

from outwatch.model.records import Connection
from outwatch.net.addresses import Scopes
from outwatch.sensors.replay import flows
from outwatch.sensors.replay.captured import Captures

from . import frames
from .frames import ACK, BEGAN, CLIENT, FIN, RST, SERVER, SYN, WEB, Frame, Side, after, conversation
from .recorded import captured, read

PUBLIC = "203.0.113.9"


def ends(one: Connection) -> tuple[str | None, int | None, str | None, int | None]:
    return one.source.ip, one.source.port, one.destination.ip, one.destination.port


@pytest.mark.parametrize("side", [WEB, Side(("2001:db8::10", 40_000), ("2001:db8:1::7", 443))], ids=["IPv4", "IPv6"])
def test_a_whole_connection_is_one_record(tmp_path: Path, side: Side) -> None:
    one = captured(tmp_path, conversation(side, [b"x" * 500, b"y" * 11], [b"z" * 1000])).one()
    assert ends(one) == (*side.here, *side.there)
    assert (one.network.transport, one.network.direction, one.outwatch.sensor) == ("tcp", "egress", "replay")
    assert (one.source.bytes, one.destination.bytes) == (511, 1000)
    assert (one.event.action, one.event.start, one.event.end) == ("close", BEGAN, after(0.07))
    assert one.timestamp == BEGAN
    assert one.outwatch.last_seen is None


def test_bytes_are_counted_once_however_often_and_in_which_order_they_come(tmp_path: Path) -> None:
    first, second, third = WEB.tcp(ACK, 1001, b"a" * 100), WEB.tcp(ACK, 1101, b"b" * 100), WEB.tcp(ACK, 1201, b"c" * 100)
    probe = WEB.tcp(ACK, 1300, b"c")  # the last byte again: is the other end alive?
    start = conversation(WEB, [], [])[:3]
    one = captured(tmp_path, [*start, first, third, first, second, third, probe, WEB.back().tcp(RST, 5001)]).one()
    assert (one.source.bytes, one.destination.bytes) == (300, 0)
    assert one.event.action == "close"


def test_a_packet_that_was_kept_only_in_part_counts_whole(tmp_path: Path) -> None:
    whole = conversation(WEB, [b"x" * 1000], [])
    data = frames.pcap([]) + b"".join(frames.pcap_record(frame, kept=60) for frame in whole)
    (tmp_path / "x").write_bytes(data)
    assert read(tmp_path / "x").one().source.bytes == 1000


@pytest.mark.parametrize(
    ("packets", "action", "began"),
    [
        pytest.param([WEB.tcp(SYN, 1000)], "failed", True, id="no answer"),
        pytest.param([WEB.tcp(SYN, 1000), WEB.tcp(SYN, 1000, at=1), WEB.tcp(SYN, 1000, at=3)], "failed", True, id="asked again, no answer"),
        pytest.param([WEB.tcp(SYN, 1000), WEB.back().tcp(RST | ACK, 0)], "failed", True, id="refused"),
        pytest.param([WEB.tcp(SYN, 1000), WEB.back().tcp(RST | ACK, 0), WEB.tcp(SYN, 1000, at=0.5)], "failed", True, id="refused, again"),
        pytest.param(conversation(WEB, [b"x"], [])[:-3], "connect", True, id="goes on"),
        pytest.param([WEB.tcp(SYN, 1000), WEB.tcp(ACK, 1001, b"x")], "connect", True, id="one direction was captured"),
        pytest.param(conversation(WEB, [b"x"], [])[:-2], "connect", True, id="half closed"),
        pytest.param([*conversation(WEB, [], [])[:3], WEB.tcp(RST, 1001)], "close", True, id="reset by the client"),
        pytest.param(conversation(WEB, [b"x"], [b"y"])[3:], "close", False, id="begun before"),
        pytest.param(conversation(WEB, [b"x"], [b"y"])[3:5], "existing", False, id="begun before, goes on"),
        pytest.param(conversation(WEB, [b"x"], [b"y"])[1:], "close", True, id="answered at the very beginning"),
    ],
)
def test_how_a_connection_stands_at_the_end_is_said(tmp_path: Path, packets: list[Frame], action: str, began: bool) -> None:
    one = captured(tmp_path, packets).one()
    assert ends(one) == (CLIENT, 40_000, SERVER, 443)
    assert one.event.action == action
    assert (one.event.start is not None) is began
    assert (one.event.end is not None) is (action in {"close", "failed"})
    assert (one.outwatch.last_seen is None) is (action in {"close", "failed"})


def test_ports_that_are_used_again_make_another_connection(tmp_path: Path) -> None:
    again = [WEB.tcp(SYN, 777_000, at=10), WEB.back().tcp(SYN | ACK, 9, at=10)]
    found = captured(tmp_path, [*conversation(WEB, [b"x" * 5], []), *again])
    assert [(one.event.action, one.source.bytes) for one in found.connections] == [("close", 5), ("connect", 0)]
    assert len({one.id for one in found.connections}) == 2


def test_what_comes_late_belongs_to_the_connection_that_was_over(tmp_path: Path) -> None:
    late = [WEB.back().tcp(FIN | ACK, 5001, at=1), WEB.tcp(ACK, 1003, at=1), WEB.tcp(RST, 1003, at=2)]
    assert len(captured(tmp_path, [*conversation(WEB, [b"x"], []), *late]).connections) == 1


def test_the_refusal_of_what_was_not_captured_is_no_connection(tmp_path: Path) -> None:
    assert captured(tmp_path, [WEB.back().tcp(RST, 1)]).connections == []


@pytest.mark.parametrize(
    ("server", "at", "client_first"),
    [
        pytest.param(443, 0, True, id="at the beginning the service's port tells"),
        pytest.param(3306, 0, True, id="also a registered one"),
        pytest.param(65_001, 0, False, id="no service's port"),
        pytest.param(443, 1_000, False, id="later on who spoke first is the client, whatever port he chose"),
    ],
)
def test_of_a_datagram_the_client_is_who_spoke_first(tmp_path: Path, server: int, at: float, client_first: bool) -> None:
    side = Side((CLIENT, 50_123), (SERVER, server))
    earlier = Side((CLIENT, 1), (PUBLIC, 1)).udp(b"")
    found = captured(tmp_path, [earlier, side.back().udp(b"12345", at=at), side.udp(b"123", at=at + 0.1)])
    one = next(one for one in found.connections if 50_123 in {one.source.port, one.destination.port})
    assert one.source.ip == (CLIENT if client_first else SERVER)
    assert one.source.bytes == (3 if client_first else 5)


def test_datagrams_after_a_long_silence_are_another_connection(tmp_path: Path) -> None:
    side = Side((CLIENT, 50_000), (SERVER, 123))
    found = captured(tmp_path, [side.udp(b"1"), side.back().udp(b"22", at=200), side.udp(b"333", at=499), side.udp(b"4444", at=800)])
    assert [(one.event.action, one.source.bytes, one.destination.bytes) for one in found.connections] == [
        ("close", 4, 2),
        ("connect", 4, 0),
    ]


@pytest.mark.parametrize(
    ("source", "destination", "internal", "direction", "scope"),
    [
        (CLIENT, PUBLIC, None, "egress", "unclassified"),
        (CLIENT, "8.8.8.8", None, "egress", "public"),
        ("8.8.8.8", CLIENT, None, "ingress", "public"),
        (CLIENT, "192.168.1.11", None, "egress", "private"),
        ("8.8.8.8", "1.1.1.1", None, "egress", "public"),
        ("8.8.8.8", "1.1.1.1", "8.8.0.0/16", "egress", "public"),
        ("1.1.1.1", "8.8.8.8", "8.8.0.0/16", "ingress", "public"),
        ("0.0.0.0", "255.255.255.255", None, "egress", "link_local"),
        ("fe80::1", "ff02::fb", None, "egress", "multicast"),
    ],
)
def test_direction_and_scope_follow_from_who_is_inside(
    tmp_path: Path, source: str, destination: str, internal: str | None, direction: str, scope: str
) -> None:
    one = captured(tmp_path, [Side((source, 6_000), (destination, 6_000)).udp(b"x")], internal).one()
    assert (one.source.ip, one.network.direction, one.network.scope) == (source, direction, scope)


ECHO = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"data"
REPLY = struct.pack("!BBHHH", 0, 0, 0, 77, 1) + b"data"


@pytest.mark.parametrize("packets", [[(False, ECHO), (True, REPLY)], [(True, REPLY), (False, ECHO)]], ids=["asked", "answered"])
def test_an_echo_and_its_reply_are_one_exchange_with_a_community_id(tmp_path: Path, packets: list[tuple[bool, bytes]]) -> None:
    side = Side(("192.168.0.89", 0), ("192.168.0.1", 0))
    one = captured(tmp_path, [(side.back() if back else side).other(1, data) for back, data in packets]).one()
    assert ends(one) == ("192.168.0.89", None, "192.168.0.1", None)
    assert (one.network.transport, one.source.bytes, one.destination.bytes) == ("icmp", 12, 12)
    assert one.network.community_id == "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="


def test_a_datagram_that_nobody_wants_has_failed(tmp_path: Path) -> None:
    side = Side((CLIENT, 50_000), (SERVER, 999))
    asked = side.udp(b"x")
    refusal = struct.pack("!BBHHH", 3, 3, 0, 0, 0) + asked.data[14 : 14 + 28]
    one = captured(tmp_path, [asked, side.back().other(1, refusal, at=0.2)]).one()
    assert (one.event.action, one.network.transport) == ("failed", "udp")


@pytest.mark.security
def test_an_error_about_nothing_that_was_seen_is_told_itself(tmp_path: Path) -> None:
    about = Side((CLIENT, 50_000), (SERVER, 999)).udp(b"x")
    secret = struct.pack("!BBHHH", 3, 3, 0, 0, 0) + about.data[14 : 14 + 28] + b"secret" * 100
    one = captured(tmp_path, [Side((CLIENT, 0), (PUBLIC, 0)).other(1, secret)]).one()
    assert (one.destination.ip, one.source.bytes) == (PUBLIC, len(secret))


def chunk(kind: int, data: bytes) -> bytes:
    return struct.pack("!BBH", kind, 0, 4 + len(data)) + data + bytes(-len(data) % 4)


def sctp(side: Side, *chunks: bytes) -> Frame:
    return side.other(132, struct.pack("!HHII", side.here[1], side.there[1], 1, 0) + b"".join(chunks))


def test_sctp_is_counted_by_what_its_chunks_carry(tmp_path: Path) -> None:
    side = Side((CLIENT, 40_000), (SERVER, 3868))
    data = chunk(0, bytes(12) + b"hello!!")
    packets = [sctp(side, chunk(1, bytes(16))), sctp(side.back(), chunk(2, bytes(16))), sctp(side, data, data), sctp(side.back(), data)]
    one = captured(tmp_path, [*packets, sctp(side, chunk(14, b""))]).one()
    assert ends(one) == (CLIENT, 40_000, SERVER, 3868)
    assert (one.network.transport, one.source.bytes, one.destination.bytes, one.event.action) == ("sctp", 14, 7, "close")
    refused = captured(tmp_path, [packets[0], sctp(side.back(), chunk(6, b""))]).one()
    assert refused.event.action == "failed"


def test_other_protocols_are_raw(tmp_path: Path) -> None:
    one = captured(tmp_path, [Side((CLIENT, 0), (SERVER, 0)).other(47, b"tunnel")]).one()
    assert (one.network.transport, one.source.bytes, one.source.port) == ("raw:47", 6, None)


def test_a_datagram_in_pieces_is_counted_whole(tmp_path: Path) -> None:
    whole = frames.udp(b"x" * 3000, (50_000, 9))
    pieces = [frames.ipv4(whole[at : at + 1480], 17, piece=(5, at, at + 1480 < len(whole))) for at in range(0, len(whole), 1480)]
    one = captured(tmp_path, [Frame(frames.ethernet(piece)) for piece in reversed(pieces)]).one()
    assert (one.source.port, one.source.bytes) == (50_000, 3000)


@pytest.mark.security
def test_a_datagram_of_which_a_piece_is_missing_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    whole = frames.udp(b"x" * 3000, (50_000, 9))
    first, last = frames.ipv4(whole[:1480], 17, piece=(5, 0, True)), frames.ipv4(whole[2960:], 17, piece=(5, 2960, False))
    one = captured(tmp_path, [Frame(frames.ethernet(first)), Frame(frames.ethernet(last))]).one()
    assert (one.source.port, one.destination.port, one.source.bytes) == (50_000, 9, 1472)


def test_pieces_without_the_first_are_told(tmp_path: Path) -> None:
    found = captured(tmp_path, [Frame(frames.ethernet(frames.ipv4(b"x" * 80, 17, piece=(5, 80, False))))])
    assert found.connections == []
    assert [reason for _, reason in found.reasons] == ["1 packets that were sent in pieces came without their first one"]


def following(packets: list[Frame | None]) -> list[tuple[str | None, int | None]]:
    """Read a capture that pauses wherever there is no packet; give action and bytes of each word on a connection."""
    pieces = [frames.pcap([]), *(None if packet is None else frames.pcap_record(packet) for packet in packets)]
    broken: list[object] = []
    captures = Captures(Scopes(), broken.append)
    found = [*captures.read(pieces, "pipe"), *captures.finish()]
    assert broken == []
    return [(one.event.action, one.source.bytes) for one in found if isinstance(one, Connection)]


def test_through_a_pipe_what_goes_on_is_told_at_pauses_and_again_when_it_has_moved_on() -> None:
    opened, answered, ready, *said, bye, their_bye, last = conversation(WEB, [b"x" * 10], [])
    later = WEB.tcp(ACK, 1011, b"y" * 10, at=5)
    assert following([opened, None, None, answered, ready, None, *said, None, later, None, None]) == [
        ("connect", 0),
        ("traffic", 20),
        ("traffic", 20),
    ]
    assert following([opened, answered, ready, *said, None, bye, their_bye, last]) == [("connect", 10), ("close", 10)]
    assert following([opened, answered, ready, *said, bye, their_bye, last]) == [("close", 10)]


@pytest.mark.security
def test_a_flood_of_connections_takes_bounded_memory_and_all_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_MOST", 500)
    data = [
        Side((CLIENT, 1 + at % 60_000), (f"198.51.{at % 250}.{at // 60_000}", 443)).tcp(SYN, at, at=at / 10_000) for at in range(20_000)
    ]
    pieces = [frames.pcap([]), *(frames.pcap_record(frame) for frame in data)]
    captures = Captures(Scopes(), lambda _problem: None)
    told, most = 0, 0
    for _ in captures.read(pieces, "flood"):
        told += 1
        most = max(most, len(captures._flows._flows))
    assert most <= 500
    assert told == 19_500
    assert len(list(captures.finish())) == 500


@pytest.mark.security
def test_openings_that_never_end_are_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "_MOST_HELD", 1 << 20)
    begun = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + os.urandom(8_000)
    sides = [Side((CLIENT, 1_000 + at), (SERVER, 443)) for at in range(2_000)]
    pieces = [frames.pcap([]), *(frames.pcap_record(side.tcp(ACK, 1, begun)) for side in sides)]
    captures = Captures(Scopes(), lambda _problem: None)
    tracemalloc.start()
    try:
        assert [*captures.read(pieces, "openings")] == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert captures._flows._held <= 1 << 20
    assert held < 12 << 20
    found = [one for one in captures.finish() if isinstance(one, Connection)]
    assert [one.source.bytes for one in found] == [len(begun)] * 2_000
