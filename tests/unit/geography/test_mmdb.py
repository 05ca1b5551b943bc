"""MMDB files: every publisher's records are understood, and none that is damaged, foreign or lying does harm."""

import os
import sys
from collections.abc import Callable
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import maxminddb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from outwatch.errors import StoreError
from outwatch.net.places import NOWHERE, Place
from outwatch.net.places.mmdb import Mmdb, place_of

Write = Callable[..., Path]
ASN = {"autonomous_system_number": 64_500, "autonomous_system_organization": "Example Net"}
NETWORKS: dict[str, object] = {
    "192.0.2.0/24": {"country": {"iso_code": "NL"}},
    "198.51.100.0/25": {"country": {"iso_code": "DE"}},
    "198.51.100.64/26": {"country": {"iso_code": "FR"}},
    "203.0.113.9/32": {"country": {"iso_code": "SE"}},
    "2001:db8::/32": {"country": {"iso_code": "CH"}},
    "2001:db8:1::/48": ASN,
}


@pytest.mark.parametrize(
    ("record", "place"),
    [
        # GeoLite2 and DB-IP Lite: Country, City, ASN (their documentation)
        ({"country": {"iso_code": "NL", "geoname_id": 2750405, "names": {"en": "Netherlands"}}, "continent": {"code": "EU"}}, Place("NL")),
        ({"country": {"iso_code": "NL"}, "city": {"names": {"en": "Delft"}}, "location": {"latitude": 52.0}}, Place("NL")),
        ({"registered_country": {"iso_code": "SE"}, "country": {"iso_code": "NL"}}, Place("NL")),
        ({"registered_country": {"iso_code": "SE"}}, Place("SE")),
        ({"continent": {"code": "EU"}}, NOWHERE),
        (ASN, Place(None, 64_500, "Example Net")),
        ({"autonomous_system_number": 64_500}, Place(None, 64_500)),
        ({"traits": {"autonomous_system_number": 64_500, "isp": "x"}, "country": {"iso_code": "NL"}}, Place("NL", 64_500)),
        # IPinfo Lite, and the file before it
        (
            {"country": "Netherlands", "country_code": "NL", "asn": "AS64500", "as_name": "Example Net", "as_domain": "example.net"},
            Place("NL", 64_500, "Example Net"),
        ),
        ({"country": "NL", "country_name": "Netherlands", "asn": "AS64500", "as_name": "Example Net"}, Place("NL", 64_500, "Example Net")),
        ({"country": "Netherlands", "asn": "", "as_name": ""}, NOWHERE),
        # ip-location-db
        ({"country_code": "NL"}, Place("NL")),
        ({"country_code": "nl"}, Place("NL")),
    ],
)
def test_the_records_of_every_publisher_are_understood(mmdb: Write, record: dict[str, Any], place: Place) -> None:
    path = mmdb({"192.0.2.0/24": record, "198.51.100.0/24": {"country_code": "XY"}, "203.0.113.0/24": {"asn": "AS1"}})
    assert Mmdb(path).find(ip_address("192.0.2.7")) == place


@pytest.mark.security
@pytest.mark.parametrize(
    "record",
    [
        "NL", 5, ["NL"], True, {"country": None}, {"country": []}, {"country": {"iso_code": 49}}, {"country": {"iso_code": ["NL"]}},
        {"country_code": "NLD"}, {"country_code": "N"}, {"country_code": "12"}, {"country_code": "\x1b["}, {"country_code": "NL\n"},
        {"country_code": "ÄÖ"}, {"country_code": "ZZ"}, {"country_code": "xx"}, {"asn": "AS"}, {"asn": "ASx"}, {"asn": "AS-1"},
        {"asn": "AS0"}, {"asn": "AS4294967295"}, {"asn": "AS" + "9" * 60}, {"asn": "AS٣"}, {"autonomous_system_number": -1},
        {"autonomous_system_number": 0}, {"autonomous_system_number": 2**32}, {"autonomous_system_number": 2**100},
        {"autonomous_system_number": True}, {"autonomous_system_number": 1.5}, {"as_name": 7}, {"as_name": ["x"]}, {"as_name": " \t "},
        {"traits": "x"}, {"traits": {"autonomous_system_number": "x"}}, None,
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_counts_as_unknown(record: object) -> None:
    assert place_of(record) == NOWHERE


@pytest.mark.security
def test_a_name_is_valid_text_of_bounded_length_on_one_line() -> None:
    name = place_of({"asn": 1, "as_name": "a\n\tb\r" + "x" * 5000 + "\ud800"}).organization
    assert name is not None
    assert name.startswith("a b x")
    assert len(name) <= 100
    name.encode()


@pytest.mark.parametrize("size", [24, 28, 32])
@pytest.mark.parametrize("version", [4, 6])
def test_the_longest_network_decides_whatever_the_form_of_the_file(mmdb: Write, size: int, version: int) -> None:
    networks = {text: record for text, record in NETWORKS.items() if version == 6 or ":" not in text}
    database = Mmdb(mmdb(networks, size=size, version=version))
    found = {text: database.find(ip_address(text)).country for text in ("192.0.2.255", "198.51.100.63", "198.51.100.64", "198.51.100.128")}
    assert found == {"192.0.2.255": "NL", "198.51.100.63": "DE", "198.51.100.64": "FR", "198.51.100.128": None}
    assert [database.find(ip_address(text)).country for text in ("203.0.113.8", "203.0.113.9", "203.0.113.10")] == [None, "SE", None]
    expected = [Place("CH"), Place(None, 64_500, "Example Net")] if version == 6 else [NOWHERE, NOWHERE]
    assert [database.find(ip_address(text)) for text in ("2001:db8::1", "2001:db8:1::1")] == expected


def test_it_says_what_it_is(mmdb: Write) -> None:
    both = Mmdb(mmdb(NETWORKS, more={"database_type": "GeoLite2-City", "build_epoch": 1_762_000_000}))
    assert (both.type, both.made, both.gives) == ("GeoLite2-City", date(2025, 11, 1), ("country", "network"))
    assert Mmdb(mmdb({"192.0.2.0/24": ASN})).gives == ("network",)
    assert Mmdb(mmdb({"192.0.2.0/24": {"country_code": "NL"}})).gives == ("country",)


def test_large_files_are_read_page_by_page(mmdb: Write) -> None:
    names = {f"10.{at >> 8}.{at & 255}.0/24": {"country_code": "NL", "asn": at + 1, "as_name": f"{at} {'x' * 60}"} for at in range(3000)}
    path = mmdb(names)
    assert path.stat().st_size > 300_000
    database = Mmdb(path)
    for at in range(0, 3000, 7):
        assert database.find(ip_address(f"10.{at >> 8}.{at & 255}.5")).number == at + 1


def test_it_finds_what_the_libraries_own_reader_finds(mmdb: Write) -> None:
    path = mmdb(NETWORKS, size=28)
    database = Mmdb(path)
    with maxminddb.open_database(path) as other:  # in C, where there is a build of it
        for last in range(256):
            for text in (f"192.0.2.{last}", f"198.51.100.{last}", f"203.0.113.{last}", f"2001:db8:{last:x}::1", f"2001:dba::{last:x}"):
                assert database.find(ip_address(text)) == place_of(other.get(text)), text


@pytest.mark.security
@pytest.mark.parametrize("content", [b"", b"x", b"GIF89a" * 100, b"\0" * 200_000, b"\xab\xcd\xefMaxMind.com", b"<html>" * 9000])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"x\.mmdb: no MMDB file, or a damaged one; fetch it again"):
        Mmdb(path)


@pytest.mark.security
@pytest.mark.parametrize(
    "more",
    [
        {"node_count": 2**31}, {"node_count": 0}, {"record_size": 20}, {"record_size": "24"}, {"ip_version": "6"}, {"build_epoch": 2**63},
        {"build_epoch": "now"}, {"node_count": {}},
    ],
)  # fmt: skip
def test_metadata_that_lies_is_refused_or_knows_nothing(mmdb: Write, more: dict[str, object]) -> None:
    path = mmdb(NETWORKS, more=more)
    try:
        assert Mmdb(path).find(ip_address("2001:db8::1")) == NOWHERE
    except StoreError as error:
        assert "fetch it again" in str(error)  # noqa: PT017 - either is right


@pytest.mark.security
def test_a_database_of_something_else_is_refused_with_what_it_calls_itself(mmdb: Write) -> None:
    path = mmdb({"192.0.2.0/24": {"connection_type": "Cable"}}, more={"database_type": "GeoIP2-Connection-Type"})
    with pytest.raises(StoreError, match=r"neither countries nor networks are in it \(it calls itself 'GeoIP2-Connection-Type'\)"):
        Mmdb(path)


@pytest.mark.security
def test_a_file_cut_anywhere_is_refused(mmdb: Write) -> None:
    path = mmdb(NETWORKS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError):
            Mmdb(path)


@pytest.mark.security
def test_a_file_that_is_cut_while_it_is_open_is_an_error_and_not_the_end(mmdb: Write) -> None:
    path = mmdb({f"10.{at >> 8}.{at & 255}.0/24": {"country_code": "NL", "as_name": "x" * 90} for at in range(3000)})
    database = Mmdb(path)
    os.truncate(path, 5_000)
    with pytest.raises(StoreError, match="damaged, or changed while it was read"):
        _ = [database.find(ip_address(f"10.{at >> 8}.{at & 255}.5")) for at in range(3000)]


@pytest.mark.security
def test_a_name_that_is_cut_while_the_file_is_open_is_not_taken_for_a_shorter_one(mmdb: Write) -> None:
    path = mmdb({f"10.{at >> 8}.{at & 255}.0/24": {"asn": 1, "as_name": "x" * 90} for at in range(3000)})
    whole = path.read_bytes()
    for missing in range(200_000, 200_100, 13):  # before what was read at the opening, and in the middle of a name at least once
        database = Mmdb(path)
        os.truncate(path, len(whole) - missing)
        refused = 0
        for at in range(3000):
            try:
                assert database.find(ip_address(f"10.{at >> 8}.{at & 255}.5")).organization == "x" * 90
            except StoreError:
                refused += 1
        assert refused
        path.write_bytes(whole)


@pytest.mark.security
def test_a_record_that_takes_too_long_to_read_is_refused(mmdb: Write) -> None:
    database = Mmdb(mmdb({"192.0.2.0/24": {"country_code": "NL"}, "198.51.100.0/24": {"country_code": "NL", "x": [True] * 20_000}}))
    assert database.find(ip_address("192.0.2.1")).country == "NL"
    with pytest.raises(StoreError, match="damaged"):
        database.find(ip_address("198.51.100.1"))


def _pointer(target: int) -> bytes:
    """Spell a pointer of four bytes into the data section."""
    return b"\x38" + target.to_bytes(4, "big")


def _doubling(levels: int) -> bytes:
    """Lay lists on top of each other that each hold the one below twice: 2 to the power of ``levels`` values in a few bytes."""
    data = b"\x41x"
    below = 0
    for _ in range(levels):
        at = len(data)
        data += b"\x02\x04" + _pointer(below) * 2
        below = at
    return data


@pytest.mark.security
def test_records_that_lead_to_themselves_or_double_are_refused(mmdb: Write, mmdb_raw: type[bytes]) -> None:
    with pytest.raises(StoreError, match="damaged"):
        Mmdb(mmdb({"192.0.2.0/24": mmdb_raw(b"\x01\x04" + _pointer(0))}))
    stack = _doubling(40)
    before: dict[str, object] = {f"10.0.{at}.0/24": {"country_code": "NL"} for at in range(80)}
    hidden = {"0.0.0.0/5": mmdb_raw(stack), **before, "192.0.2.0/24": mmdb_raw(_pointer(len(stack) - 12))}
    database = Mmdb(mmdb(hidden))
    assert database.find(ip_address("10.0.5.1")).country == "NL"
    with pytest.raises(StoreError, match="damaged"):
        database.find(ip_address("192.0.2.1"))
    assert database.find(ip_address("10.0.6.1")).country == "NL"


@pytest.mark.security
@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_bytes_are_changed_nothing_but_its_own_error_comes_out(mmdb: Write, data: st.DataObject) -> None:
    path = mmdb(NETWORKS)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        database = Mmdb(path)
        for text in ("192.0.2.1", "198.51.100.70", "203.0.113.9", "2001:db8:1::1", "ffff::"):
            place = database.find(ip_address(text))
            assert place.country is None or (len(place.country) == 2 and place.country.isascii())
    except StoreError:
        return


@pytest.mark.security
@given(st.binary(max_size=400))
@example(b"\xab\xcd\xefMaxMind.com\xe1Jnode_count\xa0")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_made_up_metadata_is_refused(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(bytes(300) + b"\xab\xcd\xefMaxMind.com" + tail)
    with pytest.raises(StoreError):
        Mmdb(path)


@pytest.mark.security
@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_nobody_is_waited_for_and_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (("pipe", "not a plain file"), ("folder", "not a plain file"), ("none", "No such file"), ("a\0b", "null")):
        with pytest.raises(StoreError, match=f"(?i){why}"):
            Mmdb(tmp_path / name)
    with pytest.raises(StoreError, match="not a plain file"):
        Mmdb(Path("/dev/zero"))
