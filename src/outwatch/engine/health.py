"""What was lost, what could not be seen, what went wrong: counted at each layer, and told.

Every layer that can lose something reports here; the counts stand on screens, in summaries and in loss records.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from outwatch.errors import RuleError
from outwatch.model.records import EventsLost

_TOLD = 20  # broken lines of one file that are told one by one
_KEPT = 50  # problems that are told and stand in the summary


@dataclass
class _Window:
    """Losses of one layer since they were last told."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass
class Health:
    """Counters of one run; safe to use from any thread. ``tell`` is called with each line meant for the user.

    ``blind`` says in words what could not be seen for want of something better.
    """

    tell: Callable[[str], None] = lambda _line: None
    lost: Counter[str] = field(default_factory=Counter)
    not_checked: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    broken_lines: int = 0
    failed_parts: set[str] = field(default_factory=set)
    _windows: dict[str, _Window] = field(default_factory=dict)
    _told: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lose(self, layer: str, count: int, at: datetime | None = None) -> None:
        """Count what ``layer`` could not keep; it becomes a loss record at the next ``losses``."""
        at = at or datetime.now(UTC)
        with self._lock:
            self.lost[layer] += count
            window = self._windows.setdefault(layer, _Window())
            window.count += count
            window.first = window.first or at
            window.last = at

    def losses(self) -> list[EventsLost]:
        """Give a record for each layer that lost something since the last call."""
        with self._lock:
            windows, self._windows = self._windows, {}
        return [EventsLost(layer=layer, count=window.count, from_=window.first, until=window.last) for layer, window in windows.items()]

    def observed_loss(self, loss: EventsLost) -> None:
        """Count a loss that a sensor or a recording reports itself."""
        with self._lock:
            self.lost[loss.layer] += loss.count

    def broken_line(self, problem: RuleError) -> None:
        """Count a line of an input file that is no record, and tell of the first of each file."""
        with self._lock:
            self.broken_lines += 1
            self._told[problem.path] += 1
            told = self._told[problem.path]
        if told <= _TOLD:
            self.tell(str(problem))
        elif told == _TOLD + 1:
            self.tell(f"{problem.path}: more broken lines are counted, not listed")

    def problem(self, text: str) -> None:
        """Keep and tell something that limits this run; the same text once, and only so many."""
        with self._lock:
            if text in self.problems or len(self.problems) > _KEPT:
                return
            if len(self.problems) == _KEPT:
                text = "there are more problems than these; outwatch config check names the next when these are mended"
            self.problems.append(text)
        self.tell(text)

    def part_failed(self, part: str, error: BaseException, count: int = 1) -> None:
        """Note that a part raised what it must not: it is told once, and what it should have said (``count``) is missing."""
        with self._lock:
            first = part not in self.failed_parts
            self.failed_parts.add(part)
        self.lose(part, count)
        if first:
            self.problem(f"{part} failed ({type(error).__name__}: {error}); its findings are missing where it did")
