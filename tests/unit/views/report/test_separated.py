"""Comma-separated values are what RFC 4180 says, typed, and safe in every spreadsheet program."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Destination,
    Event,
    Findings,
    Listed,
    Organization,
    Process,
    Reputation,
    Source,
    User,
)

Make = Callable[..., Connection]
Write = Callable[..., bytes]


def table(data: bytes) -> list[dict[str, Any]]:
    """Read with numbers as numbers: what is quoted is a text."""
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), quoting=csv.QUOTE_NONNUMERIC, strict=True))


def test_a_row_has_its_values_as_texts_numbers_and_times(connection: Make, written: Write) -> None:
    record = connection(
        source=Source(ip="192.0.2.10", bytes=2**40),
        event=Event(action="close", end=datetime(2025, 7, 10, 17, 43, 5, 999999, UTC)),
        outwatch=Findings(verdict="high", score=70, reputation=(Reputation(provider="abuseipdb", state="malicious", score=93),)),
    )
    (row,) = table(written([record], "separated"))
    wanted = {
        "IP": "203.0.113.9", "Port": 443, "PID": 77, "Score": 70, "AbuseIPDB Score": 93, "Bytes Sent": 2**40, "Connections": 1,
        "Verdict": "high",
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    assert (row["First Seen"], row["Last Seen"]) == ("2025-07-10 17:42:01Z", "2025-07-10 17:43:05Z")
    assert row["VT Score"] == "not checked: no look-up"
    assert row["Container"] == ""


def test_a_whole_score_is_written_as_a_whole_number(connection: Make, written: Write) -> None:
    record = connection(outwatch=Findings(reputation=(Reputation(provider="abuseipdb", state="malicious", score=93.0),)))
    assert b",93," in written([record], "separated")


def test_lines_end_as_the_standard_says_and_an_empty_report_is_its_heading(written: Write) -> None:
    data = written([], "separated")
    assert data.endswith(b'"Known As"\r\n')
    assert data.count(b"\n") == 1
    assert data.count(b",") == 32


def test_commas_quotes_and_letters_of_the_world_survive(connection: Make, written: Write) -> None:
    name = 'say "hi", Zoë 中文 😀'
    (row,) = table(written([connection(process=Process(pid=1, name=name))], "separated"))
    assert row["Process"] == name


@pytest.mark.security
@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "＝x", " =x", "\t=x", "\r\n=x"])
def test_no_value_begins_like_a_formula(connection: Make, written: Write, name: str) -> None:
    hostile = connection(
        process=Process(pid=1, name=name, executable=name, parent=Process(name=name)),
        user=User(name=name),
        destination=Destination(ip="203.0.113.9", port=1, domain=name, as_=AutonomousSystem(organization=Organization(name=name))),
        outwatch=Findings(
            verdict="low",
            reputation=(
                Reputation(provider="virustotal", state="not_checked", why=name),
                Reputation(provider=name, state="suspicious", tags=(name,)),
            ),
            indicators=(Listed(list_=name, entry=name, note=name),),
            warnings=(Listed(list_=name, entry=name),),
        ),
    )
    data = written([hostile], "separated")
    assert data.count(b"\n") == 2, "one line for the heading, one for the row"
    for value in table(data)[0].values():
        assert not isinstance(value, str) or value.lstrip()[:1] not in set("=+-@＝")


@pytest.mark.security
def test_text_that_is_no_unicode_costs_no_row(connection: Make, written: Write) -> None:
    records = [connection(id=f"c{port}", destination=Destination(ip="203.0.113.9", port=port)) for port in (1, 2, 3)]
    records[1] = connection(id="bad", destination=Destination(ip="\udcff", port=2, domain="\ud800"), process=Process(name="\udc80"))
    assert [row["Port"] for row in table(written(records, "separated"))] == [1, 2, 3]
