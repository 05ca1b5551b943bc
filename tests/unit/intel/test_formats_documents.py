"""Lists that are JSON, of those whose form is known and of others."""

import json
from typing import Any

import pytest

from outwatch.intel import formats
from outwatch.intel.entries import Entry

from .reading import Read, seconds

DROP = (
    '{"cidr":"198.51.100.0/24","sblid":"SBL256894","rir":"apnic"}\n'
    '{"cidr":"203.0.113.0/25","sblid":"SBL434604","rir":"ripencc"}\n'
    '{"type":"metadata","timestamp":1751912650,"size":96,"records":2,"copyright":"(c) 2025 The Spamhaus Project SLU","terms":"https://x.example/"}\n'
)
ATTRIBUTES: list[dict[str, Any]] = [
    {"type": "ip-dst", "value": "203.0.113.1", "to_ids": True, "timestamp": "1735787045", "comment": "first stage"},
    {"type": "ip-src|port", "value": "203.0.113.2|8080", "to_ids": True},
    {"type": "domain|ip", "value": "evil.example|203.0.113.3", "to_ids": True},
    {"type": "hostname", "value": "h.evil.example", "to_ids": True, "first_seen": "2025-01-01T00:00:00.000000+00:00"},
    {"type": "url", "value": "http://u.evil.example/x", "to_ids": True},
    {"type": "ip-dst", "value": "203.0.113.9", "to_ids": False},
    {"type": "ip-dst", "value": "203.0.113.10", "to_ids": True, "deleted": True},
    {"type": "sha256", "value": "a" * 64, "to_ids": True},
]
EVENT = {"Event": {"info": "Campaign X", "Attribute": ATTRIBUTES[:4], "Object": [{"name": "url", "Attribute": ATTRIBUTES[4:]}]}}
WARNINGLIST = {
    "name": "List of known things", "type": "cidr", "version": 1, "description": "…", "matching_attributes": ["ip-dst"],
    "list": ["198.51.100.0/24", ".cloud.example", "2001:db8::/32"],
}  # fmt: skip


def indicator(pattern: str, **more: Any) -> dict[str, Any]:
    return {"type": "indicator", "id": "indicator--1", "pattern": pattern, "pattern_type": "stix", **more}


def bundle(*objects: Any) -> str:
    return json.dumps({"type": "bundle", "id": "bundle--1", "objects": list(objects)})


def test_spamhaus_drop_is_a_network_a_line_and_a_line_about_the_list() -> None:
    read = Read(DROP)
    assert read.entries == [Entry("network", "198.51.100.0/24", note="SBL256894"), Entry("network", "203.0.113.0/25", note="SBL434604")]
    assert (read.ledger.form, read.ledger.broken) == ("JSON lines", 0)


def test_a_broken_json_line_is_told_with_its_number_and_the_others_count() -> None:
    read = Read(DROP.replace('"SBL434604"', '"SBL'))
    assert read.values == ["198.51.100.0/24"]
    assert read.lines[0].startswith("list:2: ")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_misp_event_gives_what_is_meant_for_detection(indent: int | None) -> None:
    read = Read(json.dumps(EVENT, indent=indent))
    assert [(one.kind, one.value) for one in read.entries] == [
        ("ip", "203.0.113.1"), ("ip", "203.0.113.2"), ("domain", "evil.example"), ("domain", "h.evil.example"), ("domain", "u.evil.example")
    ]  # fmt: skip
    assert read.entries[0] == Entry("ip", "203.0.113.1", None, None, 1735787045, None, "Campaign X, first stage")
    assert read.entries[3].first_seen == seconds("2025-01-01 00:00:00")
    assert read.ledger.unused() == {"attributes that are not meant for detection": 2, "attributes that are no addresses and names": 1}


def test_an_export_of_several_misp_events_gives_all_of_them() -> None:
    assert len(Read(json.dumps({"response": [EVENT, EVENT]})).entries) == 10


def test_a_warninglist_warns_unless_it_is_said_otherwise() -> None:
    read = Read(json.dumps(WARNINGLIST))
    assert read.values == ["198.51.100.0/24", "cloud.example", "2001:db8::/32"]
    assert (read.ledger.form, read.ledger.warns) == (formats.WARNINGLIST, True)
    assert Read(json.dumps(WARNINGLIST), warns=False).ledger.warns is False


def test_a_warninglist_of_patterns_is_refused() -> None:
    read = Read(json.dumps({**WARNINGLIST, "type": "regex", "list": [".*"]}))
    assert (read.entries, read.refused) == ([], "is a warninglist of patterns, which outwatch does not use")


def test_a_stix_bundle_gives_each_alternative_with_what_the_indicator_says() -> None:
    pattern = "[ipv4-addr:value = '203.0.113.1'] OR [domain-name:value IN ('a.example', 'b.example')]"
    said = {
        "confidence": 80,
        "valid_from": "2025-01-01T00:00:00Z",
        "valid_until": "2026-01-01T00:00:00.000Z",
        "modified": "2025-02-01T00:00:00Z",
    }
    read = Read(bundle({"type": "identity"}, indicator(pattern, name="C2", labels=["malicious-activity"], **said)))
    times = (seconds("2025-01-01 00:00:00"), seconds("2025-02-01 00:00:00"), seconds("2026-01-01 00:00:00"))
    assert read.entries == [
        Entry("ip", "203.0.113.1", 80, *times, "C2, malicious-activity"),
        Entry("domain", "a.example", 80, *times, "C2, malicious-activity"),
        Entry("domain", "b.example", 80, *times, "C2, malicious-activity"),
    ]
    assert read.ledger.form == "STIX"


GOOD = indicator("[ipv4-addr:value = '203.0.113.1']")


@pytest.mark.parametrize(
    ("other", "unused"),
    [
        (indicator("[ipv4-addr:value = '203.0.113.2']", revoked=True), "indicators that are revoked or of something harmless"),
        (
            indicator("[ipv4-addr:value = '203.0.113.2']", indicator_types=["benign"]),
            "indicators that are revoked or of something harmless",
        ),
        (indicator("alert tcp any any", pattern_type="snort"), "patterns of other languages than STIX"),
        (indicator("[file:hashes.MD5 = 'aa']"), "patterns about more than an address or a name"),
        (indicator("[ipv4-addr:value = '203.0.113.2']", valid_until="2025-07-09T00:00:00Z"), "expired"),
        (indicator("[ipv4-addr:value = "), "lines not understood"),
        (indicator(7), "lines not understood"),  # type: ignore[arg-type]
    ],
)
def test_an_indicator_that_accuses_no_address_is_counted_by_the_reason(other: dict[str, Any], unused: str) -> None:
    read = Read(bundle(GOOD, other))
    assert (read.values, read.ledger.unused()) == (["203.0.113.1"], {unused: 1})


@pytest.mark.parametrize(
    "document",
    [
        {"objects": [GOOD]},  # TAXII's envelope
        [GOOD],
        GOOD,
        ["203.0.113.1"],
        ["hxxp://203.0.113[.]1/x"],
        [{"ip": "203.0.113.1"}],
        [{"ip_address": "203.0.113.1", "hostname": None, "port": 443}],
        {"1220": [{"ioc_value": "203.0.113.1:443", "ioc_type": "ip:port"}]},  # ThreatFox
        {"prefixes": [{"ip_prefix": "203.0.113.1/32", "region": "x"}], "syncToken": "1"},  # Amazon
        {"prefixes": [{"ipv4Prefix": "203.0.113.1/32"}]},  # Google
        {"addresses": ["203.0.113.1/32"], "ipv6_addresses": []},  # Fastly
        {"cidr": "203.0.113.1/32", "sblid": "SBL1"},
        {"data": ["203.0.113.1"], "count": 1},
    ],
)
def test_json_of_any_sensible_form_is_read(document: Any) -> None:
    assert Read(json.dumps(document)).values == ["203.0.113.1"]
    assert Read(json.dumps(document, indent=1)).values == ["203.0.113.1"]


def test_items_that_say_nothing_are_told_with_their_numbers() -> None:
    read = Read(json.dumps([{"ip": "203.0.113.1"}, {"port": 1}, 7, None, "nonsense"]))
    assert read.lines == [
        "list: item 2: 'item 2': no key of it holds an address, network or name",
        "list: item 3: 'item 3': no key of it holds an address, network or name",
        "list: item 4: 'item 4': no key of it holds an address, network or name",
        "list: item 5: 'nonsense': no address, network or name",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"error": "quota exceeded"}', "is a JSON document of a form that outwatch does not know"),
        ('{"query_status": "ok", "data": []}', "is a JSON document of a form that outwatch does not know"),
        ("{}", "is a JSON document of a form that outwatch does not know"),
        ("[]", "is empty"),
        ('{"objects": []}', "is empty"),
        ('{"objects": {}}', "is empty"),
        ('{"objects": null}', "is empty"),
        ('["203.0.113.1"', "is no whole JSON document"),
        ('{"Event": ', "is no whole JSON document"),
        ('{"a": "\ud800"}'.encode("utf-8", "surrogatepass"), "is a JSON document of a form that outwatch does not know"),
        ("[" * 200_000, "is no whole JSON document"),
        ('{"list":' * 100_000, "is no whole JSON document"),
    ],
)
def test_json_that_is_no_list_is_refused_with_the_reason(text: str | bytes, reason: str) -> None:
    read = Read(text)
    assert read.entries == []
    assert read.refused is not None
    assert read.refused.startswith(reason)


@pytest.mark.parametrize(
    "document",
    [
        {"Event": 7}, {"Event": {"Attribute": 7}}, {"Event": {"Attribute": [7, None, {"type": 7, "value": 7}, {"type": []}]}},
        {"response": [7, {"Event": []}]},
        {"Event": {"Object": [7, {"Attribute": {}}]}}, {"list": 7, "name": 7}, {"list": [7, None], "type": []},
        {"objects": [7, {"type": 7}]},
        {"objects": [{"type": "indicator", "pattern": None}]},
        {"objects": [indicator("x", labels=7, confidence={}, valid_until=[], name=7)]},
        [[["203.0.113.1"]]], [{"ip": 10**400}], [{"ip": {"v4": "x"}}],
    ],
)  # fmt: skip
def test_wrong_types_anywhere_are_refused_and_raise_nothing(document: Any) -> None:
    assert Read(json.dumps(document)).refused is not None


def test_numbers_that_lie_are_not_believed() -> None:
    row = {"ip": "203.0.113.1", "confidence": 10**400, "first_seen": 10**400, "last_seen": -1, "expires": True}
    assert Read(json.dumps([row])).entries == [Entry("ip", "203.0.113.1")]


def test_the_manifest_of_a_feed_is_known_from_other_documents() -> None:
    import io

    first, second = "0b0e3a2c-0000-4000-8000-000000000001", "0B0E3A2C-0000-4000-8000-000000000002"
    manifest = {first: {"info": "a", "timestamp": "1735787045"}, second: {"info": "b", "timestamp": "nonsense"}}

    def events(document: Any) -> dict[str, int] | None:
        return formats.events(io.BytesIO(json.dumps(document).encode()), Read("").ledger)

    assert events(manifest) == {first: 1735787045, second.lower(): 0}
    assert events({**manifest, "../../etc/passwd": {"info": "c"}}) is None
    assert events({first: {"timestamp": "1735787045"}}) is None
    assert events({}) is None
    assert events([manifest]) is None
