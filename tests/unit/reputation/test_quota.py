"""Never more requests than a service allows, in this run and all others, by its own word where it gives it."""

from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from outwatch.model.reputation import Limit
from outwatch.reputation.memory import FILE, Memory
from outwatch.reputation.quota import Pause, Quota, limits, words

MINUTE, DAY = 60.0, 86_400.0
FREE = (Limit(4, MINUTE), Limit(500, DAY))
Make = Callable[..., Quota]


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Make:
    """Make the quota of another run each time: all of them share what is in the folder."""

    def quota(*of: Limit, source: str = "virustotal", fixed: bool = False) -> Quota:
        return Quota(Memory(tmp_path, pytest.fail, clock), source, of or FREE, longest=10.0, fixed=fixed, clock=clock)

    return quota


def granted(quota: Quota) -> int:
    number = quota.take()
    assert not isinstance(number, Pause), number
    return number


def paused(quota: Quota) -> Pause:
    pause = quota.take()
    assert isinstance(pause, Pause), "a request was granted"
    return pause


def spend(quota: Quota, count: int) -> None:
    for _ in range(count):
        quota.done(granted(quota))


def test_a_window_is_full_until_its_oldest_request_was_answered_that_long_ago(make: Make, clock: Clock) -> None:
    quota = make()
    for _ in range(4):
        quota.done(granted(quota))
        clock.now += 5
    pause = paused(quota)
    assert pause.why == "quota: 4 a minute"
    assert pause.until == clock.now - 20 + MINUTE
    clock.now = pause.until - 0.001
    paused(quota)
    clock.now = pause.until
    granted(quota)


def test_a_request_counts_from_its_answer_because_nobody_knows_when_the_service_counted_it(make: Make, clock: Clock) -> None:
    quota = make(Limit(1, MINUTE))
    number = granted(quota)
    assert paused(quota).until == clock.now + 10 + MINUTE, "an answer may take ten seconds"
    clock.now += 3
    quota.done(number)
    assert paused(quota).until == clock.now + MINUTE


def test_every_limit_holds_and_the_one_that_lasts_longest_is_told(make: Make, clock: Clock) -> None:
    quota = make(Limit(2, MINUTE), Limit(3, DAY))
    began = clock.now
    spend(quota, 2)
    clock.now += MINUTE
    spend(quota, 1)
    pause = paused(quota)
    assert (pause.why, pause.until) == ("quota: 3 a day", began + DAY)


def test_what_another_run_has_asked_counts_too_and_that_of_another_service_does_not(make: Make) -> None:
    spend(make(), 3)
    other_run = make()
    spend(other_run, 1)
    paused(other_run)
    spend(make(source="abuseipdb"), 4)


def test_a_request_that_was_not_sent_is_given_back(make: Make) -> None:
    quota = make(Limit(1, MINUTE))
    number = granted(quota)
    quota.give_back(number)
    granted(quota)


def test_a_run_that_was_killed_holds_a_place_no_longer_than_a_request_may_take(make: Make, clock: Clock) -> None:
    granted(make(Limit(1, MINUTE)))
    clock.now += 10 + MINUTE
    granted(make(Limit(1, MINUTE)))


def test_a_clock_that_is_set_back_by_a_year_locks_nobody_out_for_a_year(make: Make, clock: Clock) -> None:
    quota = make()
    spend(quota, 4)
    clock.now -= 365 * DAY
    assert paused(quota).until <= clock.now + MINUTE


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17),
        ({"retry-after": "date"}, 17),
        ({"x-ratelimit-reset": "17"}, 17),
        ({"x-ratelimit-reset": "time"}, 17),
        ({"ratelimit-reset": "17"}, 17),
        ({"retry-after": "17", "x-ratelimit-reset": "9000"}, 17),
        ({}, 60),
        ({"retry-after": "soon"}, 60),
        ({"retry-after": "-5"}, 60),
        ({"retry-after": "9" * 400}, 60),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 60),
        ({"retry-after": "Fri, 99 Foo 99999 99:99:99 GMT"}, 60),
        ({"retry-after": "٣"}, 60),
        ({"retry-after": "999999999999"}, 31 * DAY),
    ],
)
def test_a_refusal_is_heeded_for_as_long_as_the_service_says_or_for_a_minute(
    make: Make, clock: Clock, headers: dict[str, str], seconds: float
) -> None:
    spelled = {"date": formatdate(clock.now + 17, usegmt=True), "time": f"{clock.now + 17:.0f}"}
    quota = make()
    number = granted(quota)
    quota.refused({name: spelled.get(value, value) for name, value in headers.items()})
    quota.done(number)
    pause = paused(quota)
    assert pause.until - clock.now == pytest.approx(seconds)
    assert paused(make()) == pause, "another run heeds it too"
    clock.now = pause.until
    granted(quota)


def test_refusals_without_a_time_double_the_wait_and_an_answer_ends_that(make: Make, clock: Clock) -> None:
    quota = make(Limit(1000, DAY))
    waits = []
    for _ in range(8):
        quota.refused({})
        waits.append(paused(quota).until - clock.now)
        clock.now = paused(quota).until
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    quota.accepted()
    quota.refused({})
    assert paused(quota).until - clock.now == 60


@pytest.mark.security
def test_a_service_that_refuses_and_says_at_once_is_not_asked_at_once(make: Make, clock: Clock) -> None:
    quota = make(Limit(1000, DAY))
    waits = []
    for _ in range(5):
        quota.refused({"retry-after": "0"})
        waits.append(paused(quota).until - clock.now)
        clock.now = paused(quota).until
    assert waits == [1, 2, 4, 8, 16]


def test_what_is_left_by_the_service_s_word_is_not_exceeded_although_more_is_allowed_here(make: Make, clock: Clock) -> None:
    quota = make(Limit(1000, DAY), source="abuseipdb")
    number = granted(quota)
    quota.heard({"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "2", "x-ratelimit-reset": "300"})
    quota.done(number)
    spend(quota, 2)
    pause = paused(quota)
    assert (pause.why, pause.until) == ("quota used up", clock.now + 300)
    clock.now = pause.until
    granted(quota)


def test_requests_on_their_way_are_taken_off_what_is_left(make: Make, clock: Clock) -> None:
    quota = make(Limit(1000, DAY))
    first, *others = [granted(quota) for _ in range(4)]
    quota.heard({"x-ratelimit-remaining": "3", "x-ratelimit-reset": "300"})
    quota.done(first)
    assert paused(quota).until == clock.now + 300, "three are under way and may not be counted yet"
    for number in others:
        quota.done(number)
    quota.heard({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "300"})
    granted(quota)
    paused(quota)


def test_a_larger_account_is_believed(make: Make, clock: Clock) -> None:
    quota = make(Limit(2, DAY))
    spend(quota, 1)
    quota.heard({"x-ratelimit-limit": "5", "x-ratelimit-remaining": "4"})
    spend(quota, 4)
    paused(quota)


def test_a_smaller_account_is_believed(make: Make) -> None:
    quota = make(Limit(1000, DAY))
    spend(quota, 1)
    quota.heard({"x-ratelimit-limit": "3", "x-ratelimit-remaining": "2"})
    spend(quota, 2)
    paused(quota)


def test_a_limit_that_the_user_has_set_is_not_raised_by_a_service(make: Make) -> None:
    quota = make(Limit(2, DAY), fixed=True)
    spend(quota, 1)
    quota.heard({"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999"})
    spend(quota, 1)
    assert paused(quota).why == "quota: 2 a day"


def test_of_several_limits_the_reset_tells_which_one_a_service_speaks_of(make: Make, clock: Clock) -> None:
    quota = make()
    spend(quota, 1)
    quota.heard({"x-ratelimit-limit": "700", "x-ratelimit-remaining": "699", "x-ratelimit-reset": "40000"})
    spend(quota, 3)
    assert paused(quota).why == "quota: 4 a minute"
    assert [limit for _, limit in quota.used()] == [Limit(4, MINUTE), Limit(700, DAY)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "many"},
        {"x-ratelimit-limit": "-4", "x-ratelimit-remaining": "-1"},
        {"x-ratelimit-limit": "1e3"},
        {"x-ratelimit-remaining": "9" * 5000},
        {"x-ratelimit-limit": "0"},
    ],
)
@pytest.mark.security
def test_words_on_limits_that_make_no_sense_change_nothing(make: Make, headers: dict[str, str]) -> None:
    quota = make()
    spend(quota, 1)
    quota.heard(headers)
    spend(quota, 3)
    assert paused(quota).why == "quota: 4 a minute"


def test_the_time_for_many_requests_is_reckoned_from_all_limits_and_what_is_used(make: Make, clock: Clock) -> None:
    quota = make()
    assert quota.seconds_for(4) == 0
    assert quota.seconds_for(5) == MINUTE
    assert quota.seconds_for(12) == 2 * MINUTE
    assert quota.seconds_for(501) == pytest.approx(DAY)
    spend(quota, 2)
    clock.now += 30
    assert quota.seconds_for(3) == 30
    quota.refused({"retry-after": "100"})
    assert quota.seconds_for(1) == 100
    assert quota.seconds_for(0) == 100


def test_what_is_used_is_counted_by_limit(make: Make, clock: Clock) -> None:
    quota = make()
    spend(quota, 3)
    clock.now += MINUTE
    spend(quota, 1)
    assert quota.used() == [(1, Limit(4, MINUTE)), (4, Limit(500, DAY))]


def test_a_service_without_limits_is_never_paused(make: Make, tmp_path: Path, clock: Clock) -> None:
    quota = Quota(Memory(tmp_path, pytest.fail, clock), "ipinfo", (), longest=10, clock=clock)
    spend(quota, 200)
    assert quota.pause() is None
    assert quota.seconds_for(10_000) == 0


def test_the_users_limits_replace_those_of_a_free_key_and_zero_means_none() -> None:
    month = Limit(50_000, 30 * DAY)
    assert limits(FREE, None, None) == FREE
    assert set(limits((*FREE, month), 1000, None)) == {Limit(1000, MINUTE), Limit(500, DAY), month}
    assert limits(FREE, 0, 0) == ()
    assert limits((), None, 30) == (Limit(30, DAY),)


@pytest.mark.parametrize(
    ("limit", "spelled"),
    [
        (Limit(4, MINUTE), "4 a minute"),
        (Limit(1000, DAY), "1,000 a day"),
        (Limit(50, 3600.0), "50 an hour"),
        (Limit(50_000, 30 * DAY), "50,000 a month"),
        (Limit(40, 6.0), "40 in 6 s"),
    ],
)
def test_limits_are_spelled_as_people_say_them(limit: Limit, spelled: str) -> None:
    assert words(limit) == spelled


def test_while_another_process_writes_nothing_is_granted_and_nothing_lost(make: Make, tmp_path: Path, clock: Clock) -> None:
    import sqlite3

    quota = make(Limit(2, MINUTE))
    number = granted(quota)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    pause = paused(quota)
    assert 0 < pause.until - clock.now <= 1
    quota.done(number)
    other.execute("ROLLBACK")
    other.close()
    clock.now += MINUTE
    spend(quota, 2)
    paused(quota)
