"""What services have answered and how often they were asked: a database in the state folder that all runs of outwatch share."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from outwatch.engine.sqlite import opened
from outwatch.errors import StoreError
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator

FILE = "reputation.sqlite3"
DAY = 86_400.0
LONGEST_WINDOW = 31 * DAY
"""Seconds that a request is remembered: the longest span for which a limit can hold."""

_KEPT = 14 * DAY  # that an answer stays after its time: old bad news is news
_BUSY = 100  # milliseconds that another process may hold the database; detection runs in the same loop
_MOST_LATE = 10_000  # changes that wait for it
_STEPS = (
    """CREATE TABLE answers (kind TEXT, value TEXT, source TEXT, reputation BLOB, until REAL, why TEXT, failures INTEGER,
       PRIMARY KEY (kind, value, source)) WITHOUT ROWID;
    CREATE TABLE requests (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT, at REAL);
    CREATE INDEX requests_of ON requests (source, at);
    CREATE TABLE told (source TEXT PRIMARY KEY, most INTEGER, span REAL, remaining INTEGER, since INTEGER, until REAL);
    CREATE TABLE pauses (source TEXT PRIMARY KEY, until REAL)""",
)
_Values = Sequence[object] | Mapping[str, object]
_Result = TypeVar("_Result")


class Known(NamedTuple):
    """What is known of an indicator: an answer, or ``why`` there is none, and until when nobody is asked again (since the epoch).

    ``failures`` counts the attempts in a row that came to nothing.
    """

    reputation: Reputation | None
    until: float
    why: str | None = None
    failures: int = 0


class Busy(Exception):
    """Another process is writing just now."""


class Memory:
    """Answers and counts. What can't be kept on disk is kept in memory for this run, and that is told."""

    def __init__(self, folder: Path, tell: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        """Open or make the database in a folder of one's own."""
        self._tell = tell
        self._clock = clock
        self._late: list[tuple[str, _Values]] = []
        self._on_disk = True
        try:
            self._database = opened(folder / FILE, _STEPS, tell)
            self._database.execute(f"PRAGMA busy_timeout={_BUSY:d}")
        except (StoreError, sqlite3.Error) as error:
            self._go_on_in_memory(error, None)

    def close(self) -> None:
        """Forget what is too old, and close the database."""
        now = self._clock()
        self.write("DELETE FROM answers WHERE until < ?", (now - _KEPT,))
        self.write("DELETE FROM requests WHERE at < ?", (now - LONGEST_WINDOW,))
        self.flush()
        self._database.close()

    def together(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do something in one transaction, with nobody else writing; ``Busy`` if another process does."""
        try:
            return self._transaction(work)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise Busy from error
            failure: sqlite3.Error = error
        except sqlite3.DatabaseError as error:
            failure = error
        if not self._on_disk:
            raise failure
        self._go_on_in_memory(failure, self._database)
        return self._transaction(work)

    def write(self, statement: str, values: _Values) -> None:
        """Change something with the next transaction, at the latest at the next ``flush`` at which no other process writes."""
        self._late.append((statement, values))
        del self._late[:-_MOST_LATE]

    def flush(self) -> None:
        """Write what waits to be written."""
        if self._late:
            with contextlib.suppress(Busy):
                self.together(lambda _database: None)

    def get(self, source: str, indicator: Indicator) -> Known | None:
        """Give what a service said of an indicator, however old."""
        try:
            row = self._database.execute(
                "SELECT reputation, until, why, failures FROM answers WHERE kind = ? AND value = ? AND source = ?",
                (indicator.kind, indicator.value, source),
            ).fetchone()
            if row is None:
                return None
            reputation = msgspec.json.decode(row[0], type=Reputation) if row[0] is not None else None
            return Known(reputation, float(row[1]), row[2], int(row[3]))
        except (sqlite3.Error, ValueError, TypeError):  # a damaged row is as good as none
            return None

    def put(self, source: str, indicator: Indicator, known: Known) -> None:
        """Remember it."""
        reputation = None if known.reputation is None else msgspec.json.encode(known.reputation)
        values = (indicator.kind, indicator.value, source, reputation, known.until, known.why, known.failures)
        self.write("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", values)

    def _transaction(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for statement, values in self._late:
                self._database.execute(statement, values)
            result = work(self._database)
            self._database.execute("COMMIT")
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        self._late.clear()
        return result

    def _go_on_in_memory(self, why: Exception, before: sqlite3.Connection | None) -> None:
        """Use a database in memory, with what can be read of the one before: its counts still hold."""
        self._on_disk = False
        self._tell(f"what reputation services answer is remembered for this run only: {why}")
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        try:
            if before is not None:
                before.backup(self._database)
                before.close()
                return
        except sqlite3.Error:
            self._database = sqlite3.connect(":memory:", isolation_level=None)
        for statement in _STEPS[0].split(";"):
            self._database.execute(statement)
