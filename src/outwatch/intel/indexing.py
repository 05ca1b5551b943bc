"""Makes an index of lists, in memory that does not grow with them: rows are sorted in pieces, and the pieces merged on the way to the file.

An entry that a list has twice becomes one: with the strongest confidence, seen first and last over all, and the note of the latest.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec.structs import replace

from outwatch.errors import StoreError
from outwatch.guard.files import new_file
from outwatch.guard.text import cleaned
from outwatch.intel import layout
from outwatch.intel.entries import Entry
from outwatch.intel.layout import ListFacts
from outwatch.intel.sorting import Column, Sorter
from outwatch.net import domains
from outwatch.net.addresses import parse_network

_FLUSHED = 1 << 14  # rows after which columns leave the memory
_REMEMBERED = 1 << 14
_LONGEST_NOTE, _LONGEST_NAME = 200, 255  # characters; bytes
_MOST_NOTES = 64 << 20  # bytes of all notes; entries after that have none
_MOST_ROWS, _MOST_LISTS = 1 << 31, 1 << 16
_LATEST = (1 << 32) - 1
_DISGUISED = (bytes(10) + b"\xff\xff", b"\x00\x64\xff\x9b" + bytes(8))  # IPv6 addresses that mean an IPv4 one
_SAID = struct.Struct(">HBIIII")  # a fact as rows are sorted with it; the list comes first
_LIST = 2  # bytes of it that say which list
_V4, _V6, _SUM = struct.Struct(">IB"), struct.Struct(">QQB"), struct.Struct(">I")
_V4_BITS, _V6_BITS, _HALF = 32, 128, 64
_Said = tuple[int, int, int, int, int, int]


class Built(NamedTuple):
    """How many entries of each list are in the index, and how many are not because they are no address, network or name."""

    entries: tuple[int, ...]
    refused: tuple[int, ...]


def build(path: Path, lists: Iterable[tuple[ListFacts, Iterable[Entry]]]) -> Built:
    """Write the index of some lists in one step: whoever has the old one open keeps it, and nobody sees a part of the new one.

    Each list is read once, from its beginning to its end. ``OutputError`` and ``FileRefused`` as ``guard.files.new_file``; what reading a
    list raises goes through, and the old index stays.
    """
    with new_file(path, replaces=True) as file, ExitStack() as stack:
        making = _Making(path, stack)
        for facts, entries in lists:
            making.take(facts, entries)
        return making.write(file)


class _Making:
    """An index on its way to the disk."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._v4, self._v6, self._named = (Sorter(path.parent, stack) for _ in range(3))
        self._columns = {name: Column(path.parent, stack, code) for name, code in layout.SECTIONS.items()}
        self._columns["notes"].extend(bytes(layout.ALIGNED))  # so that place 0 is no note
        self._notes: dict[str, int] = {}
        self._facts: dict[_Said, int] = {}
        self._lists: list[ListFacts] = []
        self._entries: list[int] = []
        self._refused: list[int] = []

    def take(self, facts: ListFacts, entries: Iterable[Entry]) -> None:
        """Sort the entries of a list in."""
        number, refused, known = len(self._lists), 0, dict[tuple[object, ...], bytes]()
        self._lists.append(facts)
        self._entries.append(0)
        if len(self._lists) > _MOST_LISTS:
            raise StoreError(self._path, f"an index has room for {_MOST_LISTS:,} lists")
        for entry in entries:
            key = _name_key(entry.value) if entry.kind == "domain" else _network_key(entry.value)
            if key is None:
                refused += 1
                continue
            said = known.get(entry[2:])
            if said is None:
                said = known[entry[2:]] = self._said(number, entry)
                if len(known) > _REMEMBERED:
                    known.clear()
            (self._named if entry.kind == "domain" else self._v4 if len(key) == _V4.size else self._v6).add(key + said)
        self._refused.append(refused)
        if self._v4.count + self._v6.count + self._named.count > _MOST_ROWS:
            raise StoreError(self._path, f"an index has room for {_MOST_ROWS:,} entries")

    def write(self, file: BinaryIO) -> Built:
        """Write everything that was taken."""
        self._write_v4()
        self._write_v6()
        self._write_names()
        counted = [replace(one, entries=count) for one, count in zip(self._lists, self._entries, strict=True)]
        self._columns["lists"].extend(msgspec.json.encode(counted))
        table, summed, at = b"", 0, layout.START
        file.seek(at)
        for name in layout.SECTIONS:
            table += layout.SECTION.pack(at, self._columns[name].size)
            for chunk in chain(self._columns[name].chunks(), (bytes(-self._columns[name].size % layout.ALIGNED),)):
                file.write(chunk)
                summed, at = zlib.crc32(chunk, summed), at + len(chunk)
        file.seek(0)
        file.write(layout.HEADER.pack(layout.MAGIC, layout.VERSION, layout.ORDER, at, zlib.crc32(table, summed)) + table)
        return Built(tuple(self._entries), tuple(self._refused))

    def _write_v4(self) -> None:
        starts, lengths, parents, facts = (self._columns[f"v4_{name}"] for name in ("starts", "lengths", "parents", "facts"))
        around = _Around()
        for row, (key, said) in enumerate(_merged(self._v4.rows())):
            start, length = _V4.unpack(key)
            starts.append(start)
            lengths.append(length)
            parents.append(around.add(row, start, start | (1 << _V4_BITS - length) - 1))
            facts.append(self._fact(said))
            if not row % _FLUSHED:
                self._flush()

    def _write_v6(self) -> None:
        columns = (self._columns[f"v6_{name}"] for name in ("highs", "lows", "lengths", "parents", "facts"))
        highs, lows, lengths, parents, facts = columns
        around = _Around()
        for row, (key, said) in enumerate(_merged(self._v6.rows())):
            high, low, length = _V6.unpack(key)
            start = high << _HALF | low
            highs.append(high)
            lows.append(low)
            lengths.append(length)
            parents.append(around.add(row, start, start | (1 << _V6_BITS - length) - 1))
            facts.append(self._fact(said))
            if not row % _FLUSHED:
                self._flush()

    def _write_names(self) -> None:
        hashes, places, facts, names = (self._columns[name] for name in ("hashes", "name_places", "name_facts", "names"))
        buckets, bits = self._columns["buckets"], self._named.count.bit_length()
        rows, begun = 0, 0
        for key, said in _merged(self._named.rows()):
            (checksum,) = _SUM.unpack_from(key)
            for _ in range((checksum >> 32 - bits) + 1 - begun):
                buckets.append(rows)
                begun += 1
            name = key[_SUM.size : -1]
            hashes.append(checksum)
            places.append(self._place_of(names))
            names.extend(bytes([len(name)]) + name)
            facts.append(self._fact(said))
            rows += 1
            if not rows % _FLUSHED:
                self._flush()
        for _ in range((1 << bits) + 1 - begun):
            buckets.append(rows)

    def _place_of(self, column: Column) -> int:
        if column.size > _LATEST:
            raise StoreError(self._path, "an index has room for 4 GB of names")
        return column.size

    def _flush(self) -> None:
        for column in self._columns.values():
            column.flush()

    def _fact(self, said: _Said) -> int:
        """Give the number of a fact; most entries of a list share one."""
        self._entries[said[0]] += 1
        known = self._facts.get(said)
        if known is None:
            column = self._columns["facts"]
            known = self._facts[said] = column.size // layout.FACT.size
            column.extend(layout.FACT.pack(*said))
            if len(self._facts) > _REMEMBERED:
                self._facts.clear()
        return known

    def _said(self, number: int, entry: Entry) -> bytes:
        """Spell what a list says of an entry."""
        confidence = layout.NO_CONFIDENCE if entry.confidence is None else max(0, min(100, entry.confidence))
        ends = 0 if entry.expires is None else max(1, _seconds(entry.expires))
        times = (_seconds(entry.first_seen), _seconds(entry.last_seen), ends)
        return _SAID.pack(number, confidence, *times, self._note(entry.note) if entry.note else 0)

    def _note(self, text: str) -> int:
        """Give the place of a note; 0 if there are too many."""
        text, column = cleaned(text, _LONGEST_NOTE), self._columns["notes"]
        known = self._notes.get(text)
        if known is None and column.size < _MOST_NOTES:
            encoded = text.encode()
            known = self._notes[text] = column.size
            column.extend(layout.NOTE.pack(len(encoded), zlib.crc32(encoded)) + encoded)
            if len(self._notes) > _REMEMBERED:
                self._notes.clear()
                column.flush()
        return known or 0


class _Around:
    """Says of each row, taken in their order, which row is the next one around it."""

    def __init__(self) -> None:
        self._open: list[tuple[int, int]] = []  # last address, and row counted from 1

    def add(self, row: int, first: int, last: int) -> int:
        """Give the row around this one, counted from 1; 0 if there is none."""
        while self._open and self._open[-1][0] < first:
            self._open.pop()
        around = self._open[-1][1] if self._open else 0
        self._open.append((last, row + 1))
        return around


def _merged(rows: Iterable[bytes]) -> Iterator[tuple[bytes, _Said]]:
    """Give the key of each row and what is said of it, what one list says of one key together."""
    same, before = b"", None
    for row in rows:
        said = _SAID.unpack_from(row, len(row) - _SAID.size)
        if before is not None and row.startswith(same) and len(row) == len(same) + _SAID.size - _LIST:
            before = _together(before, said)
            continue
        if before is not None:
            yield same[:-_LIST], before
        same, before = row[: _LIST - _SAID.size], said
    if before is not None:
        yield same[:-_LIST], before


def _together(one: _Said, other: _Said) -> _Said:
    number, *confidences = one[0], *(said[1] for said in (one, other) if said[1] != layout.NO_CONFIDENCE)
    firsts = [said[2] for said in (one, other) if said[2]]
    notes = [(said[3], said[5]) for said in (one, other) if said[5]]
    return (
        number,
        max(confidences, default=layout.NO_CONFIDENCE),
        min(firsts, default=0),
        max(one[3], other[3]),
        max(one[4], other[4]) if one[4] and other[4] else 0,
        max(notes, default=(0, 0))[1],
    )


def _network_key(value: str) -> bytes | None:
    """Give what an address or a network is sorted by: its first address and the length of its prefix."""
    address, slash, length = value.partition("/")
    v4 = ":" not in address
    try:
        packed = inet_pton(AF_INET if v4 else AF_INET6, address)
        bits = _V4_BITS if v4 else _V6_BITS
        if not slash and (v4 or not packed.startswith(_DISGUISED)):
            return packed + bytes([bits])
        size = int(length) if length.isascii() and length.isdecimal() and len(length) < 4 else -1  # noqa: PLR2004 - 128
        if 0 <= size <= bits and (v4 or not packed.startswith(_DISGUISED)):
            kept = int.from_bytes(packed, "big") >> bits - size << bits - size
            return kept.to_bytes(bits // 8, "big") + bytes([size])
    except (OSError, ValueError):
        pass
    network = parse_network(value)
    return network.network_address.packed + bytes([network.prefixlen]) if network is not None else None


def _name_key(value: str) -> bytes | None:
    """Give what a name is sorted by: its checksum, and its letters up to a zero."""
    name = domains.canonical(value if value.isascii() else domains.a_labels(value) or "")
    if name is None or "\0" in name:
        return None
    encoded = name.encode("ascii", "replace")
    return _SUM.pack(zlib.crc32(encoded)) + encoded + b"\0" if len(encoded) <= _LONGEST_NAME else None


def _seconds(time: int | None) -> int:
    return max(0, min(_LATEST, time)) if time else 0
