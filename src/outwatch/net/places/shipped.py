"""The data that comes with outwatch: ``networks.bin``, made by ``packaging/networks.py`` from public databases.

Layout, little-endian: 16 bytes ``MAGIC``; 4 bytes length of the header; 4 bytes CRC-32 of everything behind them; the header, JSON
(``Facts``); then the sections one after the other. First those of ``TABLES``: the places where another value begins, in order, as high and
low half, and the values. IPv4 is told apart by its first 24 bits, IPv6 by its first 48: smaller pieces are not announced to the internet.
Then the numbers of the networks, where each block of names ends, and the names: ``NAMES_IN_BLOCK`` to a block, a line each, each block
compressed by itself. A value of ``network`` is a position in ``numbers``, from 1; 0 is "not known" everywhere.
"""

import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from outwatch.errors import StoreError
from outwatch.net.addresses import Scopes
from outwatch.net.places import NOWHERE, Place

MAGIC = b"OUTWATCH-PLACES1"
NAMES_IN_BLOCK = 128
Kind = Literal["B", "H", "I"]
TABLES: dict[str, tuple[Kind, ...]] = {
    "v4.country": ("H", "B", "B"),
    "v4.network": ("H", "B", "H", "B"),
    "v6.country": ("I", "H", "B"),
    "v6.network": ("I", "H", "H", "B"),
}
"""The tables, with the kinds of their sections (as in ``array``): high and low half of a beginning; the value, or its low and high part."""

HERE = Path(__file__).with_name("networks.bin")
_HEAD = len(MAGIC) + 8
_BLOCKS_REMEMBERED = 256
_LONGEST_HEADER = 65_536


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """A database that the data is made from: what it gives, whom to thank for it, under which licence, and from which day it is."""

    name: str
    gives: str
    licence: str
    credit: str
    date: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the data says of itself. ``countries`` are the codes from value 1 on, ``sections`` the lengths in bytes, in their order."""

    origins: tuple[Origin, ...]
    countries: tuple[str, ...]
    sections: tuple[int, ...]


def facts(path: Path = HERE) -> Facts | None:
    """Give what the data says of itself, without reading it all; ``None`` if it can't be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            length = int.from_bytes(head[len(MAGIC) : len(MAGIC) + 4], "little")
            return msgspec.json.decode(file.read(min(length, _LONGEST_HEADER)), type=Facts) if head.startswith(MAGIC) else None
    except (OSError, ValueError):
        return None


class _Table(NamedTuple):
    high: Sequence[int]
    low: Sequence[int]
    values: Sequence[int]
    upper: Sequence[int] | None = None

    def at(self, high: int, low: int) -> int:
        """Give the value of the last beginning that is not behind a place; 0 if there is none."""
        first = bisect_left(self.high, high)
        found = bisect_right(self.low, low, first, bisect_right(self.high, high, first)) - 1
        if found < 0:
            return 0
        return self.values[found] if self.upper is None else self.values[found] | self.upper[found] << 16


class Shipped:
    """Knows country and network of most public addresses, as of the day of its data."""

    def __init__(self, path: Path = HERE) -> None:
        """Read the file (8 MB, into memory); ``StoreError`` if it is missing, damaged or not of this kind."""
        try:
            data = path.read_bytes()
            self.facts, sections = _taken_apart(data)
            at = iter(sections)
            self._tables = {name: _Table(*(_numbers(kind, next(at)) for kind in kinds)) for name, kinds in TABLES.items()}
            self._networks, self._ends = _numbers("I", next(at)), _numbers("I", next(at))
            self._names = bytes(next(at))
        except OSError as error:
            raise StoreError(path, error.strerror or str(error)) from error
        except (ValueError, StopIteration) as error:
            raise StoreError(path, "damaged, or not made for this version; install outwatch again") from error
        self._countries = (None, *self.facts.countries)
        self._scopes = Scopes()
        self._block = lru_cache(maxsize=_BLOCKS_REMEMBERED)(self._unpacked)

    def find(self, address: IPv4Address | IPv6Address) -> Place:
        """Give what is known of an address; nothing of one that is not public by IANA's table, whatever the data says."""
        if self._scopes.place(str(address))[1] != "public":
            return NOWHERE
        number = int(address)
        if isinstance(address, IPv4Address):
            countries, networks, place = self._tables["v4.country"], self._tables["v4.network"], (number >> 16, number >> 8 & 0xFF)
        else:
            countries, networks, place = self._tables["v6.country"], self._tables["v6.network"], (number >> 96, number >> 80 & 0xFFFF)
        country, network = self._countries[countries.at(*place)], networks.at(*place)
        return Place(country, self._networks[network - 1], self._name(network - 1)) if network else Place(country)

    def _name(self, network: int) -> str | None:
        return self._block(network // NAMES_IN_BLOCK)[network % NAMES_IN_BLOCK] or None

    def _unpacked(self, block: int) -> list[str]:
        begins = self._ends[block - 1] if block else 0
        return zlib.decompress(self._names[begins : self._ends[block]]).decode().split("\n")


def _taken_apart(data: bytes) -> tuple[Facts, list[memoryview]]:
    """Give header and sections; ``ValueError`` if they are not as they were written."""
    length, checksum = (int.from_bytes(data[at : at + 4], "little") for at in (len(MAGIC), len(MAGIC) + 4))
    if data[: len(MAGIC)] != MAGIC or zlib.crc32(memoryview(data)[_HEAD:]) != checksum:
        raise ValueError("damaged")
    facts = msgspec.json.decode(data[_HEAD : _HEAD + length], type=Facts)
    view, at, sections = memoryview(data), _HEAD + length, []
    for size in facts.sections:
        sections.append(view[at : at + size])
        at += size
    if at != len(data):
        raise ValueError("sections of another length")
    return facts, sections


def _numbers(kind: Kind, section: memoryview) -> Sequence[int]:
    """Look at a section as numbers, where they lie: copying them would take ten times as long as all else."""
    if sys.byteorder == "little":
        return section.cast(kind)
    numbers = array(kind, section.tobytes())
    numbers.byteswap()
    return numbers
