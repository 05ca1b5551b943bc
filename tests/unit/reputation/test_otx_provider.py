"""OTX's replies and what they are taken for."""

import json
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import AutonomousSystem, Geo, Organization, Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.otx import Otx
from outwatch.reputation.settings import ProviderConfig

DOCUMENTED = Path(__file__).parent / "documented"
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
NAME = Indicator(kind="domain", value="www.evil.example")
PROVIDER = Otx(ProviderConfig())


def parse(**facts: Any) -> Reputation:
    body = json.loads((DOCUMENTED / "otx_ip.json").read_text())
    return PROVIDER.parse(ADDRESS, LookupReply(status=200, body=json.dumps({**body, **facts}).encode()))


@pytest.mark.parametrize(
    ("indicator", "path"),
    [
        (ADDRESS, "/api/v1/indicators/IPv4/203.0.113.9/general"),
        (Indicator(kind="ip", value="2001:db8::9"), "/api/v1/indicators/IPv6/2001:db8::9/general"),
        (Indicator(kind="domain", value="evil.example"), "/api/v1/indicators/domain/evil.example/general"),
        (NAME, "/api/v1/indicators/hostname/www.evil.example/general"),
        (Indicator(kind="domain", value="evil.co.uk"), "/api/v1/indicators/domain/evil.co.uk/general"),
        (Indicator(kind="sha256", value="0" * 64), f"/api/v1/indicators/file/{'0' * 64}/general"),
    ],
)
def test_it_asks_for_each_kind_under_its_type(indicator: Indicator, path: str) -> None:
    request = PROVIDER.request(indicator)
    assert request is not None
    assert request.path == path
    assert (PROVIDER.home, PROVIDER.key_header) == ("https://otx.alienvault.com", "X-OTX-API-KEY")


def test_a_registered_name_has_a_page_of_another_type_than_the_names_below_it() -> None:
    assert PROVIDER.link(Indicator(kind="domain", value="evil.example")) == "https://otx.alienvault.com/indicator/domain/evil.example"
    assert PROVIDER.link(Indicator(kind="sha256", value="0" * 64)) == f"https://otx.alienvault.com/indicator/file/{'0' * 64}"


def test_an_address_comes_with_its_pulses_network_and_country() -> None:
    assert parse() == Reputation(
        provider="otx",
        state="suspicious",
        score=2,
        reports=2,
        tags=("Loader campaign of July", "Blocked by a honeypot"),
        as_=AutonomousSystem(number=64500, organization=Organization(name="Example Networks")),
        geo=Geo(country_iso_code="NL"),
        link="https://otx.alienvault.com/indicator/ip/203.0.113.9",
    )


@pytest.mark.parametrize("count", [1, 10, 5000])
def test_pulses_are_never_more_than_suspicious(count: int) -> None:
    found = parse(pulse_info={"count": count})
    assert (found.state, found.score) == ("suspicious", count)


@pytest.mark.security
def test_no_pulse_is_no_data_and_not_clean() -> None:
    assert parse(pulse_info={"count": 0, "pulses": []}).state == "no_data"


@pytest.mark.parametrize(
    ("sources", "vouched"),
    [(["whitelist"], True), (["majestic"], True), (["false_positive"], True), (["alexa", "akamai"], None), ([], None), ([None], None)],
)
def test_it_vouches_for_what_is_known_good_and_not_for_what_is_popular(sources: list[str | None], vouched: bool | None) -> None:
    found = parse(validation=[{"source": source, "name": "x"} for source in sources])
    assert (found.allow_listed, found.state) == (vouched, "clean" if vouched else "suspicious")


def test_a_name_that_it_vouches_for_is_clean() -> None:
    found = PROVIDER.parse(NAME, LookupReply(status=200, body=(DOCUMENTED / "otx_domain.json").read_bytes()))
    assert (found.state, found.score, found.allow_listed, found.link) == (
        "clean",
        0,
        True,
        "https://otx.alienvault.com/indicator/hostname/www.evil.example",
    )


@pytest.mark.security
def test_names_of_pulses_are_cleaned_and_only_the_first_are_kept() -> None:
    found = parse(pulse_info={"count": 2000, "pulses": [{"name": f"\x1b[31m{at}\n" + "x" * 500} for at in range(2000)]})
    assert found.tags is not None
    assert [tag[:6] for tag in found.tags] == ["[31m0 ", "[31m1 ", "[31m2 ", "[31m3 ", "[31m4 "]
    assert {len(tag) for tag in found.tags} == {64}


@pytest.mark.security
@pytest.mark.parametrize("count", [-1, 10**400, 10**10, None, "3", 1.5, True, [3]])
def test_numbers_of_pulses_that_can_not_be_are_unusable(count: Any) -> None:
    with pytest.raises(ReplyUnusable):
        parse(pulse_info={"count": count})
