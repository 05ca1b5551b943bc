"""How much a service may be asked: sliding windows that are kept in the database, so that all runs of outwatch share them.

A service counts a request at some moment between its sending and its answer. So it counts here until its answer has come *and* the window
has passed since then: whatever the way takes, the service never sees more than it allows.
"""

import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from outwatch.model.reputation import Limit
from outwatch.reputation.memory import DAY, LONGEST_WINDOW, Busy, Memory

_UNTOLD = 3600.0  # seconds that a service's word on what is left holds if it does not say for how long
_FIRST_REFUSAL, _LONGEST_REFUSAL = 60.0, 3600.0  # seconds after a refusal without a time
_BUSY = 0.25  # seconds until another process has written
_SLACK = 1.0
_EPOCH = 1e9  # larger numbers are times, smaller ones seconds from now
_MOST_DIGITS = 15
_NAMES = {1.0: "a second", 60.0: "a minute", 3600.0: "an hour", DAY: "a day", 7 * DAY: "a week", 30 * DAY: "a month"}


class Pause(NamedTuple):
    """Nothing may be asked before ``until`` (seconds since the epoch), and why."""

    until: float
    why: str


@dataclass(frozen=True)
class Told:
    """What a reply says of limits: the account's ``limit``, how much of it is ``left``, and when it begins anew (seconds from now)."""

    limit: int | None = None
    left: int | None = None
    reset: float | None = None
    retry: float | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str], now: float) -> "Told":
        """Read ``Retry-After`` (RFC 9110, 10.2.3), ``X-RateLimit-*`` and ``RateLimit-*``; what can't be read is passed over."""
        reset = _number(headers, "reset")
        if reset is not None and reset > _EPOCH:
            reset = (reset / 1000 if reset > 1000 * _EPOCH else reset) - now
        return cls(
            limit=_whole(_number(headers, "limit")),
            left=_whole(_number(headers, "remaining")),
            reset=_within(reset),
            retry=_retry(headers.get("retry-after", "").strip(), now),
        )


class Quota:
    """The limits of one service, its windows, and the pauses that it asked for.

    ``fixed`` limits were set by the user: the service's own word may lower them, but not raise them.
    """

    def __init__(
        self,
        memory: Memory,
        source: str,
        limits: Sequence[Limit],
        *,
        longest: float,
        fixed: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the database, the name under which requests are counted, and the ``longest`` time that a request may take."""
        self._memory = memory
        self._source = source
        self._limits = tuple(limits)
        self._longest = longest
        self._fixed = fixed
        self._clock = clock
        self._refusals = 0

    def take(self) -> int | Pause:
        """Count one more request and give its number for ``done``, or the pause until there may be one."""
        now = self._clock()

        def count(database: sqlite3.Connection) -> int | Pause:
            pause = self._pause(database, now)
            if pause is not None:
                return pause
            at = now + self._longest  # until its answer has come, it may be counted as late as that
            return database.execute("INSERT INTO requests (source, at) VALUES (?, ?)", (self._source, at)).lastrowid or 0

        try:
            return self._memory.together(count)
        except Busy:
            return Pause(now + _BUSY, "busy")

    def pause(self) -> Pause | None:
        """Give the pause until one more request may be sent; ``None`` if it may be now."""
        try:
            return self._memory.together(lambda database: self._pause(database, self._clock()))
        except Busy:
            return None

    def done(self, number: int) -> None:
        """Note that a request was answered, or failed: the service can't count it any later than now."""
        self._memory.write("UPDATE requests SET at = ? WHERE id = ?", (self._clock(), number))

    def give_back(self, number: int) -> None:
        """Note that a request was not sent after all."""
        self._memory.write("DELETE FROM requests WHERE id = ?", (number,))

    def heard(self, headers: Mapping[str, str]) -> None:
        """Learn from a reply how much the account really may ask, and how much of that is left."""
        now = self._clock()
        told = Told.read(headers, now)
        if told.left is None and told.limit is None:
            return
        span = self._span(told)
        until = now + (told.reset if told.reset is not None else min(span or _UNTOLD, _UNTOLD))
        # Requests that are on their way may not be part of what the service has counted.
        self._memory.write(
            "INSERT OR REPLACE INTO told (source, most, span, remaining, since, until) SELECT :source, :most, :span,"
            " max(0, :left - max(0, (SELECT count(*) FROM requests WHERE source = :source AND at > :now) - 1)),"
            " (SELECT coalesce(max(id), 0) FROM requests WHERE source = :source), :until",
            {"source": self._source, "most": told.limit, "span": span, "left": told.left, "now": now, "until": until},
        )

    def refused(self, headers: Mapping[str, str]) -> None:
        """Note that the service has refused a request as one too many: it is left in peace for as long as it says."""
        now = self._clock()
        told = Told.read(headers, now)
        wait = told.retry if told.retry is not None else told.reset
        if wait is None:
            wait = min(_LONGEST_REFUSAL, _FIRST_REFUSAL * 2**self._refusals)
        wait = max(wait, 2**self._refusals)  # a service that refuses and says "at once" is asked ever more rarely
        self._refusals = min(self._refusals + 1, 10)
        self._memory.write("INSERT OR REPLACE INTO pauses (source, until) VALUES (?, ?)", (self._source, now + wait))

    def accepted(self) -> None:
        """Note that the service has answered: the next refusal is a first one."""
        self._refusals = 0

    def used(self) -> list[tuple[int, Limit]]:
        """Say how much of each limit is used now."""
        return self._memory.together(self._used)

    def _used(self, database: sqlite3.Connection) -> list[tuple[int, Limit]]:
        now = self._clock()
        return [(len(self._times(database, limit, now)), limit) for limit in self._in_force(database, now)]

    def seconds_for(self, count: int) -> float:
        """Reckon how long ``count`` requests take by the limits alone, from now."""
        now = self._clock()

        def look(database: sqlite3.Connection) -> tuple[Pause | None, list[tuple[Limit, deque[float]]]]:
            windows = [(limit, deque(self._times(database, limit, now))) for limit in self._in_force(database, now)]
            return self._pause(database, now), windows

        pause, windows = self._memory.together(look)
        at = max(now, pause.until) if pause else now
        for _ in range(count):
            for limit, times in windows:
                while len(times) >= limit.count:
                    at = max(at, times.popleft() + limit.seconds)
            for _, times in windows:
                times.append(at)
        return at - now

    def _pause(self, database: sqlite3.Connection, now: float) -> Pause | None:
        """Give the latest of the moments that anything makes us wait for."""
        ahead = now + self._longest + _SLACK  # the clock was set back: what was asked "later" was asked by now
        database.execute("UPDATE requests SET at = ? WHERE source = ? AND at > ?", (now, self._source, ahead))
        pauses = [
            Pause(until, "quota used up") for (until,) in database.execute("SELECT until FROM pauses WHERE source = ?", (self._source,))
        ]
        for limit in self._in_force(database, now):
            full = database.execute(
                "SELECT at FROM requests WHERE source = ? AND at > ? ORDER BY at DESC LIMIT 1 OFFSET ?",
                (self._source, now - limit.seconds, limit.count - 1),
            ).fetchone()
            if full is not None:
                pauses.append(Pause(full[0] + limit.seconds, f"quota: {words(limit)}"))
        for remaining, since, until in database.execute("SELECT remaining, since, until FROM told WHERE source = ?", (self._source,)):
            (sent,) = database.execute("SELECT count(*) FROM requests WHERE source = ? AND id > ?", (self._source, since)).fetchone()
            if remaining is not None and sent >= remaining:
                pauses.append(Pause(until, "quota used up"))
        return max((pause for pause in pauses if pause.until > now), default=None)

    def _times(self, database: sqlite3.Connection, limit: Limit, now: float) -> list[float]:
        """Give the moments, oldest first, at which requests within a window can have been counted at the latest."""
        rows = database.execute(
            "SELECT at FROM requests WHERE source = ? AND at > ? ORDER BY at DESC LIMIT ?", (self._source, now - limit.seconds, limit.count)
        )
        return [at for (at,) in rows][::-1]

    def _in_force(self, database: sqlite3.Connection, now: float) -> list[Limit]:
        """Give the limits, with the one that the service has told in the place of that for the same span."""
        told = database.execute("SELECT most, span, until FROM told WHERE source = ?", (self._source,)).fetchone()
        if told is None or not told[0] or told[1] is None or told[2] + DAY < now:
            return list(self._limits)
        most, span = int(told[0]), float(told[1])
        return [Limit(min(limit.count, most) if self._fixed else most, span) if limit.seconds == span else limit for limit in self._limits]

    def _span(self, told: Told) -> float | None:
        """Tell which of the limits a reply speaks of; ``None`` if that can't be told."""
        spans = sorted(limit.seconds for limit in self._limits)
        if len(spans) == 1:
            return spans[0]
        if told.reset is not None:
            return next((span for span in spans if told.reset <= span), None)
        return next((limit.seconds for limit in self._limits if limit.count == told.limit), None)


def limits(usual: Sequence[Limit], per_minute: int | None, per_day: int | None) -> tuple[Limit, ...]:
    """Give the limits in force: the user's in the place of the usual ones for a minute and a day (0: none)."""
    mine = {span: count for span, count in ((60.0, per_minute), (DAY, per_day)) if count is not None}
    kept = [limit for limit in usual if limit.seconds not in mine]
    return (*(Limit(count, span) for span, count in mine.items() if count), *kept)


def words(limit: Limit) -> str:
    """Spell a limit: ``4 a minute``."""
    return f"{limit.count:,} {_NAMES.get(limit.seconds) or f'in {limit.seconds:g} s'}"


def _number(headers: Mapping[str, str], name: str) -> float | None:
    """Read the number at the beginning of ``X-RateLimit-NAME`` or ``RateLimit-NAME``."""
    for key in (f"x-ratelimit-{name}", f"ratelimit-{name}"):
        text = headers.get(key, "").split(",")[0].split(";")[0].strip()
        if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
            return float(text)
    return None


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _retry(text: str, now: float) -> float | None:
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return _within(float(text))
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 5 ms that only a refusal with a date needs

    try:
        return _within(parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _within(seconds: float | None) -> float | None:
    """Give seconds that a service may ask us to wait; none for the past, which says nothing."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, LONGEST_WINDOW)
