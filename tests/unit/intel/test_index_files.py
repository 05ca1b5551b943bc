"""Index files: made in bounded memory, replaced in one step, and refused when they are not what they should be."""

import errno
import gc
import os
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import FileRefused, OutputError, RuleError, StoreError
from outwatch.intel import indexing, layout, sorting
from outwatch.intel.entries import Entry
from outwatch.intel.index import Index
from outwatch.intel.indexing import build
from outwatch.intel.layout import ListFacts

LIST = ListFacts(name="bad")
Make = Callable[..., Index]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index in a folder of its own."""
    (tmp_path / "intel").mkdir(mode=0o700)
    return tmp_path / "intel" / "index"


@pytest.fixture
def make(path: Path) -> Make:
    """Build the index of one list, or of several by their facts, and open it."""

    def of(*entries: Entry, facts: ListFacts = LIST, others: Iterable[tuple[ListFacts, Iterable[Entry]]] = ()) -> Index:
        build(path, [(facts, entries), *others])
        return Index.open(path)

    return of


def ip(value: str, **said: Any) -> Entry:
    return Entry("ip", value, **said)


def name(value: str, **said: Any) -> Entry:
    return Entry("domain", value, **said)


def found(index: Index, address: str | None, domain: str | None = None, now: float = 0.0) -> list[str]:
    return [one.entry for one in index.find(address, domain, now).indicators]


def test_a_list_that_can_not_be_read_to_its_end_leaves_the_index_as_it_was(make: Make, path: Path) -> None:
    make(ip("203.0.113.9"))

    def broken() -> Iterator[Entry]:
        yield ip("203.0.113.10")
        raise RuleError("list", 2, "damaged")

    with pytest.raises(RuleError):
        build(path, [(LIST, broken())])
    assert os.listdir(path.parent) == [path.name]
    assert found(Index.open(path), "203.0.113.9") == ["203.0.113.9"]


def test_who_has_an_index_open_keeps_it_when_another_takes_its_place(make: Make) -> None:
    before = make(*(ip(f"203.0.113.{last}") for last in range(250)), name("evil.test"))
    after = make(ip("198.51.100.1"))
    assert found(before, "203.0.113.77", "evil.test") == ["203.0.113.77", "evil.test"]
    assert (found(after, "203.0.113.77"), found(after, "198.51.100.1")) == ([], ["198.51.100.1"])


@pytest.mark.security
@pytest.mark.parametrize("content", [b"", b"other", bytes(1 << 16), b"\xff" * (1 << 16)])
def test_who_writes_over_an_index_in_use_ends_no_process_and_makes_up_no_hit(make: Make, path: Path, content: bytes) -> None:
    # A mapped file that is cut short ends the process with SIGBUS.
    index = make(ip("203.0.113.9"), ip("203.0.113.10", note="C2"), *(name(f"n{number}.test") for number in range(5_000)))
    path.write_bytes(content)
    assert found(index, "203.0.113.9") == ["203.0.113.9"]
    assert found(index, "203.0.113.8", "fine.test") == []
    with pytest.raises(StoreError, match="damaged"):
        index.find("203.0.113.10")
    with pytest.raises(StoreError, match="damaged"):
        index.find(None, "www.n77.test")


def test_an_index_that_nobody_needs_any_more_leaves_no_file_open(make: Make) -> None:
    make(ip("203.0.113.9"))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        make(name("evil.test"))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.security
def test_an_index_is_not_written_where_others_could_replace_it(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(FileRefused):
        build(folder / "index", [(LIST, [ip("203.0.113.9")])])
    assert os.listdir(folder) == []


def test_an_index_is_for_its_owner_only(make: Make, path: Path) -> None:
    make(ip("203.0.113.9"))
    assert path.stat().st_mode & 0o777 == 0o600


def test_lists_of_any_length_take_the_same_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_PIECE", 500)
    monkeypatch.setattr(sorting, "_MOST_PIECES", 4)
    monkeypatch.setattr(sorting, "_IN_MEMORY", 1 << 12)
    monkeypatch.setattr(indexing, "_FLUSHED", 256)
    monkeypatch.setattr(indexing, "_REMEMBERED", 256)

    def peak(count: int) -> int:
        entries = (
            one for at in range(count) for one in (ip(f"10.{at >> 8 & 255}.{at & 255}.{at >> 16}", note=f"n{at}"), name(f"n{at}.test"))
        )
        tracemalloc.start()
        try:
            assert build(path, [(LIST, entries)]).entries == (2 * count,)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few = peak(4_000)
    assert peak(16_000) < 1.5 * few


@pytest.mark.parametrize("most_pieces", [2, 64])
def test_rows_that_were_put_aside_come_back_in_order(path: Path, monkeypatch: pytest.MonkeyPatch, most_pieces: int) -> None:
    monkeypatch.setattr(sorting, "_PIECE", 7)
    monkeypatch.setattr(sorting, "_MOST_PIECES", most_pieces)
    numbers = list(range(200))
    random.Random(1).shuffle(numbers)
    entries = [one for at in numbers for one in (ip(f"203.0.113.{at}"), ip(f"2001:db8::{at:x}"), name(f"n{at}.test"))]
    assert build(path, [(LIST, entries)]).entries == (600,)
    index = Index.open(path)
    for at in range(200):
        assert found(index, f"203.0.113.{at}", f"n{at}.test") == [f"203.0.113.{at}", f"n{at}.test"]
        assert len(found(index, f"2001:db8::{at:x}")) == 1


def test_more_notes_than_there_is_room_for_are_left_out_and_the_entries_stay(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_MOST_NOTES", 100)
    index = make(*(ip(f"203.0.113.{last}", note=f"{last}" * 20) for last in range(100, 110)))
    notes = [index.find(f"203.0.113.{last}").indicators[0].note for last in range(100, 110)]
    assert notes[0] == "100" * 20
    assert notes[-1] is None


@pytest.mark.parametrize("bound", ["_MOST_LISTS", "_MOST_ROWS"])
def test_more_than_an_index_has_room_for_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(indexing, bound, 1)
    with pytest.raises(StoreError, match="has room for"):
        make(ip("203.0.113.9"), ip("203.0.113.10"), others=[(ListFacts(name="b"), [])])


def test_a_file_that_is_not_there_is_a_typed_error(path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        Index.open(path)


@pytest.mark.security
def test_what_is_no_plain_file_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(StoreError, match="not a plain file"):
        Index.open(path)
    with pytest.raises(StoreError):
        Index.open(path.parent)


@pytest.mark.parametrize("content", [b"", b"#", b"203.0.113.9\n" * 100, b"SQLite format 3\0" * 64, bytes(10_000)])
def test_a_foreign_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not an index"):
        Index.open(path)


def test_an_index_that_is_cut_short_or_too_long_is_refused(make: Make, path: Path) -> None:
    make(ip("203.0.113.9"), name("evil.test"), ip("2001:db8::1"))
    whole = path.read_bytes()
    for length in [*range(len(layout.MAGIC), len(whole)), len(whole) + 1, len(whole) + 4096]:
        path.write_bytes(whole[:length].ljust(length, b"\0"))
        with pytest.raises(StoreError, match="damaged"):
            Index.open(path)


def test_an_index_with_any_byte_changed_is_refused(make: Make, path: Path) -> None:
    make(ip("203.0.113.9"), name("evil.test"), ip("2001:db8::1"))
    whole = path.read_bytes()
    padding = range(layout.HEADER.size - 4, layout.HEADER.size)
    for at in set(range(len(whole))) - set(padding):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(StoreError):
            Index.open(path)


@pytest.mark.parametrize("field", ["version", "order"])
def test_an_index_of_another_version_or_machine_is_refused(make: Make, path: Path, field: str) -> None:
    make(ip("203.0.113.9"))
    data = bytearray(path.read_bytes())
    at = 8 if field == "version" else 12
    data[at : at + 4] = struct.pack("=I", 2) if field == "version" else data[at : at + 4][::-1]
    path.write_bytes(data)
    with pytest.raises(StoreError, match="another version of outwatch or on another kind of machine"):
        Index.open(path)


def test_where_an_open_file_can_not_be_replaced_it_is_read_as_a_whole(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert found(make(ip("203.0.113.9"), name("evil.test")), "203.0.113.9", "evil.test") == ["203.0.113.9", "evil.test"]


def test_a_full_disk_is_a_typed_error_and_the_index_before_stays(make: Make, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(ip("203.0.113.9"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        build(path, [(LIST, [ip("198.51.100.1")])])
    assert os.listdir(path.parent) == [path.name]
    assert found(Index.open(path), "203.0.113.9") == ["203.0.113.9"]
