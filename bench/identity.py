"""What identity costs: a connection whose process is known, a process seen for the first time, and a pass over package lists.

200 processes hold 20,000 connections. Bounds: 5 µs for a known one, enricher and look-up together, and one visit to /proc for each process
and program, whatever its connections. The pass goes over the lists of 3,000 invented packages with 1.2 million lines, for 100 programs at
once, and must not add more than 64 MiB.
"""

import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from measuring import Bounds, interleave, parser
from outwatch.engine.health import Health
from outwatch.enrichers.identity import Identity
from outwatch.lookups.packages import Packages
from outwatch.lookups.packages.claims import Root
from outwatch.lookups.packages.dpkg import Dpkg
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Hash, Process

PROCESSES, CONNECTIONS = 200, 20_000
PACKAGES, FILES, PROGRAMS = 3_000, 400, 100
MOST_MICROSECONDS, MOST_MIB = 5, 64
_WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)


class Table:
    """Counts the visits: each reading of a process is checked here once."""

    visits = 0

    def identify(self, pid: int, _seen_at: float) -> Process:
        """Say that the pid still belongs to the same process."""
        self.visits += 1
        return Process(pid=pid, entity_id=f"e{pid}")


def connections() -> list[Connection]:
    """Make connections of interpreters, each process with many."""
    args, digest = ("python3", "-W", "ignore", "-X", "dev", "x.py"), Hash(sha256="ab" * 32)
    processes = [
        Process(pid=1 + number, executable="/usr/bin/python3.11", args=args, entity_id=f"e{1 + number}", hash=digest)
        for number in range(PROCESSES)
    ]
    return [Connection(id=f"c{number}", timestamp=_WHEN, process=processes[number % PROCESSES]) for number in range(CONNECTIONS)]


def lists(folder: str) -> Dpkg:
    """Invent packages."""
    info = Path(folder) / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    for package in range(PACKAGES):
        lines = "".join(f"/usr/share/p{package}/some/longer/folder/file{number}.txt\n" for number in range(FILES))
        (info / f"p{package}.list").write_text(lines)
    (info / "zz.list").write_text("/usr/bin/wanted\n")
    (info.parent / "status").write_text("Package: zz\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n")
    return Dpkg(Root(folder))


def main() -> int:
    options = parser(__doc__, rounds=7).parse_args()
    bounds, seen = Bounds(), connections()
    table = Table()
    identity, packages = Identity(PartConfig(), processes=table), Packages(PartConfig(), health=Health())

    def known() -> float:
        began = time.perf_counter()
        for connection in seen:
            packages.enrich(identity.enrich(connection))
        return (time.perf_counter() - began) / len(seen)

    def first() -> float:
        fresh = Identity(PartConfig(), processes=Table())
        began = time.perf_counter()
        for connection in seen[:PROCESSES]:
            fresh.enrich(connection)
        return (time.perf_counter() - began) / PROCESSES

    rounds = interleave({"a known process": known, "a new process": first}, options.rounds)
    print(f"{CONNECTIONS:,} connections of {PROCESSES} processes, {options.rounds} rounds; for one connection")
    rounds.show(1e6, "µs")
    bounds.at_most("a connection of a known process", rounds.median("a known process") * 1e6, MOST_MICROSECONDS, "µs")
    bounds.at_most("visits to /proc for each process", table.visits / PROCESSES, 1, "visits")
    with tempfile.TemporaryDirectory() as folder:
        dpkg = lists(folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        found = dpkg.claims(["/usr/bin/wanted", *(f"/usr/bin/x{number}" for number in range(PROGRAMS - 1))])
        print(f"a pass over {PACKAGES:,} packages for {PROGRAMS} programs: {(time.perf_counter() - began) * 1e3:,.0f} ms (no bound)")
        if set(found) != {"/usr/bin/wanted"}:
            raise RuntimeError(f"the pass found {sorted(found)}")
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        bounds.at_most("memory that the pass added", more, MOST_MIB, "MiB")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
