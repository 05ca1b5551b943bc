"""A ring of one page that nobody reads: what was delivered and what was counted as refused make up what was sent, every time."""

import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf.decode import CLOSE, EXEC, EXIT, FORK, OPEN, STATE, Flow, Life, Program
from outwatch.sensors.ebpf.hooks import Hooks

from .ring import Ring
from .watch import done

pytestmark = [pytest.mark.integration, pytest.mark.root]
SMALLEST, ROOM = 4096, 64 << 20
RUNS = 20
CONNECTIONS, SOCKETS, PROCESSES = 150, 150, 60

_STORM = """
import json, os, socket, sys
address, connections, sockets, processes = sys.argv[1], *map(int, sys.argv[2:5])
for _ in range(connections):
    with socket.create_connection((address, 8443)) as one:
        one.sendall(b"0 0 0\\\\n")
        one.shutdown(socket.SHUT_WR)
        one.recv(1)
for _ in range(sockets):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"u", (address, 9001))
        one.recv(10)
pids = []
for number in range(processes):
    pid = os.fork()
    if not pid:
        os.execv("/bin/true", ["/bin/true"])
    os.waitpid(pid, 0)
    pids.append(pid)
print(json.dumps(pids))
"""
"""Connects, exchanges datagrams from a socket each, and starts programs."""


@pytest.fixture
def stalled(may_load: None) -> Iterator[Ring]:
    hooks = Hooks(SMALLEST, storm=0)
    try:
        assert list(hooks.existing())  # the listener's owner is known by this
        yield Ring(hooks)
    finally:
        hooks.close()


@pytest.mark.parametrize("run", range(RUNS))
def test_delivered_and_refused_make_up_what_was_sent(lab: Lab, server: Child, stalled: Ring, run: int) -> None:
    pid, children = done(lab, _STORM, SERVER, CONNECTIONS, SOCKETS, PROCESSES)
    before, counts = stalled.settled()
    assert stalled.broken == 0
    for kind, (happened, refused) in before.items():
        # Exactly so at rest, when before and after are the same.
        assert happened <= stalled.delivered[kind] + counts[kind].refused
        assert stalled.delivered[kind] + refused <= counts[kind].happened
    # What this test sent itself, record for record; other programs on this machine may add to what was refused.
    sent = {
        (STATE, 6, pid): CONNECTIONS,
        (CLOSE, 6, pid): CONNECTIONS,
        (OPEN, 6, server.pid): CONNECTIONS,
        (OPEN, 17, pid): SOCKETS,
        (CLOSE, 17, pid): SOCKETS,
    }
    flows = Counter((one.kind, one.protocol, one.pid) for one in stalled.events if isinstance(one, Flow))
    assert all(flows[key] <= number for key, number in sent.items())
    for kind in (OPEN, STATE, CLOSE):
        wanted = sum(number for key, number in sent.items() if key[0] == kind)
        came = sum(number for key, number in flows.items() if key in sent and key[0] == kind)
        assert counts[kind].refused > 0
        assert came + counts[kind].refused >= wanted
    lives = Counter(one.kind for one in stalled.events if isinstance(one, Life) and one.pid in children)
    programs = sum(isinstance(one, Program) and one.pid in children for one in stalled.events)
    for kind, came in ((FORK, lives[FORK]), (EXIT, lives[EXIT]), (EXEC, programs)):
        assert came <= PROCESSES
        assert counts[kind].refused > 0
        assert came + counts[kind].refused >= PROCESSES


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_ring_with_room_delivers_each_record_of_the_same_storm_once(lab: Lab, server: Child, kind: str) -> None:
    hooks = Hooks(ROOM, storm=0)
    try:
        assert list(hooks.existing())
        reader = Ring(hooks)
        pid, children = done(lab, _STORM, SERVER, CONNECTIONS, SOCKETS, PROCESSES)
        hooks.poll(0)
        counts = reader.counts()
    finally:
        hooks.close()
    assert {kind: refused for kind, (_, refused) in counts.items() if refused} == {}
    flows = [one for one in reader.events if isinstance(one, Flow) and one.pid == pid]
    number, kinds = (6, (STATE, CLOSE)) if kind == "tcp" else (17, (OPEN, CLOSE))
    ids = {one: [flow.id for flow in flows if (flow.protocol, flow.kind) == (number, one)] for one in kinds}
    assert [len(one) for one in ids.values()] == [CONNECTIONS if kind == "tcp" else SOCKETS] * 2
    assert set(ids[kinds[0]]) == set(ids[kinds[1]])
    assert len(set(ids[CLOSE])) == len(ids[CLOSE])
    assert sorted(one.pid for one in reader.events if isinstance(one, Program) and one.pid in children) == sorted(children)
