"""What waits for a reader of the capture socket: whole lines in order, within bounds, and every missing record counted."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.model import wire
from outwatch.model.records import Connection, Detection, EventsLost, Findings, Process, Record, Summary
from outwatch.sinks.handover import LAYER, Backlog, line_of

Make = Callable[..., Connection]
ROOM = 10_000
WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)


def records(data: bytes) -> list[dict[str, Any]]:
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def fill(backlog: Backlog, connections: Sequence[Record]) -> None:
    for one in connections:
        backlog.add(one, line_of(one))


def everything(backlog: Backlog) -> list[dict[str, Any]]:
    taken = b""
    while piece := backlog.take(500):
        taken += piece
    return records(taken)


@pytest.fixture
def many(connection: Make) -> list[Connection]:
    """Give 300 records; fewer than 40 of them have room."""
    return [connection(id=f"c{number}") for number in range(300)]


def test_the_picture_comes_first_and_what_happened_meanwhile_after_it(connection: Make) -> None:
    backlog = Backlog([connection(id="there"), Summary()])
    backlog.add(connection(id="new"), line_of(connection(id="new")))
    assert [one.get("id", one["kind"]) for one in everything(backlog)] == ["there", "summary", "new"]
    assert backlog.is_empty


def test_a_piece_is_whole_lines_and_ends_with_the_one_that_fills_it(many: list[Connection]) -> None:
    backlog = Backlog(many)
    size = len(line_of(many[0]))
    assert len(records(backlog.take(1))) == 1
    assert len(records(backlog.take(2 * size))) in {2, 3}
    assert backlog.has_picture


def test_records_told_and_counted_are_all_there_are(many: list[Connection]) -> None:
    backlog = Backlog(most=ROOM)
    fill(backlog, many)
    told = everything(backlog)
    kept, (loss,) = told[:-1], told[-1:]
    assert [one["id"] for one in kept] == [one.id for one in many[: len(kept)]]
    assert sum(len(line_of(one)) for one in many[: len(kept)]) <= ROOM < sum(len(line_of(one)) for one in many[: len(kept) + 1])
    assert (loss["kind"], loss["layer"], loss["count"]) == ("loss", LAYER, len(many) - len(kept))
    assert loss["from"] <= loss["until"]
    assert backlog.is_empty


def test_a_loss_is_told_where_it_happened_and_not_for_each_record(many: list[Connection]) -> None:
    backlog = Backlog(most=ROOM)
    fill(backlog, many[:100])
    room_for_one = backlog.take(1)
    fill(backlog, many[100:200])  # there is room for one, but not for half of what may wait
    told = records(room_for_one) + everything(backlog)
    fill(backlog, many[200:210])
    told += everything(backlog)
    kinds = [one["kind"] for one in told]
    assert kinds.count("loss") == 1
    before = kinds.index("loss")
    assert told[before]["count"] == 200 - before
    assert [one["id"] for one in told[before + 1 :]] == [one.id for one in many[200:210]]


def test_a_loss_that_finds_no_room_adds_up_with_others_of_its_layer(many: list[Connection]) -> None:
    backlog = Backlog(most=ROOM)
    fill(backlog, many)
    for number, layer in enumerate(("kernel ring", "kernel map", "kernel ring"), 1):
        at = WHEN + timedelta(seconds=number)
        fill(backlog, [EventsLost(sensor="ebpf", layer=layer, count=10 * number, from_=at, until=at)])
    losses = {one["layer"]: one for one in everything(backlog) if one["kind"] == "loss"}
    assert losses.keys() == {LAYER, "kernel ring", "kernel map"}
    assert (losses["kernel ring"]["count"], losses["kernel map"]["count"]) == (40, 20)
    assert losses["kernel ring"]["from"] == "2025-07-10T17:42:02.250000Z"
    assert losses["kernel ring"]["until"] == "2025-07-10T17:42:04.250000Z"
    assert losses["kernel ring"]["sensor"] == "ebpf"


def test_a_long_record_is_counted_and_shorter_ones_do_not_slip_past_it(connection: Make) -> None:
    backlog = Backlog(most=ROOM)
    long = connection(id="long", process=Process(pid=1, args=("x" * ROOM,)))
    fill(backlog, [connection(id="before"), long, connection(id="after")])
    assert [one.get("id", one["kind"]) for one in everything(backlog)] == ["before", "loss", "after"]


def test_nothing_of_a_verdict_is_handed_over(connection: Make) -> None:
    findings = Findings(
        sensor="ebpf", executable="deleted", verdict="normal", score=0, reasons=(Detection(detector="x", points=1, reason="y"),)
    )
    (told,) = records(line_of(connection(outwatch=findings)))
    assert told["outwatch"] == {"sensor": "ebpf", "executable": "deleted"}


@pytest.mark.security
@pytest.mark.parametrize("character", ["\x01", "\u202e", '"'])
def test_long_arguments_do_not_keep_a_connection_from_being_read(connection: Make, character: str) -> None:
    """What a program may be started with is longer, once it is escaped, than any reader accepts."""
    parent = Process(pid=1, name="p" * 4096, executable=character * 4096, args=(character * 256,) * 16)
    for _ in range(2):
        parent = Process(pid=1, name="p", executable=character * 4096, args=(character * 256,) * 16, parent=parent)
    process = Process(pid=7, name="evil", executable="/tmp/" + character * 4000, args=(character * 4096,) * 64, parent=parent)
    user = replace(process, args=(character * 4096,) * 12)
    record = connection(process=process, outwatch=Findings(sensor="ebpf", shared_with=(user,) * 12))
    assert len(wire.encode(record)) > wire.MOST
    line = line_of(record)
    assert len(line) <= wire.MOST
    read = wire.decode(line.rstrip(b"\n"))
    assert isinstance(read, Connection)
    assert read.process is not None
    assert (read.process.pid, read.process.executable, read.destination) == (7, process.executable, record.destination)
    assert read.process.args is not None
    assert read.process.args[-1] == "…"
