"""When a service is in trouble: how long to wait for one answer, and when to leave it alone."""

import math
import time
from collections import deque
from collections.abc import Callable

_IN_A_ROW = 5  # failures that open it
_FIRST, _LONGEST = 30.0, 900.0  # seconds that it stays open; doubled each time
_ANSWERS = 20  # that are needed to know how long a service takes
_RECENT = 50
_TIMES_SLOWEST, _LEAST = 5.0, 2.0  # an answer that takes that many times as long as others, and so many seconds, won't come


class Breaker:
    """Opens when a service fails again and again, and then lets a single request through from time to time.

    A failure counts only if the request began after the last success: one that hangs while others are answered is its own trouble.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Begin closed: everything goes through."""
        self._clock = clock
        self._last_success = 0.0
        self._failures = self._opened = 0
        self._until = 0.0
        self._trying = False

    def pause(self) -> float:
        """Give the seconds until a request may go through: 0 for now, ``inf`` while one finds out whether the service is back."""
        if self._failures < _IN_A_ROW:
            return 0.0
        return math.inf if self._trying else max(0.0, self._until - self._clock())

    @property
    def until(self) -> float | None:
        """The time at which it lets a request through again; ``None`` while it is closed."""
        return self._until if self._failures >= _IN_A_ROW else None

    def begins(self) -> None:
        """Note that a request goes through."""
        self._trying = self._failures >= _IN_A_ROW

    def worked(self) -> None:
        """Note that the service has answered."""
        self._last_success = self._clock()
        self._failures = self._opened = 0
        self._trying = False

    def failed(self, began: float) -> None:
        """Note that a request which ``began`` then has failed."""
        if began < self._last_success:
            return
        self._failures += 1
        if self._trying or self._failures == _IN_A_ROW:
            self._until = self._clock() + min(_LONGEST, _FIRST * 2**self._opened)
            self._opened = min(self._opened + 1, 10)
        self._trying = False

    def abandoned(self) -> None:
        """Note that nobody waits for the answer to a request any longer."""
        self._trying = False


class Patience:
    """How long to wait for an answer: ``most`` seconds, but less once it is known how fast the service is."""

    def __init__(self, most: float) -> None:
        """Take the upper bound."""
        self.seconds = most
        self._most = most
        self._took: deque[float] = deque(maxlen=_RECENT)

    def answered(self, seconds: float) -> None:
        """Note how long an answer took."""
        self._took.append(seconds)
        if len(self._took) >= _ANSWERS:
            self.seconds = min(self._most, max(_LEAST, _TIMES_SLOWEST * max(self._took)))
