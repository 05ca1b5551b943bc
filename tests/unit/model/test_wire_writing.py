"""A record becomes one harmless line that says what is known and nothing else."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from outwatch.model import wire
from outwatch.model.records import (
    AutonomousSystem,
    Changed,
    Connection,
    Destination,
    Detection,
    Event,
    EventsLost,
    Findings,
    Host,
    Process,
    Question,
    Record,
    Reputation,
    Summary,
    Unknown,
)

WHOLE = datetime(2025, 7, 10, 17, 42, 1, 0, UTC)
FULL = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)
MAKE = Callable[..., Connection]


def as_json(record: Record) -> Any:
    return json.loads(wire.encode(record))


def test_only_what_is_known_is_on_the_wire() -> None:
    assert as_json(Connection(id="c1", timestamp=FULL)) == {
        "schema": "outwatch/1",
        "kind": "connection",
        "id": "c1",
        "revision": 0,
        "@timestamp": "2025-07-10T17:42:01.250000Z",
    }


def test_reserved_words_of_python_have_their_ecs_names() -> None:
    tree = as_json(Connection(id="c1", timestamp=FULL, destination=Destination(as_=AutonomousSystem(number=64496))))
    assert tree["destination"] == {"as": {"number": 64496}}
    loss = as_json(EventsLost(layer="ring", count=2, from_=FULL, until=WHOLE))
    assert (loss["from"], loss["until"]) == ("2025-07-10T17:42:01.250000Z", "2025-07-10T17:42:01.000000Z")


def test_a_score_of_zero_and_a_port_of_zero_are_known(connection: MAKE) -> None:
    tree = as_json(connection(outwatch=Findings(verdict="normal", score=0), destination=Destination(port=0, bytes=0)))
    assert tree["outwatch"] == {"verdict": "normal", "score": 0}
    assert tree["destination"] == {"port": 0, "bytes": 0}


def test_why_a_process_is_unknown_is_an_object(connection: MAKE) -> None:
    assert as_json(connection(outwatch=Findings(attribution=Unknown(unknown="exited"))))["outwatch"] == {
        "attribution": {"unknown": "exited"}
    }


@pytest.mark.parametrize(
    "record",
    [
        Connection(id="c1", timestamp=WHOLE),
        Connection(id="c1", timestamp=FULL, event=Event(start=WHOLE)),
        Connection(id="c1", timestamp=FULL, event=Event(end=WHOLE)),
        Connection(id="c1", timestamp=FULL, process=Process(start=FULL, parent=Process(start=WHOLE))),
        Connection(id="c1", timestamp=FULL, outwatch=Findings(reputation=(Reputation(provider="p", state="clean", checked_at=WHOLE),))),
        Connection(id="c1", timestamp=FULL, outwatch=Findings(changed=Changed(first_seen=WHOLE))),
        Connection(id="c1", timestamp=FULL, outwatch=Findings(changed=Changed(last_seen=WHOLE))),
        Question(id="q1", timestamp=WHOLE),
        EventsLost(layer="ring", count=1, from_=WHOLE),
        EventsLost(layer="ring", count=1, until=WHOLE),
        Summary(event=Event(start=FULL, end=WHOLE)),
    ],
)
def test_a_whole_second_keeps_its_microseconds_wherever_it_stands(record: Record) -> None:
    line = wire.encode(record)
    assert b'"2025-07-10T17:42:01.000000Z"' in line
    assert b"01Z" not in line
    assert wire.decode(line) == record


@pytest.mark.parametrize("microsecond", [0, 5])
def test_times_of_another_zone_are_written_in_utc(microsecond: int) -> None:
    time = datetime(2025, 7, 10, 19, 42, 1, microsecond, timezone(timedelta(hours=2)))
    assert as_json(Connection(id="c1", timestamp=time))["@timestamp"] == f"2025-07-10T17:42:01.{microsecond:06d}Z"


@pytest.mark.security
@pytest.mark.parametrize(
    "code", [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200B, 0x200E, 0x202E, 0x2028, 0x2029, 0x2066, 0x2069, 0xFEFF, 0xE0041], ids=hex
)
@pytest.mark.parametrize("time", [FULL, WHOLE], ids=["fraction", "whole second"])
def test_no_control_bidirectional_or_line_breaking_character_is_raw_on_the_wire(code: int, time: datetime) -> None:
    record = Connection(id="c1", timestamp=time, host=Host(name=f"a{chr(code)}b"))
    line = wire.encode(record)
    assert chr(code) not in line.decode()
    assert b"\n" not in line
    assert wire.decode(line) == record


@pytest.mark.security
@pytest.mark.parametrize(("name", "shown"), [("a\ud800b", "a\\ud800b"), ("a\udcffb", "a\\xffb"), ("\ud83d\ude00", "\\ud83d\\ude00")])
def test_lone_surrogates_are_escaped_and_refuse_no_record(name: str, shown: str, connection: MAKE) -> None:
    tree = as_json(connection(process=Process(pid=1, name=name, args=("x", name))))
    assert tree["process"] == {"pid": 1, "name": shown, "args": ["x", shown]}


@pytest.mark.security
def test_a_surrogate_in_the_name_of_a_piece_of_evidence_refuses_no_record(connection: MAKE) -> None:
    reason = Detection(detector="d", points=1.0, reason="r", evidence={"file \udcff": "v"})
    tree = as_json(connection(outwatch=Findings(reasons=(reason,))))
    assert tree["outwatch"]["reasons"][0]["evidence"] == {"file \\xff": "v"}


@pytest.mark.security
def test_a_megabyte_of_surrogates_is_written_in_one_line(connection: MAKE) -> None:
    line = wire.encode(connection(process=Process(name="\udcff" * (1 << 20))))
    assert line.count(b"\\\\xff") == 1 << 20
    assert line.isascii()


def test_letters_of_other_scripts_are_left_readable(connection: MAKE) -> None:
    assert "東京 مثال 🦉".encode() in wire.encode(connection(host=Host(name="東京 مثال 🦉")))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_document_holds_all_records_and_the_summary(count: int, connection: MAKE) -> None:
    records = [connection(id=f"c{number}") for number in range(count)]
    tree = json.loads(wire.document(iter(records), Summary(seen=count)))
    assert tree["schema"] == "outwatch/1"
    assert [one["id"] for one in tree["records"]] == [f"c{number}" for number in range(count)]
    assert tree["summary"]["seen"] == count


def test_the_summary_says_its_numbers_also_when_they_are_zero_and_shares_none_of_them() -> None:
    first, second = Summary(), Summary()
    assert as_json(first)["seen"] == 0
    assert as_json(first)["lost"] == {}
    first.lost["ring"] = 1
    assert second.lost == {}


_TIMES = [FULL, WHOLE, datetime(2025, 7, 10, tzinfo=timezone(timedelta(hours=2)))]
_SHARED = [Process(pid=number, start=when, args=("tool", "…")) for number, when in enumerate(_TIMES)]
_TEXTS = ["tool", "t\u00f6\u00f6l \u2026", "\udc80 lone", "\u202e hidden", "\x7f", "line\u2028break", "\x9b", ""]


def _record(process: Process, above: Process | None, when: datetime, text: str) -> Connection:
    return Connection(id="a", timestamp=when, process=replace(process, parent=above), destination=Destination(domain=text))


def _sharing(process: Process) -> Connection:
    return Connection(id="b", timestamp=FULL, process=process)


_PROCESS = st.sampled_from(_SHARED)
_ANY = st.builds(_record, _PROCESS, st.none() | _PROCESS, st.sampled_from(_TIMES), st.sampled_from(_TEXTS)) | st.builds(_sharing, _PROCESS)


@given(st.lists(_ANY, max_size=6))
def test_many_lines_are_those_of_each_record(records: list[Connection]) -> None:
    assert wire.encode_lines(records) == b"".join(wire.encode(one) + b"\n" for one in records)
