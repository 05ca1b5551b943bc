"""Recordings: whatever a file holds, its records are read, and the rest is named with file and line."""

import gzip
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.errors import RuleError, SensorUnavailable
from outwatch.model import wire
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, EventsLost, Observation
from outwatch.sensors.replay.recordings import Replay

Make = Callable[..., Connection]


@pytest.fixture
def line(connection: Make) -> Callable[[str], bytes]:
    """Give a record with an id as its line."""
    return lambda identity: wire.encode(connection(id=identity)) + b"\n"


Line = Callable[[str], bytes]


def read(*paths: Path | str) -> tuple[list[Observation], list[RuleError]]:
    """Read recordings; give what they hold and what is broken."""
    broken: list[RuleError] = []
    sensor = Replay(PartConfig(), paths=[str(path) for path in paths], broken=broken.append)
    sensor.check()
    return [one for batch in sensor.observe(threading.Event()) for one in batch], broken


def ids(found: list[Observation]) -> list[str]:
    """Give the ids of connections and questions."""
    return [one.id for one in found if not isinstance(one, EventsLost)]


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:])])
def test_a_file_is_read_plain_compressed_and_in_several_compressed_pieces(
    tmp_path: Path, line: Line, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(pack(b"".join(line(f"c{at}") for at in range(1000))))
    found, broken = read(path)
    assert ids(found) == [f"c{at}" for at in range(1000)]
    assert broken == []


def test_a_record_comes_back_as_it_was_written(tmp_path: Path, connection: Make) -> None:
    record = connection(domain="example.com")
    (tmp_path / "x.jsonl").write_bytes(wire.encode(record))
    assert read(tmp_path / "x.jsonl") == ([record], [])


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_last_line_needs_no_ending_and_windows_endings_are_fine(tmp_path: Path, line: Line, ending: bytes) -> None:
    (tmp_path / "x.jsonl").write_bytes(line("a").strip() + (ending or b"\n") + line("b").strip() + ending)
    found, broken = read(tmp_path / "x.jsonl")
    assert (ids(found), broken) == (["a", "b"], [])


@pytest.mark.parametrize(
    "bad",
    [
        b"not json",
        b"[]",
        b"{}",
        b"null",
        b'{"kind":"connection"}',
        b'{"kind":"nothing","id":"x","@timestamp":"2025-07-10T17:42:01.25Z"}',
        b'{"kind":"connection","id":"x","@timestamp":"yesterday"}',
        b'{"kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01"}',  # no zone: it could be any time
        b'{"kind":"connection","id":7,"@timestamp":"2025-07-10T17:42:01.25Z"}',
        b'{"kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01.25Z","destination":{"port":65536}}',
        b'{"kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01.25Z","source":{"bytes":-1}}',
        b'{"kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01.25Z","outwatch":{"score":101}}',
        b'{"schema":"outwatch/2","kind":"connection","id":"x","@timestamp":"2025-07-10T17:42:01.25Z"}',
        b"[" * 50_000,
        b'{"a":' * 50_000,
        bytes(byte for byte in range(256) if byte != 10),
        b"\0" * 100,
        b"x" * (wire.MOST + 1),
        b"x" * (wire.MOST + 2),
        b"x" * (3 * wire.MOST),
    ],
    ids=lambda bad: repr(bad[:24]),
)
def test_a_broken_line_is_named_with_file_and_line_and_the_rest_goes_on(tmp_path: Path, line: Line, bad: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line("a") + b"\n" + bad + b"\n" + line("b"))
    found, broken = read(path)
    assert ids(found) == ["a", "b"]
    assert [(problem.path, problem.line) for problem in broken] == [(str(path), 3)]
    assert broken[0].reason.isprintable()
    assert len(broken[0].reason) < 400


def test_a_line_of_the_greatest_length_is_read_and_one_byte_more_is_not(tmp_path: Path, line: Line) -> None:
    short = line("a").strip()
    full = short[:-1] + b" " * (wire.MOST - len(short)) + b"}"
    assert len(full) == wire.MOST
    path = tmp_path / "x.jsonl"
    path.write_bytes(full + b"\r\n" + full[:-1] + b" }\r\n" + line("b"))
    found, broken = read(path)
    assert ids(found) == ["a", "b"]
    assert [problem.line for problem in broken] == [2]


def test_what_is_no_observation_is_passed_over_in_silence(tmp_path: Path, line: Line) -> None:
    other = b'{"kind":"alert","id":"1"}\n{"kind":"hunt"}\n{"kind":"summary","seen":3}\n\n  \n'
    (tmp_path / "x.jsonl").write_bytes(other + line("a"))
    found, broken = read(tmp_path / "x.jsonl")
    assert (ids(found), broken) == (["a"], [])


def test_a_recorded_loss_is_an_observation(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"kind":"loss","layer":"kernel ring","count":17}\n')
    assert read(tmp_path / "x.jsonl") == ([EventsLost(layer="kernel ring", count=17)], [])


def test_empty_strings_and_lone_surrogates_are_no_reason_to_refuse_a_line(tmp_path: Path) -> None:
    text = (
        b'{"kind":"connection","id":"a","@timestamp":"2025-07-10T17:42:01.25Z","destination":{"domain":""},"process":{"name":"x\\udcff"}}'
    )
    (tmp_path / "x.jsonl").write_bytes(text)
    (found,), broken = read(tmp_path / "x.jsonl")
    assert broken == []
    assert isinstance(found, Connection)
    assert found.destination.domain is None
    assert found.process is not None
    assert found.process.name == "x\\xff"


@pytest.mark.parametrize("cut", [1, 8, 400, -9])
def test_a_compressed_file_that_ends_early_gives_what_is_whole_and_says_so(tmp_path: Path, line: Line, cut: int) -> None:
    # Incompressible padding, so that the cut falls among the lines and not only behind them.
    lines = [line(f"{at}-{os.urandom(64).hex()}") for at in range(300)]
    packed = gzip.compress(b"".join(lines))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(packed[:-cut] if cut > 0 else packed[:cut])
    found, broken = read(path)
    assert len(found) >= 250
    assert ids(found) == [wire_id(one) for one in lines[: len(found)]]
    assert len(broken) == 1
    assert broken[0].line == len(found) + 1
    assert "ends here" in broken[0].reason


def wire_id(line: bytes) -> str:
    """Give the id in a line."""
    record = wire.decode(line.strip())
    assert isinstance(record, Connection)
    return record.id


@pytest.mark.parametrize("behind", [b"garbage", b"\x1f\x8b\x08\x00garbage"])
def test_garbage_behind_a_compressed_file_costs_none_of_its_records(tmp_path: Path, line: Line, behind: bytes) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(line("a") + line("b")) + behind)
    found, broken = read(path)
    assert ids(found) == ["a", "b"]
    assert len(broken) == 1


@pytest.mark.security
def test_a_compressed_bomb_takes_bounded_memory(tmp_path: Path, line: Line) -> None:
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(96):
            file.write(b"\0" * (1 << 20))
        file.write(b"\n" + line("a"))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        found, broken = read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ids(found) == ["a"]
    assert [problem.line for problem in broken] == [1]
    assert peak < 16 << 20


def test_a_pipe_on_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, line: Line) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, gzip.compress(line("a") + b"broken\n" + line("b")))
    os.close(theirs)
    with open(ours, encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        found, broken = read("-")
    assert ids(found) == ["a", "b"]
    assert [(problem.path, problem.line) for problem in broken] == [("stdin", 2)]


def test_a_folder_gives_its_recordings_in_order_and_nothing_else(tmp_path: Path, line: Line) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "a.ndjson", "sub/d.log", "c.json"):
        (tmp_path / name).write_bytes(line(Path(name).stem))
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(line("e")))
    (tmp_path / "notes.txt").write_bytes(b"not for us\n")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.jsonl")  # opening it would wait for ever
    found, broken = read(tmp_path)
    assert ids(found) == ["a", "b", "c", "e", "d"]
    assert broken == []


def test_a_folder_without_recordings_is_told(tmp_path: Path) -> None:
    found, (problem,) = read(tmp_path)
    assert found == []
    assert "holds no recording" in problem.reason


def test_a_missing_path_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    sensor = Replay(PartConfig(), paths=[str(tmp_path / "none")], broken=lambda _: None)
    with pytest.raises(SensorUnavailable, match="no such file"):
        sensor.check()


def test_a_file_that_can_not_be_read_does_not_cost_the_next_one(tmp_path: Path, line: Line) -> None:
    (tmp_path / "z.jsonl").write_bytes(line("z"))
    broken: list[RuleError] = []
    sensor = Replay(PartConfig(), paths=[str(tmp_path / "gone.jsonl"), str(tmp_path / "z.jsonl")], broken=broken.append)
    found = [one for batch in sensor.observe(threading.Event()) for one in batch]
    assert ids(found) == ["z"]
    assert [problem.path for problem in broken] == [str(tmp_path / "gone.jsonl")]


def test_it_stops_between_batches_when_told(tmp_path: Path, line: Line) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"".join(line(f"c{at}") for at in range(2000)))
    stop = threading.Event()
    sensor = Replay(PartConfig(), paths=[str(tmp_path / "x.jsonl")], broken=lambda _: None)
    taken: list[Any] = []
    for batch in sensor.observe(stop):
        taken += batch
        stop.set()
    assert 0 < len(taken) < 2000
