"""Whether another file was at an executable's path before: executables are remembered across runs, in the state folder.

Only programs whose path leads to the very file that runs are remembered by it (``outwatch.executable`` is absent): what goes by a path in a
container, in memory or after it was deleted says nothing about the file there (``docs/decisions/0018-files-of-programs.md``).
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from outwatch.engine.beside import beside
from outwatch.engine.health import Health
from outwatch.engine.sqlite import opened
from outwatch.errors import LookupFailed, StoreError
from outwatch.guard.checksums import checksums
from outwatch.model.interfaces import PackageOwners, Part, PartConfig
from outwatch.model.programs import Program, program_of
from outwatch.model.records import Changed, Connection

_FILE = "executables.sqlite"
_STEPS = (
    """CREATE TABLE executables (
        path BLOB PRIMARY KEY, sha256 TEXT NOT NULL, first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, by_package INTEGER NOT NULL,
        former_sha256 TEXT, former_seen INTEGER, known_since INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX executables_by_age ON executables (last_seen)""",
)
_REMEMBERED = 4_000  # answers of this run
_LONGEST = 120.0  # seconds that one look may take
_AGAIN = 3600.0  # seconds until a program is noted again
_SOON = 60.0  # the same if its package may be known by then: an update may be under way
_OLD = timedelta(days=1)  # programs known for longer make room last
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChangesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``remembered``: executables in the state folder at most; ``hours``: how long a change is told after it was noticed."""

    remembered: Annotated[int, msgspec.Meta(ge=1)] = 20_000
    hours: Annotated[float, msgspec.Meta(ge=0, le=100_000)] = 24.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known of a program that runs: when its process began, and whether a package vouches for its file."""

    start: datetime | None
    by_package: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """What is remembered of a path. Times in microseconds since the epoch."""

    sha256: str
    first_seen: int
    last_seen: int
    by_package: int
    former_sha256: str | None
    former_seen: int | None


@dataclass(frozen=True, slots=True)
class _Answer:
    changed: Changed | None
    until: float  # of the monotonic clock


class Changes:
    """Adds ``outwatch.changed``. Waits for the word on packages, so that an update is never told as anything else first."""

    at_once = 64

    def __init__(self, config: ChangesConfig, *, health: Health, state_dir: Path, owners: PackageOwners) -> None:
        """Take the limits, the state folder, who knows packages, and where to tell that nothing can be remembered."""
        self._most = config.remembered
        self._told_for = timedelta(hours=config.hours)
        self._health = health
        self._path = state_dir / _FILE
        self._owners = owners
        self._answers: OrderedDict[Program, _Answer] = OrderedDict()
        self._waiting: dict[Program, _Seen] = {}
        self._turn = asyncio.Lock()

    def enrich(self, connection: Connection) -> Connection:
        """Add what was there before, if that is known; take off what was said of an earlier program of the process."""
        program = program_of(connection)
        answer = self._answers.get(program) if program is not None else None
        changed = answer.changed if answer is not None else None
        findings = connection.outwatch
        return connection if changed is findings.changed else replace(connection, outwatch=replace(findings, changed=changed))

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the program if it was not noted in this run, or too long ago."""
        program = program_of(connection)
        if program is None:
            return None
        answer = self._answers.get(program)
        return program if answer is None or answer.until < time.monotonic() else None

    async def find(self, key: Hashable, connection: Connection) -> None:
        """Note the program, and find out what was at its path before, in another thread together with all that wait by then."""
        if not isinstance(key, Program):
            return
        package = await self._owners.owner(connection)
        start = connection.process.start if connection.process is not None else None
        self._waiting[key] = _Seen(start, package is not None and package.matches is True)
        async with self._turn:
            if key not in self._waiting:
                return
            together, self._waiting = self._waiting, {}
            found = await self._looked_up(together)
            for program, changed in found.items():
                settled = changed is None or changed.by_package
                self._answers[program] = _Answer(changed, time.monotonic() + (_AGAIN if settled else _SOON))
                self._answers.move_to_end(program)
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)

    async def _looked_up(self, together: Mapping[Program, _Seen]) -> Mapping[Program, Changed | None]:
        try:
            return await beside(lambda: self._look(together), _LONGEST, "changes")
        except TimeoutError:
            raise LookupFailed("memory of executables takes too long") from None
        except (StoreError, sqlite3.Error) as error:
            self._health.problem(f"which files programs had is not remembered: {error}")
            return dict.fromkeys(together)

    def _look(self, together: Mapping[Program, _Seen]) -> dict[Program, Changed | None]:
        """Note programs, and give for each what was at its path before."""
        now = _microseconds(datetime.now(UTC))
        found: dict[Program, Changed | None] = {}
        with contextlib.closing(opened(self._path, _STEPS, self._health.problem)) as database:
            # Files are read before the others who may write are shut out.
            rows = {program: _row(database, program) for program in together}
            news = {program: _noted(rows[program], program, seen, now) for program, seen in together.items()}
            database.execute("BEGIN IMMEDIATE")
            for program, new in news.items():
                if new is not None:
                    _keep(database, program.path, new, now)
                    found[program] = self._changed(new, now)
            _forget(database, self._most)
            database.execute("COMMIT")
        return {program: found.get(program) for program in together}

    def _changed(self, row: _Row, now: int) -> Changed | None:
        """Tell of a change for a while after it was noticed, whoever looks."""
        if row.former_sha256 is None or row.former_seen is None or abs(_time(now) - _time(row.first_seen)) > self._told_for:
            return None
        return Changed(
            sha256=row.former_sha256,
            last_seen=_time(row.former_seen),
            first_seen=_time(row.first_seen),
            by_package=True if row.by_package else None,
        )


def _noted(row: _Row | None, program: Program, seen: _Seen, now: int) -> _Row | None:
    """Say what is to be remembered of a program from now on; ``None`` if it runs an older file than the one that is remembered."""
    by_package = int(seen.by_package)
    if row is None:
        return _Row(program.sha256, now, now, by_package, None, None)
    if row.sha256 == program.sha256:
        return _Row(row.sha256, row.first_seen, now, row.by_package or by_package, row.former_sha256, row.former_seen)
    # A process that began before the exchange runs the former file still: then it lies at the path no more.
    began = seen.start is not None and _microseconds(seen.start) > row.last_seen
    if seen.by_package or began or checksums(program.path, {"sha256"}).get("sha256") == program.sha256:
        return _Row(program.sha256, now, now, by_package, row.sha256, row.last_seen)
    return None


def _row(database: sqlite3.Connection, program: Program) -> _Row | None:
    query = "SELECT sha256, first_seen, last_seen, by_package, former_sha256, former_seen FROM executables WHERE path = ?"
    found = database.execute(query, (_spelled(program.path),)).fetchone()
    return _Row(*found) if found is not None else None


def _keep(database: sqlite3.Connection, path: str, row: _Row, now: int) -> None:
    columns = "sha256, first_seen, last_seen, by_package, former_sha256, former_seen"
    values = (row.sha256, row.first_seen, row.last_seen, row.by_package, row.former_sha256, row.former_seen)
    database.execute(
        f"INSERT INTO executables (path, known_since, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - our own words
        f"ON CONFLICT (path) DO UPDATE SET ({columns}) = (?, ?, ?, ?, ?, ?)",
        (_spelled(path), now, *values, *values),
    )


def _forget(database: sqlite3.Connection, most: int) -> None:
    """Make room: a flood of new programs goes first, so that it does not wash away those that are known for long."""
    (count,) = database.execute("SELECT count(*) FROM executables").fetchone()
    if count > most:
        oldest = "SELECT path FROM executables ORDER BY last_seen - known_since >= ?, last_seen LIMIT ?"
        database.execute(
            f"DELETE FROM executables WHERE path IN ({oldest})",  # noqa: S608 - our own words
            (_OLD // timedelta(microseconds=1), count - most),
        )


def _spelled(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


def _microseconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(microseconds=1)


def _time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


PART = Part(name="changes", config=ChangesConfig, build=Changes, live_only=True, after=("hashing", "packages"))
