"""GreyNoise's replies and what they are taken for."""

import json
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.greynoise import GreyNoise
from outwatch.reputation.settings import ProviderConfig

DOCUMENTED = Path(__file__).parent / "documented"
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
PROVIDER = GreyNoise(ProviderConfig())


def parse(**facts: Any) -> Reputation:
    body = json.loads((DOCUMENTED / "greynoise_ip.json").read_text())
    return PROVIDER.parse(ADDRESS, LookupReply(status=200, body=json.dumps({**body, **facts}).encode()))


def test_it_asks_about_ipv4_addresses_alone() -> None:
    request = PROVIDER.request(ADDRESS)
    assert request is not None
    assert request.path == "/v3/community/203.0.113.9"
    assert PROVIDER.request(Indicator(kind="ip", value="2001:db8::9")) is None
    assert (PROVIDER.needs_key, PROVIDER.key_header) == (False, "key")


def test_a_scanner_of_bad_intent_is_malicious() -> None:
    assert parse() == Reputation(provider="greynoise", state="malicious", link="https://viz.greynoise.io/ip/203.0.113.9")


@pytest.mark.parametrize(
    ("facts", "state", "vouched"),
    [
        ({"classification": "unknown"}, "suspicious", None),
        ({"classification": "suspicious"}, "suspicious", None),
        ({"classification": None}, "suspicious", None),
        ({"classification": "benign"}, "clean", None),
        ({"riot": True, "noise": False, "classification": "benign"}, "clean", True),
        ({"riot": True, "noise": True}, "clean", True),
        ({"riot": False, "noise": False, "classification": "malicious"}, "no_data", None),
    ],
)
def test_what_it_does_decides_the_state_and_only_business_services_are_vouched_for(
    facts: dict[str, Any], state: str, vouched: bool | None
) -> None:
    found = parse(**facts)
    assert (found.state, found.allow_listed, found.score) == (state, vouched, None)


def test_the_name_of_a_service_is_a_tag_and_its_link_is_not_taken() -> None:
    found = parse(riot=True, name="Example\nResolver", link="javascript:alert(1)")
    assert (found.tags, found.link) == (("Example Resolver",), "https://viz.greynoise.io/ip/203.0.113.9")


def test_an_address_that_was_not_observed_is_no_data() -> None:
    found = PROVIDER.parse(ADDRESS, LookupReply(status=404, body=(DOCUMENTED / "greynoise_404.json").read_bytes()))
    assert found == Reputation(provider="greynoise", state="no_data", link=PROVIDER.link(ADDRESS))


@pytest.mark.security
@pytest.mark.parametrize("facts", [{"noise": "false"}, {"riot": 1}, {"noise": None}, {"riot": []}, {"classification": 5}])
def test_wrong_types_are_unusable(facts: dict[str, Any]) -> None:
    with pytest.raises(ReplyUnusable):
        parse(**facts)


@pytest.mark.security
def test_a_message_without_facts_is_unusable() -> None:
    with pytest.raises(ReplyUnusable):
        PROVIDER.parse(ADDRESS, LookupReply(status=200, body=b'{"message": "You have hit the daily rate limit"}'))
