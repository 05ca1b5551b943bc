"""AbuseIPDB's replies and what they are taken for."""

import json
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import Geo, Reputation
from outwatch.model.reputation import Indicator, LookupReply, LookupRequest
from outwatch.reputation.abuseipdb import AbuseIpdb
from outwatch.reputation.settings import ProviderConfig

BODY = json.loads((Path(__file__).parent / "documented" / "abuseipdb_ip.json").read_text())
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
PROVIDER = AbuseIpdb(ProviderConfig())


def parse(**facts: Any) -> Reputation:
    return PROVIDER.parse(ADDRESS, LookupReply(status=200, body=json.dumps({"data": {**BODY["data"], **facts}}).encode()))


def test_it_asks_for_the_reports_of_ninety_days_on_an_address() -> None:
    assert PROVIDER.request(Indicator(kind="ip", value="2001:db8::9")) == LookupRequest(
        path="/api/v2/check", params=(("ipAddress", "2001:db8::9"), ("maxAgeInDays", "90")), headers=(("Accept", "application/json"),)
    )
    assert (PROVIDER.home, PROVIDER.key_header, PROVIDER.key_form) == ("https://api.abuseipdb.com", "Key", "{}")
    assert [(limit.count, limit.seconds) for limit in PROVIDER.limits] == [(1000, 86_400)]


def test_an_address_comes_with_its_confidence_and_reports() -> None:
    assert parse() == Reputation(
        provider="abuseipdb",
        state="malicious",
        score=100,
        reports=250,
        tags=("Tor exit", "Data Center/Web Hosting/Transit", "Example Networks", "example.net"),
        geo=Geo(country_iso_code="NL"),
        link="https://www.abuseipdb.com/check/203.0.113.9",
    )


@pytest.mark.parametrize(
    ("confidence", "state"),
    [(0, "clean"), (24, "clean"), (25, "suspicious"), (74, "suspicious"), (75, "malicious"), (100, "malicious")],
)
def test_confidence_decides_the_state(confidence: int, state: str) -> None:
    found = parse(abuseConfidenceScore=confidence)
    assert (found.state, found.score) == (state, confidence)


@pytest.mark.parametrize(("whitelisted", "told"), [(True, True), (False, None), (None, None)])
def test_only_an_address_on_its_whitelist_is_vouched_for(whitelisted: bool | None, told: bool | None) -> None:
    assert parse(isWhitelisted=whitelisted).allow_listed is told


def test_an_address_that_it_takes_for_a_private_one_is_not_clean() -> None:
    found = parse(isPublic=False, abuseConfidenceScore=0)
    assert (found.state, found.score) == ("no_data", None)


def test_an_address_without_any_facts_but_the_numbers_is_read() -> None:
    found = parse(
        countryCode=None, usageType=None, isp=None, domain=None, isTor=None, isPublic=None, abuseConfidenceScore=0, totalReports=0
    )
    assert (found.state, found.reports, found.tags, found.geo) == ("clean", 0, None, None)


@pytest.mark.security
@pytest.mark.parametrize("key", ["abuseConfidenceScore", "totalReports"])
@pytest.mark.parametrize("number", [-1, 10**400, 10**10, 0.5, 1.0, None, "100", [100], True, float("nan")])
def test_numbers_that_can_not_be_are_unusable(key: str, number: Any) -> None:
    with pytest.raises(ReplyUnusable):
        parse(**{key: number})


@pytest.mark.security
def test_a_confidence_of_more_than_a_hundred_is_unusable() -> None:
    with pytest.raises(ReplyUnusable):
        parse(abuseConfidenceScore=101)


@pytest.mark.security
@pytest.mark.parametrize("key", ["abuseConfidenceScore", "totalReports"])
def test_without_its_numbers_a_reply_is_unusable_and_not_clean(key: str) -> None:
    less = {name: value for name, value in BODY["data"].items() if name != key}
    with pytest.raises(ReplyUnusable):
        PROVIDER.parse(ADDRESS, LookupReply(status=200, body=json.dumps({"data": less}).encode()))


@pytest.mark.security
def test_an_error_with_status_200_is_unusable() -> None:
    body = b'{"errors": [{"detail": "Daily rate limit of 1000 requests exceeded for this endpoint.", "status": 429}]}'
    with pytest.raises(ReplyUnusable):
        PROVIDER.parse(ADDRESS, LookupReply(status=200, body=body))
