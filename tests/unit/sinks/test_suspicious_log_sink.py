"""The suspicious log: its form is a contract with other people's scripts."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.errors import FileRefused, OutputError
from outwatch.model.records import Connection, Destination, Detection, EventsLost, Findings, Process, Question, Source, Summary
from outwatch.sinks.suspicious_log import SuspiciousLog, SuspiciousLogConfig, line

if sys.platform == "win32":
    pytest.skip("modes, links and TZ are those of POSIX", allow_module_level=True)

Make = Callable[..., Connection]
WHY = Detection(detector="executable_path", points=50, reason="runs from a temporary folder")


@pytest.fixture(autouse=True)
def utc_plus_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put this machine two hours east of Greenwich."""
    monkeypatch.setenv("TZ", "XST-2")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the log."""
    return tmp_path / "suspicious.log"


@pytest.fixture
def bad(connection: Make) -> Callable[..., Connection]:
    """Make a record with a verdict."""

    def make(verdict: Any = "medium", score: int = 50, **changes: Any) -> Connection:
        return connection(**{"outwatch": Findings(verdict=verdict, score=score, reasons=(WHY,)), **changes})

    return make


def log(path: Path, level: Any = "medium") -> SuspiciousLog:
    """Open the log."""
    return SuspiciousLog(SuspiciousLogConfig(), path=path, level=level)


def write(sink: SuspiciousLog, *records: Any) -> None:
    """Give records to a sink."""
    asyncio.run(sink.write(records))


def test_a_line_has_exactly_the_form_of_the_contract(bad: Make) -> None:
    record = bad(
        "high",
        72,
        timestamp=datetime(2025, 7, 10, 17, 42, 1, 999999, UTC),
        process=Process(pid=3241, name="python3"),
        source=Source(ip="192.0.2.10", port=38882),
        destination=Destination(ip="185.129.61.45", port=443, domain="host.example.com"),
    )
    assert line(record) == (
        "2025-07-10 19:42:01 - WARNING - Process: python3 (PID: 3241) => 185.129.61.45:443 (local port 38882)"
        " [host.example.com; high 72; runs from a temporary folder]"
    )


def test_ipv6_stands_in_brackets(bad: Make) -> None:
    assert "=> [2001:db8::1]:443 (" in line(bad(destination=Destination(ip="2001:db8::1", port=443)))


def test_what_is_unknown_is_said_so(bad: Make) -> None:
    bare = bad(process=None, source=Source(), destination=Destination(), outwatch=Findings(verdict="medium", score=40))
    assert line(bare).endswith("Process: unknown (PID: unknown) => unknown (local port unknown) [no name; medium 40; no reason given]")


def test_a_process_without_a_name_goes_by_its_path(bad: Make) -> None:
    assert "Process: /tmp/x (PID: 7)" in line(bad(process=Process(pid=7, executable="/tmp/x")))


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("medium", ["medium", "high", "critical"]),
        ("low", ["low", "medium", "high", "critical"]),
        ("critical", ["critical"]),
        ("normal", ["normal", "low", "medium", "high", "critical"]),
        ("allowed", ["normal", "low", "medium", "high", "critical"]),
    ],
)
def test_only_what_reaches_the_level_is_written(path: Path, bad: Make, level: str, written: list[str]) -> None:
    verdicts = ["allowed", "normal", "low", "medium", "high", "critical"]
    write(log(path, level), *[bad(verdict, id=verdict) for verdict in verdicts], bad(id="unjudged", outwatch=Findings()))
    assert [one.split("; ")[1].split()[0] for one in path.read_text().splitlines()] == written


def test_a_connection_is_written_once_and_again_only_when_it_gets_worse(path: Path, bad: Make) -> None:
    sink = log(path)
    write(sink, bad("medium", 40), bad("medium", 55))
    write(sink, bad("medium", 41), bad("high", 60), bad("medium", 50), bad("high", 79))
    write(sink, bad("critical", 90), bad("low", 20), bad("critical", 95), bad("medium", 40, id="another"))
    assert [one.split("; ")[1] for one in path.read_text().splitlines()] == ["medium 40", "high 60", "critical 90", "medium 40"]


def test_other_records_are_none_of_its_business(path: Path, bad: Make) -> None:
    when = datetime(2025, 7, 10, tzinfo=UTC)
    asked = Question(id="q", timestamp=when, outwatch=Findings(verdict="high", score=70))
    write(log(path), asked, EventsLost(layer="x", count=1), Summary())
    assert path.read_text() == ""


@pytest.mark.security
def test_it_is_made_for_its_owner_only_and_appended_to(path: Path, bad: Make) -> None:
    previous = os.umask(0)
    try:
        write(log(path), bad())
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o777 == 0o600
    write(log(path), bad())
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.security
@pytest.mark.parametrize("kind", ["link", "dangling link", "second name", "pipe", "folder"])
def test_a_trap_in_the_place_of_the_log_is_refused_and_untouched(path: Path, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "precious"
    if kind != "dangling link":
        target.write_text("precious")
    if kind.endswith("link"):
        path.symlink_to(target)
    elif kind == "second name":
        os.link(target, path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises((FileRefused, OutputError)):
        log(path)
    assert target.exists() is (kind != "dangling link")
    assert kind == "dangling link" or target.read_text() == "precious"


@pytest.mark.security
def test_a_link_put_there_during_the_watch_is_not_followed(path: Path, tmp_path: Path, bad: Make) -> None:
    sink = log(path)
    path.unlink()
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(FileRefused):
        write(sink, bad())
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_log_that_was_rotated_away_is_begun_anew(path: Path, bad: Make) -> None:
    sink = log(path)
    write(sink, bad())
    path.rename(path.with_suffix(".1"))
    write(sink, bad(id="next"))
    assert len(path.read_text().splitlines()) == 1


def test_what_could_not_be_written_is_written_when_it_comes_again(path: Path, bad: Make) -> None:
    sink = log(path)
    path.unlink()
    path.mkdir()
    with pytest.raises((FileRefused, OutputError)):
        write(sink, bad())
    path.rmdir()
    write(sink, bad())
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.security
@pytest.mark.parametrize("when", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("zone", ["XST-14", "XST+12"])
def test_a_time_at_the_edge_of_the_calendar_costs_no_other_line(
    path: Path, bad: Make, monkeypatch: pytest.MonkeyPatch, when: datetime, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    write(log(path), bad(id="before"), bad(id="edge", timestamp=when), bad(id="after"))
    assert len(path.read_text().splitlines()) == 3


def test_the_line_of_a_name_has_one_line(bad: Make) -> None:
    record = bad(process=Process(pid=1, name="x\n2025-07-10 00:00:00 - WARNING - forged"))
    hostile = replace(record, destination=Destination(ip="203.0.113.9", port=1, domain="a\r\nb\u2028c"))
    assert len(line(hostile).splitlines()) == 1
