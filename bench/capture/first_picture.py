"""The sockets that are there already: 20,000 in 50 processes.

``python -m capture.first_picture`` from ``bench/``, as root. Measured: processor time, each round in new processes. What the kernel sensor
sees at its start, with its processes, as plain values like those of psutil, and all the way to records: at most an eighth of
``psutil.net_connections()``; loading the programs into the kernel is shown apart.
The whole of ``outwatch scan --json --all``, from the start of the
program to its end: at most 1.5 times that bare call, without Python's start and the import of psutil. (Beside it, without a bound: against
a whole Python that imports psutil and makes that call.)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from capture.lab import missing
from capture.watching import settings
from measuring import Bounds, Rounds, interleave, parser
from measuring.sockets import held

SOCKETS, PROCESSES = 20_000, 50
SHARE, MOST_SCAN = 8, 1.5
BARE, BARE_WHOLE = "psutil.net_connections()", "python importing psutil and calling that"
DECODED, PICTURE = "processes and sockets, decoded", "first picture, records of them"
SCAN = "outwatch scan --json --all"


def in_new_process(what: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "capture.first_picture", "--run", what], check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def bare() -> dict[str, float]:
    """Measure psutil in this process."""
    import psutil

    began = time.process_time()
    found = len(psutil.net_connections())
    return {"seconds": time.process_time() - began, "found": found}


def picture() -> dict[str, float]:
    """Measure the kernel sensor's first batch in this process."""
    from threading import Event

    from outwatch.engine.health import Health
    from outwatch.engine.host import this_host
    from outwatch.sensors.ebpf import EbpfConfig, build

    host = this_host()
    boot = (host.boot.id if host.boot else None) or ""
    sensor = build(EbpfConfig(), host=host, boot=boot, health=Health(), once=True)
    began = time.process_time()
    sensor.check()
    loaded = time.process_time()
    stop = Event()
    observing = iter(sensor.observe(stop))
    batch = next(observing)
    ended = time.process_time()
    stop.set()
    for _rest in observing:
        pass
    return {"seconds": ended - loaded, "loading": loaded - began, "found": len(batch)}


def decoded() -> dict[str, float]:
    """Measure what the kernel hands over, as plain values: processes and sockets with their pids, like the tuples of psutil."""
    from outwatch.engine.uncollected import uncollected
    from outwatch.sensors.ebpf import EbpfConfig
    from outwatch.sensors.ebpf.hooks import Hooks

    hooks = Hooks(EbpfConfig().ring_kib * 1024, once=True)
    began = time.process_time()
    with uncollected():
        processes, sockets = list(hooks.running()), list(hooks.existing())
    ended = time.process_time()
    hooks.close()
    return {"seconds": ended - began, "found": len(sockets) if processes else 0}


ONE: dict[str, Callable[[], dict[str, float]]] = {"bare": bare, "decoded": decoded, "picture": picture}


def whole(command: Sequence[str]) -> tuple[float, float, bytes]:
    """Run a program that remembers nothing to its end; gives its processor seconds, its seconds and its output."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
        before = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, env=settings(Path(folder)))
        _pid, status, used = os.wait4(process.pid, 0)
        taken = time.monotonic() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
        out.seek(0)
        return used.ru_utime + used.ru_stime, taken, out.read()


def seen_enough(found: float) -> None:
    if found < SOCKETS:
        raise RuntimeError(f"saw {found:,.0f} sockets of at least {SOCKETS:,}")


class Runs:
    """The runs of a round, each giving processor seconds; what is measured beside them is kept here."""

    def __init__(self) -> None:
        self.loading: list[float] = []
        self.wall: list[float] = []

    def one(self, what: str) -> float:
        """Run one of ``ONE`` in a new process."""
        told = in_new_process(what)
        seen_enough(told["found"])
        if "loading" in told:
            self.loading.append(told["loading"])
        return told["seconds"]

    def scan(self) -> float:
        """Scan with the whole program."""
        command = [sys.executable, "-m", "outwatch", "scan", "--json", "--all", "--no-dns", "--quiet"]
        used, taken, out = whole(command)
        seen_enough(len(json.loads(out)["records"]))
        self.wall.append(taken)
        return used

    def bare_whole(self) -> float:
        """Run a Python that does nothing but the bare call."""
        return whole([sys.executable, "-c", "import psutil; psutil.net_connections()"])[0]


def judge(rounds: Rounds, runs: Runs) -> int:
    bounds = Bounds()
    loading = median(runs.loading)
    bounds.at_most(f"{DECODED} / {BARE}", rounds.ratio(DECODED, BARE), 1 / SHARE, "times")
    bounds.at_most(f"{PICTURE} / {BARE}", rounds.ratio(PICTURE, BARE), 1 / SHARE, "times")
    print(f"      loading and attaching before that: {1e3 * loading:.1f} ms; with it {1e3 * (loading + rounds.median(PICTURE)):.1f} ms,")
    print(f"      {(loading + rounds.median(PICTURE)) / rounds.median(BARE):.2f} times (no bound)")
    bounds.at_most(f"{SCAN} / {BARE}", rounds.ratio(SCAN, BARE), MOST_SCAN, "times")
    print(f"      {SCAN} / {BARE_WHOLE}: {rounds.ratio(SCAN, BARE_WHOLE):.2f} times (no bound)")
    print(f"      {SCAN}: {1e3 * median(runs.wall):.0f} ms by the clock")
    return bounds.code


def main() -> int:
    options = parser(__doc__, rounds=5)
    options.add_argument("--run", choices=ONE, help="one round in this process; used by the script itself")
    wanted = options.parse_args()
    if wanted.run:
        print(json.dumps(ONE[wanted.run]()))
        return 0
    why_not = missing()
    if why_not:
        print(f"SKIP  {why_not}")
        return 0
    runs = Runs()
    with held(SOCKETS // 2, PROCESSES):
        work: dict[str, Callable[[], float]] = {
            BARE: partial(runs.one, "bare"),
            DECODED: partial(runs.one, "decoded"),
            PICTURE: partial(runs.one, "picture"),
            BARE_WHOLE: runs.bare_whole,
            SCAN: runs.scan,
        }
        rounds = interleave(work, wanted.rounds)
    print(f"{SOCKETS:,} sockets in {PROCESSES} processes, {wanted.rounds} rounds, processor time")
    rounds.show()
    return judge(rounds, runs)


if __name__ == "__main__":
    sys.exit(main())
