"""Kernels that let others go on while a program runs don't enter it for these: a second program does what the first one left."""

import sys
from collections import Counter

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import hooks as module
from outwatch.sensors.ebpf.decode import CLOSE, EXIT, FORK, OPEN, STATE, Flow, Life, Program
from outwatch.sensors.ebpf.hooks import Hooks

from .ring import Ring, let_go
from .watch import done

pytestmark = [pytest.mark.integration, pytest.mark.root]
CONNECTIONS = 100

_CHILDREN = """
import json, os, socket, sys
told = {}
for number in range(int(sys.argv[2])):
    child = os.posix_spawn("/bin/true", ["true", str(number)], {})
    os.waitpid(child, 0)
    with socket.create_connection((sys.argv[1], 8443)) as one:
        one.sendall(b"%d 0 0\\n" % number + b"x" * number)
        told[one.getsockname()[1]] = child
        one.shutdown(socket.SHUT_WR)
        one.recv(1)
try:
    socket.create_connection((sys.argv[1], 9))
except ConnectionRefusedError:
    pass
print(json.dumps(told))
"""


@pytest.mark.parametrize("without", ["none", "the first", "the second"])
def test_each_event_is_told_once_whichever_program_the_kernel_enters(
    lab: Lab, server: Child, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    monkeypatch.setattr(module, "_INTERRUPTED", (0,))
    hooks = Hooks(1 << 22, storm=0)
    try:
        ring = Ring(hooks)
        assert list(hooks.existing())  # the listener's owner is known by this
        let_go(hooks, lambda name: without != "none" and name.endswith("_again") == (without == "the second"))
        pid, told = done(lab, _CHILDREN, SERVER, CONNECTIONS)
        hooks.poll(0)
        lost = hooks.refused()
    finally:
        hooks.close()
    flows = Counter((one.kind, one.pid) for one in ring.events if isinstance(one, Flow) and one.protocol == 6)
    assert flows[STATE, pid] == len(told) == CONNECTIONS
    assert flows[CLOSE, pid] == CONNECTIONS + 1  # one was refused
    assert flows[OPEN, server.pid] == CONNECTIONS
    children = set(told.values())
    lives = Counter((one.kind, one.pid) for one in ring.events if isinstance(one, Life))
    programs = Counter(one.pid for one in ring.events if isinstance(one, Program))
    assert all((lives[FORK, child], programs[child], lives[EXIT, child]) == (1, 1, 1) for child in children)
    assert lost == (0, 0, 0)
