"""A whole watch with parts made for the purpose: what ends it, what does not, and that nothing is lost unsaid."""

import asyncio
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pytest

from outwatch.engine import drive as driving
from outwatch.engine.drive import Drive
from outwatch.engine.health import Health
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.verdict import Judge
from outwatch.errors import ConfigError, LookupFailed, OutputError, OutwatchError, SensorFailed
from outwatch.model.records import Connection, EventsLost, Host, Judged, Observation, Record, Summary

MAKE = Callable[..., Connection]
PATIENCE = 20.0


class Plays:
    """A sensor that plays one script a start: batches, errors to raise, or the word to wait for the stop."""

    name = "plays"

    def __init__(self, *starts: Sequence[object], live: bool = True) -> None:
        self.starts, self.live = list(starts), live
        self.started = 0

    def check(self) -> None:
        """Run anywhere."""

    def blind(self) -> Sequence[str]:
        return ("the dark",)

    def observe(self, stop: threading.Event) -> Iterator[Sequence[Observation]]:
        script = self.starts[min(self.started, len(self.starts) - 1)]
        self.started += 1
        for act in script:
            if isinstance(act, Exception):
                raise act
            if act == "wait":
                stop.wait(PATIENCE)
            else:
                yield act  # type: ignore[misc]


class Takes:
    """A sink that fails at the writes it was told to."""

    settled = False

    def __init__(self, name: str = "takes", faults: dict[int, Exception] | None = None, at_close: Exception | None = None) -> None:
        self.name, self.faults, self.at_close = name, faults or {}, at_close
        self.writes, self.closed = 0, 0
        self.records: list[Record] = []

    async def write(self, records: Sequence[Record]) -> None:
        self.writes += 1
        if fault := self.faults.get(self.writes):
            raise fault
        self.records += records

    async def close(self) -> None:
        self.closed += 1
        if self.at_close:
            raise self.at_close

    def ids(self) -> list[str]:
        return [one.id for one in self.records if isinstance(one, Judged)]


def assemble(sensor: Plays, *sinks: Takes, lookups: Sequence[Any] = (), health: Health | None = None) -> Drive:
    health = health or Health()
    pipeline = Pipeline(enrichers=lookups, detectors=(), judge=Judge(), health=health)
    return Drive(sensor=sensor, pipeline=pipeline, sinks=sinks, lookups=lookups, health=health, host=Host(name="here"))  # type: ignore[arg-type]


def run(drive: Drive, **how: Any) -> Summary:
    async def whole() -> Summary:
        summary = await asyncio.wait_for(drive.run(**how), PATIENCE)
        await drive.finish(summary)
        return summary

    return asyncio.run(whole())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sensor that died be restarted at once."""
    monkeypatch.setattr(driving, "_LONGEST_PAUSE", 0.001)


@pytest.mark.parametrize("live", [True, False])
def test_what_a_sensor_sees_reaches_every_sink_and_the_summary_last(connection: MAKE, *, live: bool) -> None:
    first, second = Takes(), Takes()
    sensor = Plays([[connection(id=f"c{number}") for number in range(600)], [connection(id="last")]], live=live)
    summary = run(assemble(sensor, first, second))
    assert first.ids() == second.ids() == [*(f"c{number}" for number in range(600)), "last"]
    assert first.records[-1] is summary
    assert (first.closed, second.closed) == (1, 1)
    assert (summary.seen, summary.blind, summary.sensor) == (601, ("the dark",), "plays")
    assert summary.host == (Host(name="here") if live else None)
    assert summary.event is not None
    assert summary.event.start is not None
    assert summary.event.end is not None
    assert summary.event.start <= summary.event.end


def test_once_ends_after_the_first_picture(connection: MAKE) -> None:
    sink = Takes()
    run(assemble(Plays([[connection(id="first")], "wait", [connection(id="second")]]), sink), once=True)
    assert sink.ids() == ["first"]


def test_a_watch_ends_when_its_time_is_over(connection: MAKE) -> None:
    sink = Takes()
    run(assemble(Plays([[connection(id="first")], "wait"]), sink), seconds=0.05)
    assert sink.ids() == ["first"]


@pytest.mark.security
def test_what_can_not_be_worked_off_after_the_end_is_counted_as_lost(connection: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(Takes):
        async def write(self, records: Sequence[Record]) -> None:
            await super().write(records)
            drive.stop()

    monkeypatch.setattr(driving, "_LONGEST_END", -1.0)
    sink, total = Stops(), 1000
    drive = assemble(Plays([[connection(id=f"c{number}") for number in range(total)]]), sink)
    summary = run(drive)
    assert 0 < len(sink.ids()) < total
    assert len(sink.ids()) + summary.lost["handoff"] == total


def test_a_watch_can_be_stopped_from_another_thread_and_also_before_it_begins(connection: MAKE) -> None:
    class Stops(Takes):
        async def write(self, records: Sequence[Record]) -> None:
            await super().write(records)
            thread = threading.Thread(target=drive.stop)
            thread.start()
            thread.join(PATIENCE)

    sink = Stops()
    drive = assemble(Plays([[connection()], "wait"]), sink)
    run(drive)
    assert sink.ids() == ["c1"]
    unborn = assemble(Plays([[connection()]]))
    unborn.stop()
    assert run(unborn).seen == 0


@pytest.mark.parametrize("fault", [ValueError("gone"), SensorFailed("the ring was torn down")], ids=["any error", "SensorFailed"])
def test_a_live_sensor_that_dies_is_started_again_and_that_is_said(connection: MAKE, fault: Exception) -> None:
    sensor, sink, health = Plays([[connection(id="a")], fault], [fault], [[connection(id="b")]]), Takes(), Health()
    summary = run(assemble(sensor, sink, health=health))
    assert sensor.started == 3
    assert sink.ids() == ["a", "b"]
    assert summary.lost == {"sensor plays": 2}
    assert len(summary.problems) == 1


@pytest.mark.parametrize(("live", "once"), [(False, False), (True, True)])
def test_a_recording_or_a_single_look_that_breaks_is_not_begun_again(connection: MAKE, *, live: bool, once: bool) -> None:
    sensor = Plays([ValueError("gone")], [[connection()]], live=live)
    summary = run(assemble(sensor), once=once)
    assert sensor.started == 1
    assert summary.seen == 0
    assert summary.lost == {"sensor plays": 1}
    assert "sensor plays failed" in summary.problems[0]


@pytest.mark.parametrize("error", [ConfigError("file", "key", "no"), OutwatchError("no such recording")])
def test_what_makes_a_watch_impossible_is_raised_after_the_sinks_were_closed(error: OutwatchError) -> None:
    sink = Takes()
    with pytest.raises(type(error)) as caught:
        run(assemble(Plays([error]), sink))
    assert caught.value is error
    assert sink.closed == 1


@pytest.mark.security
def test_losses_reach_the_sinks_as_records_once_each_and_the_summary(connection: MAKE) -> None:
    sink, health = Takes(), Health()
    health.lose("queue", 3)
    summary = run(assemble(Plays([[EventsLost(layer="ring", count=2), connection()]]), sink, health=health))
    losses = {one.layer: one.count for one in sink.records if isinstance(one, EventsLost)}
    assert losses == {"ring": 2, "queue": 3}
    assert summary.lost == {"queue": 3, "ring": 2}


def test_a_loss_record_names_the_sensor(connection: MAKE) -> None:
    sink, health = Takes(), Health()
    health.lose("queue", 3)
    run(assemble(Plays([[connection()]]), sink, health=health))
    assert [one.sensor for one in sink.records if isinstance(one, EventsLost)] == ["plays"]


@pytest.mark.security
@pytest.mark.parametrize("fault", [OutputError("log", "disk full"), RuntimeError("bug")], ids=["full disk", "bug"])
def test_a_sink_that_fails_stops_no_other_and_all_it_missed_is_counted(connection: MAKE, fault: Exception) -> None:
    broken, sound = Takes("broken", faults={2: fault}), Takes("sound")
    drive = assemble(Plays([[connection(id=f"{at}-{number}") for number in range(10)] for at in range(5)]), broken, sound)
    run(drive)
    assert len(sound.ids()) == 50
    assert sorted(broken.ids()) == sorted(sound.ids()), "what could not be written at first was written later"
    assert (drive.failure is fault) == isinstance(fault, OutputError)


@pytest.mark.parametrize("fault", [OutputError("log", "disk full"), RuntimeError("bug")], ids=["full disk", "bug"])
def test_a_sink_that_can_not_be_closed_keeps_no_other_from_being_closed(connection: MAKE, fault: Exception) -> None:
    broken, sound = Takes("broken", at_close=fault), Takes("sound")
    run(assemble(Plays([[connection()]]), broken, sound))
    assert (broken.closed, sound.closed) == (1, 1)


class Finds:
    """A look-up that knows a connection's user after it was asked."""

    at_once = 1

    def __init__(self) -> None:
        self.known = False

    def enrich(self, connection: Connection) -> Connection:
        from msgspec.structs import replace

        from outwatch.model.records import User

        return replace(connection, user=User(name="found")) if self.known else connection

    def missing(self, connection: Connection) -> Hashable | None:
        return None if self.known else "user"

    async def find(self, key: Hashable, connection: Connection) -> None:
        self.known = True


class NeverAnswers(Finds):
    """A look-up that hangs."""

    async def find(self, key: Hashable, connection: Connection) -> None:
        await asyncio.Event().wait()


@pytest.mark.security
def test_a_sink_that_waits_for_look_ups_gets_what_none_answered_all_the_same(connection: MAKE) -> None:
    sink = Takes()
    sink.settled = True
    summary = run(assemble(Plays([[connection(id="a"), connection(id="b")]]), sink, lookups=[NeverAnswers()]), patience=0.01)
    assert sink.ids() == ["a", "b"]
    assert summary.not_checked == {"out of time": 1}


@pytest.mark.security
def test_a_look_up_that_hangs_silences_a_waiting_sink_only_for_a_while(connection: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "_LONGEST_HELD", 0.0)
    monkeypatch.setattr(driving, "_LOSSES_EVERY", 0.01)
    sink = Takes()
    sink.settled = True
    drive = assemble(Plays([[connection(id="a")], "wait"]), sink, lookups=[NeverAnswers()])

    async def body() -> None:
        running = asyncio.create_task(drive.run(patience=0.01))
        async with asyncio.timeout(PATIENCE):
            while not sink.records:  # noqa: ASYNC110 - the sink has no event to wait for
                await asyncio.sleep(0.01)
        assert not running.done(), "it did not wait for the end of the watch"
        drive.stop()
        await running

    asyncio.run(body())
    assert sink.ids() == ["a"]


def test_what_a_look_up_found_issues_the_connection_again_before_the_end(connection: MAKE) -> None:
    sink = Takes()
    summary = run(assemble(Plays([[connection(revision=0)]]), sink, lookups=[Finds()]))
    words = [(one.revision, one.user and one.user.name) for one in sink.records if isinstance(one, Connection)]
    assert words == [(1, "alice"), (2, "found")]
    assert summary.seen == 1


@pytest.mark.parametrize("at", [1, 2], ids=["from the fast lane", "from the slow lane"])
def test_a_closed_pipe_ends_the_watch_as_what_it_is(connection: MAKE, at: int) -> None:
    sink = Takes(faults={at: BrokenPipeError()})
    with pytest.raises(BrokenPipeError):
        run(assemble(Plays([[connection(revision=0)], "wait"]), sink, lookups=[Finds()]), seconds=1.0, patience=0.2)


class NamesItsUser(Finds):
    """A look-up that can only ask about a user whom the other one has found."""

    def enrich(self, connection: Connection) -> Connection:
        from msgspec.structs import replace

        return replace(connection, destination=replace(connection.destination, domain="found.example")) if self.known else connection

    def missing(self, connection: Connection) -> Hashable | None:
        return None if self.known or connection.user is None else ("found" if connection.user.name == "found" else None)


@pytest.mark.parametrize("order", [1, -1], ids=["first is asked first", "first is asked last"])
def test_the_answer_of_one_look_up_can_be_the_question_of_another(connection: MAKE, order: int) -> None:
    stream, log = Takes(), Takes()
    log.settled = True
    run(assemble(Plays([[connection(revision=0)]]), stream, log, lookups=[Finds(), NamesItsUser()][::order]))
    words = [(one.revision, one.user and one.user.name, one.destination.domain) for one in stream.records if isinstance(one, Connection)]
    assert words == [(1, "alice", None), (2, "found", None), (3, "found", "found.example")]
    assert [one.revision for one in log.records if isinstance(one, Connection)] == [3], "nothing is settled before the last answer"


class Fails(Finds):
    """A look-up that nobody answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def find(self, key: Hashable, connection: Connection) -> None:
        self.asked += 1
        raise LookupFailed("name server did not answer")


def test_what_nobody_answered_is_told_in_the_summary_and_is_no_problem(connection: MAKE) -> None:
    lookup, log = Fails(), Takes()
    log.settled = True
    summary = run(assemble(Plays([[connection(revision=0)]]), log, lookups=[lookup]))
    assert summary.not_checked == {"name server did not answer": 1}
    assert (summary.lost, summary.problems) == ({}, ())
    assert (log.ids(), lookup.asked) == (["c1"], 1)


def test_a_look_up_that_hangs_keeps_no_answer_of_another_back(connection: MAKE) -> None:
    class Tells(Takes):
        async def write(self, records: Sequence[Record]) -> None:
            await super().write(records)
            if any(isinstance(one, Connection) and one.revision == 2 for one in records):
                drive.stop()

    sink = Tells()
    drive = assemble(Plays([[connection(revision=0)], "wait"]), sink, lookups=[NeverAnswers(), Finds()])
    summary = run(drive, patience=0.01)
    assert [one.user and one.user.name for one in sink.records if isinstance(one, Connection)] == ["alice", "found"]
    assert summary.not_checked == {"out of time": 1}


def test_who_wants_it_to_end_now_waits_no_longer_for_look_ups_than_a_moment(connection: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "_HURRY", 0.05)
    sink = Takes()
    drive = assemble(Plays([[connection(id="a")], "wait"]), sink, lookups=[NeverAnswers()])

    async def both() -> Summary:
        watching = asyncio.create_task(drive.run(patience=3600.0))
        while "a" not in sink.ids():  # noqa: ASYNC110 - a sink has no event to wait for
            await asyncio.sleep(0)
        drive.hurry()
        return await asyncio.wait_for(watching, PATIENCE)

    assert asyncio.run(both()).not_checked == {"out of time": 1}


def test_the_waiting_at_the_end_can_be_cut_short_too(connection: MAKE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "_HURRY", 0.05)
    sink = Takes()
    drive = assemble(Plays([[connection(id="a")]], live=False), sink, lookups=[NeverAnswers()])

    async def both() -> Summary:
        watching = asyncio.create_task(drive.run(patience=3600.0))
        while "a" not in sink.ids():  # noqa: ASYNC110 - a sink has no event to wait for
            await asyncio.sleep(0)
        for _ in range(50):  # the sensor has ended, and the look-ups are waited for
            await asyncio.sleep(0)
        drive.hurry()
        return await asyncio.wait_for(watching, PATIENCE)

    assert asyncio.run(both()).not_checked == {"out of time": 1}
