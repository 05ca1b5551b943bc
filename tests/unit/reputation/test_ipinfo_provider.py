"""IPinfo's two services and what their replies are taken for."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import AutonomousSystem, Geo, Organization, Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.ipinfo import IpinfoConfig, ipinfo

DOCUMENTED = Path(__file__).parent / "documented"
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
Api = Literal["lite", "json"]


def parse(body: bytes | dict[str, Any], api: Api = "lite") -> Reputation:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ipinfo(IpinfoConfig(api=api)).parse(ADDRESS, LookupReply(status=200, body=body))


@pytest.mark.parametrize(
    ("api", "home", "path", "needs_key"),
    [("lite", "https://api.ipinfo.io", "/lite/203.0.113.9", True), ("json", "https://ipinfo.io", "/203.0.113.9/json", False)],
)
def test_the_setting_chooses_the_service(api: Api, home: str, path: str, needs_key: bool) -> None:
    provider = ipinfo(IpinfoConfig(api=api))
    request = provider.request(ADDRESS)
    assert request is not None
    assert (provider.name, provider.home, request.path, provider.needs_key) == ("ipinfo", home, path, needs_key)
    assert (provider.key_header, provider.key_form) == ("Authorization", "Bearer {}")


def test_lite_is_the_default_and_has_no_limit() -> None:
    provider = ipinfo(IpinfoConfig())
    assert (provider.home, provider.limits) == ("https://api.ipinfo.io", ())


@pytest.mark.parametrize("api", ["lite", "json"])
def test_both_services_give_network_and_country_and_no_opinion(api: Api) -> None:
    assert parse((DOCUMENTED / f"ipinfo_{api}.json").read_bytes(), api) == Reputation(
        provider="ipinfo",
        state="no_data",  # it knows nothing of good or bad: not clean
        as_=AutonomousSystem(number=64500, organization=Organization(name="Example Networks B.V.")),
        geo=Geo(country_iso_code="NL"),
        link="https://ipinfo.io/203.0.113.9",
    )


@pytest.mark.parametrize(
    ("facts", "number", "organization"),
    [
        ({"asn": "AS64500"}, 64500, None),
        ({"asn": "AS64500", "as_name": ""}, 64500, None),
        ({"as_name": "Example"}, None, "Example"),
        ({"org": "AS64500"}, 64500, None),
        ({"org": "Example Networks"}, None, "Example Networks"),
        ({"org": "AS4294967295 Last"}, 4294967295, "Last"),
        ({"org": "AS0 None"}, None, "None"),
        ({"org": "ASIAN Networks"}, None, "ASIAN Networks"),
    ],
)
def test_networks_are_read_as_far_as_they_are_told(facts: dict[str, str], number: int | None, organization: str | None) -> None:
    found = parse({"ip": ADDRESS.value, **facts}).as_
    assert found is not None
    assert (found.number, found.organization.name if found.organization else None) == (number, organization)


@pytest.mark.parametrize("facts", [{}, {"org": ""}, {"asn": None, "country": None}, {"country": "Netherlands"}, {"country_code": "N1"}])
def test_what_is_not_told_is_left_out(facts: dict[str, Any]) -> None:
    found = parse({"ip": ADDRESS.value, **facts})
    assert (found.as_, found.geo, found.state) == (None, None, "no_data")


def test_an_address_that_nobody_may_use_has_no_network() -> None:
    found = parse({"ip": ADDRESS.value, "bogon": True, "org": "AS64500 X", "country": "NL"}, "json")
    assert (found.as_, found.geo) == (None, None)


@pytest.mark.security
@pytest.mark.parametrize(
    "facts",
    [{"org": f"AS{2**32}"}, {"asn": "AS" + "9" * 5000}, {"asn": 64500}, {"as_name": ["x"]}, {"country": 1}, {"bogon": "no"}, {"ip": None}],
)
def test_what_it_does_not_document_is_unusable(facts: dict[str, Any]) -> None:
    with pytest.raises(ReplyUnusable):
        parse({"ip": ADDRESS.value, **facts})


def test_an_unknown_service_is_refused_in_the_configuration() -> None:
    import msgspec

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"api": "plus"}, IpinfoConfig)
