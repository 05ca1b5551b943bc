"""What is remembered between runs, and what happens when that can't be."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from outwatch.model.records import AutonomousSystem, Geo, Organization, Reputation
from outwatch.model.reputation import Indicator, Limit
from outwatch.reputation.memory import DAY, FILE, Busy, Known, Memory
from outwatch.reputation.quota import Pause, Quota

IP = Indicator("ip", "203.0.113.9")
NOW = 1_800_000_000.0
ANSWER = Reputation(
    provider="virustotal",
    state="malicious",
    score=12,
    checked_at=datetime(2027, 1, 15, 8, tzinfo=UTC),
    link="https://www.virustotal.com/gui/ip-address/203.0.113.9",
    malicious=12,
    engines=90,
    tags=("a", "ä\x1b[m\u202e"),
    as_=AutonomousSystem(number=64500, organization=Organization(name="Example")),
    geo=Geo(country_iso_code="NL"),
)
Open = Callable[[], Memory]


class Told(list[str]):
    """Collects what is told."""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def opened(tmp_path: Path, told: Told) -> Iterator[Open]:
    """Open the memory of another run each time."""
    memories: list[Memory] = []

    def open_() -> Memory:
        memories.append(Memory(tmp_path, told.append, lambda: NOW))
        return memories[-1]

    yield open_
    for memory in memories:
        memory._database.close()


def kept(memory: Memory, known: Known, source: str = "virustotal") -> None:
    memory.put(source, IP, known)
    memory.flush()


@pytest.mark.parametrize("known", [Known(ANSWER, NOW + DAY), Known(None, NOW + 60, "timeout", 3), Known(ANSWER, NOW, "timeout", 1)])
def test_another_run_knows_what_this_one_was_told(opened: Open, known: Known) -> None:
    kept(opened(), known)
    assert opened().get("virustotal", IP) == known


def test_answers_are_kept_apart_by_service_and_by_indicator(opened: Open) -> None:
    memory = opened()
    kept(memory, Known(ANSWER, NOW + DAY))
    assert memory.get("abuseipdb", IP) is None
    assert memory.get("virustotal http://127.0.0.1:8080", IP) is None, "a test service is not the real one"
    assert memory.get("virustotal", Indicator("domain", IP.value)) is None
    assert memory.get("virustotal", Indicator("ip", "203.0.113.10")) is None


def test_closing_forgets_what_is_two_weeks_too_old_and_nothing_else(opened: Open) -> None:
    memory = opened()
    kept(memory, Known(ANSWER, NOW - 14 * DAY - 1), "long ago")
    kept(memory, Known(ANSWER, NOW - 13 * DAY), "some time ago")
    memory.close()
    again = opened()
    assert again.get("long ago", IP) is None
    assert again.get("some time ago", IP) is not None


@pytest.mark.parametrize(
    "change",
    ["reputation = x'7b'", "reputation = x'7b2261223a317d'", "until = 'soon'", "failures = 'many'", "reputation = 'text'", "until = NULL"],
)
@pytest.mark.security
def test_a_damaged_row_is_asked_for_again(opened: Open, tmp_path: Path, change: str) -> None:
    kept(opened(), Known(ANSWER, NOW + DAY))
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute(f"UPDATE answers SET {change}")
        database.commit()
    assert opened().get("virustotal", IP) is None


@pytest.mark.security
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(opened: Open, tmp_path: Path, told: Told) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database at all" * 100)
    (tmp_path / FILE).chmod(0o600)
    memory = opened()
    kept(memory, Known(ANSWER, NOW + DAY))
    assert opened().get("virustotal", IP) is not None
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) == 1
    assert "kept as" in told[0]


@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
@pytest.mark.security
def test_only_its_owner_may_read_it(opened: Open, tmp_path: Path) -> None:
    kept(opened(), Known(ANSWER, NOW + DAY))
    for file in tmp_path.glob(f"{FILE}*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_where_there_can_be_no_database_this_run_remembers_by_itself_and_says_so(tmp_path: Path, told: Told) -> None:
    (tmp_path / FILE).mkdir()
    memory = Memory(tmp_path, told.append, lambda: NOW)
    kept(memory, Known(ANSWER, NOW + DAY))
    assert memory.get("virustotal", IP) == Known(ANSWER, NOW + DAY)
    assert len(told) == 1
    assert "for this run only" in told[0]


@pytest.mark.security
def test_on_a_full_disk_it_goes_on_with_all_that_it_knew_and_no_quota_is_forgotten(opened: Open, told: Told) -> None:
    memory = opened()
    kept(memory, Known(ANSWER, NOW + DAY))
    quota = Quota(memory, "virustotal", [Limit(300, 60.0)], longest=10, clock=lambda: NOW)
    (pages,) = memory._database.execute("PRAGMA page_count").fetchone()
    memory._database.execute(f"PRAGMA max_page_count={pages}")
    numbers = [quota.take() for _ in range(301)]
    assert [number for number in numbers if isinstance(number, Pause)] == [numbers[-1]], "the 301st is one too many"
    assert memory.get("virustotal", IP) == Known(ANSWER, NOW + DAY)
    assert told == ["what reputation services answer is remembered for this run only: database or disk is full"]


def test_what_can_not_be_written_while_another_process_writes_is_written_later(opened: Open, tmp_path: Path, told: Told) -> None:
    memory = opened()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept(memory, Known(ANSWER, NOW + DAY))
        with pytest.raises(Busy):
            memory.together(lambda _database: None)
        other.execute("COMMIT")
    assert memory.get("virustotal", IP) is None
    memory.flush()
    assert opened().get("virustotal", IP) == Known(ANSWER, NOW + DAY)
    assert told == []


def test_what_fails_in_the_middle_is_undone_as_a_whole(opened: Open) -> None:
    memory = opened()

    def fail(database: sqlite3.Connection) -> None:
        database.execute("INSERT INTO requests (source, at) VALUES ('x', 1)")
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        memory.together(fail)
    assert memory.together(lambda database: database.execute("SELECT count(*) FROM requests").fetchone()) == (0,)
