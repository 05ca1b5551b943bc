"""Reports for programs hold the folded records, with their number, and can be read back as a recording."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from outwatch.model import wire
from outwatch.model.records import Connection, Findings, Judged, Process, Source, Summary
from outwatch.views.report.fold import folded

Make = Callable[..., Connection]
Write = Callable[..., bytes]
SUMMARY = Summary(sensor="polling", seen=3, verdicts={"normal": 3}, problems=("a problem",))


@pytest.fixture
def three(connection: Make) -> list[Judged]:
    """Give three connections, two of them alike."""
    return [connection(id="c1", source=Source(ip="192.0.2.10", bytes=5)), connection(id="c2"), connection(id="c3", ip="203.0.113.10")]


def test_lines_hold_a_record_for_each_row_and_the_summary_last(three: list[Judged], written: Write) -> None:
    *rows, summary = written(three, "lines", SUMMARY).splitlines()
    assert [json.loads(line)["outwatch"].get("count", 1) for line in rows] == [2, 1]
    assert wire.decode(summary) == SUMMARY


def test_the_document_holds_the_same_as_the_lines(three: list[Judged], written: Write) -> None:
    *rows, summary = [json.loads(line) for line in written(three, "lines", SUMMARY).splitlines()]
    assert json.loads(written(three, "document", SUMMARY)) == {"schema": "outwatch/1", "records": rows, "summary": summary}


def test_lines_read_back_and_folded_again_are_the_same_rows(three: list[Judged], written: Write) -> None:
    again = [record for line in written(three, "lines").splitlines() if isinstance(record := wire.decode(line), Connection)]
    assert folded(again) == folded(three)


def test_when_something_was_last_seen_is_told_although_it_had_not_ended(connection: Make) -> None:
    """A connection that was open when the watch ended must not look as if it had been seen for no time at all."""
    first = connection()
    later = replace(first, id="c2", timestamp=first.timestamp + timedelta(seconds=90))
    (row,) = folded([first, later])
    again = wire.decode(wire.encode(row.record))
    assert isinstance(again, Connection)
    assert folded([again])[0].last == row.last


@pytest.mark.security
@pytest.mark.parametrize("form", ["lines", "document"])
def test_hostile_text_stays_inside_its_string(connection: Make, written: Write, form: str) -> None:
    name = 'a"}\n{"kind":"x"}\u2028\x1b[31m\u202e\x00\x85'
    data = written([connection(process=Process(name=name), outwatch=Findings(sensor="\ud800"))], form)
    assert not set(data.decode()) & set("\x1b\u202e\u2028\x00\x85")
    assert len(data.splitlines()) == {"lines": 2, "document": 3}[form]
    record = json.loads(data.splitlines()[0]) if form == "lines" else json.loads(data)["records"][0]
    assert record["process"]["name"] == name


@pytest.mark.parametrize("form", ["lines", "document"])
def test_an_empty_report_is_a_valid_one(written: Write, form: str) -> None:
    parsed = json.loads(written([], form))
    assert parsed["kind"] == "summary" if form == "lines" else parsed["records"] == []
