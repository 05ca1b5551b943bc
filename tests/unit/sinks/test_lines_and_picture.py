"""Lines to a stream, and the picture that tables are drawn from."""

import asyncio
import io
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from outwatch.engine.health import Health
from outwatch.engine.outlet import Outlet
from outwatch.errors import OutputError
from outwatch.model.records import Connection, Event, EventsLost, Findings, Record, Summary
from outwatch.sinks.lines import Lines
from outwatch.sinks.picture import Picture

Make = Callable[..., Connection]


def write(sink: Lines | Picture, *records: Record) -> None:
    """Give records to a sink."""
    asyncio.run(sink.write(records))


def spelled(records: Sequence[Record]) -> bytes:
    """Spell connections by their id and nothing else."""
    return b"".join(record.id.encode() + b"\n" for record in records if isinstance(record, Connection))


def test_each_record_is_a_line_and_is_seen_at_once(connection: Make) -> None:
    raw = io.BytesIO()
    stream = io.BufferedWriter(raw)  # type: ignore[arg-type,unused-ignore]
    write(Lines(stream=stream, spell=spelled), connection(id="a"), Summary(), connection(id="b"))
    assert raw.getvalue() == b"a\nb\n"


def test_records_without_a_line_leave_the_stream_alone() -> None:
    stream = io.BytesIO()
    write(Lines(stream=stream, spell=spelled), Summary(), EventsLost(layer="x", count=1))
    assert stream.getvalue() == b""


class Broken(io.BytesIO):
    """A stream that can't be written to."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: Any) -> int:
        raise self.error


def test_a_full_disk_and_a_reader_that_has_gone_are_told_apart(connection: Make) -> None:
    with pytest.raises(OutputError, match="No space left"):
        write(Lines(stream=Broken(OSError(28, "No space left on device")), spell=spelled), connection())
    with pytest.raises(BrokenPipeError):
        write(Lines(stream=Broken(BrokenPipeError()), spell=spelled), connection())


@pytest.mark.security
def test_a_record_that_can_not_be_spelled_costs_no_other_its_line(connection: Make) -> None:
    def spell(records: Sequence[Record]) -> bytes:
        if any(isinstance(record, Connection) and record.id == "hostile" for record in records):
            raise RecursionError
        return spelled(records)

    stream, health = io.BytesIO(), Health()
    records = [connection(id="a"), connection(id="hostile"), connection(id="b")]
    asyncio.run(Outlet(Lines(stream=stream, spell=spell), health).write(records))
    assert stream.getvalue().split() == [b"a", b"b"]
    assert health.lost == {"sink lines": 1}


@pytest.fixture
def health() -> Health:
    """Give fresh counters."""
    return Health()


def judged(make: Make, identity: str, verdict: Any, score: int | None = None, **changes: Any) -> Connection:
    """Make a record with a verdict."""
    return make(id=identity, outwatch=Findings(verdict=verdict, score=score), **changes)


def test_the_worst_stands_first_then_the_highest_score_then_the_newest(connection: Make, health: Health) -> None:
    later = connection().timestamp + timedelta(seconds=5)
    ordered = [
        judged(connection, "critical", "critical", 80),
        judged(connection, "high", "high", 60),
        judged(connection, "medium 59 later", "medium", 59, timestamp=later),
        judged(connection, "medium 59", "medium", 59),
        judged(connection, "medium 41", "medium", 41, timestamp=later),
        judged(connection, "low", "low", 20),
        judged(connection, "normal", "normal", 0),
        judged(connection, "allowed", "allowed", 0),
        judged(connection, "not judged", None),
    ]
    picture = Picture(health=health)
    shuffled = list(ordered)
    random.Random(7).shuffle(shuffled)
    write(picture, *shuffled, Summary(), EventsLost(layer="x", count=1))
    assert [record.id for record in picture.worst_first()] == [record.id for record in ordered]


def test_a_later_revision_replaces_and_an_earlier_one_does_not(connection: Make, health: Health) -> None:
    picture = Picture(health=health)
    write(picture, judged(connection, "c", "low", 20, revision=2))
    write(picture, judged(connection, "c", "high", 60, revision=3), judged(connection, "c", "normal", 0, revision=1))
    assert [(record.revision, record.outwatch.verdict) for record in picture.worst_first()] == [(3, "high")]


def test_what_does_not_fit_is_counted_and_what_is_there_is_still_updated(connection: Make, health: Health) -> None:
    picture = Picture(health=health, capacity=2)
    write(picture, *[connection(id=f"c{at}") for at in range(5)])
    write(picture, judged(connection, "c1", "high", 60, revision=2))
    assert [record.id for record in picture.worst_first()] == ["c1", "c0"]
    assert health.lost == {"picture": 3}


def test_of_connections_that_ended_only_the_latest_are_kept(connection: Make, health: Health) -> None:
    picture = Picture(health=health, most_ended=2)
    for at in range(5):
        write(picture, connection(id=f"c{at}"), connection(id=f"c{at}", revision=2, event=Event(action="close")))
    write(picture, connection(id="open"))
    assert {record.id for record in picture.worst_first()} == {"c3", "c4", "open"}
    assert health.lost == {}


def test_an_ended_connection_told_twice_counts_once(connection: Make, health: Health) -> None:
    picture = Picture(health=health, most_ended=2)
    ended = Event(action="close")
    write(picture, *[connection(id="a", revision=revision, event=ended) for revision in (1, 2, 3)], connection(id="b", event=ended))
    assert {record.id for record in picture.worst_first()} == {"a", "b"}
