"""InternetDB's replies and what they are taken for."""

import json
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import ReplyUnusable
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.internetdb import CONTROLLED, InternetDb
from outwatch.reputation.settings import ProviderConfig

DOCUMENTED = Path(__file__).parent / "documented"
ADDRESS = Indicator(kind="ip", value="203.0.113.9")
PROVIDER = InternetDb(ProviderConfig())


def parse(**facts: Any) -> Reputation:
    body = json.loads((DOCUMENTED / "internetdb_ip.json").read_text())
    return PROVIDER.parse(ADDRESS, LookupReply(status=200, body=json.dumps({**body, **facts}).encode()))


def test_it_asks_without_a_key() -> None:
    request = PROVIDER.request(ADDRESS)
    assert request is not None
    assert (request.path, PROVIDER.key_header, PROVIDER.needs_key) == ("/203.0.113.9", None, False)


def test_open_ports_and_holes_are_context_and_no_opinion() -> None:
    assert parse() == Reputation(
        provider="internetdb",
        state="no_data",
        tags=("ports 22 443 4444", "CVE-2023-48795", "CVE-2021-36368", "cloud", "self-signed"),
        link="https://www.shodan.io/host/203.0.113.9",
    )


@pytest.mark.parametrize("tag", sorted(CONTROLLED))
def test_hosts_under_somebodys_control_are_suspicious_and_that_tag_stands_first(tag: str) -> None:
    found = parse(tags=["cloud", tag])
    assert (found.state, (found.tags or ())[0]) == ("suspicious", tag)


def test_many_ports_and_holes_are_cut_and_leave_room_for_the_tags() -> None:
    found = parse(ports=list(range(1, 2000)), vulns=[f"CVE-2020-{number:05}" for number in range(5000)], tags=["vpn"])
    assert found.tags == ("ports 1 2 3 4 5 6 7 8 9 10", *(f"CVE-2020-{number:05}" for number in range(6)), "vpn")


def test_an_address_it_does_not_know_is_no_data() -> None:
    found = PROVIDER.parse(ADDRESS, LookupReply(status=404, body=(DOCUMENTED / "internetdb_404.json").read_bytes()))
    assert found == Reputation(provider="internetdb", state="no_data", link=PROVIDER.link(ADDRESS))


@pytest.mark.security
@pytest.mark.parametrize(
    "facts", [{"ports": [-1]}, {"ports": [65_536]}, {"ports": ["22"]}, {"ports": 22}, {"tags": [None]}, {"vulns": {"CVE": 1}}, {"ip": 5}]
)
def test_wrong_types_and_ports_that_can_not_be_are_unusable(facts: dict[str, Any]) -> None:
    with pytest.raises(ReplyUnusable):
        parse(**facts)
