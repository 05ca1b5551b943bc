"""Plain lines and the words of summaries."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Destination,
    Detection,
    Dns,
    DnsQuestion,
    EventsLost,
    Findings,
    Geo,
    Listed,
    Network,
    Organization,
    Process,
    Question,
    Reputation,
    Summary,
    Unknown,
)
from outwatch.views.terminal.plain import COLUMNS, plain
from outwatch.views.terminal.words import is_hidden, owner, summary_lines

Make = Callable[..., Connection]
WHY = (
    Detection(detector="executable_path", points=50, reason="runs from a temporary folder"),
    Detection(detector="allow_list", points=-20, reason="allowed by an entry"),
)


def cells(record: Connection | Question) -> dict[str, str]:
    """Give the cells of a record's line by column."""
    text = (plain(record) or b"").decode()
    assert "\n" not in text
    return dict(zip(COLUMNS, text.split("\t"), strict=True))


def test_a_connection_fills_the_columns_in_their_order(connection: Make) -> None:
    said = (
        Reputation(provider="abuseipdb", state="not_checked", why="quota used up"),
        Reputation(provider="virustotal", state="suspicious", score=2),
        Reputation(provider="greynoise", state="clean"),
    )
    lists = {
        "indicators": (Listed(list_="ipsum", entry="x"), Listed(list_="other", entry="x")),
        "warnings": (Listed(list_="cdn", entry="x"),),
    }
    network = AutonomousSystem(number=64_500, organization=Organization(name="Example Net"))
    record = connection(
        destination=Destination(ip="203.0.113.9", port=443, domain="example.com", geo=Geo(country_iso_code="NL"), as_=network),
        outwatch=Findings(verdict="low", score=30, reasons=WHY, reputation=said, **lists),  # type: ignore[arg-type]
    )
    assert cells(record) == {
        "time": "2025-07-10T17:42:01.250000Z",
        "action": "connect",
        "verdict": "low",
        "score": "30",
        "process": "curl",
        "pid": "77",
        "user": "alice",
        "direction": "egress",
        "transport": "tcp",
        "source": "192.0.2.10:40000",
        "destination": "203.0.113.9:443",
        "domain": "example.com",
        "reasons": "+50 runs from a temporary folder; -20 allowed by an entry",
        "id": "c1",
        "count": "1",
        "country": "NL",
        "network": "AS64500 Example Net",
        "reputation": "virustotal suspicious 2; abuseipdb not_checked (quota used up); greynoise clean",
        "listed": "ipsum; other",
        "known": "cdn",
    }


def test_what_is_unknown_is_a_dash(connection: Make) -> None:
    bare = Connection(id="x", timestamp=connection().timestamp)
    found = cells(bare)
    assert [name for name, cell in found.items() if cell == "-"] == [
        "action", "score", "pid", "user", "direction", "transport", "domain", "reasons",
        "country", "network", "reputation", "listed", "known",
    ]  # fmt: skip
    assert (found["verdict"], found["process"]) == ("not judged", "(unattributed)")


def test_a_question_shows_the_name_it_asks_for() -> None:
    asked = Question(
        id="q",
        timestamp=datetime(2025, 1, 1, tzinfo=UTC),
        dns=Dns(question=DnsQuestion(name="a.test")),
        destination=Destination(domain="x.test"),
    )
    found = cells(asked)
    assert (found["transport"], found["domain"], found["time"]) == ("dns", "a.test", "2025-01-01T00:00:00.000000Z")


def test_losses_and_the_summary_are_comments() -> None:
    assert plain(EventsLost(layer="kernel\nring", count=3)) == rb"# lost 3 (kernel\x0aring)"
    lines = (plain(Summary(seen=1, sensor="polling", blind=("a", "b"))) or b"").decode().splitlines()
    assert lines == ["# 1 connection seen by polling", "# not seen: a; b"]


@pytest.mark.security
def test_a_year_of_few_digits_is_still_a_time_of_the_contract(connection: Make) -> None:
    found = cells(connection(timestamp=datetime(1, 2, 3, 4, 5, 6, 7, UTC)))
    assert found["time"] == "0001-02-03T04:05:06.000007Z"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "curl"),
        ({"process": Process(executable="/tmp/x")}, "/tmp/x"),
        ({"process": Process(pid=5)}, "(unattributed)"),
        ({"process": None}, "(unattributed)"),
        ({"process": None, "outwatch": Findings(attribution=Unknown(unknown="exited"))}, "(gone)"),
        ({"process": None, "outwatch": Findings(attribution=Unknown(unknown="no_rights"))}, "(no rights)"),
        ({"process": None, "outwatch": Findings(attribution=Unknown(unknown="kernel"))}, "(kernel)"),
        ({"process": None, "outwatch": Findings(attribution=Unknown(unknown="other_namespace"))}, "(other namespace)"),
    ],
)
def test_an_owner_is_named_or_it_is_said_why_not(connection: Make, changes: dict[str, Any], words: str) -> None:
    assert owner(connection(**changes)) == words


@pytest.mark.parametrize(
    ("direction", "scope", "verdict", "hidden"),
    [
        ("egress", "public", "normal", False),
        ("egress", "unclassified", "normal", False),
        ("egress", "multicast", "normal", False),
        ("egress", None, None, False),
        ("egress", "private", "critical", True),
        ("egress", "loopback", "normal", True),
        ("egress", "link_local", "normal", True),
        ("egress", "public", "allowed", True),
        ("ingress", "public", None, True),
    ],
)
def test_only_what_leaves_for_the_outside_is_shown_unasked(
    connection: Make, direction: Any, scope: Any, verdict: Any, *, hidden: bool
) -> None:
    record = connection(network=Network(direction=direction, scope=scope), outwatch=Findings(verdict=verdict))
    assert is_hidden(record) is hidden


def test_a_summary_tells_everything_that_is_not_zero() -> None:
    summary = Summary(
        sensor="polling",
        seen=1234,
        not_judged=3,
        verdicts={"normal": 5, "critical": 1, "medium": 2},
        unattributed=4,
        unattributed_why={"no_rights": 3, "exited": 1},
        lost={"handoff": 7},
        not_checked={"out of time": 2},
        without_fact={"domain_pattern": 9},
        broken_lines=6,
        blind=("short ones are missed",),
        problems=("x.toml:3: broken",),
    )
    said = summary_lines(summary, {"private": 8})
    assert said[0] == "1,234 connections seen by polling: 1 critical, 2 medium, 5 normal, 3 accepted (not judged)"
    for number, word in (
        (8, "private"),
        (4, "unattributed"),
        (3, "other users"),
        (7, "handoff"),
        (2, "out of time"),
        (9, "domain_pattern"),
    ):
        assert any(str(number) in one and word in one for one in said[1:]), word
    assert any("6" in one and "broken" in one for one in said)
    assert any(one.endswith("short ones are missed") for one in said)
    assert any(one.endswith("x.toml:3: broken") for one in said)


def test_a_summary_of_nothing_is_one_line() -> None:
    assert summary_lines(Summary(sensor="polling")) == ["0 connections seen by polling"]
    assert summary_lines(Summary(sensor="polling", seen=1)) == ["1 connection seen by polling"]


@pytest.mark.security
@pytest.mark.parametrize("field", ["blind", "problems"])
def test_a_summary_is_safe_to_show(field: str) -> None:
    said = summary_lines(replace(Summary(lost={"\x1b[m": 1}, not_checked={"a\nb": 1}), **{field: ("\x1b]8;;x\x07\n",)}))
    assert all(one.isprintable() for one in said)
