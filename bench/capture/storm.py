"""What the kernel sensor costs, and loses, when connections come as fast as two cores can make them.

``python -m capture.storm`` from ``bench/``, as root. Two loops in C, one for each core, each with its ends in two network namespaces, run
for 60 s with outwatch (the whole program, its records in a file) and without, in turn. Bounds: connections told plus losses counted make up
what the loops counted, and every byte if nothing was lost; at least 0.7 of the throughput without; at most 20 microseconds of processor
time a connection, whose rival is a bpftrace script that prints a line for each connect and each close. Then: 1,000 connections a second,
at most 5 % of one core; and a million connections of ten processes to fifty ports, after which at most 60 MB are resident.

Both ends of each connection are on this machine, so outwatch sees and tells each one twice; counted is the end that called.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from capture.lab import PROGRAMS, Lab, laboratory
from capture.rivals import Printing, with_tracefs
from capture.storming import Balance, Loop, Made, balance, storm
from capture.waking import awaken
from capture.watching import busy, cpu_of, watching
from measuring import Bounds

LEAST_THROUGHPUT, MOST_MICROSECONDS, MOST_STEADY, MOST_MEMORY = 0.7, 20, 5, 60
STEADY, PROCESSES, MILLION = 1_000, 10, 1_000_000


def pair(seconds: int) -> list[Loop]:
    return [Loop(seconds=seconds, core=core) for core in (0, 1)]


def rate(made: Sequence[Made]) -> float:
    """Give the connections a second of all loops together."""
    return sum(one.rate for one in made)


def cost(made: Sequence[Made]) -> float:
    """Processor time of the loops for one connection, in microseconds."""
    return 1e6 * sum(one.cpu for one in made) / sum(one.count for one in made)


@dataclass(frozen=True)
class Watched:
    """What loops made under outwatch: with the processor seconds of outwatch, its memory in MiB, and what it told."""

    made: list[Made]
    used: float
    memory: dict[str, float]
    told: Balance

    @property
    def each(self) -> float:
        """Processor time of outwatch for one connection, in microseconds."""
        return 1e6 * self.used / self.told.happened


def watched(lab: Lab, name: str, loops: Sequence[Loop], bounds: Bounds) -> Watched:
    """Run loops under outwatch, and hold what it told to what they made."""
    with lab.running(lab.there, [lab.program("answer")]) as answers, watching(lab.folder / name, before=lab.inside(lab.here, [])) as watch:
        answers.line()
        awaken(watch, lab)
        watch.idle()
        before, all_before = watch.cpu(), busy()
        made = storm(lab, loops)
        at_end, all_at_end = watch.cpu() - before, busy() - all_before
        if not watch.idle():
            print("      outwatch is still busy")
        used, memory = watch.cpu() - before, watch.memory()
        watch.finish()
        told = balance(made, watch)
        written = watch.size()
        shutil.rmtree(lab.folder / name)
    seconds = max(one.seconds for one in made)
    print(
        f"      {told.happened:,} connections in {seconds:.1f} s; {told.told:,} told in {told.records:,} records ({written / 1e6:,.1f} MB)"
    )
    others = all_at_end - at_end - sum(one.cpu for one in made)
    print(f"      the rest of this machine used {100 * others / seconds / (os.cpu_count() or 1):.0f} % of its cores meanwhile")
    print(f"      outwatch used {at_end:.2f} s while they came, {used:.2f} s in all; lost records counted: {told.lost:,}")
    bounds.holds(f"{name}: {told.told:,} connections told and {told.lost:,} lost records for {told.happened:,}", kept=told.whole)
    if not told.lost:
        off = told.bytes_told - told.sent
        bounds.holds(f"{name}: bytes off by {off:,} of {told.sent:,}", kept=not off)
    return Watched(made, used, memory, told)


def saturate(lab: Lab, seconds: int, rounds: int, bounds: Bounds) -> None:
    """Storms with and without outwatch in turn: one with it is held against those before and after it, for machines change their pace."""
    ratios, by_cost, costs = [], [], []
    before = storm(lab, pair(seconds))
    for number in range(rounds):
        found = watched(lab, f"storm {number + 1}", pair(seconds), bounds)
        after = storm(lab, pair(seconds))
        without, alone = mean([rate(before), rate(after)]), mean([cost(before), cost(after)])
        ratios.append(rate(found.made) / without)
        by_cost.append(alone / (cost(found.made) + found.each))
        costs.append(found.each)
        print(f"      {rate(before):,.0f} and {rate(after):,.0f} connections a second without, {rate(found.made):,.0f} with outwatch")
        print(f"      µs a connection: {alone:.2f}; with outwatch {cost(found.made):.2f}, and its own {found.each:.2f}")
        before = after
    bounds.at_least_of("throughput with outwatch / without", median(ratios), LEAST_THROUGHPUT, "times")
    print(f"      the same by processor time, which others on this machine disturb less: {median(by_cost):.3f} times")
    bounds.at_most("processor time of outwatch in a storm", median(costs), MOST_MICROSECONDS, "µs a connection")
    script(lab, seconds)


def script(lab: Lab, seconds: int) -> None:
    """Run the same under a bpftrace script that prints a line for each connect and close."""
    if shutil.which("bpftrace") is None:
        print("      bpftrace is not installed: the script that prints connects and closes is left out")
        return
    rival = Printing("bpftrace", lab.folder / "connects", with_tracefs(["bpftrace", str(PROGRAMS / "connects.bt")]))
    try:
        with lab.running(lab.there, [lab.program("answer")]) as answers:
            answers.line()
            awaken(rival, lab)
        before = cpu_of(rival.process.pid)
        made = storm(lab, pair(seconds))
        time.sleep(2)  # it prints once a second
        used = cpu_of(rival.process.pid) - before
        rival.finish()
        lines = sum(line.startswith(b"connect ") for line in rival.out.open("rb"))
    finally:
        rival.kill()
        shutil.rmtree(lab.folder / "connects")
    happened = sum(one.count for one in made)
    print(f"      bpftrace: {lines:,} of {happened:,} connects printed, {1e6 * used / max(lines, 1):.2f} µs for each that it printed,")
    print(f"      {1e6 * used / happened:.2f} µs for each that happened; {rate(made):,.0f} connections a second")


def steady(lab: Lab, seconds: int, bounds: Bounds) -> None:
    """Make a thousand connections a second from one process."""
    used = watched(lab, "steady", [Loop(ports=10, seconds=seconds, rate=STEADY)], bounds).used
    bounds.at_most(f"processor time of outwatch at {STEADY:,} connections a second", 100 * used / seconds, MOST_STEADY, "% of one core")


def fill(lab: Lab, count: int, pace: int, bounds: Bounds) -> None:
    """Make a million connections, then read the memory."""
    loops = [Loop(ports=5, count=count // PROCESSES, rate=pace // PROCESSES) for _ in range(PROCESSES)]
    found = watched(lab, "million", loops, bounds)
    print(f"      {found.each:.2f} µs a connection; VmRSS {found.memory['VmRSS']:.1f} MiB, VmHWM {found.memory['VmHWM']:.1f} MiB")
    megabytes = found.memory["VmHWM"] * 1.048576
    bounds.at_most(f"most memory resident after {found.told.happened:,} connections", megabytes, MOST_MEMORY, "MB")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=int, default=60, help="length of a storm (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=2, help="storms with and without outwatch (default: %(default)s)")
    options.add_argument("--count", type=int, default=MILLION, help="connections after which memory is read (default: %(default)s)")
    options.add_argument("--pace", type=int, default=10_000, help="how many of them a second (default: %(default)s)")
    options.add_argument("--only", choices=("storm", "steady", "million"), action="append", help="only this part")
    wanted = options.parse_args()
    parts = wanted.only or ("storm", "steady", "million")
    bounds = Bounds()
    with laboratory() as lab:
        if "storm" in parts:
            saturate(lab, wanted.seconds, wanted.rounds, bounds)
        if "steady" in parts:
            steady(lab, min(wanted.seconds, 20), bounds)
        if "million" in parts:
            fill(lab, wanted.count, wanted.pace, bounds)
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
