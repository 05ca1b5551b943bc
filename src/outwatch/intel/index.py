"""Which lists have an address or a name: looked up in a file that is never read as a whole into objects.

Addresses and networks are one sorted table for each version of IP: the last row that does not begin behind an address either covers it or
lies within all that do, and each row knows the next one around it. Names are found by the checksums of their suffixes.
Nothing in the file is believed: it is checked as a whole when it is opened, and every row again when it is read.
"""

import struct
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address
from pathlib import Path
from socket import AF_INET, inet_ntop, inet_pton
from typing import NamedTuple, Self
from zlib import crc32

import msgspec

from outwatch.errors import StoreError
from outwatch.intel import layout
from outwatch.intel.layout import ListFacts
from outwatch.intel.sections import Sections, opened
from outwatch.model.records import Listed
from outwatch.net import domains
from outwatch.net.addresses import parse

_REMEMBERED = 8_192  # addresses, and as many names
_FEW = 8
_LONGEST = 300  # characters; no address and no name has more
_LONGEST_NAME = 255  # bytes
_V4_BITS, _V6_BITS, _HALF = 32, 128, 64
_LOW = (1 << _HALF) - 1
_Damage = (IndexError, ValueError, struct.error, OverflowError, RecursionError)  # what reading a row raises that is not what it should be


class Hits(NamedTuple):
    """Entries of lists that cover an address or a name, the most specific first: of bad things, and of well-known ones."""

    indicators: tuple[Listed, ...] = ()
    warnings: tuple[Listed, ...] = ()


class Hit(NamedTuple):
    """An entry that covers what was looked up; ``expires`` in seconds since the epoch, 0 for never."""

    listed: Listed
    warning: bool
    expires: int


NOTHING = Hits()
Found = tuple[Hit, ...]


class Index:
    """One index file. It never changes: a new one takes its place, and whoever has this one open keeps it."""

    def __init__(self, path: Path, sections: Sections) -> None:
        """Take what was opened; ``StoreError`` if its parts don't fit together."""
        self._path, parts = path, sections.near
        self._read, self._whose = sections.read, sections.whose
        try:
            self.lists = tuple(msgspec.json.decode(bytes(parts["lists"]), type=list[ListFacts]))
        except (*_Damage, msgspec.MsgspecError) as error:
            raise self._damaged() from error
        self._v4 = _Networks(parts["v4_starts"], None, parts["v4_lengths"], parts["v4_parents"], parts["v4_facts"])
        self._v6 = _Networks(parts["v6_highs"], parts["v6_lows"], parts["v6_lengths"], parts["v6_parents"], parts["v6_facts"])
        self._buckets, self._hashes = parts["buckets"], parts["hashes"]
        self._places, self._name_facts, self._facts = parts["name_places"], parts["name_facts"], parts["facts"]
        self._shift = _V4_BITS + 1 - (len(self._buckets) - 1).bit_length()
        self._require_matching_lengths()
        self._of_address = lru_cache(maxsize=_REMEMBERED)(self._look_up_address)
        self._of_name = lru_cache(maxsize=_REMEMBERED)(self._look_up_name)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file. ``StoreError`` if it is not there, damaged, cut short, or no index of this version and kind of machine."""
        return cls(path, opened(path))

    def find(self, address: str | None, name: str | None = None, now: float | None = None) -> Hits:
        """Give what the lists have on an address and a name, in any spelling; what has expired at ``now`` is left out.

        ``now`` is in seconds since the epoch, by default the present. What is neither an address nor a name is on no list. ``StoreError``
        if the file turns out to be damaged.
        """
        found = (self.covering_address(address) if address else ()) + (self.covering_name(name) if name else ())
        return sorted_out(found, time.time() if now is None else now) if found else NOTHING

    def covering_address(self, text: str) -> Found:
        """Give every entry that covers an address, also what has expired; ``StoreError`` as ``find``."""
        return self._of_address(text) if len(text) <= _LONGEST else ()

    def covering_name(self, text: str) -> Found:
        """Give every entry that covers a name, also what has expired; ``StoreError`` as ``find``."""
        return self._of_name(text) if len(text) <= _LONGEST else ()

    def _look_up_address(self, text: str) -> Found:
        try:
            number, v4 = int.from_bytes(inet_pton(AF_INET, text), "big"), True
        except (OSError, ValueError):
            address = parse(text)
            if address is None:
                return ()
            number, v4 = int(address), address.version == 4  # noqa: PLR2004 - IPv4
        try:
            found = self._v4.around_v4(number) if v4 else self._v6.around_v6(number)
            return tuple([self._hit(fact, _network(number, length, v4=v4)) for fact, length in found]) if found else ()
        except _Damage as error:
            raise self._damaged() from error

    def _look_up_name(self, text: str) -> Found:
        name = domains.canonical(text)
        if name is None or not len(self._hashes):
            return ()
        encoded = _ascii(name)
        try:
            return self._suffixes(encoded)
        except _Damage as error:
            raise self._damaged() from error

    def _suffixes(self, encoded: bytes) -> Found:
        """Look up a name and each of its parents."""
        buckets, hashes, shift, at, found = self._buckets, self._hashes, self._shift, 0, []
        while True:
            suffix = encoded[at:] if at else encoded
            checksum = crc32(suffix)
            bucket = checksum >> shift
            first, after = buckets[bucket], buckets[bucket + 1]
            if first != after:
                first = bisect_left(hashes, checksum, first, after)
                if first < after and hashes[first] == checksum:
                    found += self._of_suffix(suffix, first, bisect_right(hashes, checksum, first, after), whole=not at)
            at = encoded.find(b".", at) + 1
            if not at:
                return tuple(found)

    def _of_suffix(self, suffix: bytes, first: int, after: int, *, whole: bool) -> list[Hit]:
        """Give the rows of one suffix, among rows with its checksum.

        Below a name that a registry hands out names from, everybody is somebody else: there an indicator does not cover what is below.
        """
        if after - first > _FEW:  # anybody can make up names that have one checksum
            first = bisect_left(range(len(self._places)), suffix, first, after, key=self._name_at)
        found, words = [], suffix.decode("utf-8", "replace")
        for row in range(first, after):
            name = self._name_at(row)
            if name > suffix:
                break
            if name == suffix:
                hit = self._hit(self._name_facts[row], words)
                if hit.warning or whole or not _of_a_registry(words):
                    found.append(hit)
        return found

    def _name_at(self, row: int) -> bytes:
        """Read a name; its checksum is the row's, or somebody has written to the file since."""
        read = self._read("names", self._places[row], _LONGEST_NAME + 1)
        name = read[1 : 1 + read[0]]
        if crc32(name) != self._hashes[row]:
            raise IndexError(row)
        return name

    def _hit(self, fact: int, words: str) -> Hit:
        number, confidence, first, last, expires, place = layout.FACT.unpack_from(self._facts, fact * layout.FACT.size)
        of = self.lists[number]
        if confidence == layout.NO_CONFIDENCE:
            confidence = of.confidence
        elif confidence > 100:  # noqa: PLR2004 - per cent
            raise IndexError(fact)
        listed = Listed(
            list_=of.name,
            entry=words,
            confidence=confidence,
            first_seen=_time(first),
            last_seen=_time(last),
            note=of.meaning or self._note(place),
        )
        return Hit(listed, of.kind == "warning", expires)

    def _note(self, place: int) -> str | None:
        if not place:
            return None
        length, checksum = layout.NOTE.unpack_from(self._read("notes", place, layout.NOTE.size))
        text = self._read("notes", place + layout.NOTE.size, length)
        if crc32(text) != checksum:
            raise IndexError(place)
        return text.decode("utf-8", "replace")

    def _require_matching_lengths(self) -> None:
        """Raise if tables that belong together have different lengths."""
        rows = len(self._hashes)
        whole = len(self._places) == len(self._name_facts) == rows and len(self._facts) % layout.FACT.size == 0
        count = len(self._buckets) - 1
        if not (whole and self._v4.fits() and self._v6.fits() and 0 < count == 1 << (count.bit_length() - 1)):
            raise self._damaged()

    def _damaged(self) -> StoreError:
        return StoreError(self._path, "damaged: its parts don't fit together; outwatch intel update makes it anew")


def sorted_out(found: Iterable[Hit], now: float) -> Hits:
    """Part bad things from well-known ones, without what has expired at ``now`` (seconds since the epoch)."""
    valid = [one for one in found if not one.expires or one.expires > now]
    return Hits(tuple(one.listed for one in valid if not one.warning), tuple(one.listed for one in valid if one.warning))


class _Networks(NamedTuple):
    """Networks and addresses of one version of IP, sorted; each names the row around it."""

    starts: memoryview
    lows: memoryview | None
    lengths: memoryview
    parents: memoryview
    facts: memoryview

    def fits(self) -> bool:
        rows = len(self.starts)
        return all(len(column) == rows for column in self[1:] if column is not None)

    def around_v4(self, number: int) -> list[tuple[int, int]]:
        """Give fact and length of each row that covers an address, the longest first."""
        return self._outwards(bisect_right(self.starts, number), number, _V4_BITS, self.starts.__getitem__)

    def around_v6(self, number: int) -> list[tuple[int, int]]:
        """Do the same with numbers that come in two halves."""
        high, low = number >> _HALF, number & _LOW
        after = bisect_right(self.starts, high)
        if self.lows is not None and after and self.starts[after - 1] == high:
            after = bisect_right(self.lows, low, bisect_left(self.starts, high, 0, after), after)
        return self._outwards(after, number, _V6_BITS, self._whole)

    def _whole(self, row: int) -> int:
        return self.starts[row] << _HALF | self.lows[row] if self.lows is not None else 0

    def _outwards(self, after: int, number: int, bits: int, start: Callable[[int], int]) -> list[tuple[int, int]]:
        """Go from a row (counted from 1) to those around it, and keep those that cover the address."""
        found = []
        while after:
            row = after - 1
            length = self.lengths[row]
            if (number ^ start(row)) >> (bits - length) == 0:
                found.append((self.facts[row], length))
            after = self.parents[row]
            if after > row:
                raise IndexError(row)
        return found


def _network(number: int, length: int, *, v4: bool) -> str:
    """Spell the entry around an address."""
    bits = _V4_BITS if v4 else _V6_BITS
    first = (number >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big")
    address = inet_ntop(AF_INET, first) if v4 else str(IPv6Address(first))  # systems differ in how they write IPv6
    return address if length == bits else f"{address}/{length}"


def _ascii(name: str) -> bytes:
    """Give a name as lists have it: labels with other letters in their ASCII form, if they have one."""
    return (name if name.isascii() else domains.a_labels(name) or name).encode("utf-8", "replace")


@lru_cache(maxsize=_REMEMBERED)
def _of_a_registry(name: str) -> bool:
    """Tell whether anybody may have a name below this one from a registry; what companies rent out is theirs."""
    return "." not in name or domains.is_suffix(name, private=False)


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
