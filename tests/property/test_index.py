"""The index against going through all entries one by one, and against files that somebody made up."""

import random
import struct
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outwatch.errors import StoreError
from outwatch.intel import layout, sorting
from outwatch.intel.entries import Entry
from outwatch.intel.index import Index
from outwatch.intel.indexing import build
from outwatch.intel.layout import ListFacts

NOW = 1_000
# Few different addresses and labels, so that entries meet, nest and repeat.
_LAST = st.integers(0, 15)
_V4 = st.builds(lambda high, low: f"203.0.{113 + high}.{low * 16 + high}", st.integers(0, 3), _LAST)
_V6 = st.builds(lambda high, low: str(ip_address(f"2001:db8:0:{high:x}::{low:x}")), st.integers(0, 3), _LAST)
_NAMES = st.lists(st.sampled_from(["a", "b", "xn--bcher-kva", "a-b"]), min_size=1, max_size=4).map(
    lambda labels: ".".join([*labels, "test"])
)
_TIMES = st.none() | st.integers(-1, 2 * NOW)
_CONFIDENCE = st.none() | st.integers(0, 100)
_ENTRIES = st.one_of(
    st.builds(Entry, st.just("ip"), _V4 | _V6, _CONFIDENCE, expires=_TIMES),
    st.builds(lambda ip, length: Entry("network", str(ip_network(f"{ip}/{length}", strict=False))), _V4, st.integers(0, 32)),
    st.builds(lambda ip, length: Entry("network", str(ip_network(f"{ip}/{length}", strict=False))), _V6, st.integers(0, 128)),
    st.builds(Entry, st.just("domain"), _NAMES, _CONFIDENCE, expires=_TIMES, note=st.none() | st.sampled_from(["one", "other"])),
)
_LISTS = st.lists(st.lists(_ENTRIES, max_size=25), max_size=4)


def _covers(entry: Entry, address: str, name: str) -> bool:
    if entry.kind == "domain":
        return name == entry.value or name.endswith(f".{entry.value}")
    network = ip_network(entry.value)
    return ip_address(address) in network


def _words(entry: Entry) -> str:
    """Spell an entry as hits do: a network of one address is an address."""
    if entry.kind != "network":
        return entry.value
    network = ip_network(entry.value)
    return str(network.network_address) if network.num_addresses == 1 else entry.value


def _one_by_one(lists: Iterable[list[Entry]], address: str, name: str) -> set[tuple[str, str]]:
    found = set()
    for number, entries in enumerate(lists):
        for value in {_words(entry) for entry in entries}:
            same = [one for one in entries if _words(one) == value]
            ends = [one.expires for one in same]
            lasts = None in ends or max(end for end in ends if end is not None) > NOW
            if lasts and _covers(same[0], address, name):
                found.add((f"list {number}", value))
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("intel") / "index"


@given(lists=_LISTS, asked=st.lists(st.tuples(_V4 | _V6, _NAMES), min_size=1, max_size=8), piece=st.sampled_from([3, 1_000]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_index_finds_what_going_through_all_entries_finds(
    path: Path, lists: list[list[Entry]], asked: list[tuple[str, str]], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "_PIECE", piece)
    monkeypatch.setattr(sorting, "_MOST_PIECES", 3)
    build(path, [(ListFacts(name=f"list {number}"), entries) for number, entries in enumerate(lists)])
    index = Index.open(path)
    for address, name in asked:
        hits = index.find(address, name, NOW).indicators
        told = [(one.list_, one.entry) for one in hits]
        assert len(told) == len(set(told))
        assert set(told) == _one_by_one(lists, address, name)
        lengths = [ip_network(one.entry).prefixlen for one in hits if one.entry[0].isdigit()]
        assert lengths == sorted(lengths, reverse=True)


@pytest.fixture(scope="module")
def whole(path: Path) -> bytes:
    """Give an index that has something in every section."""
    chance = random.Random(3)
    entries = [Entry("ip", f"203.0.113.{chance.randrange(256)}", at % 100, at, at, at, f"n{at}") for at in range(40)]
    entries += [Entry("network", f"203.0.{at}.0/2{at % 10}") for at in range(30)]
    entries += [Entry("ip", f"2001:db8::{at:x}") for at in range(40)] + [Entry("network", f"2001:db8::/{at}") for at in range(20, 60)]
    entries += [Entry("domain", f"n{at}.test", note="x") for at in range(60)]
    build(path, [(ListFacts(name="bad", confidence=5), entries), (ListFacts(name="known", kind="warning", meaning="CDN"), entries)])
    return path.read_bytes()


def _with_checksum(data: bytes) -> bytes:
    """Make the header say what the file now is, as somebody would who forges one."""
    magic, version, order, _, _ = layout.HEADER.unpack_from(data)
    checksum = crc32(data[layout.HEADER.size : layout.START], crc32(data[layout.START :]))
    return layout.HEADER.pack(magic, version, order, len(data), checksum) + data[layout.HEADER.size :]


def _asked_of_all(index: Index) -> None:
    """Ask for things that lead through every section; only ``StoreError`` may come of it."""
    for address in ("203.0.113.9", "203.0.5.77", "0.0.0.0", "255.255.255.255", "2001:db8::7", "::", "ffff::"):
        with suppress(StoreError):
            index.find(address, None)
    for number in range(70):
        with suppress(StoreError):
            index.find(None, f"www.n{number}.test", 0)


@given(edits=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_damaged_index_is_refused(path: Path, whole: bytes, edits: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for place, mask in edits:
        data[place % len(data)] ^= mask
    if data == whole:
        return
    path.write_bytes(data)
    told = None
    try:
        index = Index.open(path)
    except StoreError as error:
        told = str(error)
    if told is None:  # only the blank at the end of the header may be anything
        assert data[: layout.HEADER.size - 4] + data[layout.HEADER.size :] == whole[: layout.HEADER.size - 4] + whole[layout.HEADER.size :]
        assert index.find("203.0.5.77", "n5.test", 0).indicators


@pytest.mark.security
@given(edits=st.lists(st.tuples(st.integers(layout.HEADER.size), st.binary(min_size=1, max_size=16)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_a_forged_index_whose_checksum_is_right_costs_a_typed_error_at_most(
    path: Path, whole: bytes, edits: list[tuple[int, bytes]]
) -> None:
    data = bytearray(whole)
    for place, written in edits:
        at = layout.HEADER.size + place % (len(data) - layout.HEADER.size)
        data[at : at + len(written)] = written[: len(data) - at]
    path.write_bytes(_with_checksum(bytes(data)))
    with suppress(StoreError):
        _asked_of_all(Index.open(path))


@pytest.mark.security
@given(
    section=st.integers(0, len(layout.SECTIONS) - 1),
    place=st.integers(0, 1 << 64).map(lambda at: at % (1 << 64)) | st.integers(0, 5_000),
    length=st.integers(0, (1 << 64) - 1) | st.integers(0, 5_000),
)
@settings(max_examples=300, deadline=None)
def test_sections_that_lie_anywhere_cost_a_typed_error_at_most(path: Path, whole: bytes, section: int, place: int, length: int) -> None:
    data = bytearray(whole)
    struct.pack_into("=QQ", data, layout.HEADER.size + section * layout.SECTION.size, place, length)
    path.write_bytes(_with_checksum(bytes(data)))
    with suppress(StoreError):
        _asked_of_all(Index.open(path))


@pytest.mark.security
@given(
    words=st.sampled_from([0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF]) | st.integers(0, 0xFFFF_FFFF), section=st.sampled_from(sorted(layout.SECTIONS))
)
@settings(max_examples=200, deadline=None)
def test_a_section_full_of_one_number_costs_a_typed_error_at_most(path: Path, whole: bytes, words: int, section: str) -> None:
    data = bytearray(whole)
    place, length = layout.SECTION.unpack_from(data, layout.HEADER.size + list(layout.SECTIONS).index(section) * layout.SECTION.size)
    data[place : place + length] = (struct.pack("=I", words) * (length // 4 + 1))[:length]
    path.write_bytes(_with_checksum(bytes(data)))
    with suppress(StoreError):
        _asked_of_all(Index.open(path))


@given(text=st.text(max_size=400), other=st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_text_is_too_strange_to_be_looked_up(path: Path, whole: bytes, text: str, other: str) -> None:
    path.write_bytes(whole)
    hits = Index.open(path).find(text, other, 0)
    assert all(one.list_ in {"bad", "known"} for one in (*hits.indicators, *hits.warnings))
