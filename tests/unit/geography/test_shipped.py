"""The data that ships: made from ranges without losing any, read back exactly, refused when damaged, and what it really holds."""

import importlib.util
import json
from collections.abc import Callable
from datetime import date
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outwatch.errors import StoreError
from outwatch.net.places import NOWHERE, Place, completed
from outwatch.net.places.shipped import HERE, NAMES_IN_BLOCK, Shipped, facts

Write = Callable[..., Path]
ROOT = Path(__file__).parents[3]
NAMES = {13_335 + 10 * at: f"Net {at}" for at in range(3 * NAMES_IN_BLOCK + 5)}


@pytest.fixture(scope="session")
def making() -> ModuleType:
    """Load the script that makes the data."""
    spec = importlib.util.spec_from_file_location("making", ROOT / "packaging" / "networks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shipped() -> Shipped:
    return Shipped()


def material(folder: Path, mmdb: Write) -> tuple[Path, Path]:
    """Lay out the two packages that the script reads, with networks of public addresses."""
    country, network = folder / "country", folder / "network"
    for path, name in ((country, "geo-whois-asn-country-mmdb"), (network, "asn")):
        path.mkdir()
        (path / "package.json").write_text(json.dumps({"name": name, "version": "2.3.2026061719"}))
    countries: dict[str, object] = {
        "5.9.0.0/16": {"country_code": "DE"}, "5.10.0.0/23": {"country_code": "FR"}, "2a00:1450::/32": {"country_code": "IE"},
        "9.9.9.0/24": {"country_code": "nonsense"},
    }  # fmt: skip
    mmdb(countries, country / "geo-whois-asn-country.mmdb", more={"build_epoch": 1_781_726_061})
    numbers = list(NAMES)
    four = [(f"{(8 << 24) + at * 512},{(8 << 24) + at * 512 + 255}", number) for at, number in enumerate(numbers)]
    six = [
        (f"{(0x2A00_1450 << 96) + (at << 80)},{(0x2A00_1450 << 96) + (at << 80) + (1 << 80) - 1}", number)
        for at, number in enumerate(numbers)
    ]
    rows = {4: [*four, ("1,1", 64_512)], 6: six}
    for version, lines in rows.items():
        text = "".join(f'{ends},{number},"{NAMES.get(number, "private")}"\n' for ends, number in lines)
        (network / f"asn-ipv{version}-num.csv").write_text(text)
    return country, network


def test_what_the_script_makes_is_what_is_read(tmp_path: Path, mmdb: Write, making: ModuleType) -> None:
    making.main(*material(tmp_path, mmdb), tmp_path / "networks.bin")
    made = Shipped(tmp_path / "networks.bin")
    for at, (number, name) in enumerate(NAMES.items()):
        assert made.find(IPv4Address((8 << 24) + at * 512 + 7)) == Place(None, number, name)
        assert made.find(IPv4Address((8 << 24) + at * 512 + 256)) == NOWHERE, "between two networks lies none"
        assert made.find(IPv6Address((0x2A00_1450 << 96) + (at << 80) + 5)) == Place("IE", number, name)
    found = {
        text: made.find(ip_address(text)).country for text in ("5.8.255.255", "5.9.0.0", "5.9.255.255", "5.10.1.9", "5.10.2.0", "9.9.9.9")
    }
    assert found == {"5.8.255.255": None, "5.9.0.0": "DE", "5.9.255.255": "DE", "5.10.1.9": "FR", "5.10.2.0": None, "9.9.9.9": None}
    assert made.find(ip_address("2a00:1451::")) == NOWHERE
    notice = (tmp_path / "SOURCES.md").read_text()
    assert [one.date for one in made.facts.origins] == ["2026-06-17", "2026-06-17"]
    assert all(one.credit in notice and one.licence in notice and one.name in notice for one in made.facts.origins)


def test_the_same_material_gives_the_same_bytes(tmp_path: Path, mmdb: Write, making: ModuleType) -> None:
    packages = material(tmp_path, mmdb)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        making.main(*packages, tmp_path / name / "networks.bin")
    for file in ("networks.bin", "SOURCES.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60), st.integers(1, 3)), max_size=12), st.integers(0, 4))
@example([(0, 0, 1), (1, 0, 2), (2, 0, 2)], 2)
@example([(5, 20, 1), (5, 3, 2), (100, 0, 3)], 3)
@settings(max_examples=400)
def test_each_block_has_the_value_of_most_of_its_addresses(making: ModuleType, drawn: list[tuple[int, int, int]], coarser: int) -> None:
    ranges = [(first, first + length, value) for first, length, value in drawn]
    # Address by address, the slow way: of overlapping ranges the first counts.
    held: dict[int, int] = {}
    reached = -1
    for first, last, value in sorted(ranges):
        for at in range(max(first, reached + 1), last + 1):
            held[at] = value
        reached = max(reached, last)
    blocks: dict[int, list[int]] = {}
    for at, value in held.items():
        blocks.setdefault(at >> coarser, []).append(value)
    begins = list(making.beginnings(ranges, coarser))
    assert [begin for begin, _ in begins] == sorted({begin for begin, _ in begins}), "each beginning once, in order"
    for block in range(500 >> coarser):
        values = blocks.get(block, [0])
        said = [value for begin, value in begins if begin <= block]
        assert (said[-1] if said else 0) == min(set(values), key=lambda value: (-values.count(value), value)), block


@pytest.mark.security
def test_a_damaged_or_foreign_file_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    whole = HERE.read_bytes()
    path = tmp_path / "networks.bin"
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    later = whole.replace(b"OUTWATCH-PLACES1", b"OUTWATCH-PLACES2", 1)
    for content in (b"", b"x" * 10, whole[:-1], whole + b"x", bytes(damaged), later, whole[:30], bytes(4096)):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="install outwatch again"):
            Shipped(path)
    with pytest.raises(StoreError, match="No such file"):
        Shipped(tmp_path / "none")


@pytest.mark.security
@pytest.mark.parametrize("content", [b"", b"OUTWATCH-PLACES1", b"OUTWATCH-PLACES1" + b"\xff" * 8 + b"{" * 70_000, b"x" * 100])
def test_facts_of_a_file_that_has_none_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "networks.bin"
    path.write_bytes(content)
    assert facts(path) is None
    assert facts(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("text", "country", "number", "name"),
    [
        ("8.8.8.8", "US", 15_169, "Google"),
        ("1.1.1.1", "AU", 13_335, "Cloudflare"),
        ("193.0.6.139", "NL", 3_333, "RIPE"),
        ("77.88.8.8", "RU", 13_238, "YANDEX"),
        ("130.59.31.80", "CH", 559, "SWITCH"),
        ("196.25.1.1", "ZA", 5_713, "Telkom"),
        ("200.160.2.3", "BR", 22_548, "NIC"),
        ("2001:4860:4860::8888", "US", 15_169, "Google"),
        ("2606:4700::1111", "US", 13_335, "Cloudflare"),
        ("2001:67c:2e8::1", "NL", 3_333, "RIPE"),
    ],
)
def test_well_known_addresses_are_where_everybody_knows_them_to_be(
    shipped: Shipped, text: str, country: str, number: int, name: str
) -> None:
    place = shipped.find(ip_address(text))
    assert (place.country, place.number) == (country, number)
    assert name in str(place.organization)


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0", "10.0.0.1", "127.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
     "2001:db8::1", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
)  # fmt: skip
def test_addresses_that_are_nowhere_are_nowhere(shipped: Shipped, text: str) -> None:
    assert shipped.find(ip_address(text)) == NOWHERE


@pytest.mark.security
def test_everything_that_ships_is_harmless_and_in_bounds(shipped: Shipped) -> None:
    assert all(len(code) == 2 and code.isascii() and code.isupper() for code in shipped.facts.countries)
    assert len(shipped.facts.countries) > 200
    names = [name for block in range(len(shipped._ends)) for name in shipped._unpacked(block)]
    assert len(names) == len(shipped._networks) > 80_000
    assert all(name.isprintable() and len(name) <= 100 for name in names)
    numbers = list(shipped._networks)
    assert numbers == sorted(set(numbers))
    private = [number for number in numbers if 64_496 <= number < 131_072 or number >= 4_200_000_000 or number in {0, 23_456}]
    assert private == []
    for name, table in shipped._tables.items():
        assert len(table.high) == len(table.low) == len(table.values), name
        begins = list(zip(table.high, table.low, strict=True))
        assert begins == sorted(set(begins)), name
        most = len(shipped.facts.countries) if table.upper is None else len(numbers)
        values = table.values if table.upper is None else [low | high << 16 for low, high in zip(table.values, table.upper, strict=True)]
        assert 0 <= max(values) <= most, name


def test_it_is_small_and_says_where_it_comes_from(shipped: Shipped) -> None:
    assert HERE.stat().st_size < 8_500_000
    assert facts() == shipped.facts
    assert {one.gives for one in shipped.facts.origins} == {"country", "network"}
    notice = HERE.with_name("SOURCES.md").read_text("utf-8")
    for one in shipped.facts.origins:
        assert date.fromisoformat(one.date) >= date(2026, 6, 1)
        assert all(text in notice for text in (one.date, one.licence, one.credit, one.name))
    (network,) = [one for one in shipped.facts.origins if one.gives == "network"]
    assert all(whom in network.credit for whom in ("routeviews.org", "db-ip.com", "nro.net")), "CC BY asks for that"
    assert "creativecommons.org/licenses/by/4.0" in network.licence


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (NOWHERE, Place("NL", 1, "a"), Place("NL", 1, "a")),
        (Place("DE"), Place("NL", 1, "a"), Place("DE", 1, "a")),
        (Place(None, 2, "b"), Place("NL", 1, "a"), Place("NL", 2, "b")),
        (Place(None, 1), Place("NL", 1, "a"), Place("NL", 1, "a")),
        (Place(None, 2), Place("NL", 1, "a"), Place("NL", 2, None)),
        (Place("DE", 2, "b"), NOWHERE, Place("DE", 2, "b")),
    ],
)
def test_files_complete_each_other_but_never_mix_two_networks(one: Place, other: Place, both: Place) -> None:
    assert completed(one, other) == both
