"""Every form of list: what is written into one is read from it, and whatever octets one has, nothing is raised but what refuses it."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outwatch.errors import RuleError
from outwatch.intel import formats
from outwatch.intel.entries import Entry
from outwatch.intel.formats import Bounds, Ledger
from outwatch.intel.formats.stix_pattern import PatternUnusable, indicators
from outwatch.intel.formats.values import Name, meaning
from outwatch.net import domains
from outwatch.net.addresses import Scopes, parse_network

pytestmark = pytest.mark.security

SCOPES = Scopes()
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).filter(lambda word: word[0] != "-" and word[-1] != "-")
NAMES = st.builds(lambda words: ".".join([*words, "example"]), st.lists(WORD, min_size=1, max_size=3)).map(
    lambda name: Entry("domain", name)
)
V4 = st.integers(0x08000000, 0x08FFFFFF).map(lambda number: Entry("ip", str(IPv4Address(number))))
V6 = st.integers(0, 2**64).map(lambda number: Entry("ip", str(IPv6Address((0x2600 << 112) + number))))
V4_NETWORKS = st.tuples(st.integers(0x08000000, 0x08FFFFFF), st.integers(12, 31)).map(
    lambda pair: Entry("network", str(IPv4Network(pair, strict=False)))
)
V6_NETWORKS = st.tuples(st.integers(0, 2**90), st.integers(24, 127)).map(
    lambda pair: Entry("network", str(IPv6Network(((0x2600 << 112) + pair[0], pair[1]), strict=False)))
)
ANY = NAMES | V4 | V6 | V4_NETWORKS | V6_NETWORKS
SURE = st.integers(0, 100)
TIMES = st.integers(700_000_000, 4_000_000_000)


def read(data: bytes, **limits: Any) -> tuple[list[Entry], str | None]:
    """Give the entries of a list, and why it was refused."""
    found: list[Entry] = []
    try:
        found.extend(formats.read(io.BytesIO(data), Ledger("list", Bounds(share=1.0, **limits), SCOPES, 0.0)))
    except RuleError as error:
        return found, error.reason
    return found, None


def as_url(entry: Entry) -> str:
    host = f"[{entry.value}]" if ":" in entry.value else entry.value
    return f"http://{host}:8080/path?x=1"


def as_pattern(entry: Entry) -> str:
    path = "domain-name" if entry.kind == "domain" else "ipv6-addr" if ":" in entry.value else "ipv4-addr"
    return f"[{path}:value = '{entry.value}']"


def defanged(text: str, dot: str) -> str:
    return text.replace("http", "hxxp").replace(".", dot)


LINES: dict[str, Callable[[list[Entry]], str]] = {
    "plain": lambda entries: "\n".join(one.value for one in entries),
    "upper case": lambda entries: "\r\n".join(one.value.upper() for one in entries),
    "commented": lambda entries: "# a list\n" + "\n".join(f"{one.value} # remark" for one in entries),
    "drop": lambda entries: "; a list\n" + "\n".join(f"{one.value} ; SBL{at}" for at, one in enumerate(entries)),
    "JSON array": lambda entries: json.dumps([one.value for one in entries]),
    "JSON lines": lambda entries: "\n".join(
        [*(json.dumps({"indicator": one.value}) for one in entries), '{"type":"metadata","records":1}']
    ),
    "warninglist": lambda entries: json.dumps({"name": "x", "type": "cidr", "list": [one.value for one in entries]}, indent=1),
    "STIX": lambda entries: json.dumps(
        {"type": "bundle", "objects": [{"type": "indicator", "pattern_type": "stix", "pattern": as_pattern(one)} for one in entries]}
    ),
    "STIX, in one pattern": lambda entries: json.dumps(
        {"objects": [{"type": "indicator", "pattern": " OR ".join(f"({as_pattern(one)})" for one in entries)}]}
    ),
    "MISP": lambda entries: json.dumps(
        {
            "Event": {
                "Attribute": [
                    {"type": "domain" if one.kind == "domain" else "ip-dst", "value": one.value, "to_ids": True} for one in entries
                ]
            }
        }
    ),
}


@pytest.mark.parametrize("form", LINES)
@given(entries=st.lists(ANY, min_size=1, max_size=12), packed=st.booleans())
@settings(deadline=None, max_examples=40)
def test_what_is_written_in_a_form_is_read_from_it(form: str, entries: list[Entry], packed: bool) -> None:
    data = LINES[form](entries).encode()
    found, refused = read(gzip.compress(data) if packed else data)
    assert refused is None
    assert [(one.kind, one.value) for one in found] == [(one.kind, one.value) for one in entries]


@given(
    entries=st.lists(NAMES, min_size=1, max_size=12),
    sink=st.sampled_from(["0.0.0.0", "127.0.0.1", "::", "::1"]),
    gap=st.sampled_from(" \t"),
)
@settings(deadline=None, max_examples=60)
def test_names_come_back_from_a_hosts_file_and_from_rules_of_ad_blockers(entries: list[Entry], sink: str, gap: str) -> None:
    hosts = "\n".join(f"{sink}{gap}{one.value}" for one in entries)
    rules = "[Adblock Plus]\n" + "\n".join(f"||{one.value}^" for one in entries)
    dnsmasq = "\n".join(f"address=/{one.value}/{sink}" for one in entries)
    wild = "\n".join(f"*.{one.value}" for one in entries)
    for text in (hosts, rules, dnsmasq, wild):
        assert read(text.encode()) == (entries, None)


@given(entries=st.lists(NAMES | V4 | V6, min_size=1, max_size=12), dot=st.sampled_from(["[.]", "(.)", "[dot]", "{.}", " [.] ", "\\."]))
@settings(deadline=None, max_examples=60)
def test_defanged_urls_come_back_as_their_hosts(entries: list[Entry], dot: str) -> None:
    urls = [as_url(one) for one in entries]
    assert read("\n".join(urls).encode()) == (entries, None)
    for url, entry in zip(urls, entries, strict=True):
        found = meaning(defanged(url, dot))
        assert (found.text if isinstance(found, Name) else str(found)) == entry.value


@given(
    rows=st.lists(st.tuples(ANY, SURE, TIMES, TIMES, st.text("abc ,;\"'", max_size=9)), min_size=1, max_size=12),
    dialect=st.sampled_from(",;\t|"),
)
@settings(deadline=None, max_examples=80)
def test_rows_come_back_with_what_stands_beside_the_indicator(rows: list[tuple[Entry, int, int, int, str]], dialect: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=dialect, quoting=csv.QUOTE_ALL)
    writer.writerow(["first_seen", "last_seen", "ioc_value", "confidence", "malware"])
    for entry, sure, first, last, malware in rows:
        writer.writerow([first, last, entry.value, sure, malware])
    objects = [
        {"first_seen": first, "last_seen": str(last), "ioc_value": entry.value, "confidence": sure, "malware": malware}
        for entry, sure, first, last, malware in rows
    ]
    expected = [
        Entry(entry.kind, entry.value, sure, first, last, None, " ".join(malware.split()) or None)
        for entry, sure, first, last, malware in rows
    ]
    assert read(out.getvalue().encode()) == (expected, None)
    assert read(json.dumps(objects).encode()) == (expected, None)


@given(counts=st.lists(st.tuples(V4, st.integers(1, 100)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_more_lists_never_make_an_address_less_sure(counts: list[tuple[Entry, int]]) -> None:
    found, refused = read("\n".join(f"{entry.value}\t{count}" for entry, count in counts).encode())
    assert refused is None
    assert [one.value for one in found] == [entry.value for entry, _ in counts]
    ordered = sorted(zip([count for _, count in counts], [one.confidence or 0 for one in found], strict=True))
    assert [sure for _, sure in ordered] == sorted(sure for _, sure in ordered)
    assert all(0 < sure < 100 for _, sure in ordered)


@given(first=st.integers(0x08000000, 0x0800FFFF), length=st.integers(0, 70_000), gap=st.sampled_from(["-", " - "]))
@settings(deadline=None, max_examples=100)
def test_the_networks_of_a_range_are_the_range(first: int, length: int, gap: str) -> None:
    found, refused = read(f"{IPv4Address(first)}{gap}{IPv4Address(first + length)}".encode())
    networks = [network for one in found if (network := parse_network(one.value)) is not None]
    assert refused is None
    assert sum(network.num_addresses for network in networks) == length + 1
    assert (int(networks[0].network_address), int(networks[-1].broadcast_address)) == (first, first + length)


HEADS = [
    b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"PK\x03\x04\x14\x00\x00\x00\x08\x00", b"<html>", b"[",
    b"{", b'{"a":1}\n{', b'{"objects":[', b'{"Event":{"Attribute":[', b'{"list":["', b'# "id","ioc_value"\n', b"ip,confidence\n",
    b"||", b"address=/",
    b"0.0.0.0 ", b"1.2.3.4\t",
]  # fmt: skip


@given(head=st.sampled_from(HEADS), rest=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
@settings(deadline=None, max_examples=600)
@example(head=b'{"a":"', rest=b'\xed\xa0\x80"}')
@example(head=b"ip,confidence\n", rest=b'"1.2.3.4\n\n"\n')
def test_any_octets_behind_any_head_become_canonical_entries_or_a_reason(head: bytes, rest: bytes) -> None:
    for data in (head + rest, gzip.compress(head + rest)):
        for entry in read(data)[0]:
            if entry.kind == "domain":
                assert domains.hostname(entry.value) == entry.value
                assert entry.value.isascii()
            else:
                assert str(parse_network(entry.value)).removesuffix("/32").removesuffix("/128") == entry.value
                assert SCOPES.place(entry.value.partition("/")[0])[1] in {"public", "unclassified"} or entry.kind == "network"
            assert entry.note is None or len(entry.note) <= 200


KEYS = st.sampled_from([
    "type", "pattern", "pattern_type", "objects", "Event", "response", "Attribute", "Object", "value", "to_ids", "list", "name", "ip",
    "labels", "cidr", "confidence", "valid_until", "first_seen", "timestamp", "info", "0b0e3a2c-0000-4000-8000-000000000001", "ioc_value",
    "revoked",
])  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["indicator", "stix", "8.1.2.3", "evil.example", "ip-dst", "[ipv4-addr:value = '8.1.2.3']", "regex", 10**400])
)  # fmt: skip
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25)


@given(tree=TREES, indent=st.sampled_from([None, 1]))
@settings(deadline=None, max_examples=600)
def test_any_json_becomes_entries_or_a_reason(tree: object, indent: int | None) -> None:
    data = json.dumps(tree, indent=indent).encode()
    found, refused = read(data)
    assert found or refused
    found, refused = read(data + b"\n" + data)  # lines of JSON, if it is an object
    assert found or refused
    try:
        events = formats.events(io.BytesIO(data), Ledger("list", Bounds(), SCOPES, 0.0))
    except RuleError:
        return
    assert events is None or all(len(name) == 36 for name in events)


@given(pattern=st.text("[]()='\\ ,.:*ORANDNTIvalueipv4-drdomainm0123456789x", max_size=60) | st.text(max_size=30))
@settings(deadline=None, max_examples=600)
def test_any_text_is_a_pattern_or_unusable(pattern: str) -> None:
    try:
        found = indicators(pattern)
    except PatternUnusable:
        return
    assert all(isinstance(one, str) for one in found)


@given(text=st.text(max_size=60) | st.text("0123456789abcdef.:/-[]()*@xhtp%#", max_size=40))
@settings(deadline=None, max_examples=600)
def test_the_meaning_of_a_meaning_is_itself(text: str) -> None:
    found = meaning(text)
    if isinstance(found, Name):
        assert meaning(found.text) == found
    elif isinstance(found, IPv4Address | IPv6Address | IPv4Network | IPv6Network):
        assert meaning(str(found)) == found
