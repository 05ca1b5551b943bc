"""Which package an executable belongs to, and whether it still is what the package brought; the databases are read, nobody is asked.

A package is claimed only for the very file that runs: nothing is odd about its path (``outwatch.executable``), and what is at that path has
the checksum of what runs (``process.hash.sha256``). So a copy, a memfd or a file laid over another in other mounts is never a package's.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from outwatch.engine.beside import beside
from outwatch.engine.health import Health
from outwatch.errors import LookupFailed
from outwatch.guard.checksums import checksums
from outwatch.guard.text import printable
from outwatch.lookups.packages.apk import Apk
from outwatch.lookups.packages.claims import Claim, Database, DatabaseBroken, Root
from outwatch.lookups.packages.dpkg import Dpkg
from outwatch.lookups.packages.pacman import Pacman
from outwatch.lookups.packages.rpm import Rpm
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.programs import Program, program_of
from outwatch.model.records import Connection, Package

_REMEMBERED = 4_000
_LONGEST = 60.0  # seconds that one look may take
_AGAIN = 3600.0  # seconds until a package is looked up again
_SOON = 60.0  # the same where something is not as it should be: an update may be under way


@dataclass(frozen=True, slots=True)
class _Answer:
    package: Package | None
    until: float  # of the monotonic clock


class Packages:
    """Adds ``outwatch.package``. Programs that wait together are looked for in one go."""

    at_once = 64

    def __init__(self, _config: PartConfig, *, health: Health, root: str = "/") -> None:
        """Take where to tell of databases that can't be read, and where the machine's file system begins."""
        self._health = health
        there = Root(root)
        self._root = there
        self._databases: Sequence[Database] = (Dpkg(there), Rpm(there), Pacman(there), Apk(there))
        self._answers: OrderedDict[Program, _Answer] = OrderedDict()
        self._waiting: dict[Program, None] = {}
        self._turn = asyncio.Lock()

    def enrich(self, connection: Connection) -> Connection:
        """Add the package if it is known; take off what an earlier program of the process had."""
        program, findings = program_of(connection), connection.outwatch
        answer = self._answers.get(program) if program is not None else None
        package = answer.package if answer is not None else None
        return connection if package is findings.package else replace(connection, outwatch=replace(findings, package=package))

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the program if its package is not known, or was found too long ago."""
        program = program_of(connection)
        return program if program is not None and self._is_due(program) else None

    def _is_due(self, program: Program) -> bool:
        answer = self._answers.get(program)
        return answer is None or answer.until < time.monotonic()

    async def owner(self, connection: Connection) -> Package | None:
        """Give the package that a connection's program belongs to, as soon as that is known (``LookupFailed``)."""
        program = program_of(connection)
        if program is None:
            return None
        if self.missing(connection) is not None:
            await self.find(program, connection)
        answer = self._answers.get(program)
        return answer.package if answer is not None else None

    async def find(self, key: Hashable, _connection: Connection) -> None:
        """Look for the package in another thread, together with all that wait by then."""
        if not isinstance(key, Program):
            return
        self._waiting[key] = None
        async with self._turn:
            together, self._waiting = [program for program in self._waiting if self._is_due(program)], {}
            if not together:
                return
            try:
                found = await beside(lambda: self._look(together), _LONGEST, "packages")
            except TimeoutError:
                raise LookupFailed("package database takes too long") from None
            for program, package in found.items():
                fine = package is not None and package.matches is not False
                self._answers[program] = _Answer(package, time.monotonic() + (_AGAIN if fine else _SOON))
                self._answers.move_to_end(program)
            while len(self._answers) > _REMEMBERED:
                self._answers.popitem(last=False)

    def _look(self, programs: Collection[Program]) -> dict[Program, Package | None]:
        """Find the packages of programs; those that can't be told by broken databases belong to none."""
        left = {program.path for program in programs}
        claims: dict[str, Claim] = {}
        for database in self._databases:
            if left:
                claims |= self._claims(database, left)
                left -= claims.keys()
        return {program: self._package(program, claims[program.path]) if program.path in claims else None for program in programs}

    def _claims(self, database: Database, paths: Collection[str]) -> dict[str, Claim]:
        try:
            return database.claims(paths)
        except DatabaseBroken as error:
            self._health.problem(f"a package database can't be read: {printable(str(error))}")
            return {}

    def _package(self, program: Program, claim: Claim) -> Package | None:
        """Claim a package for a program if what runs is what lies at its path."""
        algorithms = {"sha256", claim.algorithm or "sha256"}
        digests = checksums(self._root.at(program.path), algorithms)
        if digests.get("sha256") != program.sha256:
            return None
        matches = digests.get(claim.algorithm) == claim.digest if claim.algorithm else None
        return Package(name=claim.name, version=claim.version, manager=claim.manager, matches=matches)


PART = Part(name="packages", config=PartConfig, build=Packages, live_only=True, after=("hashing",))
