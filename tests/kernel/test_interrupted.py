"""State changes that interrupt the sensor's own program: the kernel then leaves it out, and that is counted as a loss."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, Lab

from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
CONNECTIONS = 3_000
LOOPS = 3

_LOOP = """
import json, os, socket, struct, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
reset = struct.pack("ii", 1, 0)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    with socket.create_connection((sys.argv[1], 443)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
print(json.dumps(0), flush=True)
"""
"""Connects and resets, again and again, on one processor."""


@pytest.fixture
def steered(lab: Lab) -> Iterator[int]:
    """Let the first processor that we may use receive all packets of the cable, as a network card's interrupts would."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("only one processor: nobody can interrupt it")

    def steer(mask: int) -> None:
        for name in (lab.here, lab.there):
            command = ["ip", "netns", "exec", name, "sh", "-c", f"echo {mask:x} > /sys/class/net/cable/queues/rx-0/rps_cpus"]
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG)
            if done.returncode:
                pytest.skip(f"packets can't be steered to a processor: {done.stderr.strip()}")

    steer(1 << processors[0])
    try:
        yield processors[0]
    finally:
        steer(0)


def missed_by_the_kernel(pid: int) -> int:
    """Give how often the kernel left out one of a process's programs, because it ran already on that processor."""
    programs = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in entry.read_text("ascii", "replace").splitlines() if ":\t" in line)
        if "prog_id" in fields and "link_id" not in fields:
            programs.add((fields["prog_id"], int(fields.get("recursion_misses", 0))))
    return sum(missed for _, missed in programs)


def test_state_changes_that_the_kernel_did_not_show_are_counted_as_lost(lab: Lab, steered: int, tmp_path: Path) -> None:
    other = next(one for one in sorted(os.sched_getaffinity(0)) if one != steered)
    with Watch(lab, tmp_path / "watch") as watch, ExitStack() as stack:
        loops: list[Child] = [
            stack.enter_context(script(lab, _LOOP, SERVER, processor, CONNECTIONS)) for processor in (steered, other, other)
        ]
        for one in loops:
            one.tell("go")
        for one in loops:
            json.loads(one.line())
        missed = missed_by_the_kernel(watch.process.pid)
        summary = watch.end()
    pids = {one.pid for one in loops}
    mine = [one for one in watch.latest.values() if one.get("process", {}).get("pid") in pids]
    ended = sum(weight(one) for one in mine if one["event"]["action"] in {"close", "failed"})
    lost = sum(summary["lost"].values())
    assert lost >= missed
    assert ended <= LOOPS * CONNECTIONS
    assert ended + lost >= LOOPS * CONNECTIONS


def weight(one: Record) -> int:
    """Tell how many connections a record stands for: those of a storm are told together."""
    return int(one["outwatch"].get("count", 1))
