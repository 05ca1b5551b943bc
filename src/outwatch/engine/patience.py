"""Questions that may never be answered, such as one about a file whose server is gone: the loop waits a moment for them, not for ever.

``engine/beside.py`` is for what takes its time; this is for what is answered at once nearly always.
"""

import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar
from weakref import finalize

_Answer = TypeVar("_Answer")
_Key = Callable[[], Hashable]
_LONGEST = 0.5  # seconds
_SHORT = 0.02  # once several were not answered
_SEVERAL = 4
_MOST = 1_000  # threads that are left behind


class Patience:
    """Asks in a thread of its own, which is left behind when no answer comes: whoever wants us to wait can do that a few times only."""

    def __init__(self, longest: float = _LONGEST) -> None:
        """Wait ``longest`` seconds for an answer; no thread is begun yet."""
        self._longest = longest
        self._worker: _Worker | None = None
        self._behind: dict[Hashable, _Worker] = {}

    def ask(self, question: Callable[[], _Answer], key: _Key, longest: float | None = None) -> _Answer:
        """Give the answer, or raise what the question raises; ``TimeoutError`` if there is none after ``longest`` seconds.

        ``key`` gives what the question is about: while one about the same still waits for its answer, there is none at once. To be
        called from one thread only.
        """
        if self._behind:
            self._behind = {about: worker for about, worker in self._behind.items() if worker.thread.is_alive()}
            if len(self._behind) >= _MOST or key() in self._behind:
                raise TimeoutError
        worker = self._worker
        if worker is None:
            worker = self._worker = _Worker()
            finalize(self, worker.questions.put, None)
        worker.questions.put(question)
        try:
            answer, error = worker.answers.get(timeout=self._limit(longest))
        except Empty:
            worker.questions.put(None)  # so that it ends, should it ever be answered
            self._worker = None
            self._behind[key()] = worker
            raise TimeoutError from None
        if error is not None:
            raise error
        found: _Answer = answer
        return found

    def _limit(self, longest: float | None) -> float:
        usual = self._longest if longest is None else longest
        return min(usual, _SHORT) if len(self._behind) >= _SEVERAL else usual


class _Worker:
    """A thread that answers questions one after another, until it gets none."""

    def __init__(self) -> None:
        self.questions: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Any, Exception | None]] = SimpleQueue()
        self.thread = threading.Thread(target=_work, args=(self.questions, self.answers), name="patience", daemon=True)
        self.thread.start()


def _work(questions: SimpleQueue[Callable[[], Any] | None], answers: SimpleQueue[tuple[Any, Exception | None]]) -> None:
    while (question := questions.get()) is not None:
        try:
            answers.put((question(), None))
        except Exception as error:  # noqa: BLE001 - it is raised again where the answer is awaited
            answers.put((None, error))
