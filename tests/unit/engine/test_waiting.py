"""What waits is taken by how suspicious it is, then by how new; and a flood pushes nothing out that is worse than itself."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outwatch.engine.waiting import Question, Waiting
from outwatch.model.records import Connection

MAKE = Callable[..., Connection]


@pytest.fixture
def question(connection: MAKE) -> Callable[[int], Question]:
    record = connection()
    return lambda level: Question(record, level=level)


def taken(waiting: Waiting) -> list[object]:
    return [waiting.pop()[0] for _ in range(len(waiting))]


def test_the_most_suspicious_comes_first_and_of_those_the_newest(question: Callable[[int], Question]) -> None:
    waiting = Waiting(100)
    for key, level in (("a", 0), ("b", 40), ("c", 0), ("d", 100), ("e", 40)):
        assert waiting.add(key, question(level)) is None
    assert taken(waiting) == ["d", "e", "b", "c", "a"]


def test_what_more_connections_lack_becomes_as_urgent_as_the_worst_of_them_and_as_new_as_the_last(
    question: Callable[[int], Question],
) -> None:
    waiting = Waiting(100)
    for key in ("a", "b", "c"):
        waiting.add(key, question(20))
    waiting.renew("a", 20)
    waiting.renew("b", 60)
    waiting.renew("b", 0)
    assert taken(waiting) == ["b", "a", "c"]


@pytest.mark.security
def test_when_it_is_full_the_oldest_of_the_least_suspicious_makes_room_for_something_worse(question: Callable[[int], Question]) -> None:
    waiting = Waiting(3)
    questions = {key: question(level) for key, level in (("a", 0), ("b", 0), ("c", 30), ("d", 0), ("e", 10), ("f", 10), ("g", 50))}
    dropped = [waiting.add(key, one) for key, one in questions.items()]
    assert dropped == [None, None, None, questions["d"], questions["a"], questions["b"], questions["e"]]
    assert taken(waiting) == ["g", "c", "f"]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 100))), st.integers(1, 8))
def test_nothing_is_lost_or_taken_twice(offers: list[tuple[int, int]], capacity: int) -> None:
    waiting = Waiting(capacity)
    there: dict[int, int] = {}
    for key, level in offers:
        if waiting.get(key) is not None:
            waiting.renew(key, level)
            there[key] = max(there[key], level)
            continue
        new = Question(None, {str(key): None}, level)  # type: ignore[arg-type]
        dropped = waiting.add(key, new)
        there[key] = level
        if dropped is not None:
            (gone,) = dropped.ids
            assert level >= there.pop(int(gone))
    order = [waiting.pop() for _ in range(len(waiting))]
    assert {key: question.level for key, question in order} == dict(there)
    levels = [question.level for _, question in order]
    assert levels == sorted(levels, reverse=True)
    assert len(levels) <= capacity
