"""Questions that are never answered cost a moment, and nobody else's answers."""

import gc
import threading
from collections.abc import Callable, Iterator

import pytest

from outwatch.engine import patience
from outwatch.engine.patience import Patience

Key = Callable[[], object]


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Give what a question can wait for; it comes when the test is over, or earlier."""
    event = threading.Event()
    yield event
    event.set()


def about(what: object) -> Key:
    return lambda: what


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "patience"}


def hang(asks: Patience, never: threading.Event, what: object = 1) -> None:
    with pytest.raises(TimeoutError):
        asks.ask(lambda: never.wait(60), about(what), 0.01)


def test_answers_come_from_one_other_thread() -> None:
    asks = Patience()
    idents = {asks.ask(threading.get_ident, about(number)) for number in range(3)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_an_error_is_raised_where_the_answer_is_awaited() -> None:
    asks = Patience()

    def fail() -> None:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        asks.ask(fail, about(1))
    assert asks.ask(lambda: 7, about(1)) == 7


def test_others_are_answered_after_one_that_was_not(never: threading.Event) -> None:
    asks = Patience()
    hang(asks, never)
    assert asks.ask(lambda: "here", about(2), 60) == "here"


def test_what_was_not_answered_is_not_asked_again_while_somebody_still_waits_for_it(never: threading.Event) -> None:
    asks = Patience()
    hang(asks, never)
    before = workers()
    asked: list[int] = []
    with pytest.raises(TimeoutError):
        asks.ask(lambda: asked.append(1), about(1), 60)
    assert not asked
    assert workers() <= before


def test_a_late_answer_is_nobodys_and_what_it_was_about_is_asked_again(never: threading.Event) -> None:
    asks = Patience()
    before = workers()
    hang(asks, never)
    never.set()
    for thread in workers() - before:
        thread.join(60)
    assert asks.ask(lambda: "now", about(1), 60) == "now"


def test_whoever_lets_several_wait_is_not_waited_for_any_more(never: threading.Event) -> None:
    asks = Patience()
    for number in range(patience._SEVERAL):
        assert asks._limit(60) == 60
        hang(asks, never, number)
    assert asks._limit(60) == asks._limit(None) == patience._SHORT


def test_the_threads_that_are_left_behind_are_bounded(never: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_MOST", 3)
    asks = Patience()
    for number in range(3):
        hang(asks, never, number)
    before = workers()
    with pytest.raises(TimeoutError):
        asks.ask(lambda: 7, about("another"), 60)
    assert workers() <= before


def test_the_thread_ends_with_the_one_who_asks() -> None:
    before = workers()
    asks = Patience()
    asks.ask(lambda: 7, about(1))
    (mine,) = workers() - before
    del asks
    gc.collect()
    mine.join(60)
    assert not mine.is_alive()
