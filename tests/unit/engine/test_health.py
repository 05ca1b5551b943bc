"""Losses and problems are counted exactly, and told without drowning the user."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from outwatch.engine.health import Health
from outwatch.errors import RuleError
from outwatch.model.records import EventsLost

WHEN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)


def test_a_loss_has_its_layer_its_count_and_its_window() -> None:
    health = Health()
    for second in range(3):
        health.lose("queue", 2, WHEN + timedelta(seconds=second))
    health.lose("store", 1, WHEN)
    assert health.losses() == [
        EventsLost(layer="queue", count=6, from_=WHEN, until=WHEN + timedelta(seconds=2)),
        EventsLost(layer="store", count=1, from_=WHEN, until=WHEN),
    ]
    assert health.lost == {"queue": 6, "store": 1}


def test_a_loss_is_told_once_and_counted_for_good() -> None:
    health = Health()
    health.lose("queue", 2, WHEN)
    health.losses()
    assert health.losses() == []
    health.lose("queue", 3, WHEN)
    assert [loss.count for loss in health.losses()] == [3]
    assert health.lost["queue"] == 5


def test_a_loss_that_a_sensor_reports_is_counted_and_not_told_a_second_time() -> None:
    health = Health()
    health.observed_loss(EventsLost(layer="ring", count=9))
    assert health.lost == {"ring": 9}
    assert health.losses() == []


@pytest.mark.security
def test_losses_from_many_threads_add_up() -> None:
    health = Health()
    told: list[EventsLost] = []

    def lose() -> None:
        for _ in range(500):
            health.lose("queue", 1)
            told.extend(health.losses())

    threads = [threading.Thread(target=lose) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    told += health.losses()
    assert health.lost["queue"] == 2000
    assert sum(loss.count for loss in told) == 2000


def test_a_problem_is_told_once() -> None:
    told: list[str] = []
    health = Health(tell=told.append)
    for text in ("a", "b", "a"):
        health.problem(text)
    assert told == health.problems == ["a", "b"]


def test_of_many_broken_lines_the_first_of_each_file_are_told_and_all_are_counted() -> None:
    told: list[str] = []
    health = Health(tell=told.append)
    for line in range(1, 51):
        health.broken_line(RuleError("a.jsonl", line, "no record"))
    health.broken_line(RuleError("b.jsonl", 7, "no record"))
    assert health.broken_lines == 51
    assert told[0] == "a.jsonl:1: no record"
    assert told[19] == "a.jsonl:20: no record"
    assert told[20:] == ["a.jsonl: more broken lines are counted, not listed", "b.jsonl:7: no record"]


def test_a_part_that_fails_is_told_once_and_each_failure_counted() -> None:
    told: list[str] = []
    health = Health(tell=told.append)
    for number in range(3):
        health.part_failed("tor", ValueError(f"number {number}"))
    assert told == health.problems
    assert len(told) == 1
    assert "tor failed (ValueError: number 0)" in told[0]
    assert health.lost["tor"] == 3
    assert health.failed_parts == {"tor"}


def test_each_run_has_its_own_counters() -> None:
    first, second = Health(), Health()
    first.lose("queue", 1)
    first.problem("a")
    assert not second.lost
    assert not second.problems
