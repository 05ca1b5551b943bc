"""Nothing is lost silently: what the ring could not take is counted, to the last record."""

import json
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf.decode import CLOSE, OPEN, STATE, Flow
from outwatch.sensors.ebpf.hooks import Hooks

from .ring import Ring, let_go
from .watch import Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
SMALLEST = 4096
CONNECTIONS = 300

_MANY = """
import json, socket, sys
told = {}
for number in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 8443)) as one:
        said = b"%d 0 0\\n" % (number % 100) + b"x" * (number % 100)
        one.sendall(said)
        told[one.getsockname()[1]] = len(said)
        one.shutdown(socket.SHUT_WR)
        one.recv(1)  # the server's end: now it is over
print(json.dumps(told))
"""


@pytest.mark.parametrize("run", range(5))
def test_what_happened_was_delivered_or_counted_as_refused(lab: Lab, server: Child, run: int) -> None:
    hooks = Hooks(SMALLEST, storm=0)
    try:
        ring = Ring(hooks)
        assert list(hooks.existing())  # the listener's owner is known by this
        pid, sent = done(lab, _MANY, SERVER, CONNECTIONS)
        before = ring.counts()
        hooks.poll(0)
        after = ring.counts()
    finally:
        hooks.close()
    assert ring.broken == 0
    for kind in before:
        # Other programs may cause records between the two looks: what was delivered lies between them.
        assert before[kind].happened <= ring.delivered[kind] + after[kind].refused
        assert ring.delivered[kind] + before[kind].refused <= after[kind].happened
    assert len(sent) == CONNECTIONS
    # Each connection has an answer and an end on the caller's side, and an opening on the server's.
    came = Counter((one.kind, one.pid) for one in ring.events if isinstance(one, Flow))
    for kind, owner in ((STATE, pid), (CLOSE, pid), (OPEN, server.pid)):
        assert after[kind].refused > 0
        assert came[kind, owner] + after[kind].refused >= CONNECTIONS


@pytest.mark.parametrize("run", range(3))
def test_a_stalled_watch_says_how_much_it_lost_and_tells_the_rest_rightly(lab: Lab, server: Child, tmp_path: Path, run: int) -> None:
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_SENSORS__EBPF__RING_KIB": "4", "OUTWATCH_SENSORS__EBPF__STORM": "0"}) as watch:
        watch.process.send_signal(signal.SIGSTOP)
        pid, sent = done(lab, _MANY, SERVER, CONNECTIONS)
        watch.process.send_signal(signal.SIGCONT)
        summary = watch.end()
    seen = [one for one in watch.latest.values() if one.get("process", {}).get("pid") == pid]
    ended = [one for one in seen if one["event"]["action"] == "close"]
    missing = CONNECTIONS - len(seen)
    assert missing > 0
    # Of a connection that nobody heard of, its answer and its end are lost; of one that did not end, its end.
    assert summary["lost"]["kernel ring"] >= 2 * missing + len(seen) - len(ended)
    assert [one["source"]["bytes"] for one in ended] == [sent[str(one["source"].get("port"))] for one in ended]


def test_a_watch_that_is_read_in_time_loses_nothing(lab: Lab, server: Child, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_SENSORS__EBPF__RING_KIB": "16384"}) as watch:
        pid, sent = done(lab, _MANY, SERVER, CONNECTIONS)
        seen = watch.of(pid, CONNECTIONS)
        summary = watch.end()
    assert {str(one["source"]["port"]): one["source"]["bytes"] for one in seen} == sent
    assert "kernel ring" not in summary["lost"]
    assert json.dumps(summary).count("kernel ring") == 0


_HELD = """
import json, socket, struct, sys
door = socket.create_server(("127.0.0.1", 0))
caller = socket.create_connection(door.getsockname())
other = door.accept()[0]
caller.sendall(b"x" * 77)
other.sendall(b"y" * 99)
assert len(caller.recv(99, socket.MSG_WAITALL)) == 99
print(json.dumps(caller.getsockname()[1]), flush=True)
sys.stdin.readline()
other.recv(77, socket.MSG_WAITALL)
other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it ends with a reset: the caller holds what is closed
other.close()
print("closed", flush=True)
sys.stdin.readline()
"""


def sees_tcp(program: str) -> bool:
    return program.startswith("tcp_")


def test_an_end_that_the_kernel_did_not_tell_is_found_told_once_and_counted(lab: Lab) -> None:
    hooks = Hooks(1 << 20, storm=0)
    try:
        with script(lab, _HELD) as holder:
            port = int(holder.line())
            let_go(hooks, sees_tcp)
            lost = hooks.refused()[2]
            holder.tell("")
            assert holder.line() == "closed"
            ended = [flow for flow in hooks.totals() if (flow.pid, flow.local_port) == (holder.pid, port)]
            counted = hooks.refused()[2] - lost
            again = [flow for flow in hooks.totals() if (flow.pid, flow.local_port) == (holder.pid, port)]
    finally:
        hooks.close()
    assert [(flow.kind, flow.sent, flow.received) for flow in ended] == [(CLOSE, 77, 99)]
    assert counted >= 1  # the other end was reset too; its socket may have gone before it was looked at
    assert not again


_AGAIN = """
import json, socket, struct, sys
door = socket.create_server(("127.0.0.1", 0), backlog=200)
for round in range(2):
    held = []
    for _ in range(100):
        held += [socket.create_connection(door.getsockname()), door.accept()[0]]
        held[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    print(json.dumps([one.getsockname()[1] for one in held[::2]]), flush=True)
    sys.stdin.readline()
    for one in reversed(held):
        one.close()
    print("closed", flush=True)
    sys.stdin.readline()
"""


def test_an_end_that_the_kernel_did_not_tell_is_told_when_another_socket_takes_its_place(lab: Lab) -> None:
    hooks = Hooks(1 << 20, storm=0)
    ring = Ring(hooks)
    try:
        with script(lab, _AGAIN) as holder:
            ports = set(json.loads(holder.line()))
            hooks.poll(0)
            before = {flow.id for flow in ring.events if isinstance(flow, Flow) and flow.pid == holder.pid and flow.kind == STATE}
            attached = let_go(hooks, sees_tcp)
            holder.tell("")
            assert holder.line() == "closed"
            for program in attached:
                hooks._object.attach(program)
            lost = hooks.refused()[2]
            holder.tell("")
            holder.line()
            hooks.poll(0)
            told = [flow for flow in ring.events if isinstance(flow, Flow) and flow.kind == CLOSE and flow.id in before]
            at_once = len(told)
            told += [flow for flow in hooks.totals() if flow.kind == CLOSE and flow.id in before]
            counted = hooks.refused()[2] - lost
    finally:
        hooks.close()
    assert len(before) == len(ports)
    assert at_once
    assert sorted(flow.id for flow in told) == sorted(before)
    assert {flow.local_port for flow in told} == ports
    assert counted >= len(before)
