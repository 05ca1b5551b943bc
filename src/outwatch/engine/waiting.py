"""What waits for the slow lane: questions by how much they matter, the most suspicious first, and of those the newest."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from outwatch.model.records import Connection

_LEVELS = 101  # scores are 0 to 100


@dataclass
class Question:
    """One thing to be found: a connection that lacks it, and the ids of all that do; ``level`` is the highest score among them."""

    connection: Connection
    ids: dict[str, None] = field(default_factory=dict)
    level: int = 0


class Waiting:
    """At most ``capacity`` questions; when it is full, a more suspicious one takes the place of the least."""

    def __init__(self, capacity: int) -> None:
        """Begin with none."""
        self._capacity = capacity
        self._questions: dict[Hashable, Question] = {}
        self._levels: list[OrderedDict[Hashable, None]] = [OrderedDict() for _ in range(_LEVELS)]

    def __len__(self) -> int:
        return len(self._questions)

    def get(self, key: Hashable) -> Question | None:
        """Give the question about ``key`` if it waits."""
        return self._questions.get(key)

    def add(self, key: Hashable, question: Question) -> Question | None:
        """Let a question wait; gives the one that there is no room for, if so, which may be the new one."""
        dropped = None
        if len(self._questions) >= self._capacity:
            lowest = next((at for at, level in enumerate(self._levels) if level), _LEVELS)
            if lowest >= question.level:
                return question
            oldest, _ = self._levels[lowest].popitem(last=False)
            dropped = self._questions.pop(oldest)
        self._questions[key] = question
        self._levels[question.level][key] = None
        return dropped

    def renew(self, key: Hashable, level: int) -> None:
        """Note that one more connection lacks ``key``: it is as urgent as the most suspicious and as new as the latest of them."""
        question = self._questions[key]
        if level >= question.level:
            del self._levels[question.level][key]
            question.level = level
            self._levels[level][key] = None

    def pop(self) -> tuple[Hashable, Question]:
        """Take the most urgent question."""
        level = next(level for level in reversed(self._levels) if level)
        key, _ = level.popitem()
        return key, self._questions.pop(key)
