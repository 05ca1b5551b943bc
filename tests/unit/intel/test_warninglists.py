"""The lists that come with outwatch: what is in them, from when, under which licence, and what they must not say."""

import importlib.util
import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, get_args

import pytest

from outwatch.intel.index import Index
from outwatch.intel.layout import Meaning
from outwatch.intel.warninglists import FILE, shipped
from outwatch.net import resolvers

# Not part of this repository: it lies in ``shared/data`` beside it or where ``TEST_MATERIAL`` says.
MATERIAL = Path(os.environ.get("TEST_MATERIAL") or Path(__file__).parents[4] / "shared" / "data") / "warninglists"
SCRIPT = Path(__file__).parents[3] / "packaging" / "warninglists.py"


@pytest.fixture(scope="module")
def lists() -> Index:
    return shipped()


def _meanings(lists: Index, address: str | None, name: str | None = None) -> set[str | None]:
    return {one.note for one in lists.find(address, name).warnings}


@pytest.mark.parametrize(
    ("address", "name", "meaning"),
    [
        ("104.16.1.1", None, "CDN"),
        ("2606:4700::6810:1", None, "CDN"),
        ("151.101.1.1", None, "CDN"),
        ("3.0.0.1", None, "cloud"),
        ("34.100.128.1", None, "cloud"),
        ("9.9.9.9", None, "public resolver"),
        ("2620:fe::fe", None, "public resolver"),
        (None, "dns.google", "public resolver"),
        ("17.1.2.3", None, "well known"),
        (None, "www.google.com", "well known"),
        (None, "update.microsoft.com", "well known"),
        (None, "bit.ly", "shared platform"),
        (None, "raw.githubusercontent.com", "shared platform"),
        (None, "home.duckdns.org", "dynamic DNS"),
        (None, "thing.ddns.net", "dynamic DNS"),
        ("192.42.116.41", None, "sinkhole"),
        (None, "krebsonsecurity.com", "security vendor"),
    ],
)
def test_the_shipped_lists_know_their_kinds(lists: Index, address: str | None, name: str | None, meaning: str) -> None:
    assert meaning in _meanings(lists, address, name)


@pytest.mark.parametrize(
    "name", ["debian.org", "example.com", "notgoogle.com", "google.com.evil.test", "duckdns.org.evil.test", "localhost"]
)
def test_other_names_are_on_none_of_them(lists: Index, name: str) -> None:
    assert lists.find(None, name).warnings == ()


def test_none_of_them_says_that_something_is_bad(lists: Index) -> None:
    assert {one.kind for one in lists.lists} == {"warning"}
    assert lists.find("104.16.1.1", "home.duckdns.org").indicators == ()


def test_each_says_what_it_is_from_where_from_when_and_under_which_licence(lists: Index) -> None:
    for one in lists.lists:
        assert one.meaning in get_args(Meaning), one.name
        assert one.title, one.name
        assert one.date, one.name
        assert one.source, one.name
        assert one.licence in {"CC0-1.0", "MIT"}, one.name
        assert one.entries > 0, one.name
    assert len({one.name for one in lists.lists}) == len(lists.lists)


def test_every_public_resolver_that_outwatch_knows_is_among_them(lists: Index) -> None:
    table = resolvers._table()
    for address in table.addresses:
        assert "public resolver" in _meanings(lists, str(address)), f"{address}: run packaging/warninglists.py again"
    for name in table.names:
        assert "public resolver" in _meanings(lists, None, name), f"{name}: run packaging/warninglists.py again"


def test_popular_names_whose_terms_don_t_allow_it_are_not_shipped(lists: Index) -> None:
    assert not {"tranco", "tranco10k", "cisco_top20k", "umbrella"} & {one.name for one in lists.lists}


def test_the_file_is_small(lists: Index) -> None:
    assert FILE.stat().st_size < 2_500_000
    assert sum(one.entries for one in lists.lists) > 80_000


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("packaging_warninglists", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not MATERIAL.is_dir(), reason=f"{MATERIAL}: the MISP project's lists are not there")
def test_the_shipped_file_is_what_the_script_makes_of_the_lists(tmp_path: Path) -> None:
    _script().make(MATERIAL, tmp_path / "made")
    assert (tmp_path / "made").read_bytes() == FILE.read_bytes(), "run packaging/warninglists.py again"


@pytest.mark.skipif(not MATERIAL.is_dir(), reason=f"{MATERIAL}: the MISP project's lists are not there")
def test_every_entry_that_was_taken_is_found_again(lists: Index) -> None:
    script = _script()
    for chosen in script.CHOSEN:
        for entry in script._entries(script._read(MATERIAL, chosen.file)):
            network = ip_network(entry.value) if entry.kind != "domain" else None
            hits = lists.find(str(network[-1]) if network is not None else None, entry.value if network is None else None)
            told = {(one.list_, one.entry) for one in hits.warnings}
            assert ((chosen.name, entry.value) in told) or chosen.meaning in {"sinkhole", "parking"}, entry


def test_sinkholes_in_clouds_and_content_networks_are_left_out_of_what_is_made(tmp_path: Path) -> None:
    # Who calls a site behind a CDN calls its other tenants' addresses too, and a cloud's address is another's tomorrow.
    script = _script()
    content: dict[str, list[str]] = {name: [] for name in (chosen.file for chosen in script.CHOSEN)}
    content |= {
        "cloudflare": ["198.51.100.0/25"],
        "amazon-aws": ["198.51.100.128/26"],
        "sinkholes": ["198.51.100.7", "198.51.100.130", "198.51.100.200"],
        "parking-domain": ["198.51.100.8/32", "198.51.100.201/32"],
        "vpn-ipv4": ["198.51.100.0/24"],
    }
    for name, entries in content.items():
        (tmp_path / f"{name}.json").write_text(f'{{"version": 20250701, "list": {entries!r}}}'.replace("'", '"'))
    facts, built = script.make(tmp_path, tmp_path / "made")
    index = Index.open(tmp_path / "made")
    sunk = [last for last in range(256) if "sinkhole" in _meanings(index, str(ip_address(f"198.51.100.{last}")))]
    parked = [last for last in range(256) if "parking" in _meanings(index, str(ip_address(f"198.51.100.{last}")))]
    assert (sunk, parked) == ([200], [201])
    assert {one.date for one in facts if one.licence == "CC0-1.0"} == {"2025-07-01"}
    assert sum(built.refused) == 0
