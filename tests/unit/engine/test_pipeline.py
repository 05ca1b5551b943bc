"""One event's way through enrichers, detectors and the verdict, and the fences on it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.engine.latest import Latest
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.verdict import Judge
from outwatch.errors import RuleError
from outwatch.model.interfaces import Field
from outwatch.model.records import Connection, Detection, Event, EventsLost, Family, Findings, Judged, Listed, Network, Question, User

MAKE = Callable[..., Connection]


class Says:
    """A detector that gives the points it was told to, or raises, or yields something else."""

    family: Family = "process"
    problems: Sequence[RuleError] = ()

    def __init__(self, name: str, answer: object, needs: Iterable[Field] = ()) -> None:
        self.name, self.answer, self.needs = name, answer, frozenset(needs)
        self.asked: list[str] = []

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        self.asked.append(seen.id)
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, float):
            yield Detection(detector=self.name, points=self.answer, reason="r", family=self.family)
        elif self.answer is not None:
            yield cast("Detection", self.answer)


class Names:
    """An enricher that gives the user's name once it is known."""

    def __init__(self, name: str | Exception | None = None) -> None:
        self.name = name

    def enrich(self, connection: Connection) -> Connection:
        if isinstance(self.name, Exception):
            raise self.name
        return replace(connection, user=User(name=self.name)) if self.name else connection


def pipeline(*detectors: Any, enrichers: Sequence[Any] = (), health: Health | None = None) -> Pipeline:
    return Pipeline(enrichers=enrichers, detectors=detectors, judge=Judge(), health=health or Health())


def issued(line: Pipeline, *seen: Connection | Question) -> list[Judged]:
    records = line.process(seen)
    assert len(records) == len(seen)
    return [cast("Judged", record) for record in records]


def test_reasons_become_a_verdict(connection: MAKE) -> None:
    record = issued(pipeline(Says("path", 65.0)), connection())[0]
    assert (record.outwatch.verdict, record.outwatch.score) == ("high", 65)
    assert [one.detector for one in record.outwatch.reasons or ()] == ["path"]


def test_nothing_found_is_normal_without_reasons(connection: MAKE) -> None:
    record = issued(pipeline(Says("path", None)), connection())[0]
    assert (record.outwatch.verdict, record.outwatch.score, record.outwatch.reasons) == ("normal", 0, None)


def test_a_verdict_that_a_recording_brings_is_judged_anew(connection: MAKE) -> None:
    old = Findings(verdict="critical", score=99, reasons=(Detection(detector="x", points=99.0, reason="r"),), subject="kept")
    record = issued(pipeline(), connection(outwatch=old))[0]
    assert record.outwatch == Findings(verdict="normal", score=0, subject="kept")


@pytest.mark.parametrize(
    "brought",
    [
        Findings(),
        Findings(verdict="critical", score=99, reasons=(Detection(detector="x", points=99.0, reason="r"),)),
        Findings(score=99),
        Findings(reasons=(Detection(detector="x", points=99.0, reason="r"),)),
    ],
    ids=["nothing", "all", "score", "reasons"],
)
@pytest.mark.parametrize("kind", [Connection, Question])
def test_what_others_opened_is_not_judged_whatever_a_recording_says(connection: MAKE, brought: Findings, kind: type) -> None:
    detector = Says("path", 65.0)
    one = connection()
    record = issued(pipeline(detector), kind(id="c1", timestamp=one.timestamp, network=Network(direction="ingress"), outwatch=brought))[0]
    assert (record.outwatch.verdict, record.outwatch.score, record.outwatch.reasons) == (None, None, None)
    assert detector.asked == []


def test_a_connection_whose_direction_is_unknown_is_judged(connection: MAKE) -> None:
    assert issued(pipeline(Says("path", 65.0)), connection(network=Network()))[0].outwatch.verdict == "high"


def test_detectors_see_what_enrichers_added_in_their_order(connection: MAKE) -> None:
    class Reads(Says):
        def inspect(self, seen: Judged) -> Iterable[Detection]:
            assert seen.user is not None
            yield Detection(detector="user", points=50.0, reason=seen.user.name or "")

    line = pipeline(Reads("user", None), enrichers=[Names("first"), Names("second")])
    assert [one.reason for one in issued(line, connection())[0].outwatch.reasons or ()] == ["second"]


def test_a_detector_is_not_asked_without_the_facts_it_needs(connection: MAKE) -> None:
    detector = Says("names", 50.0, ["destination.domain"])
    line = pipeline(detector)
    records = issued(line, connection(id="a"), connection(id="b", domain="example.com"))
    assert [record.outwatch.verdict for record in records] == ["normal", "medium"]
    assert detector.asked == ["b"]
    assert +line.tally.without_fact == {"names": 1}


@pytest.mark.security
@pytest.mark.parametrize("fault", [ValueError("no"), KeyError("x"), RecursionError("deep"), AssertionError("a")])
def test_a_detector_that_raises_costs_only_its_own_word(connection: MAKE, fault: Exception) -> None:
    health = Health()
    records = issued(pipeline(Says("broken", fault), Says("sound", 65.0), health=health), connection(id="a"), connection(id="b"))
    assert [record.outwatch.score for record in records] == [65, 65]
    assert health.lost == {"broken": 2}
    assert len(health.problems) == 1


@pytest.mark.security
@pytest.mark.parametrize(
    "answer", ["text", 7, {"points": 9}, Detection(detector="broken", points=cast("float", "many"), reason="r")], ids=str
)
def test_a_detector_that_yields_what_is_no_reason_costs_only_its_own_word(connection: MAKE, answer: object) -> None:
    health = Health()
    records = issued(pipeline(Says("broken", answer), Says("sound", 65.0), health=health), connection(id="a"), connection(id="b"))
    assert [record.outwatch.score for record in records] == [65, 65]
    assert health.lost["broken"] == 2


@pytest.mark.security
def test_an_enricher_that_raises_costs_only_its_own_word(connection: MAKE) -> None:
    health = Health()
    record = issued(pipeline(Says("path", 65.0), enrichers=[Names(OSError("gone")), Names("alice")], health=health), connection())[0]
    assert record.outwatch.score == 65
    assert record.user == User(name="alice")
    assert health.lost == {"Names": 1}


def test_live_revisions_are_counted_for_each_connection(connection: MAKE) -> None:
    line = pipeline()
    seen = [connection(id=name, revision=0) for name in ("a", "b", "a", "a", "b")]
    assert [(one.id, one.revision) for one in issued(line, *seen)] == [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2)]
    assert line.tally.seen == 2


def test_recorded_revisions_are_kept_and_the_highest_stands(connection: MAKE) -> None:
    detector = Says("names", 50.0, ["destination.domain"])
    line = pipeline(detector)
    later, earlier = connection(revision=5, domain="example.com"), connection(revision=3)
    assert [one.revision for one in issued(line, later, earlier)] == [5, 3]
    assert (line.tally.seen, +line.tally.verdicts) == (1, {"medium": 1})


def test_a_live_word_goes_above_a_recorded_one(connection: MAKE) -> None:
    assert [one.revision for one in issued(pipeline(), connection(revision=5), connection(revision=0))] == [5, 6]


def test_what_came_to_light_issues_a_connection_again(connection: MAKE) -> None:
    names = Names()
    line = pipeline(enrichers=[names])
    issued(line, connection(revision=0))
    names.name = "bob"
    again = line.reissue(["c1", "unheard of"])
    assert [(cast("Judged", one).revision, cast("Judged", one).user) for one in again] == [(2, User(name="bob"))]
    assert line.tally.seen == 1


def test_what_did_not_change_is_not_issued_again(connection: MAKE) -> None:
    line = pipeline(Says("path", 65.0))
    issued(line, connection(revision=0))
    assert line.reissue(["c1"]) == []
    assert issued(line, connection(revision=0))[0].revision == 2


def test_losses_pass_through_and_are_counted(connection: MAKE) -> None:
    health = Health()
    loss = EventsLost(layer="ring", count=7)
    records = pipeline(health=health).process([loss, connection()])
    assert records[0] is loss
    assert isinstance(records[1], Connection)
    assert health.lost == {"ring": 7}


def test_what_had_to_be_forgotten_is_told_once_when_it_is_spoken_of_again(connection: MAKE) -> None:
    health = Health()
    line = pipeline(health=health)
    line._latest = Latest(most_open=1)
    issued(line, connection(id="a", revision=0), connection(id="b", revision=0))
    assert not health.problems
    later = Event(action="traffic")
    issued(line, connection(id="a", revision=0, event=later), connection(id="b", revision=0, event=later))
    assert len(health.problems) == 1
    assert "counted twice" in health.problems[0]


def test_a_question_is_inspected_and_not_enriched(connection: MAKE) -> None:
    line = pipeline(Says("names", 50.0), enrichers=[Names("alice")])
    record = issued(line, Question(id="q", timestamp=connection().timestamp))[0]
    assert isinstance(record, Question)
    assert record.user is None
    assert record.outwatch.verdict == "medium"


class Marks:
    """An enricher that knows something of questions too, or fails at them."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def enrich(self, connection: Connection) -> Connection:
        return connection

    def mark(self, seen: Judged) -> Judged:
        if self.fails:
            raise ValueError("no mark")
        return replace(seen, outwatch=replace(seen.outwatch, indicators=(Listed(list_="mine", entry="bad.example"),)))


def test_questions_are_marked_before_they_are_judged(connection: MAKE) -> None:
    seen = connection()
    detector = Says("a", 50.0)
    (record,) = issued(pipeline(detector, enrichers=[Marks()]), Question(id="q", timestamp=seen.timestamp))
    assert record.outwatch.indicators == (Listed(list_="mine", entry="bad.example"),)
    assert record.outwatch.verdict == "medium"


def test_a_marker_that_fails_costs_its_own_word_only(connection: MAKE) -> None:
    health = Health()
    line = pipeline(Says("a", 50.0), enrichers=[Marks(fails=True), Marks()], health=health)
    (record,) = issued(line, Question(id="q", timestamp=connection().timestamp))
    assert record.outwatch.indicators == (Listed(list_="mine", entry="bad.example"),)
    assert any("Marks" in problem for problem in health.problems)
