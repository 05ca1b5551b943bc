"""The last word on each connection is remembered within bounds; what had to go is counted."""

from collections.abc import Callable

import pytest

from outwatch.engine.latest import Latest
from outwatch.model.records import Action, Connection, Event

MAKE = Callable[..., Connection]


@pytest.fixture
def say(connection: MAKE) -> Callable[..., Connection]:
    """Make a word on a connection: its id, revision and action."""

    def make(identity: str, revision: int = 1, action: Action = "connect") -> Connection:
        return connection(id=identity, revision=revision, event=Event(action=action))

    return make


def revisions(latest: Latest, ids: str) -> dict[str, int]:
    return {one: known.revision for one in ids if (known := latest.get(one)) is not None}


def test_the_last_word_stands_in_the_place_of_the_one_before(say: MAKE) -> None:
    latest = Latest()
    for record in (say("a"), say("b"), say("a", 2)):
        latest.keep(record)
    assert revisions(latest, "abc") == {"a": 2, "b": 1}


@pytest.mark.security
def test_open_connections_beyond_the_bound_are_forgotten_oldest_first_and_counted(say: MAKE) -> None:
    latest = Latest(most_open=2)
    for name in "abcd":
        latest.keep(say(name))
    assert revisions(latest, "abcd") == {"c": 1, "d": 1}
    assert latest.forgotten == 2


@pytest.mark.security
def test_a_connection_that_is_still_spoken_of_is_not_forgotten_for_newer_ones(say: MAKE) -> None:
    """Its next revision would begin at 1 again, and be taken for an old word."""
    latest = Latest(most_open=2)
    for record in (say("old"), say("b"), say("old", 2, "traffic"), say("c")):
        latest.keep(record)
    known = latest.get("old")
    assert known is not None
    assert known.revision == 2


@pytest.mark.security
def test_ended_connections_leave_their_place_to_open_ones(say: MAKE) -> None:
    latest = Latest(most_open=2, most_ended=2)
    for name in "abcdef":
        latest.keep(say(name))
        latest.keep(say(name, 2, "close"))
    assert latest.forgotten == 0
    assert revisions(latest, "abcdef") == {"e": 2, "f": 2}


@pytest.mark.parametrize("action", ["close", "failed"])
def test_an_ended_connection_is_known_until_newer_ones_ended(say: MAKE, action: Action) -> None:
    latest = Latest(most_open=1, most_ended=1)
    latest.keep(say("a"))
    latest.keep(say("a", 2, action))
    latest.keep(say("b"))
    assert revisions(latest, "ab") == {"a": 2, "b": 1}
    latest.keep(say("c", 1, action))
    assert revisions(latest, "abc") == {"b": 1, "c": 1}


def test_a_connection_that_goes_on_after_its_end_has_one_last_word(say: MAKE) -> None:
    latest = Latest(most_open=1)
    for record in (say("a", 1, "close"), say("a", 2, "traffic"), say("b"), say("a", 3, "traffic")):
        latest.keep(record)
    assert revisions(latest, "a") == {"a": 3}
