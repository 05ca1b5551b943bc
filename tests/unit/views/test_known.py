"""The words for what services and lists know, which every screen and report shares."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outwatch.model.records import AutonomousSystem, Connection, Findings, Geo, Listed, Organization, Reputation
from outwatch.views import known

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 10, 17, 43, tzinfo=UTC)
NETWORK = AutonomousSystem(number=64_500, organization=Organization(name="Example Net"))


def said(provider: str = "virustotal", state: Any = "clean", **more: Any) -> Reputation:
    return Reputation(provider=provider, state=state, **more)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (said(state="not_checked", why="timeout"), "not checked: timeout"),
        (said(state="not_checked", score=0), "not checked: no reason given"),
        (said(state="no_data"), "no data"),
        (said(state="no_data", tags=("ports 22", "vpn")), "no opinion; ports 22; vpn"),
        (said(state="no_data", geo=Geo(country_iso_code="NL"), as_=NETWORK), "no opinion; NL, AS64500 Example Net"),
        (said(score=0, malicious=0, suspicious=0, engines=94), "clean; 0 of 94 engines call it malicious"),
        (said(state="malicious", score=11, malicious=11, suspicious=2), "malicious; 11 engines call it malicious; 2 suspicious"),
        (said("abuseipdb", "suspicious", score=41.0, reports=1), "suspicious; score 41; 1 report"),
        (said("abuseipdb", "malicious", score=93.5, reports=1200), "malicious; score 93.5; 1,200 reports"),
        (said("greynoise", allow_listed=True), "clean; it vouches for the address"),
        (said("greynoise", "malicious"), "malicious"),
        (said(tags=tuple(f"t{at}" for at in range(20))), "clean; t0; t1; t2; t3; t4; t5; t6; t7"),
    ],
)
def test_an_opinion_is_told_with_its_grounds(answer: Reputation, words: str) -> None:
    assert known.spelled(answer) == words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Listed(list_="a", entry="x"), "a: x"),
        (Listed(list_="a", entry="x", confidence=0), "a: x (confidence 0)"),
        (
            Listed(list_="a", entry="x", confidence=80, first_seen=WHEN, last_seen=WHEN, note="Emotet"),
            "a: x (confidence 80, first seen 2025-07-10, last seen 2025-07-10, Emotet)",
        ),
    ],
)
def test_an_entry_is_told_with_its_list(entry: Listed, words: str) -> None:
    assert known.listing((entry,)) == [words]


def test_many_entries_are_counted() -> None:
    assert known.short([f"e{at}" for at in range(15)]).endswith("e11; and 3 more")
    assert known.short(["one"]) == "one"
    assert known.listing(None) == []


def test_of_several_answers_of_one_service_the_worst_counts_then_the_latest(connection: Make) -> None:
    answers = (said(), said(state="not_checked"), said(state="suspicious", score=1), said(state="suspicious", score=3, checked_at=WHEN))
    record = connection(outwatch=Findings(reputation=(*answers, said("otx", "no_data"), said("aaa"))))
    assert [(one.provider, one.state, one.score) for one in known.opinions(record)] == [
        ("virustotal", "suspicious", 3), ("otx", "no_data", None), ("aaa", "clean", None),
    ]  # fmt: skip
    assert known.opinion(record, "virustotal") == answers[3]
    assert known.opinion(record, "greynoise") is None
    assert known.opinions(connection()) == []


@pytest.mark.parametrize(
    ("country", "number", "organization", "words"),
    [("NL", 64_500, "Example Net", "NL, AS64500 Example Net"), (None, 0, None, "AS0"), (None, None, "x", "x"), ("NL", None, None, "NL"),
     (None, None, None, "")],
)  # fmt: skip
def test_a_place_is_told_as_far_as_it_is_known(country: str | None, number: int | None, organization: str | None, words: str) -> None:
    assert known.place(country, number, organization) == words


def test_pages_are_those_of_services_that_know_the_address(connection: Make) -> None:
    answers = (said("otx"), said("internetdb", "not_checked"), said("greynoise"), said("evil", link="https://evil.example/"))
    of = {ip: known.pages(connection(ip=ip, outwatch=Findings(reputation=answers))) for ip in ("203.0.113.9", "2001:db8::9")}
    assert set(of["203.0.113.9"]) == {"virustotal", "abuseipdb", "ipinfo", "otx", "greynoise"}
    assert set(of["2001:db8::9"]) == {"virustotal", "abuseipdb", "ipinfo", "otx"}, "GreyNoise knows IPv4 alone"
    assert all(page.endswith(("203.0.113.9", "2001:db8::9")) for pages in of.values() for page in pages.values())


def test_the_pages_are_those_that_the_services_themselves_link_to(connection: Make) -> None:
    from outwatch.engine import registry
    from outwatch.model.reputation import Indicator, ReputationProvider

    pages = known.pages(connection(outwatch=Findings(reputation=tuple(said(provider) for provider in known.TITLES))))
    for name in known.TITLES:
        part = registry.part("reputation", name)
        assert part is not None, name
        provider: ReputationProvider = part.build(part.config())
        assert provider.title == known.title(name)
        assert provider.link(Indicator("ip", "203.0.113.9")) == pages[name]
