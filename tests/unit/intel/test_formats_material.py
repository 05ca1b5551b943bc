"""Lists as they are published.

They are not part of this repository: they lie in ``shared/data`` beside it or where ``TEST_MATERIAL`` says.
"""

import gzip
import json
import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from outwatch.intel import formats

from .reading import Read

MATERIAL = Path(os.environ.get("TEST_MATERIAL") or Path(__file__).parents[4] / "shared" / "data")
WARNINGLISTS = sorted((MATERIAL / "warninglists").glob("*.json.gz"))
missing = pytest.mark.skipif(not WARNINGLISTS, reason=f"no lists in {MATERIAL}")

# What stands in no list of addresses and names: checksums, and addresses that are not on the internet.
OTHERS = {"common-ioc-false-positive", "ti-falsepositives", "multicast", "rfc1918", "rfc6598"}


def _name(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.mark.skipif(not (MATERIAL / "indicators").is_dir(), reason=f"no lists in {MATERIAL}")
def test_every_address_of_ipsum_is_read() -> None:
    data = (MATERIAL / "indicators" / "ipsum-level3.txt.gz").read_bytes()
    read = Read(data)
    assert read.refused is None
    assert read.values == gzip.decompress(data).decode().split()
    assert len(read.values) == 14_217


@missing
@pytest.mark.parametrize("path", WARNINGLISTS, ids=_name)
def test_every_item_of_a_warninglist_becomes_an_entry_or_is_accounted_for(path: Path) -> None:
    read = Read(path.read_bytes())
    items = json.loads(gzip.decompress(path.read_bytes()))["list"]
    assert (read.ledger.form, read.ledger.warns) == (formats.WARNINGLIST, True)
    assert len(read.entries) + sum(read.ledger.unused().values()) == len(items)
    assert (read.refused is not None) == (_name(path) in OTHERS)
    assert read.ledger.broken <= len(items) // 90


@missing
@pytest.mark.parametrize(
    "name", ["amazon-aws", "cloudflare", "fastly", "google-gcp", "microsoft-azure", "sinkholes", "vpn-ipv4", "vpn-ipv6"]
)
def test_the_networks_of_a_warninglist_are_the_very_ones_that_stand_in_it(name: str) -> None:
    data = (MATERIAL / "warninglists" / f"{name}.json.gz").read_bytes()
    items = json.loads(gzip.decompress(data))["list"]
    assert {ip_network(value) for value in Read(data).values} == {ip_network(item, strict=False) for item in items}
