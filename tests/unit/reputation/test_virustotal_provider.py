"""VirusTotal's replies and what they are taken for."""

import json
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import AutonomousSystem, Geo, Organization, Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.settings import ProviderConfig
from outwatch.reputation.virustotal import VirusTotal

DOCUMENTED = Path(__file__).parent / "documented"
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
DOMAIN = Indicator(kind="domain", value="www.evil.example")
FILE = Indicator(kind="sha256", value="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
PROVIDER = VirusTotal(ProviderConfig())


def parse(indicator: Indicator, name: str, status: int = 200) -> Reputation:
    return PROVIDER.parse(indicator, LookupReply(status=status, body=(DOCUMENTED / f"{name}.json").read_bytes()))


def with_stats(**stats: Any) -> Reputation:
    body = json.dumps({"data": {"attributes": {"last_analysis_stats": stats}}})
    return PROVIDER.parse(ADDRESS, LookupReply(status=200, body=body.encode()))


def test_it_asks_for_addresses_domains_and_files_where_they_are_documented() -> None:
    found = [PROVIDER.request(one) for one in (ADDRESS, Indicator(kind="ip", value="2001:db8::9"), DOMAIN, FILE)]
    assert [request.path if request else None for request in found] == [
        "/api/v3/ip_addresses/203.0.113.9",
        "/api/v3/ip_addresses/2001:db8::9",
        "/api/v3/domains/www.evil.example",
        f"/api/v3/files/{FILE.value}",
    ]
    assert (PROVIDER.home, PROVIDER.key_header, PROVIDER.key_form) == ("https://www.virustotal.com", "x-apikey", "{}")
    assert [(limit.count, limit.seconds) for limit in PROVIDER.limits] == [(4, 60), (500, 86_400)]


def test_an_address_comes_with_its_engines_network_and_country() -> None:
    assert parse(ADDRESS, "virustotal_ip") == Reputation(
        provider="virustotal",
        state="malicious",
        score=5,
        malicious=5,
        suspicious=1,
        engines=92,  # 55 + 5 + 1 + 31; two that timed out gave no opinion
        tags=("suspicious-udp", "self-signed"),
        as_=AutonomousSystem(number=64500, organization=Organization(name="Example Networks")),
        geo=Geo(country_iso_code="NL"),
        link="https://www.virustotal.com/gui/ip-address/203.0.113.9",
    )


def test_a_domain_comes_with_its_engines() -> None:
    found = parse(DOMAIN, "virustotal_domain")
    assert (found.state, found.malicious, found.engines, found.tags, found.as_) == ("suspicious", 2, 94, None, None)
    assert found.link == "https://www.virustotal.com/gui/domain/www.evil.example"


def test_a_file_comes_with_its_usual_name_and_whether_its_maker_is_trusted() -> None:
    found = parse(FILE, "virustotal_file")
    assert (found.state, found.malicious, found.engines, found.allow_listed) == ("clean", 0, 59, True)
    assert found.tags == ("tool.exe", "signed", "nsrl")
    assert found.link == f"https://www.virustotal.com/gui/file/{FILE.value}"


@pytest.mark.parametrize(
    ("malicious", "suspicious", "state"),
    [(0, 0, "clean"), (0, 1, "suspicious"), (1, 0, "suspicious"), (3, 9, "suspicious"), (4, 0, "malicious"), (80, 0, "malicious")],
)
def test_four_engines_make_it_malicious_and_fewer_suspicious(malicious: int, suspicious: int, state: str) -> None:
    found = with_stats(harmless=10, malicious=malicious, suspicious=suspicious, undetected=0, timeout=0)
    assert (found.state, found.score) == (state, malicious)


@pytest.mark.security
def test_an_indicator_of_which_no_engine_has_an_opinion_is_not_clean() -> None:
    found = with_stats(harmless=0, malicious=0, suspicious=0, undetected=0, timeout=12)
    assert (found.state, found.score, found.malicious, found.engines) == ("no_data", None, None, None)


@pytest.mark.security
@pytest.mark.parametrize("count", [-1, 10**400, 10_001, 1.5, 4.0, True, None, "4", [4], {"count": 4}, float("nan"), float("inf")])
@pytest.mark.parametrize("engine", ["malicious", "suspicious", "harmless", "undetected"])
def test_numbers_of_engines_that_can_not_be_are_unusable(engine: str, count: Any) -> None:
    with pytest.raises(ReplyUnusable):
        with_stats(**{"malicious": 0, "suspicious": 0, "harmless": 1, "undetected": 1, engine: count})


@pytest.mark.security
@pytest.mark.parametrize("body", ["{}", '{"data": {"attributes": {}}}', '{"data": {"attributes": {"last_analysis_stats": {}}}}'])
def test_a_reply_without_an_analysis_is_unusable(body: str) -> None:
    with pytest.raises(ReplyUnusable, match="not what the service documents"):
        PROVIDER.parse(ADDRESS, LookupReply(status=200, body=body.encode()))


def test_what_it_has_not_found_is_no_data() -> None:
    found = parse(DOMAIN, "virustotal_404", status=404)
    assert found == Reputation(provider="virustotal", state="no_data", link=PROVIDER.link(DOMAIN))


@pytest.mark.security
@pytest.mark.parametrize("body", ["{}", '{"error": {"code": "ForbiddenError"}}', '{"message": "no Route matched with those values"}'])
def test_a_404_of_another_server_is_unusable(body: str) -> None:
    with pytest.raises(ReplyUnusable):
        PROVIDER.parse(DOMAIN, LookupReply(status=404, body=body.encode()))


@pytest.mark.security
def test_hostile_texts_are_cleaned_and_bounded() -> None:
    attributes = {
        "last_analysis_stats": {"malicious": 0, "suspicious": 0, "harmless": 1, "undetected": 0},
        "as_owner": "\x1b]0;x\x07 Evil\r\nNetworks\x00" + "x" * 10_000,
        "asn": 0,
        "country": "<b>",
        "tags": ["", " \t", "a\nb", "t" * 1000, *(f"tag{number}" for number in range(1000))],
    }
    body = json.dumps({"data": {"attributes": attributes}}).encode()
    found = PROVIDER.parse(ADDRESS, LookupReply(status=200, body=body))
    assert found.as_ is not None
    assert found.as_.number is None
    assert found.as_.organization is not None
    assert found.as_.organization.name == "]0;x Evil Networks " + "x" * 100 + "…"
    assert found.geo is None
    assert found.tags is not None
    assert found.tags[:3] == ("a b", "t" * 63 + "…", "tag0")
    assert len(found.tags) == 16
