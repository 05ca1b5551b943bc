"""Poisoned, huge and broken lists: which entries are left out, and when the whole list is refused."""

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from ipaddress import IPv4Network

import pytest

from outwatch.errors import RuleError
from outwatch.intel.entries import Entry
from outwatch.intel.formats import Bounds, Ledger, read
from outwatch.intel.formats.coverage import Coverage
from outwatch.net.addresses import Scopes

from .reading import NOW, Read

pytestmark = pytest.mark.security

GOOD = "203.0.113.7\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0/0", "wider than a /8"),
        ("::/0", "wider than a /16"),
        ("8.0.0.0/7", "wider than a /8"),
        ("2600::/15", "wider than a /16"),
        ("::ffff:0:0/96", "wider than a /8"),  # all of IPv4, disguised
        ("64:ff9b::/96", "wider than a /8"),
        ("1.0.0.0-200.0.0.0", "wider than a /8"),
        ("8.0.0.0-9.0.0.0", "wider than a /8"),
        ("0.0.0.0-255.255.255.255", "wider than a /8"),
        ("com", "a public suffix, below which anybody may have a name"),
        ("*.co.uk", "a public suffix, below which anybody may have a name"),
        ("||com^", "a public suffix, below which anybody may have a name"),
        ("http://github.io/", "a public suffix, below which anybody may have a name"),
        ("рф", "a public suffix, below which anybody may have a name"),
        ("xn--p1ai", "a public suffix, below which anybody may have a name"),
        ("10.0.0.1", "no public address (private)"),
        ("::ffff:10.0.0.1", "no public address (private)"),
        ("http://127.0.0.1:8080/", "no public address (loopback)"),
        ("169.254.169.254", "no public address (link_local)"),
        ("224.0.0.251", "no public address (multicast)"),
        ("100.64.0.1", "no public address (private)"),
        ("2002:a00:1::", "no public address (private)"),  # 6to4 of 10.0.0.1
        ("fe80::1", "no public address (link_local)"),
        ("fd00::/16", "no public addresses (private)"),
        ("192.168.0.0/16", "no public addresses (private)"),
        ("10.1.0.0-10.2.0.0", "no public addresses (private)"),
        ("0.0.0.0", "no public address (unclassified)"),
        ("0.0.0.0/8", "no public addresses (unclassified)"),
    ],
)
def test_an_entry_that_is_too_broad_or_not_public_is_left_out_and_named(text: str, reason: str) -> None:
    found = Read(GOOD + text)
    assert found.values == ["203.0.113.7"]
    (line,) = found.lines
    assert line.startswith("list:2: ")
    assert line.endswith(f" is left out: {reason}")
    assert found.ledger.unused() == {"too broad" if reason.startswith(("wider", "a public suffix")) else "not public": 1}


@pytest.mark.parametrize(
    "text", ["8.0.0.0/8", "2600::/16", "8.0.0.0-8.255.255.255", "evil.github.io", "evil.co.uk", "2001:db8::/32", "240.0.0.1"]
)
def test_an_entry_just_narrow_enough_is_taken(text: str) -> None:
    assert len(Read(text).entries) == 1


def test_what_is_too_broad_can_be_said_otherwise() -> None:
    assert Read("8.0.0.0/7\n2600::/12", widest_v4=7, widest_v6=12, share=0.5).values == ["8.0.0.0/7", "2600::/12"]
    assert Read(f"{GOOD}8.0.0.0/8", widest_v4=9).values == ["203.0.113.7"]


def test_a_laboratory_that_counts_as_public_may_be_on_a_list() -> None:
    assert Read("10.9.0.1\n10.8.0.1", public=["10.9.0.0/16"]).values == ["10.9.0.1"]


def test_a_list_of_what_is_well_known_may_name_a_provider_below_which_others_live() -> None:
    assert Read("duckdns.org\nexample.org").values == ["example.org"]
    assert Read("duckdns.org\nexample.org\ncom", warns=True).values == ["duckdns.org", "example.org"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("# nothing\n\n; here\n", "is empty"),
        ("<!DOCTYPE html><html><body>203.0.113.7</body></html>", "is a web page, no list"),
        ("\ufeff \n<HTML>\n203.0.113.7\n", "is a web page, no list"),
        ("<?xml version='1.0'?><error/>", "is a web page, no list"),
        ("Rate limit exceeded, come back later", "is no list of a known form: 1 of 1 lines can't be understood"),
        (GOOD * 4 + "what is this\n" * 20, "is no list of a known form: 20 of 24 lines can't be understood"),
        ("10.0.0.1\n0.0.0.0/0\n" + "a" * 64, "has no entry that counts: not public (1), too broad (1), checksums of files (1)"),
    ],
)
def test_what_is_no_list_is_refused_with_the_reason(text: str, reason: str) -> None:
    assert Read(text).refused == reason


def test_a_list_with_some_broken_lines_is_taken_all_the_same() -> None:
    assert Read(GOOD + "what is this\n" * 19).refused is None
    assert Read(GOOD * 5 + "what is this\n" * 19).refused is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("8.0.0.0/8\n12.0.0.0/8", 2 / 256),
        ("8.0.0.0/8\n8.0.0.0/8\n8.1.0.0/16\n8.1.2.0/24\n8.128.0.0/9", 1 / 256),
        ("8.0.0.0-8.255.255.255", 1 / 256),
        ("2600::/16\n2600:1::/32\n2600::/16", 1 / 8192),
    ],
)
def test_a_list_may_cover_a_share_of_the_address_space_and_no_more(text: str, share: float) -> None:
    assert Read(text, share=share).refused is None
    refused = Read(text, share=share * 0.99).refused
    assert refused is not None
    assert refused.startswith(f"covers {share:.1%} of all IPv")


def test_a_list_of_what_is_well_known_may_cover_more() -> None:
    text = "\n".join(f"{first}.0.0.0/8" for first in range(11, 31))
    assert Read(text, warns=True).refused is None
    assert Read(text).refused == "covers 7.8% of all IPv4 addresses, and 5.0% is the most that a list may"


def test_coverage_is_exact_and_bounded_however_networks_overlap() -> None:
    coverage, share = Coverage(), 32_768 * 256 / 2**32
    tracemalloc.start()
    for number in range(2 * 32_768):  # each of them twice
        coverage.add(IPv4Network((0x08000000 + number % 32_768 * 256, 24)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert coverage.too_much(share) is None
    assert coverage.too_much(share * 0.999) is not None
    assert peak < 4 << 20


def test_a_gzip_file_is_what_is_in_it() -> None:
    packed = gzip.compress(GOOD.encode()) + gzip.compress(b"203.0.113.8\n")
    assert Read(packed).values == ["203.0.113.7", "203.0.113.8"]


@pytest.mark.parametrize("name", ["full.csv", "a/b.txt"])
def test_a_zip_file_is_its_first_member(name: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, GOOD * 1000)
        archive.writestr("other", "nonsense")
    assert Read(out.getvalue()).values == ["203.0.113.7"] * 1000


def _zip(flags: int = 0, method: int = 8, data: bytes = b"") -> bytes:
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, flags, method, 0, 0, 0, 0, 0, 1, 0) + b"n" + data


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(GOOD.encode() * 100, mtime=0)[:40], gzip.compress(GOOD.encode(), mtime=0)[:-1],
        b"\x1f\x8b", b"\x1f\x8b\x08\0" + b"\xff" * 50,
        gzip.compress(GOOD.encode(), mtime=0)[:-8] + bytes(8), b"PK\x03\x04", _zip(), _zip(flags=1), _zip(method=0, data=GOOD.encode()),
        _zip(data=b"\xff" * 50),
        _zip(data=zlib.compress(GOOD.encode() * 100, wbits=-15)[:10]),
    ],
)  # fmt: skip
def test_broken_compression_refuses_the_list(data: bytes) -> None:
    found = Read(data)
    assert found.refused is not None
    assert found.refused.startswith("can't be decompressed")


@pytest.mark.parametrize("pack", ["gzip", "zip"])
def test_a_bomb_is_refused_before_it_has_grown(pack: str) -> None:
    plain = b"203.0.113.7\n" + b" " * (40 << 20)
    packed = gzip.compress(plain) if pack == "gzip" else _zip(data=zlib.compress(plain, wbits=-15))
    tracemalloc.start()
    found = Read(packed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(plain) > 900 * len(packed)
    assert found.refused == "grows more than 100-fold when it is decompressed"
    assert peak < 16 << 20


def test_a_bomb_of_gzip_in_gzip_is_no_list() -> None:
    assert Read(gzip.compress(gzip.compress(GOOD.encode() * 100_000))).entries == []


def test_a_list_that_is_too_large_is_refused() -> None:
    assert Read(GOOD * 1000, most_octets=12_000).refused is None
    assert Read(GOOD * 1000, most_octets=11_999).refused == "is larger than 0.0114431 MiB"
    assert Read(gzip.compress(GOOD.encode() * 1000), most_octets=11_999).refused is not None


def test_a_list_of_too_many_lines_is_refused() -> None:
    assert Read(GOOD * 50, most_lines=50).refused is None
    assert Read(GOOD * 51, most_lines=50).refused == "has more than 50 lines"
    assert Read('{"ip":"203.0.113.7"}\n' * 51, most_lines=50).refused == "has more than 50 lines"


def test_a_document_that_is_too_large_to_be_read_whole_is_refused() -> None:
    document = json.dumps(["203.0.113.7"] * 100_000)
    assert Read(document, most_document=len(document)).refused is None
    assert Read(document, most_document=1 << 20).refused == "is a JSON document of more than 1 MiB"


@pytest.mark.parametrize("line", [b"203.0.113.7\n", b"evil%d.example\n", b"198.51.%d.0/24\n"])
def test_a_long_list_is_read_in_memory_that_does_not_grow_with_it(line: bytes) -> None:
    data = b"".join(line % (number % 256) if b"%" in line else line for number in range(30_000))
    Read(GOOD + "evil.example")  # the list of public suffixes is loaded once
    tracemalloc.start()
    count = sum(1 for _ in read(io.BytesIO(data), Ledger("list", Bounds(), Scopes(), NOW)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 3 << 20


def test_broken_lines_are_not_kept() -> None:
    tracemalloc.start()
    found = Read(b"what is this\n" * 30_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.ledger.broken, len(found.lines)) == (30_000, 21)
    assert peak < 3 << 20


def test_an_entry_of_many_kinds_of_other_things_is_counted_in_bounded_space() -> None:
    ledger = Ledger("list", Bounds(), Scopes(), NOW)
    for number in range(1000):
        ledger.pass_over(f"kind {number}")
    assert len(ledger.unused()) == 51
    assert sum(ledger.unused().values()) == 1000


def test_what_was_read_before_counts_like_what_is_read_now() -> None:
    ledger = Ledger("list", Bounds(share=1 / 300), Scopes(), NOW)
    ledger.keep(Entry("network", "8.0.0.0/8"))
    with pytest.raises(RuleError, match=r"covers 0\.4%"):
        ledger.check()
