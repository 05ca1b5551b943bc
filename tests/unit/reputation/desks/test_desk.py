"""A desk asks once, remembers what it heard, and says of everything else why there is no answer."""

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.errors import LookupFailed, LookupPostponed
from outwatch.model.records import Connection, Findings, Reputation
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.reputation.settings import ProviderConfig

from .office import IP, KEY, MAKE, Bench, Oracle, ask, at, says, word

LIMITED = ProviderConfig(per_minute=2)
HOUR, DAY = 3600.0, 86_400.0
PUBLIC = ("8.0.0.0/8",)


def test_an_answer_carries_the_provider_its_time_and_what_was_said(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [says("malicious")]
    assert desk.missing(seen()) == IP
    assert ask(desk, IP) == []
    said = word(desk, seen())
    assert said == Reputation(
        provider="oracle",
        state="malicious",
        score=1.0,
        checked_at=datetime.fromtimestamp(bench.clock.now, UTC),
        link="https://oracle.test/about/8.8.8.1",
    )
    assert desk.missing(seen()) is None


@pytest.mark.security
def test_the_key_goes_into_its_header_and_nowhere_else(bench: Bench) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [says("clean")]
    ask(desk, IP)
    (sent,) = bench.http.sent
    assert sent["headers"] == [("Accept", "x/y"), ("x-key", f"Token {KEY}")]
    assert sent["params"] == (("a", "1"),)
    assert bench.http.asked == ["https://oracle.test/8.8.8.1"]
    assert KEY not in repr(desk.__dict__)


@pytest.mark.parametrize(("state", "seconds"), [("malicious", DAY), ("suspicious", DAY), ("clean", DAY), ("no_data", 6 * HOUR)])
def test_answers_stand_for_as_long_as_their_kind_does_in_this_run_and_the_next(
    bench: Bench, seen: MAKE, state: str, seconds: float
) -> None:
    bench.http.answers["*"] = [says(state)]
    ask(bench.desk(), IP)
    bench.clock.now += seconds - 1
    desk = bench.desk()
    assert desk.missing(seen()) is None
    assert word(desk, seen()).state == state
    bench.clock.now += 1
    assert desk.missing(seen()) == IP
    assert len(bench.http.asked) == 1


@pytest.mark.security
@pytest.mark.parametrize(
    ("state", "shown"), [("malicious", "malicious"), ("suspicious", "suspicious"), ("clean", "not_checked"), ("no_data", "not_checked")]
)
def test_of_old_answers_only_bad_ones_are_still_shown(bench: Bench, seen: MAKE, state: str, shown: str) -> None:
    bench.http.answers["*"] = [says(state)]
    ask(bench.desk(), IP)
    bench.clock.now += 2 * DAY
    assert word(bench.desk(), seen()).state == shown


@pytest.mark.security
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (LookupFailed("timeout"), "timeout"),
        (LookupFailed("broken TLS"), "broken TLS"),
        (LookupFailed("larger than 5 MB"), "larger than 5 MB"),
        (LookupReply(status=500), "the service failed (500)"),
        (LookupReply(status=503), "the service failed (503)"),
        (LookupReply(status=400), "refused (400)"),
        (LookupReply(status=422), "refused (422)"),
        (LookupReply(status=302), "refused (302)"),
        (LookupReply(status=200, body=b"<html>"), "broken JSON"),
    ],
)
def test_a_failure_is_not_checked_with_its_reason_also_in_the_next_run(bench: Bench, seen: MAKE, answer: Any, why: str) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [answer]
    (raised,) = ask(desk, IP)
    assert isinstance(raised, LookupFailed)
    assert raised.reason == f"oracle: {why}"
    for each in (desk, bench.desk()):
        said = word(each, seen())
        assert (said.state, said.score, said.checked_at) == ("not_checked", None, None)
        assert said.why is not None
        assert said.why.startswith(f"{why}; asked again from ")
        assert each.missing(seen()) is None
        assert each.unanswered == {IP}
    assert bench.health.not_checked == {f"oracle: {why}": 1}, "the second run has not asked, and counts it all the same"


def test_what_fails_again_is_asked_ever_later_up_to_a_quarter_of_an_hour(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [LookupReply(status=422)]
    waits = []
    for _ in range(6):
        ask(desk, IP)
        began = bench.clock.now
        while desk.missing(seen()) is None:
            bench.clock.now += 30
        waits.append(bench.clock.now - began)
    assert waits == [60, 120, 240, 480, 900, 900]
    bench.http.answers["*"] = [says("clean")]
    ask(desk, IP)
    assert desk.unanswered == set()
    assert word(desk, seen()).state == "clean"


@pytest.mark.security
def test_bad_news_outlasts_a_failure_to_renew_it_and_good_news_does_not(bench: Bench, seen: MAKE) -> None:
    bench.http.answers["8.8.8.1"] = [says("malicious"), LookupFailed("timeout")]
    bench.http.answers["8.8.8.2"] = [says("clean"), LookupFailed("timeout")]
    desk = bench.desk()
    ask(desk, at(1), at(2))
    bench.clock.now += 2 * DAY
    assert len(ask(desk, at(1), at(2))) == 2
    assert word(desk, seen("8.8.8.1")).state == "malicious"
    assert word(desk, seen("8.8.8.2")).state == "not_checked"


@pytest.mark.parametrize("answer", [LookupReply(status=429), LookupReply(status=503, headers={"retry-after": "60"})])
def test_a_service_that_asks_for_patience_gets_it_and_the_question_waits(bench: Bench, seen: MAKE, answer: LookupReply) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [answer, says("clean")]
    (raised,) = ask(desk, IP)
    assert isinstance(raised, LookupPostponed)
    assert desk.turn() == pytest.approx(60)
    assert desk.missing(seen()) == IP
    bench.clock.now += 60
    assert ask(desk, IP) == []
    assert word(desk, seen()).state == "clean"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_place_once_and_the_service_is_left_alone(bench: Bench, seen: MAKE, status: int) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [LookupReply(status=status, body=f"wrong key {KEY}".encode())]
    (raised,) = ask(desk, IP)
    assert isinstance(raised, LookupPostponed)
    assert desk.turn() == math.inf
    assert desk.give_up(IP) == f"oracle: key refused ({status})"
    assert word(desk, seen()).why == f"key refused ({status})"
    (problem,) = bench.health.problems
    assert problem == f"The Oracle: the variable ORACLE holds a key that the service refuses ({status}); it is not asked any more"
    assert bench.desk().turn() == 0, "the next run finds out whether the key was mended"


def test_a_quota_is_told_with_the_time_when_it_is_free_again(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk(LIMITED)
    bench.http.answers["*"] = [says("clean")]
    ask(desk, at(1), at(2))
    assert 0 < desk.turn() <= 60
    assert desk.give_up(at(3)) == "oracle: quota: 2 a minute"
    free = datetime.fromtimestamp(bench.clock.now + 60).astimezone()
    assert word(desk, seen("8.8.8.3")).why == f"quota: 2 a minute, free again at {free:%H:%M}"
    assert desk.unanswered == {at(3)}
    assert desk.resumes() == bench.clock.now + 60
    assert desk.missing(seen("8.8.8.3")) is None, "it was given up"


def test_a_quota_that_is_free_tomorrow_is_told_with_the_day(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk(ProviderConfig(per_day=1))
    bench.http.answers["*"] = [says("clean")]
    ask(desk, at(1))
    desk.give_up(at(2))
    free = datetime.fromtimestamp(bench.clock.now + DAY).astimezone()
    assert word(desk, seen("8.8.8.2")).why == f"quota: 1 a day, free again at {free:%Y-%m-%d %H:%M}"


def test_a_service_that_does_not_answer_is_left_alone_and_that_is_told(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    bench.http.answers["*"] = [LookupFailed("connection refused")]
    assert len(ask(desk, *(at(number) for number in range(5)))) == 5
    assert desk.turn() == pytest.approx(30)
    desk.give_up(at(9))
    again = datetime.fromtimestamp(bench.clock.now + 30).astimezone()
    assert word(desk, seen("8.8.8.9")).why == f"the service does not answer, asked again from {again:%H:%M}"


def test_what_is_still_under_way_at_the_end_is_out_of_time(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()

    async def run() -> str:
        bench.http.answers["*"] = [asyncio.Event()]
        assert desk.turn() == 0
        task = asyncio.create_task(desk.find(IP, seen()))
        await bench.http.is_asked.wait()
        counted = desk.give_up(IP)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return counted

    assert asyncio.run(run()) == "oracle: out of time"
    assert word(desk, seen()).why == "out of time"


def test_before_there_is_an_answer_a_record_says_so(bench: Bench, seen: MAKE) -> None:
    said = word(bench.desk(), seen())
    assert (said.state, said.why, said.link) == ("not_checked", "no answer yet", "https://oracle.test/about/8.8.8.1")


def test_the_word_of_a_record_follows_what_becomes_known(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk(ProviderConfig(per_minute=1))
    bench.http.answers["*"] = [says("clean")]
    first, second = desk.enrich(seen("8.8.8.1")), desk.enrich(seen("8.8.8.2"))
    ask(desk, at(1))
    desk.give_up(at(2))
    assert word(desk, first).state == "clean"
    why = word(desk, second).why
    assert why is not None
    assert why.startswith("quota: 1 a minute, free again at ")


def test_another_run_s_answer_is_taken_in_the_last_moment_and_costs_nothing(bench: Bench, seen: MAKE) -> None:
    desk, other = bench.desk(LIMITED), bench.desk(LIMITED)
    bench.http.answers["*"] = [says("clean")]
    assert desk.missing(seen()) == IP
    ask(other, IP)
    assert ask(desk, IP) == []
    assert word(desk, seen()).state == "clean"
    assert len(bench.http.asked) == 1
    ask(desk, at(2))  # the second of two a minute


@pytest.mark.parametrize(
    ("mode", "known", "why"),
    [
        ("cached", "clean", None),
        ("cached", None, "not in the cache"),
        ("cached", "old", "the answer in the cache is too old"),
        ("off", "clean", "look-ups are off"),
        ("off", None, "look-ups are off"),
    ],
)
def test_without_asking_the_cache_may_answer_and_off_is_off(
    bench: Bench, seen: MAKE, mode: str, known: str | None, why: str | None
) -> None:
    if known:
        bench.http.answers["*"] = [says("clean")]
        ask(bench.desk(), IP)
    if known == "old":
        bench.clock.now += 2 * DAY
    desk = bench.desk(mode=mode)
    assert desk.missing(seen()) is None
    said = word(desk, seen())
    assert said.why == why
    assert said.state == ("clean" if why is None else "not_checked")
    assert bench.health.not_checked == ({"oracle: not in the cache": 1} if why == "not in the cache" else {})


def answered(state: Any, hour: int) -> Reputation:
    return Reputation(provider="oracle", state=state, checked_at=datetime(2027, 1, 15, hour, tzinfo=UTC))


def recorded(seen: MAKE, *said: Reputation) -> Connection:
    return seen(outwatch=Findings(sensor="replay", reputation=said))


def test_what_a_recording_knows_stays_until_there_is_a_newer_answer(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    other = Reputation(provider="somebody else", state="clean")
    before = recorded(seen, other, answered("malicious", 7))
    assert desk.enrich(before) is before, "an answer is worth more than the lack of one"
    assert desk.missing(before) == IP
    bench.http.answers["*"] = [says("clean")]
    ask(desk, IP)
    now = desk.enrich(before).outwatch.reputation
    assert now is not None
    assert [(one.provider, one.state) for one in now] == [("somebody else", "clean"), ("oracle", "clean")]
    later = recorded(seen, answered("malicious", 9))
    assert datetime.fromtimestamp(bench.clock.now, UTC) < datetime(2027, 1, 15, 9, tzinfo=UTC)
    assert desk.enrich(later) is later


def test_going_on_asks_about_no_record_that_has_an_answer_however_old(bench: Bench, seen: MAKE) -> None:
    old = recorded(seen, replace(answered("clean", 7), checked_at=datetime(2020, 1, 1, tzinfo=UTC)))
    without = recorded(seen, Reputation(provider="oracle", state="not_checked", why="quota: 4 a minute"))
    assert bench.desk(keeps=True).missing(old) is None
    assert bench.desk(keeps=True).missing(without) == IP
    assert bench.desk().missing(old) == IP


def test_enriching_twice_changes_nothing(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    once = desk.enrich(seen())
    assert desk.enrich(once) is once


@pytest.mark.security
@pytest.mark.parametrize("where", ["request", "parse"])
def test_a_provider_that_raises_what_it_must_not_is_not_asked_for_ever(bench: Bench, seen: MAKE, where: str) -> None:
    desk = bench.desk(provider=Oracle(ZeroDivisionError() if where == "request" else None))
    bench.http.answers["*"] = [says("raise")]
    (raised,) = ask(desk, IP)
    assert isinstance(raised, ZeroDivisionError)
    assert desk.missing(seen()) is None
    said = word(desk, seen())
    assert said.state == "not_checked"
    assert said.why is not None
    assert said.why.startswith("its part failed")


def test_a_slow_answer_is_not_waited_for_once_it_is_known_how_fast_the_service_is(bench: Bench) -> None:
    desk = bench.desk()
    hanging = asyncio.Event()
    bench.http.answers["8.8.8.200"] = [hanging]
    bench.http.answers["*"] = [says("clean")]

    async def run() -> Exception | None:
        loop = asyncio.get_running_loop()
        assert desk.turn() == 0
        stuck = asyncio.create_task(desk.find(at(200), None))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        (limit,) = desk._open
        assert limit.when() == pytest.approx(loop.time() + 10, abs=1)
        for number in range(20):
            assert desk.turn() == 0
            await desk.find(at(number), None)  # type: ignore[arg-type]
        assert limit.when() == pytest.approx(desk._open[limit] + 2), "also those that wait already"
        limit.reschedule(loop.time())
        with pytest.raises(LookupFailed, match="oracle: timeout") as failed:
            await stuck
        return failed.value

    assert asyncio.run(run()) is not None


def test_what_would_be_asked_and_what_is_known_can_be_told_without_asking(bench: Bench) -> None:
    bench.http.answers["*"] = [says("clean")]
    desk = bench.desk()
    ask(desk, at(1))
    assert [desk.wants(at(number)) for number in (1, 2)] == [False, True]
    assert [desk.answers(at(number)) for number in (1, 2)] == [True, False]
    assert not desk.wants(Indicator("ip", "10.0.0.1"))
    assert not desk.wants(Indicator("sha256", "0" * 64))
    assert len(bench.http.asked) == 1
