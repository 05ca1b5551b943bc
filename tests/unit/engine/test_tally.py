"""The counts of a summary are those of the latest word on each connection."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from outwatch.engine.tally import Tally, has_facts
from outwatch.model.interfaces import Field
from outwatch.model.records import Band, Connection, Destination, Dns, DnsQuestion, Findings, Network, Process, Question, Scope, Unknown

MAKE = Callable[..., Connection]


def judged(seen: Connection, band: Band | None, scope: Scope | None = "public") -> Connection:
    return replace(seen, outwatch=Findings(verdict=band), network=Network(scope=scope))


def test_a_later_revision_takes_back_what_the_earlier_was_counted_as(connection: MAKE) -> None:
    tally = Tally()
    first = replace(judged(connection(), "medium", "private"), outwatch=Findings(verdict="medium", attribution=Unknown(unknown="exited")))
    second = judged(connection(), "low", "public")
    tally.count(first, None)
    tally.count(second, first)
    assert tally.seen == 1
    assert +tally.verdicts == {"low": 1}
    assert +tally.scopes == {"public": 1}
    assert not +tally.unattributed


def test_what_is_not_judged_has_a_count_of_its_own(connection: MAKE) -> None:
    tally = Tally()
    tally.count(judged(connection(), None), None)
    tally.count(judged(connection(), "normal"), None)
    assert (tally.seen, tally.not_judged, dict(tally.verdicts)) == (2, 1, {"normal": 1})


def test_a_question_has_a_verdict_and_is_no_connection(connection: MAKE) -> None:
    tally = Tally()
    tally.count(Question(id="q", timestamp=connection().timestamp, outwatch=Findings(verdict="low")), None)
    assert (tally.seen, dict(tally.verdicts), dict(tally.scopes)) == (0, {"low": 1}, {})


def test_a_connection_of_unknown_scope_counts_as_unclassified(connection: MAKE) -> None:
    tally = Tally()
    tally.count(judged(connection(), "normal", None), None)
    assert tally.scopes == {"unclassified": 1}


@pytest.mark.parametrize("why", ["exited", "no_rights", "kernel", "other_namespace"])
def test_connections_without_a_process_are_counted_by_why(connection: MAKE, why: str) -> None:
    tally = Tally()
    tally.count(connection(outwatch=Findings(attribution=Unknown(unknown=why))), None)  # type: ignore[arg-type]
    tally.count(connection(outwatch=Findings(attribution="inferred")), None)
    tally.count(connection(outwatch=Findings()), None)
    assert tally.unattributed == {why: 1}


def test_a_detector_without_its_fact_is_counted_only_where_something_was_judged(connection: MAKE) -> None:
    tally = Tally({"names": has_facts({"destination.domain"}), "always": has_facts(())})
    unnamed, named = judged(connection(), "normal"), judged(connection(domain="example.com"), "normal")
    tally.count(unnamed, None)
    tally.count(judged(connection(), None), None)
    tally.count(named, None)
    assert +tally.without_fact == {"names": 1}
    tally.count(named, unnamed)  # the name came later
    assert not +tally.without_fact


@pytest.mark.parametrize(
    ("fields", "seen", "there"),
    [
        (["destination.ip"], {"destination": Destination(ip="192.0.2.1")}, True),
        (["destination.ip"], {"destination": Destination()}, False),
        (["process.name"], {"process": Process(name="curl")}, True),
        (["process.name"], {"process": Process()}, False),
        (["process.executable"], {"process": None}, False),
        (["process.executable", "destination.domain"], {"domain": "example.com"}, True),
        (["process.executable", "destination.domain"], {}, False),
        (["process.executable", "destination.domain"], {"domain": "example.com", "process": None}, False),
    ],
)
def test_a_detector_is_asked_only_where_all_its_facts_are_there(
    connection: MAKE, fields: list[Field], seen: dict[str, object], *, there: bool
) -> None:
    reader = has_facts(fields)
    assert reader is not None
    assert bool(reader(connection(**seen))) is there


def test_of_a_question_the_name_asked_for_is_the_domain(connection: MAKE) -> None:
    reader = has_facts({"destination.domain"})
    assert reader is not None
    asked = Question(id="q", timestamp=connection().timestamp, dns=Dns(question=DnsQuestion(name="example.com")))
    assert reader(asked)
    assert not reader(replace(asked, dns=Dns()))
    assert not reader(replace(asked, dns=None))


def test_who_needs_nothing_is_always_asked() -> None:
    assert has_facts(()) is None
