"""Files of captures: every form gives the same packets, and what lies is named while the rest is read."""

import gzip
import struct
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from outwatch.model.interfaces import PartConfig
from outwatch.model.records import EventsLost
from outwatch.sensors.replay import pcap
from outwatch.sensors.replay.recordings import Replay

from . import frames
from .frames import CLIENT, SECOND, SERVER, START, Frame, Side, block, enhanced, interface, option, section
from .recorded import Read, read

SIDE = Side((CLIENT, 40_000), (SERVER, 9))
FRAMES = [SIDE.udp(b"abc"), SIDE.udp(b"defgh", at=0.123456), SIDE.back().udp(b"x", at=0.5)]


def captured(tmp_path: Path, data: bytes, name: str = "x") -> Read:
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name)


def counted(found: Read) -> tuple[int | None, int | None]:
    """Give the bytes of the only connection, both ways."""
    (one,) = found.connections
    return one.source.bytes, one.destination.bytes


FORMS: dict[str, Callable[[list[Frame]], bytes]] = {
    "little, microseconds": lambda given: frames.pcap(given, "<"),
    "big, microseconds": lambda given: frames.pcap(given, ">"),
    "little, nanoseconds": lambda given: frames.pcap(given, "<", 1),
    "big, nanoseconds": lambda given: frames.pcap(given, ">", 1),
    "pcapng, little": lambda given: frames.pcapng(given, "<"),
    "pcapng, big": lambda given: frames.pcapng(given, ">"),
    "two sections of different order": lambda given: frames.pcapng(given[:1], ">") + frames.pcapng(given[1:], "<"),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: gzip.compress(data[:30]) + gzip.compress(data[30:])])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_capture_is_recognised_and_gives_packets_and_times(
    tmp_path: Path, form: Callable[[list[Frame]], bytes], pack: Callable[[bytes], bytes]
) -> None:
    found = captured(tmp_path, pack(form(FRAMES)))
    assert counted(found) == (8, 1)
    one = found.one()
    assert one.event.start == one.timestamp == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert one.outwatch.last_seen == datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(("resolution", "per_second"), [(b"\x03", 1_000), (b"\x09", 10**9), (b"\x8a", 1 << 10), (b"\x00", 1), (b"\x80", 1)])
def test_times_of_pcapng_count_what_the_interface_says(tmp_path: Path, resolution: bytes, per_second: int) -> None:
    offset = 1_600_000_000
    described = interface(options=option(9, resolution) + option(14, struct.pack("<q", offset)) + option(0, b""))
    frame = SIDE.udp(b"abc", at=2.5 if per_second > 1 else 2.0)
    found = captured(tmp_path, section() + described + enhanced(frame, per_second=per_second, offset=offset))
    assert found.one().timestamp.timestamp() == frame.time_ns / SECOND


def test_each_interface_has_its_own_link(tmp_path: Path) -> None:
    raw = Frame(frames.ipv4(frames.udp(b"raw", (40_000, 9)), 17))
    data = section() + interface(1) + interface(101) + enhanced(FRAMES[0], number=0) + enhanced(raw, number=1)
    assert counted(captured(tmp_path, data)) == (6, 0)


def test_simple_packets_are_cut_at_what_was_kept_and_have_the_time_of_those_before(tmp_path: Path) -> None:
    data = FRAMES[1].data
    simple = block(3, struct.pack("<I", len(data)) + data[:44])
    found = captured(tmp_path, section() + interface(snap=44) + enhanced(FRAMES[0]) + simple)
    assert counted(found) == (8, 0)  # the length that the datagram says, not what was kept of it
    assert found.one().outwatch.last_seen == found.one().timestamp


def test_the_old_packet_block_is_read(tmp_path: Path) -> None:
    data, time = FRAMES[0].data, START // 1_000
    old = block(2, struct.pack("<2H4I", 0, 5, time >> 32, time & 0xFFFFFFFF, len(data), len(data)) + data)
    assert counted(captured(tmp_path, section() + interface() + old)) == (3, 0)


def test_blocks_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    others = block(4, b"names") + block(10, b"secrets" * 50_000) + block(0x0BAD, b"") + block(0x80000001, b"own")
    assert counted(captured(tmp_path, section() + others + interface() + others + enhanced(FRAMES[0]))) == (3, 0)


def test_what_the_capture_itself_lost_is_told_once(tmp_path: Path) -> None:
    def statistics(by_interface: int, by_system: int) -> bytes:
        counts = option(5, struct.pack("<Q", by_interface)) + option(7, struct.pack("<Q", by_system))
        return block(5, struct.pack("<3I", 0, 0, 0) + counts + option(0, b""))

    data = section() + interface() + statistics(3, 4) + enhanced(FRAMES[0]) + statistics(3, 4) + statistics(5, 4)
    found = captured(tmp_path, data)
    assert found.losses == [EventsLost(layer="capture file", count=7), EventsLost(layer="capture file", count=2)]
    assert found.reasons == []


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_capture_that_is_cut_gives_what_is_whole_and_says_so(tmp_path: Path, form: Callable[[list[Frame]], bytes], cut: int) -> None:
    found = captured(tmp_path, form(FRAMES)[:-cut])
    assert counted(found)[0] == 8
    ((number, reason),) = found.reasons
    assert number is not None
    assert reason == "reading ends here: the capture is cut off here"


def test_a_compressed_capture_that_is_cut_gives_what_is_whole(tmp_path: Path) -> None:
    found = captured(tmp_path, gzip.compress(frames.pcap(FRAMES))[:-8])
    assert counted(found) == (8, 1)
    assert found.reasons == [(4, "reading ends here: the compressed data is cut off")]


def test_a_packet_of_impossible_length_ends_the_reading_and_costs_nothing_before(tmp_path: Path) -> None:
    found = captured(tmp_path, frames.pcap(FRAMES[:2]) + struct.pack("<4I", 1, 1, 1 << 30, 1 << 30) + bytes(100))
    assert counted(found) == (8, 0)
    ((number, reason),) = found.reasons
    assert (number, "1073741824 bytes" in reason) == (3, True)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(enhanced(FRAMES[1], number=9), "interface 9", id="an interface nobody described"),
        pytest.param(block(6, struct.pack("<5I", 0, 0, 0, 5_000, 5_000) + b"short"), "longer than its block", id="longer than its block"),
        pytest.param(block(6, b"tiny"), "too short", id="too short for its header"),
        pytest.param(block(3, struct.pack("<I", 5_000) + b"short"), "longer than its block", id="a simple one longer than its block"),
        pytest.param(block(6, struct.pack("<5I", 0, 1 << 31, 0, 0, 0)), "calendar", id="after the year 9999"),
        pytest.param(block(1, b""), "too short", id="an interface without anything"),
        pytest.param(block(5, b"x"), "too short", id="statistics without anything"),
        pytest.param(enhanced(Frame(b"\0" * 13)), "cut off", id="a frame that is cut off"),
        pytest.param(block(0x0BAD, bytes(8))[:-4] + struct.pack("<I", 24), "at its end", id="two lengths"),
    ],
)
def test_what_lies_is_named_and_everything_else_is_read(tmp_path: Path, bad: bytes, reason: str) -> None:
    found = captured(tmp_path, section() + interface() + enhanced(FRAMES[0]) + bad + enhanced(FRAMES[1]) + enhanced(FRAMES[2]))
    assert counted(found) == (8, 1)
    (told,) = found.reasons
    assert reason in told[1]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(struct.pack("<2I", 6, 13) + bytes(40), id="no multiple of four"),
        pytest.param(struct.pack("<2I", 6, 8) + bytes(40), id="shorter than itself"),
        pytest.param(struct.pack("<2I", 0x0A0D0D0A, 28) + b"what" + bytes(40), id="a section of unknown order"),
        pytest.param(b"\xff" * 40, id="nothing"),
    ],
)
def test_where_nobody_knows_how_to_go_on_reading_ends_and_says_so(tmp_path: Path, bad: bytes) -> None:
    found = captured(tmp_path, section() + interface() + enhanced(FRAMES[0]) + bad)
    assert counted(found) == (3, 0)
    ((number, reason),) = found.reasons
    assert number == 2
    assert reason.startswith("reading ends here: ")


def test_packets_of_an_unknown_link_are_told_once_and_the_others_are_read(tmp_path: Path) -> None:
    data = section() + interface(147) + interface(1)
    data += b"".join(enhanced(FRAMES[0], number=0) for _ in range(5)) + enhanced(FRAMES[0], number=1)
    found = captured(tmp_path, data)
    assert counted(found) == (3, 0)
    ((number, reason),) = found.reasons
    assert (number, "type 147" in reason) == (1, True)


@pytest.mark.parametrize("data", [b"", b"\xa1\xb2", b"\x0a\x0d\x0d", b"no capture at all\n", gzip.compress(b"", mtime=0)])
def test_asked_for_a_capture_anything_else_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    found = read(tmp_path / "x", form="pcap")
    assert found.connections == []
    assert [number for number, _ in found.reasons] == [1]


def test_as_lines_a_capture_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(frames.pcap(FRAMES))
    found = read(tmp_path / "x", form="jsonl")
    assert found.connections == []
    assert found.broken != []


def test_a_folder_gives_captures_and_lines_alike(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(frames.pcap(FRAMES[:1]))
    (tmp_path / "b.pcapng.gz").write_bytes(gzip.compress(frames.pcapng([Side((CLIENT, 41_000), (SERVER, 9)).udp(b"12")])))
    (tmp_path / "c.jsonl").write_bytes(b'{"kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01.25Z"}\n')
    (tmp_path / "d.cap").write_bytes(frames.pcap([Side((CLIENT, 42_000), (SERVER, 9)).udp(b"123")]))
    found = read(tmp_path)
    assert found.reasons == []
    assert sorted(one.source.bytes or 0 for one in found.connections) == [0, 2, 3, 3]


def test_a_connection_goes_on_in_the_next_file(tmp_path: Path) -> None:
    for at, frame in enumerate(FRAMES):
        (tmp_path / f"{at}.pcap").write_bytes(frames.pcap([frame]))
    assert counted(read(tmp_path)) == (8, 1)


def test_the_same_capture_always_gives_the_same_ids(tmp_path: Path) -> None:
    whole = [*FRAMES, *frames.conversation(Side((CLIENT, 40_001), (SERVER, 443)), [b"x"], [])]
    first, again = captured(tmp_path, frames.pcap(whole)), captured(tmp_path, gzip.compress(frames.pcapng(whole)), "y")
    ids = [one.id for one in first.connections]
    assert ids == [one.id for one in again.connections]
    assert len(set(ids)) == 2
    assert all(len(one) == 16 for one in ids)


def test_what_a_capture_can_not_show_is_said(tmp_path: Path) -> None:
    assert any("processes" in one for one in captured(tmp_path, frames.pcap(FRAMES)).blind)


def test_what_is_left_off_in_its_middle_is_not_called_broken(tmp_path: Path) -> None:
    stop = threading.Event()
    broken: list[object] = []
    whole = [Side((CLIENT, 1_024 + at), (SERVER, 9)).tcp(flags, 1, at=at) for at in range(20_000) for flags in (frames.SYN,)]
    (tmp_path / "x").write_bytes(frames.pcap(whole))
    sensor = Replay(PartConfig(), paths=[str(tmp_path / "x")], broken=broken.append)
    seen = 0
    for batch in sensor.observe(stop):
        seen += len(batch)
        stop.set()
    assert 0 < seen < 20_000
    assert broken == []


def test_magics_are_those_of_both_forms_in_both_orders() -> None:
    assert {form(FRAMES)[:4] for form in FORMS.values()} == pcap.MAGICS


def test_bytes_that_are_no_capture_are_named_by_how_they_begin() -> None:
    with pytest.raises(pcap.CaptureError, match="68 65 6c 6c"):
        list(pcap.packets([b"hello"], lambda _number, _reason: None))
