"""A line of a recording becomes a record, or a typed error, and never anything else."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outwatch.model import wire
from outwatch.model.records import Connection, EventsLost, Question, Summary, Unknown

BASE = {"schema": "outwatch/1", "kind": "connection", "id": "c1", "@timestamp": "2025-07-10T17:42:01.250000Z"}
Line = Callable[..., bytes]


def line(**changes: Any) -> bytes:
    """Write a line with some keys changed; ``None`` leaves one out."""
    return json.dumps({key: value for key, value in {**BASE, **changes}.items() if value is not None}).encode()


def read(raw: bytes) -> Connection:
    record = wire.decode(raw)
    assert isinstance(record, Connection)
    return record


def nested(depth: int) -> bytes:
    """Write a line whose process has ``depth`` parents, each begun at a whole second."""
    process = '{"pid":1,"start":"2025-07-10T17:42:01Z","parent":' * depth + '{"pid":1}' + "}" * depth
    return line()[:-1] + b',"process":' + process.encode() + b"}"


def test_the_least_line_is_a_connection_of_which_nothing_is_known() -> None:
    record = read(line())
    assert (record.id, record.revision, record.timestamp) == ("c1", 0, datetime(2025, 7, 10, 17, 42, 1, 250000, UTC))
    assert record.process is None
    assert record.destination.ip is None
    assert record.outwatch.verdict is None


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"kind": "dns"}, Question),
        ({"kind": "loss", "layer": "ring", "count": 3}, EventsLost),
        ({"kind": "summary"}, Summary),
    ],
)
def test_the_kind_decides_what_a_line_is(changes: dict[str, Any], kind: type) -> None:
    assert type(wire.decode(line(**changes))) is kind


@pytest.mark.parametrize("kind", ["alert", "hunt"])
@pytest.mark.parametrize("extra", [{}, {"note": ""}, {"id": None, "@timestamp": None}])
def test_the_contracts_other_kinds_are_passed_over(kind: str, extra: dict[str, Any]) -> None:
    assert wire.decode(line(kind=kind, **extra)) is None


def test_keys_that_the_contract_does_not_name_are_passed_over_at_every_depth() -> None:
    record = read(line(labels={"a": [1, {"b": None}]}, destination={"ip": "192.0.2.1", "nat": {"ip": "x"}}, process={"pid": 7, "tty": 3}))
    assert record.destination.ip == "192.0.2.1"
    assert record.process is not None
    assert record.process.pid == 7


def test_empty_strings_and_nulls_mean_unknown() -> None:
    record = read(
        line(destination={"ip": "192.0.2.1", "domain": "", "service": None}, user={"name": ""}, event={"start": "", "action": ""})
    )
    assert record.destination.domain is None
    assert record.destination.service is None
    assert record.event.start is None
    assert record.event.action is None
    assert record.user is not None
    assert record.user.name is None


def test_an_empty_argument_is_an_argument() -> None:
    record = read(line(process={"pid": 1, "args": ["grep", "", "file"]}))
    assert record.process is not None
    assert record.process.args == ("grep", "", "file")


@pytest.mark.parametrize(
    "findings",
    [
        {"names": [{"name": "", "origin": "sni"}]},
        {"attribution": {"unknown": ""}},
        {"reasons": [{"detector": "d", "points": 1, "reason": ""}]},
        {"reputation": [{"provider": "", "state": "clean"}]},
    ],
    ids=["name", "attribution", "reason", "provider"],
)
def test_an_empty_string_is_no_reason_to_refuse_a_line(findings: dict[str, Any]) -> None:
    assert read(line(outwatch=findings)).id == "c1"


@pytest.mark.security
def test_lone_surrogates_are_escaped_in_values_and_keys() -> None:
    record = read(
        line(
            host={"name": "a\ud800b\udcff"},
            outwatch={"reasons": [{"detector": "d", "points": 1, "reason": "r", "evidence": {"k\udfff": "v"}}]},
        )
    )
    assert record.host is not None
    assert record.host.name == "a\\ud800b\\xff"
    assert record.outwatch.reasons is not None
    assert record.outwatch.reasons[0].evidence == {"k\\udfff": "v"}


@pytest.mark.security
@pytest.mark.parametrize(("raw", "expected"), [(b"\xff", "a\\xffb"), (b"\xc3\x28", "a\\xc3(b"), (b"\xed\xa0\x80", "a\\xed\\xa0\\x80b")])
def test_bytes_that_are_no_utf8_are_escaped(raw: bytes, expected: str) -> None:
    record = read(line(host={"name": "aQb"}).replace(b"Q", raw))
    assert record.host is not None
    assert record.host.name == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-07-10T19:42:01.250000+02:00", datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)),
        ("2025-07-10T12:12:01-05:30", datetime(2025, 7, 10, 17, 42, 1, 0, UTC)),
        ("2025-07-10T17:42:01+00:00", datetime(2025, 7, 10, 17, 42, 1, 0, UTC)),
        ("2025-07-10T17:42:01-00:00", datetime(2025, 7, 10, 17, 42, 1, 0, UTC)),
        ("2025-07-10t17:42:01z", datetime(2025, 7, 10, 17, 42, 1, 0, UTC)),
        ("2025-07-10 17:42:01Z", datetime(2025, 7, 10, 17, 42, 1, 0, UTC)),
        ("2025-07-10T19:42:01.123456789+02:00", datetime(2025, 7, 10, 17, 42, 1, 123457, UTC)),
        ("2025-12-31T23:30:00-01:00", datetime(2026, 1, 1, 0, 30, 0, 0, UTC)),
    ],
)
@pytest.mark.parametrize("branch", ["start", "end"])
def test_times_of_any_offset_are_turned_to_utc(text: str, expected: datetime, branch: str) -> None:
    record = read(line(**{"@timestamp": text, "event": {branch: text}, "process": {"start": text, "parent": {"start": text}}}))
    assert record.process is not None
    assert record.process.parent is not None
    for time in (record.timestamp, getattr(record.event, branch), record.process.start, record.process.parent.start):
        assert time == expected
        assert time.tzinfo is UTC


def test_a_time_in_a_command_line_is_left_as_it_was_typed() -> None:
    typed = ["at", "2025-07-10T19:42:01+02:00"]
    record = read(line(event={"start": "2025-07-10T19:42:01+02:00"}, process={"args": typed}))
    assert record.process is not None
    assert record.process.args == tuple(typed)


@pytest.mark.parametrize("attribution", ["exact", "inferred", {"unknown": "no_rights"}])
def test_attribution_is_a_word_or_why_it_is_unknown(attribution: Any) -> None:
    found = read(line(outwatch={"attribution": attribution})).outwatch.attribution
    assert found == (Unknown(unknown="no_rights") if isinstance(attribution, dict) else attribution)


@pytest.mark.security
@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"\n", b"null", b"true", b"7", b'"text"', b"[]", b"{}", b"{", b"}", b"[" * 100_000, b'{"a":' * 100_000,
        b"\x00", b"\xff\xfe",
        b'{"kind":[]}', b'{"kind":{}}', b'{"kind":null}', b'{"kind":7}', b'{"kind":true}', b'{"kind":"other"}',
        line(schema="outwatch/2"), line(schema=1), line(kind=None), line(kind=["alert"]), line(id=None), line(id=7), line(id=""),
        line(**{"@timestamp": None}), line(**{"@timestamp": "yesterday"}), line(**{"@timestamp": 1752169321}),
        line(**{"@timestamp": "2025-07-10T17:42:01"}), line(**{"@timestamp": "2025-13-10T17:42:01+02:00"}),
        line(revision=-1), line(revision=1.5), line(revision="1"), line(source=[]), line(source="x"), line(source={"port": 65536}),
        line(source={"port": -1}), line(source={"port": "443"}), line(source={"bytes": -1}), line(event={"action": "explode"}),
        line(network={"direction": "sideways"}), line(network={"scope": "moon"}), line(process={"args": "curl"}),
        line(process={"args": [1]}),
        line(process={"parent": []}), line(outwatch={"score": 101}), line(outwatch={"score": -1}), line(outwatch={"verdict": "green"}),
        line(outwatch={"attribution": {"unknown": "laziness"}}), line(outwatch={"attribution": 7}), line(outwatch={"reasons": {}}),
        line(outwatch={"reasons": [{"detector": "d", "reason": "r", "points": "many"}]}), line(kind="loss"),
        line(kind="loss", layer="ring", count=-1), line()[:-1], line() + line(), line() + b"x",
        line()[:-1] + b',"revision":' + b"1" * 6000 + b"}", line()[:-1] + b',"revision":1e999}', line()[:-1] + b',"host":{"name":"a\nb"}}',
        line()[:-1] + b',"zz":' + b"[" * 50_000 + b"]" * 50_000 + b"}", nested(20_000),
    ],
    ids=lambda raw: repr(raw[-50:]),
)  # fmt: skip
def test_a_line_that_is_no_record_is_a_wire_error_of_one_printable_line(raw: bytes) -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(raw)
    text = str(caught.value)
    assert text
    assert text.isprintable()
    assert len(text) <= 300


@pytest.mark.security
@pytest.mark.parametrize("points", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_are_none_are_refused(points: bytes) -> None:
    raw = line(outwatch={"reasons": [{"detector": "d", "reason": "r", "points": 7}]}).replace(b"7}", points + b"}")
    with pytest.raises(wire.WireError):
        wire.decode(raw)


@pytest.mark.security
def test_a_line_at_the_limit_is_read_and_one_beyond_it_refused() -> None:
    room = wire.MOST - len(line(host={"name": ""}))
    record = read(line(host={"name": "x" * room}))
    assert record.host is not None
    assert record.host.name == "x" * room
    with pytest.raises(wire.WireError, match=f"longer than {wire.MOST} bytes"):
        wire.decode(line(host={"name": "x" * (room + 1)}))


@pytest.mark.security
@pytest.mark.parametrize("depth", [1, 50, 300, 600, 900])
def test_what_was_read_can_be_written_however_many_parents_it_has(depth: int) -> None:
    try:
        record = read(nested(depth))
    except wire.WireError as error:
        assert str(error) == "nested too deeply"  # noqa: PT017 - a refusal is as good, but only this one
        return
    assert read(wire.encode(record)) == record


@pytest.mark.security
@pytest.mark.parametrize(
    "text",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+02:00",
        "0001-01-01T00:00:00.5+02:00",
        "9999-12-31T23:59:59-02:00",
        "0999-01-01T00:00:00Z",
    ],
)
@pytest.mark.parametrize("place", ["@timestamp", "event"])
def test_times_at_the_edge_of_the_calendar_are_refused_or_come_back_whole(text: str, place: str) -> None:
    """Some programs write a time they don't know as the first second of year 1."""
    try:
        record = read(line(**{place: text if place == "@timestamp" else {"start": text}}))
    except wire.WireError:
        return
    written = wire.encode(record)
    assert read(written) == record
    time = json.loads(written)["@timestamp"] if place == "@timestamp" else json.loads(written)["event"]["start"]
    assert len(time) == len("2025-07-10T17:42:01.250000Z")
    assert time.endswith("Z")
