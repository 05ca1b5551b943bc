"""Makes the data that ships with outwatch: which country and which network an address belongs to (``src/outwatch/net/places``).

``python packaging/networks.py COUNTRY NETWORK`` takes two unpacked packages of ip-location-db, ``geo-whois-asn-country-mmdb`` and
``asn``, and writes ``networks.bin`` and ``SOURCES.md``. Nothing is downloaded. The same material gives the same bytes.
Needs maxminddb. The format stands in ``outwatch.net.places.shipped``.
"""

import csv
import json
import re
import sys
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import maxminddb
import msgspec

from outwatch.guard.text import printable
from outwatch.net.places.shipped import HERE, MAGIC, NAMES_IN_BLOCK, TABLES, Facts, Origin

Range = tuple[int, int, int]
"""First and last address, and the value that holds for them."""

_LONGEST_NAME = 100
_ONE_VALUE = 3  # sections of a table whose values fit into one
_BITS = {4: 32, 6: 128}
_TOLD_APART = {4: 24, 6: 48}  # first bits of an address
_LOW_BITS = {4: 8, 6: 16}
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
# Numbers that no network on the internet has: RFC 7607, 6793, 5398, 6996, 7300, and IANA's reserved ones between them.
_NOT_PUBLIC = (range(1), range(23_456, 23_457), range(64_496, 131_072), range(4_200_000_000, 1 << 32))
_CREDIT = {
    "country": "Number Resource Organization (nro.net) and the geofeeds of networks, put together by ip-location-db (sapics)",
    "network": "Route Views (routeviews.org), DB-IP (https://db-ip.com) and the Number Resource Organization (nro.net), "
    "put together by ip-location-db (sapics)",
}
_LICENCE = {
    "country": "CC0 1.0 as its package says, CC BY 4.0 for the statistics of the NRO in it",
    "network": "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)",
}


def country_ranges(path: Path) -> tuple[list[str], dict[int, list[Range]], str]:
    """Read a country database: the codes, the ranges by version of IP with positions of codes from 1, and the day it was made."""
    found: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
    with maxminddb.open_database(path, maxminddb.MODE_MEMORY) as database:
        for network, record in database:
            code = record.get("country_code") if isinstance(record, dict) else None
            if isinstance(code, str) and _COUNTRY.match(code):
                found[network.version].append((int(network.network_address), int(network.broadcast_address), code))
        day = datetime.fromtimestamp(database.metadata().build_epoch, UTC).date().isoformat()
    codes = sorted({code for ranges in found.values() for *_, code in ranges})
    position = {code: at for at, code in enumerate(codes, 1)}
    return codes, {version: [(first, last, position[code]) for first, last, code in ranges] for version, ranges in found.items()}, day


def network_ranges(paths: dict[int, Path]) -> tuple[dict[int, str], dict[int, list[Range]]]:
    """Read the lists of networks: names by number, and the ranges by version of IP with those numbers."""
    names: dict[int, str] = {}
    ranges: dict[int, list[Range]] = {}
    for version, path in paths.items():
        ranges[version] = []
        with path.open(encoding="utf-8", newline="") as file:
            for first, last, number, name in csv.reader(file):
                if not any(int(number) in some for some in _NOT_PUBLIC):
                    ranges[version].append((int(first), int(last), int(number)))
                    names.setdefault(int(number), " ".join(printable(name, _LONGEST_NAME).split()))
    return names, ranges


def beginnings(ranges: Iterable[Range], coarser: int) -> Iterator[tuple[int, int]]:
    """Yield where another value begins, in blocks of 2 to the power of ``coarser`` addresses; 0 where there is none.

    A block of several values gets the one of most of its addresses, the lowest of equals. Of ranges that overlap the first counts.
    """
    said, reached = 0, 0  # the value said last, and the block behind the last one that has a value
    for first, last, value in _blocks(ranges, coarser):
        if first > reached and said:
            yield reached, 0
            said = 0
        if value != said:
            yield first, value
            said = value
        reached = last + 1
    if said and reached < 1 << 128:
        yield reached, 0


def _blocks(ranges: Iterable[Range], coarser: int) -> Iterator[Range]:
    """Yield runs of whole blocks; those that ranges share are decided one by one."""
    shared: Counter[int] = Counter()
    block, end = -1, -1  # the block that ranges share, and the last address that is given away
    for first, last, value in sorted(ranges):
        first = max(first, end + 1)  # noqa: PLW2901 - what overlaps is cut off
        if first > last:
            continue
        end = last
        head, tail = first >> coarser, last >> coarser
        if head != block and shared:
            yield block, block, _most(shared)
            shared.clear()
        if head == tail:
            block = head
            shared[value] += last - first + 1
            continue
        if head == block or first & (1 << coarser) - 1:
            shared[value] += ((head + 1) << coarser) - first
            yield head, head, _most(shared)
            shared.clear()
            head += 1
        if head < tail:
            yield head, tail - 1, value
        block = tail
        shared[value] = last - (tail << coarser) + 1
    if shared:
        yield block, block, _most(shared)


def _most(shared: Counter[int]) -> int:
    return min(shared, key=lambda value: (-shared[value], value))


def packed(origins: tuple[Origin, ...], codes: list[str], names: dict[int, str], tables: dict[str, list[tuple[int, int]]]) -> bytes:
    """Put everything into one file; ``tables`` hold beginnings and values by their names."""
    sections: list[bytes] = []
    for table, kinds in TABLES.items():
        low_bits = _LOW_BITS[int(table[1])]
        begins, values = [begin for begin, _ in tables[table]], [value for _, value in tables[table]]
        columns = [[begin >> low_bits for begin in begins], [begin & (1 << low_bits) - 1 for begin in begins]]
        columns += [values] if len(kinds) == _ONE_VALUE else [[value & 0xFFFF for value in values], [value >> 16 for value in values]]
        sections += [_bytes(kind, column) for kind, column in zip(kinds, columns, strict=True)]
    numbers = sorted(names)
    lines = [names[number] for number in numbers]
    blocks = [zlib.compress("\n".join(lines[at : at + NAMES_IN_BLOCK]).encode(), 9) for at in range(0, len(lines), NAMES_IN_BLOCK)]
    sections += [_bytes("I", numbers), _bytes("I", list(accumulate(map(len, blocks)))), b"".join(blocks)]
    facts = Facts(origins=origins, countries=tuple(codes), sections=tuple(map(len, sections)))
    rest = msgspec.json.encode(facts)
    head = MAGIC + len(rest).to_bytes(4, "little")
    rest += b"".join(sections)
    return head + zlib.crc32(rest).to_bytes(4, "little") + rest


def _bytes(kind: str, numbers: list[int]) -> bytes:
    made = array(kind, numbers)
    if sys.byteorder == "big":
        made.byteswap()
    return made.tobytes()


def sources(origins: Iterable[Origin], size: int) -> str:
    """Write the notice that stands beside the data."""
    lines = [
        "# Where `networks.bin` comes from",
        "",
        f"Country and network of addresses, {size / 1e6:.1f} MB, made by `packaging/networks.py`: ranges are joined and rounded to /24",
        "(IPv4) and /48 (IPv6), private numbers left out, names cut after 100 characters. outwatch's licence does not cover it.",
        "",
    ]
    for origin in origins:
        lines += [
            f"**{origin.gives}**: {origin.name}, {origin.date}.",
            "",
            f"- Thanks to {origin.credit}",
            f"- Licence: {origin.licence}",
            "",
        ]
    lines += [
        "Their publisher says of these editions that they hold mistakes, of accuracy and of compliance, and has moved on to another way of",
        "making them (`docs/decisions/0021-places.md` says what we found). Take country and network as a hint; a gap shows as *not known*,",
        "and files of your own come first (`enrichers.geo.files`).",
    ]
    return "\n".join(lines) + "\n"


def main(country: Path, network: Path, target: Path = HERE) -> None:
    """Make the data from two unpacked packages."""
    codes, countries, day = country_ranges(country / "geo-whois-asn-country.mmdb")
    names, networks = network_ranges({version: network / f"asn-ipv{version}-num.csv" for version in _BITS})
    position = {number: at for at, number in enumerate(sorted(names), 1)}
    tables = {}
    for version, bits in _BITS.items():
        coarser = bits - _TOLD_APART[version]
        tables[f"v{version}.country"] = list(beginnings(countries[version], coarser))
        placed = [(first, last, position[number]) for first, last, number in networks[version]]
        tables[f"v{version}.network"] = list(beginnings(placed, coarser))
    origins = (_origin("country", country, day), _origin("network", network, None))
    data = packed(origins, codes, names, tables)
    target.write_bytes(data)
    target.with_name("SOURCES.md").write_text(sources(origins, len(data)), "utf-8")


def _origin(gives: str, package: Path, day: str | None) -> Origin:
    """Say where a part comes from; a package's version ends in the day and hour of its data."""
    version = json.loads((package / "package.json").read_text("utf-8"))["version"]
    stamp = version.rpartition(".")[2]
    day = day or f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    name = f"ip-location-db {'geo-whois-asn-country' if gives == 'country' else 'asn'} {version}"
    return Origin(name=name, gives=gives, licence=_LICENCE[gives], credit=_CREDIT[gives], date=day)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
