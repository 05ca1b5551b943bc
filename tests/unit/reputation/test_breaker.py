"""A service in trouble is left alone, and one that hangs now and then is not taken for one."""

import math

import pytest

from outwatch.reputation.breaker import Breaker, Patience


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing(breaker: Breaker, clock: Clock, times: int) -> None:
    for _ in range(times):
        breaker.begins()
        clock.now += 1
        breaker.failed(clock.now - 1)


def test_it_opens_after_five_failures_in_a_row_for_half_a_minute_and_then_lets_one_request_through() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    failing(breaker, clock, 4)
    assert breaker.pause() == 0
    failing(breaker, clock, 1)
    assert breaker.pause() == 30
    assert breaker.until == clock.now + 30
    clock.now += 30
    assert breaker.pause() == 0
    breaker.begins()
    assert breaker.pause() == math.inf, "another one waits for what becomes of the first"


def test_each_attempt_that_fails_doubles_the_pause_up_to_a_quarter_of_an_hour() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    failing(breaker, clock, 5)
    pauses = []
    for _ in range(8):
        pauses.append(breaker.pause())
        clock.now += breaker.pause()
        breaker.begins()
        breaker.failed(clock.now)
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_success_closes_it_and_all_is_forgotten() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    failing(breaker, clock, 5)
    clock.now += 30
    breaker.begins()
    breaker.worked()
    assert breaker.pause() == 0
    assert breaker.until is None
    failing(breaker, clock, 4)
    assert breaker.pause() == 0


def test_requests_that_hang_while_others_are_answered_do_not_open_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    began = clock.now
    clock.now += 5
    breaker.worked()
    clock.now += 5
    for _ in range(50):
        breaker.failed(began)
    assert breaker.pause() == 0


def test_those_that_fail_after_it_has_opened_make_it_no_longer() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(60):
        breaker.failed(clock.now)
    assert breaker.pause() == 30


def test_a_request_that_nobody_waits_for_any_longer_lets_another_one_try() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    failing(breaker, clock, 5)
    clock.now += 30
    breaker.begins()
    breaker.abandoned()
    assert breaker.pause() == 0


def test_patience_is_the_upper_bound_until_twenty_answers_are_known() -> None:
    patience = Patience(10)
    for _ in range(19):
        patience.answered(0.1)
    assert patience.seconds == 10
    patience.answered(0.1)
    assert patience.seconds == 2


@pytest.mark.parametrize(("slowest", "seconds"), [(0.1, 2.0), (0.4, 2.0), (1.0, 5.0), (3.0, 10.0)])
def test_patience_is_five_times_the_slowest_recent_answer_within_its_bounds(slowest: float, seconds: float) -> None:
    patience = Patience(10)
    for took in [0.1] * 30 + [slowest]:
        patience.answered(took)
    assert patience.seconds == seconds


def test_patience_forgets_a_slow_answer_of_long_ago_and_never_grows_beyond_what_was_set() -> None:
    patience = Patience(1.5)
    for took in [9.0] + [0.1] * 20:
        patience.answered(took)
    assert patience.seconds == 1.5
    patience = Patience(60)
    for took in [9.0] + [0.1] * 49:
        patience.answered(took)
    assert patience.seconds == 45
    patience.answered(0.1)
    assert patience.seconds == 2
