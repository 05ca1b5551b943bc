"""A storm that lasts is told by fewer and fewer single connections; none of them is lost by that, and others are told as ever."""

import random
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

from .watch import Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

STORM, LASTING, SECONDS, EACH = 64, 64 // 16, 5, 200
_STORM = f"""
import socket, sys, time
begin = time.monotonic()
for number in range({SECONDS * EACH}):
    with socket.create_connection(("{SERVER}", 8443)) as one:
        one.sendall(b"0 0 0\\n")
        one.shutdown(socket.SHUT_WR)
        one.recv(1)  # the server's end: now it is over
    time.sleep(max(0, begin + (number + 1) / {EACH} - time.monotonic()))
print(0, flush=True)
sys.stdin.readline()
"""

PLACES = random.Random(1).sample(range(10_000, 65_000), 2000)
_SCAN = f"""
import socket, sys
for port in {PLACES}:
    with socket.socket() as one:
        assert one.connect_ex(("{SERVER}", port))
print(0, flush=True)
sys.stdin.readline()
"""


def test_a_storm_that_lasts_is_told_by_fewer_single_connections(lab: Lab, server: Child, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_SENSORS__EBPF__STORM": str(STORM)}) as watch, script(lab, _STORM) as caller:
        caller.line()
        caller.tell("end")
        summary = watch.end()
    mine = [
        one for one in watch.latest.values() if one.get("process", {}).get("pid") == caller.pid and one["network"]["direction"] == "egress"
    ]
    assert sum(one["outwatch"].get("count", 1) for one in mine) == SECONDS * EACH
    assert sum(one["source"]["bytes"] for one in mine) == SECONDS * EACH * len("0 0 0\n")
    # The first second may be cut in two, and so may the last; those between follow on a storm.
    singly = sum("count" not in one["outwatch"] for one in mine)
    assert STORM <= singly <= 2 * STORM + (SECONDS + 1) * LASTING
    assert summary["lost"] == {}


def test_connections_to_many_places_are_no_storm(lab: Lab, server: Child, tmp_path: Path) -> None:
    """The kernel's part counts them in far too few cells for each place to have its own."""
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_SENSORS__EBPF__STORM": "1"}) as watch, script(lab, _SCAN) as caller:
        caller.line()
        caller.tell("end")
        watch.end()
    mine = [one for one in watch.latest.values() if one.get("process", {}).get("pid") == caller.pid]
    assert sorted(one["destination"]["port"] for one in mine) == sorted(PLACES)
    assert not [one for one in mine if "count" in one["outwatch"]]
