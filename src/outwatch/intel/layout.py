"""How an index lies on disk: a header, a table of sections, and the sections, each beginning at a multiple of eight bytes.

Numbers are in the machine's own order, so that they are read where they lie. Rows of addresses are sorted by first address and length of
the prefix, rows of names by the CRC-32 of the name and then the name. ``docs/explanation/indicators.md`` says why.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

ListKind = Literal["indicator", "warning"]
Meaning = Literal[
    "cloud",
    "CDN",
    "hosting",
    "VPN",
    "public resolver",
    "parking",
    "well known",
    "shared platform",
    "security vendor",
    "sinkhole",
    "dynamic DNS",
]

MAGIC = b"outwidx\n"
VERSION = 1
ORDER = 0x0102_0304  # reads differently on a machine that counts its bytes the other way round

HEADER = struct.Struct("=8sIIQI4x")  # magic, version, order, length of the whole file, checksum of table and sections
SECTION = struct.Struct("=QQ")  # where it begins, and how many bytes it has
FACT = struct.Struct("=HBxIIII")  # list, confidence, first seen, last seen, expires, place of the note; 0 and NO_CONFIDENCE: not said
NO_CONFIDENCE = 255
NOTE = struct.Struct("=HI")  # length and checksum of a text
ALIGNED = 8

Code = Literal["B", "I", "Q"]
WIDTHS: Mapping[Code, int] = MappingProxyType({"B": 1, "I": 4, "Q": 8})

SECTIONS: Mapping[str, Code] = MappingProxyType(
    {
        "lists": "B",  # JSON
        "v4_starts": "I",
        "v4_lengths": "B",
        "v4_parents": "I",  # the row around this one, counted from 1; 0: none
        "v4_facts": "I",
        "v6_highs": "Q",
        "v6_lows": "Q",
        "v6_lengths": "B",
        "v6_parents": "I",
        "v6_facts": "I",
        "buckets": "I",  # where the rows begin whose checksum begins with these bits; one more at the end
        "hashes": "I",
        "name_places": "I",
        "name_facts": "I",
        "facts": "B",
        "names": "B",  # each a byte that says how long it is, and its text
        "notes": "B",  # each as NOTE, and its text; place 0 is no note
    }
)
"""The sections in their order, with the kind of numbers in each (as ``memoryview.cast`` and ``array`` call it)."""

FAR = frozenset({"names", "notes"})
"""The last ones, which only hits need: they stay on the disk."""

TABLE = SECTION.size * len(SECTIONS)
START = HEADER.size + TABLE


class ListFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for all entries of a list.

    An ``indicator`` list says what is bad, a ``warning`` list what is well known. ``confidence`` (0 to 100) counts for entries that bring
    none. ``meaning`` says of a warning list what its entries are, ``date`` from when they are, ``entries`` how many the index has of it.
    """

    name: str
    kind: ListKind = "indicator"
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    meaning: Meaning | None = None
    title: str | None = None
    licence: str | None = None
    source: str | None = None
    date: str | None = None
    entries: int = 0
