"""Bytes in pieces: each kept once as it came first, counted once however often it came, within bounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.sensors.replay.fragments import Fragments
from outwatch.sensors.replay.packets import Datagram, Fragment
from outwatch.sensors.replay.pieces import Pieces
from outwatch.sensors.replay.tcp import Direction

SECOND = 1_000_000_000
PLACES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=40)


@given(places=PLACES, most=st.integers(0, 60))
@settings(deadline=None)
def test_of_overlapping_pieces_the_first_wins_byte_by_byte(places: list[tuple[int, int]], most: int) -> None:
    pieces, expected = Pieces(most, 100), dict[int, int]()
    for number, (at, length) in enumerate(places):
        pieces.add(at, bytes([number]) * length)
        for offset in range(at, min(at + length, most)):
            expected.setdefault(offset, number)
    whole = next((at for at in range(most + 1) if at not in expected), most)
    assert pieces.beginning() == bytes(expected[at] for at in range(whole))
    assert pieces.held == len(expected)


@pytest.mark.security
def test_more_gaps_than_allowed_leave_pieces_out_and_the_beginning_can_still_grow() -> None:
    pieces = Pieces(10_000, 8)
    for at in range(1_000, 9_000, 10):
        pieces.add(at, b"x")
    assert pieces.held == 8
    pieces.add(0, b"a" * 1_000)  # joins the first of them
    assert pieces.beginning() == b"a" * 1_000 + b"x"


@given(places=PLACES, start=st.sampled_from([0, 1, 0xFFFFFFF0, 0x7FFFFFF8]))
@settings(deadline=None)
def test_bytes_are_counted_once_in_any_order_also_where_numbers_go_round(places: list[tuple[int, int]], start: int) -> None:
    side, expected = Direction(), set[int]()
    side.begin(start, 64)
    for at, length in places:
        side.carry((start + at) % (1 << 32), length, bytes(length))
        expected.update(range(at, at + length))
    assert side.bytes == len(expected)


def test_a_stream_is_counted_to_its_end_although_a_piece_was_never_captured() -> None:
    side = Direction()
    side.begin(0, 0)
    side.carry(0, 1_000, b"")
    for at in range(2_000, 6 << 30, 1 << 20):  # around the ring, with a gap at the beginning
        side.carry(at % (1 << 32), 1 << 20, b"")
    assert side.bytes == 1_000 + len(range(2_000, 6 << 30, 1 << 20)) * (1 << 20)


@pytest.mark.security
def test_one_forged_segment_far_ahead_does_not_hide_what_follows() -> None:
    side = Direction()
    side.begin(0, 0)
    side.carry(1 << 30, 10, b"")
    for at in range(0, 50_000, 1_000):
        side.carry(at, 1_000, b"")
    assert side.bytes == 50_010


def test_what_lies_before_the_beginning_counts_for_nothing() -> None:
    side = Direction()
    side.begin(1_000, 64)
    assert side.carry(900, 50, b"x" * 50) == 0
    assert side.carry(999, 1, b"x") == 0  # a probe whether the other end is alive
    side.carry(990, 20, b"b" * 10 + b"c" * 10)
    assert side.bytes == 10
    assert side.opening is not None
    assert side.opening.beginning() == b"c" * 10


def piece(offset: int, data: bytes, *, more: bool = True, identity: int = 1, source: bytes = b"aaaa") -> Datagram:
    return Datagram(source, b"bbbb", 17, data, len(data), Fragment(identity, offset, more))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 0, 1, 1, 2)])
def test_a_datagram_is_whole_whatever_the_order_of_its_pieces(order: tuple[int, ...]) -> None:
    pieces = [piece(0, b"a" * 8), piece(8, b"b" * 8), piece(16, b"c" * 3, more=False)]
    fragments = Fragments()
    whole = [one for at in order for one in fragments.add(pieces[at], 0)]
    assert whole == [Datagram(b"aaaa", b"bbbb", 17, b"a" * 8 + b"b" * 8 + b"ccc", 19)]
    assert list(fragments.finish()) == []


def test_of_overlapping_fragments_the_first_copy_counts() -> None:
    fragments = Fragments()
    assert list(fragments.add(piece(0, b"first..."), 0)) == []
    assert list(fragments.add(piece(0, b"second.." * 2), 0)) == []
    (whole,) = fragments.add(piece(16, b"!", more=False), 0)
    assert whole.payload == b"first...second..!"


def test_datagrams_of_several_hosts_and_with_several_numbers_are_kept_apart() -> None:
    fragments = Fragments()
    for one in (piece(0, b"a" * 8), piece(0, b"b" * 8, identity=2), piece(0, b"c" * 8, source=b"cccc")):
        assert list(fragments.add(one, 0)) == []
    (whole,) = fragments.add(piece(8, b"!", more=False, identity=2), 0)
    assert whole.payload == b"b" * 8 + b"!"


@pytest.mark.security
def test_a_datagram_that_is_never_whole_is_given_as_far_as_it_goes() -> None:
    fragments = Fragments()
    assert list(fragments.add(piece(0, b"a" * 8), 0)) == []
    assert list(fragments.add(piece(16, b"c", more=False), 0)) == []
    late = list(fragments.add(piece(0, b"z" * 8), 61 * SECOND))
    assert [one.payload for one in late] == [b"a" * 8]
    assert [one.payload for one in fragments.finish()] == [b"z" * 8]
    assert fragments.lost == 0


@pytest.mark.security
def test_pieces_without_a_beginning_are_counted_and_all_is_bounded() -> None:
    fragments = Fragments()
    given_back = 0
    for identity in range(5_000):
        given_back += len(list(fragments.add(piece(8 * 4_000, bytes(8_000), identity=identity), 0)))
    assert fragments._bytes <= 8 << 20
    assert given_back == 0
    list(fragments.finish())
    assert fragments.lost == 5_000
    assert fragments._bytes == 0


@pytest.mark.security
def test_a_datagram_does_not_grow_beyond_what_ip_allows() -> None:
    fragments = Fragments()
    found = [one for at in range(0, 65_536, 8) for one in fragments.add(piece(at, bytes(64)), 0)]
    found += fragments.finish()
    assert [len(one.payload) for one in found] == [65_535]
