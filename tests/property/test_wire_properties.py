"""Whatever a record holds, its line can be read back; whatever a line holds, reading it ends well."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.model import wire
from outwatch.model.records import (
    Connection,
    Destination,
    Detection,
    Event,
    EventsLost,
    Findings,
    Host,
    Name,
    Network,
    Process,
    Question,
    Record,
    Reputation,
    Source,
    Summary,
    Unknown,
    User,
)

modest = settings(max_examples=150, deadline=None)
RAW = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
hostile = st.text(st.one_of(st.characters(), st.sampled_from('\x1b\x00\n\u202e\ud800\udcff\x9b"\\')), min_size=1, max_size=12)
moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)).flatmap(  # noqa: DTZ001
    lambda time: st.sampled_from([time, time.replace(microsecond=0)])
)
counts = st.integers(0, 1 << 62)
ports = st.integers(0, 65535)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def processes(words: st.SearchStrategy[str]) -> st.SearchStrategy[Process]:
    def one(parent: st.SearchStrategy[Process | None]) -> st.SearchStrategy[Process]:
        args = maybe(st.lists(words, max_size=3).map(tuple))
        return st.builds(Process, pid=maybe(counts), name=maybe(words), args=args, start=maybe(moments), parent=parent)

    return one(maybe(one(maybe(one(st.none())))))


def findings(words: st.SearchStrategy[str]) -> st.SearchStrategy[Findings]:
    fact = st.one_of(words, st.booleans(), st.integers(-(1 << 62), 1 << 62), st.lists(words, max_size=2).map(tuple))
    reason = st.builds(
        Detection,
        detector=words,
        points=st.floats(-100, 100),
        reason=words,
        family=maybe(st.sampled_from(["process", "name", "timing"])),
        evidence=st.dictionaries(words, fact, max_size=3),
        techniques=st.lists(words, max_size=2).map(tuple),
    )
    reputation = st.builds(Reputation, provider=words, state=st.just("not_checked"), why=maybe(words), checked_at=maybe(moments))
    name = st.builds(Name, name=words, origin=maybe(st.sampled_from(["dns", "sni", "ptr"])), confirmed=maybe(st.booleans()))
    return st.builds(
        Findings,
        attribution=st.sampled_from([None, "exact", "inferred", Unknown(unknown="kernel")]),
        subject=maybe(words),
        names=maybe(st.lists(name, max_size=2).map(tuple)),
        verdict=maybe(st.sampled_from(["allowed", "normal", "critical"])),
        score=maybe(st.integers(0, 100)),
        reasons=maybe(st.lists(reason, max_size=2).map(tuple)),
        reputation=maybe(st.lists(reputation, max_size=2).map(tuple)),
    )


def records(words: st.SearchStrategy[str]) -> st.SearchStrategy[Record]:
    judged = {
        "id": words,
        "revision": counts,
        "timestamp": moments,
        "event": st.builds(Event, action=maybe(st.sampled_from(["connect", "close"])), start=maybe(moments), end=maybe(moments)),
        "host": maybe(st.builds(Host, name=maybe(words))),
        "network": st.builds(Network, transport=maybe(words), direction=maybe(st.sampled_from(["egress", "ingress"]))),
        "source": st.builds(Source, ip=maybe(words), port=maybe(ports), bytes=maybe(counts)),
        "destination": st.builds(Destination, ip=maybe(words), port=maybe(ports), domain=maybe(words)),
        "process": maybe(processes(words)),
        "user": maybe(st.builds(User, id=maybe(words), name=maybe(words))),
        "outwatch": findings(words),
    }
    loss = st.builds(EventsLost, layer=words, count=counts, from_=maybe(moments), until=maybe(moments), sensor=maybe(words))
    summary = st.builds(Summary, seen=counts, lost=st.dictionaries(words, counts, max_size=3), blind=st.lists(words, max_size=2).map(tuple))
    return st.one_of(st.builds(Connection, **judged), st.builds(Question, **judged), loss, summary)


@modest
@given(records(text))
def test_a_record_comes_back_from_its_line_as_it_was(record: Record) -> None:
    assert wire.decode(wire.encode(record)) == record


@pytest.mark.security
@modest
@given(records(hostile))
def test_the_line_of_any_record_is_one_line_of_valid_json_without_raw_control_characters(record: Record) -> None:
    line = wire.encode(record)
    assert not RAW.search(line.decode("utf-8"))
    assert json.loads(line)["schema"] == "outwatch/1"


@pytest.mark.security
@modest
@given(records(hostile))
def test_what_was_written_once_is_stable_from_then_on(record: Record) -> None:
    line = wire.encode(record)
    again = wire.decode(line)
    assert again is not None
    assert wire.encode(again) == line


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("2025-07-10T17:42:01+02:00")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
KEYS = ["id", "kind", "schema", "@timestamp", "event", "network", "source", "destination", "process", "user", "dns", "outwatch", "revision"]
INNER = ["ip", "port", "bytes", "start", "args", "parent", "name", "attribution", "reasons", "names", "score", "action", "question"]
trees = st.dictionaries(st.sampled_from(KEYS), values | st.dictionaries(st.sampled_from(INNER), values, max_size=3), max_size=6)


@pytest.mark.security
@settings(max_examples=400, deadline=None)
@given(trees, st.booleans())
def test_a_line_of_wrong_types_is_a_record_or_a_wire_error(tree: dict[str, Any], named: bool) -> None:
    least = {"id": "c1", "kind": "connection", "@timestamp": "2025-07-10T17:42:01Z"} if named else {}
    try:
        record = wire.decode(json.dumps({**least, **tree}).encode())
    except wire.WireError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right
        return
    if record is not None:
        assert wire.decode(wire.encode(record)) == record


@pytest.mark.security
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 150), st.integers(0, 20))
def test_a_damaged_line_is_a_record_or_a_wire_error(noise: bytes, at: int, cut: int) -> None:
    whole = (
        b'{"schema":"outwatch/1","kind":"connection","id":"c1","@timestamp":"2025-07-10T17:42:01.250000Z","destination":{"ip":"192.0.2.1"}}'
    )
    try:
        record = wire.decode(whole[:at] + noise + whole[at + cut :])
    except wire.WireError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right
        return
    assert record is None or isinstance(record, Record)
