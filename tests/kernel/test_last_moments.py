"""What is open when a watch ends is told, also what was to be counted with others at its end."""

from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

from .watch import Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

OPENED, HELD = 60, 15
_MANY = f"""
import socket, sys
held = []
for number in range({OPENED}):
    one = socket.create_connection(("{SERVER}", 8443))
    one.sendall(b"0 0 0\\n")
    held.append(one)
    if len(held) > {HELD}:
        held.pop(0).close()
print(0, flush=True)
sys.stdin.readline()
"""


def test_connections_of_a_storm_that_are_open_at_the_end_are_told_each(lab: Lab, server: Child, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_SENSORS__EBPF__STORM": "5"}) as watch, script(lab, _MANY) as caller:
        caller.line()
        summary = watch.end()
        caller.tell("end")
    mine = [
        one for one in watch.latest.values() if one.get("process", {}).get("pid") == caller.pid and one["network"]["direction"] == "egress"
    ]
    assert sum(one["outwatch"].get("count", 1) for one in mine) == OPENED
    assert sum(one["source"]["bytes"] for one in mine) == OPENED * len("0 0 0\n")
    assert len([one for one in mine if one["event"]["action"] != "close"]) >= HELD - 5
    assert summary["lost"] == {}
