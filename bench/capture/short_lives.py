"""Connections that are over before anybody could look.

``python -m capture.short_lives`` from ``bench/``, as root. Outwatch's kernel sensor watches while 10,000 processes that live a millisecond
or less make one connection each, and while one process makes 2,000 connections each with lifetimes of 1, 10 and 100 ms and 1 s. Bounds:
every connection detected, with the right process (of the short ones also its executable and arguments), no byte off. With ``--rivals``
sock_diag and polling look at the same traffic afterwards; they have no bounds.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from capture.judging import Sent, judge
from capture.lab import THERE, Lab, laboratory
from capture.waking import awaken
from capture.watching import Record, told, watching
from measuring import Bounds

PORT = "8443"
LIVES = {"1 ms": 1_000, "10 ms": 10_000, "100 ms": 100_000, "1 s": 1_000_000}  # microseconds
_RATE = 1_500  # connections a second from the one process
_SETTLED = 4.0


@dataclass(frozen=True)
class Group:
    """Connections of one kind: as counted, and with what their processes ran if that is asked for."""

    title: str
    flows: Sequence[Mapping[str, Any]]
    program: str | None = None

    def arguments(self) -> dict[int, list[str]]:
        """Give what each process was started with, by pid."""
        if self.program is None:
            return {}
        return {flow["pids"][0]: [self.program, "-", THERE, PORT, str(number)] for number, flow in enumerate(self.flows)}


def play(lab: Lab, processes: int, connections: int) -> list[Group]:
    """Make all the traffic."""
    brief = lab.program("brief", static=True)
    groups = [
        Group(f"{processes:,} processes of a millisecond", lab.run(lab.here, [brief, THERE, PORT, str(processes)], within=600), brief)
    ]
    for title, microseconds in LIVES.items():
        argv = [lab.program("lives"), THERE, PORT, str(connections), str(microseconds), str(_RATE)]
        groups.append(Group(f"{connections:,} connections of {title} from one process", lab.run(lab.here, argv, within=600)))
    return groups


def rate(group: Group, records: Mapping[str, Record], bounds: Bounds | None) -> None:
    """Judge one kind, print it, and hold it to the bounds if there are any."""
    sent = [Sent.read(flow) for flow in group.flows]
    verdict = judge(sent, map(told, records.values()))
    ran = {record.get("process", {}).get("pid"): record.get("process", {}) for record in records.values()}
    strangers = [
        pid
        for pid, arguments in group.arguments().items()
        if (ran.get(pid, {}).get("executable"), ran.get(pid, {}).get("args")) != (group.program, arguments)
    ]
    lived = median(flow["lived"] for flow in group.flows) / 1e6
    shares = f"{100 * verdict.detected / len(sent):.4g} % detected, {100 * verdict.attributed / len(sent):.4g} % with the right process"
    off = f"{verdict.up:,} / {verdict.down:,} bytes off" if verdict.counted else "bytes not told"
    more = f", {len(strangers):,} without what they ran" if strangers else ""
    line = f"{group.title} (median {lived:,.1f} ms): {shares}{more}, {off}, {verdict.surplus} that did not happen"
    if bounds is None:
        print(f"      {line}")
        return
    bounds.holds(line, kept=verdict.perfect and not strangers)
    for what in verdict.wrong:
        print(f"        {what}")


def look(sensor: str, processes: int, connections: int) -> tuple[list[Group], dict[str, Record], dict[str, int], float]:
    """Make all the traffic, in a lab with all ports free, while one sensor looks; gives what was sent, told, and lost, and its memory."""
    with laboratory() as lab, lab.running(lab.there, [lab.program("answer")]) as answers:
        answers.line()
        with watching(lab.folder / sensor, sensor, lab.inside(lab.here, [])) as watch:
            awaken(watch, lab)
            groups = play(lab, processes, connections)
            time.sleep(_SETTLED)
            memory = watch.memory()["VmHWM"]
            watch.finish()
            return groups, watch.latest(), watch.summary()["lost"], memory


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--processes", type=int, default=10_000, help="how many processes (default: %(default)s)")
    options.add_argument("--connections", type=int, default=2_000, help="how many connections of each lifetime (default: %(default)s)")
    options.add_argument("--rivals", action="store_true", help="let sock_diag and polling look, too")
    wanted = options.parse_args()
    sensors = ("ebpf", "sock_diag", "polling") if wanted.rivals else ("ebpf",)
    bounds = Bounds()
    for sensor in sensors:
        groups, records, lost, memory = look(sensor, wanted.processes, wanted.connections)
        print(f"outwatch, {sensor}; lost: {lost or 'nothing'}; at most {memory:.1f} MiB resident")
        for group in groups:
            rate(group, records, bounds if sensor == "ebpf" else None)
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
