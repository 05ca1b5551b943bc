"""MPTCP: a socket of one protocol above connections of another; each connection is told once, with its part of the bytes."""

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, SERVER_V6, Lab

from .sides import ours
from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
SECOND = "192.0.2.11"
PORT = 8700

_SERVE = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM, int(sys.argv[3])) as door:
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind((sys.argv[1], int(sys.argv[2])))
    door.listen()
    print("ready", flush=True)
    while True:
        one, who = door.accept()
        with one:
            got = 0
            while piece := one.recv(65536):
                got += len(piece)
                if piece.endswith(b"."):
                    one.sendall(b"a" * int(sys.argv[4]))
        print(json.dumps(got), flush=True)
"""
_CALL = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
one = socket.socket(family, socket.SOCK_STREAM, int(sys.argv[3]))
one.connect((sys.argv[1], int(sys.argv[2])))
for line in sys.stdin:
    one.sendall(b"m" * (int(line) - 1) + b".")
    got = 0
    while got < int(sys.argv[4]):
        got += len(one.recv(65536))
    print(json.dumps(one.getsockname()[1]), flush=True)
one.close()
"""
TCP, MPTCP = 6, 262


@pytest.fixture
def may_multipath(lab: Lab) -> None:
    for name in (lab.here, lab.there):
        command = lab.inside(name, ["sh", "-c", "cat /proc/sys/net/mptcp/enabled"])
        if subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG).stdout.strip() != "1":
            pytest.skip("this kernel has no MPTCP, or it is switched off")


@pytest.fixture
def second_path(lab: Lab, may_multipath: None) -> Iterator[None]:
    """Give the caller's side a second address from which the kernel opens a connection by itself."""

    def ip(name: str, *arguments: str) -> None:
        done = subprocess.run(["ip", "-n", name, *arguments], check=False, capture_output=True, text=True, timeout=LONG)
        if done.returncode:
            pytest.skip(f"ip can't set up a second path: {done.stderr.strip()}")

    ip(lab.here, "addr", "add", f"{SECOND}/24", "dev", "cable")
    try:
        for name in (lab.here, lab.there):
            ip(name, "mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "2")
        ip(lab.here, "mptcp", "endpoint", "add", SECOND, "dev", "cable", "subflow")
        yield
        ip(lab.here, "mptcp", "endpoint", "flush")
    finally:
        ip(lab.here, "addr", "del", f"{SECOND}/24", "dev", "cable")


def talk(
    lab: Lab, sizes: list[int], address: str, kinds: tuple[int, int], *, answer: int = 4321, cores: Sequence[int | None] = (None, None)
) -> tuple[Child, Child, int]:
    """Send so many bytes at a time, each answered by as many as are wished; give the caller, the server, and what the server has got.

    ``cores``: where the two run.
    """
    here, there = (("taskset", "--cpu-list", str(core)) if core is not None else () for core in cores)
    with script(lab, _SERVE, address, PORT, kinds[1], answer, namespace=lab.there, before=there) as server:
        assert server.line() == "ready"
        with script(lab, _CALL, address, PORT, kinds[0], answer, before=here) as caller:
            for size in sizes:
                caller.tell(str(size))
                caller.line()
            assert not caller.end(), caller.errors
        return caller, server, int(json.loads(server.line()))


def through(lab: Lab, watch: Watch, count: int) -> list[Record]:
    """Wait until both ends of so many connections to the server are over."""

    def over(records: list[Record]) -> list[Record]:
        some = [one for one in ours(lab, records) if one["destination"].get("port") == PORT and one["event"]["action"] != "failed"]
        return some if len([one for one in some if one["event"]["action"] == "close"]) >= 2 * count else []

    return watch.wait(over)


@pytest.mark.usefixtures("may_multipath")
@pytest.mark.parametrize("address", [SERVER, SERVER_V6])
@pytest.mark.parametrize("kinds", [(MPTCP, MPTCP), (MPTCP, TCP), (TCP, MPTCP)], ids=["both", "the caller alone", "the server alone"])
def test_a_connection_by_mptcp_is_one_with_the_processes_of_both_ends_and_every_byte(
    lab: Lab, server: Child, tmp_path: Path, address: str, kinds: tuple[int, int]
) -> None:
    with Watch(lab, tmp_path / "watch") as watch:
        caller, there, got = talk(lab, [1, 100_000], address, kinds)
        seen = through(lab, watch, 1)
    told = {one["network"]["direction"]: one for one in seen}
    assert len(seen) == 2
    assert {way: one["process"]["pid"] for way, one in told.items()} == {"egress": caller.pid, "ingress": there.pid}
    assert {(one["source"]["bytes"], one["destination"]["bytes"]) for one in seen} == {(got, 2 * 4321)}
    assert {one["network"]["transport"] for one in seen} == {"tcp"}
    assert {one["destination"]["ip"] for one in seen} == {address}


def sent_again(lab: Lab) -> int:
    """Count how often MPTCP itself has sent again on the caller's side."""
    command = lab.inside(lab.here, ["cat", "/proc/net/netstat"])
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONG).stdout.splitlines()
    names, numbers = (line.split() for line in lines if line.startswith("MPTcpExt:"))
    return int(dict(zip(names, numbers, strict=True))["MPTCPRetrans"])


@pytest.mark.usefixtures("may_multipath")
def test_what_mptcp_sends_again_counts_once(lab: Lab, server: Child, tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("one processor: MPTCP sends again when two work on the two ends")
    before, calls = sent_again(lab), 0
    with Watch(lab, tmp_path / "watch") as watch:
        while sent_again(lab) == before:
            assert calls < 200, "MPTCP has sent nothing again"
            _, _, got = talk(lab, [400_000], SERVER, (MPTCP, MPTCP), answer=300_000, cores=cores)
            calls += 1
        seen = through(lab, watch, calls)
    assert {(one["source"]["bytes"], one["destination"]["bytes"]) for one in seen} == {(got, 300_000)}


@pytest.mark.usefixtures("second_path")
def test_every_path_of_mptcp_is_told_and_together_they_have_carried_every_byte(lab: Lab, server: Child, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch") as watch:
        caller, there, got = talk(lab, [1, *[200_000] * 10], SERVER, (MPTCP, MPTCP))
        seen = through(lab, watch, 2)
    for way, owner in (("egress", caller), ("ingress", there)):
        paths = [one for one in seen if one["network"]["direction"] == way]
        assert {one["source"]["ip"] for one in paths} == {"192.0.2.1", SECOND}
        assert len(paths) == 2
        # What the two paths have carried twice is counted twice; nothing is counted less than once.
        assert sum(one["source"]["bytes"] for one in paths) >= got
        by_address = {one["source"]["ip"]: one for one in paths}
        assert by_address["192.0.2.1"]["process"]["pid"] == owner.pid
        # The kernel opens the second path by itself: that is said, or its process is named, but never somebody else.
        second = by_address[SECOND]
        assert second.get("process", {}).get("pid", owner.pid) == owner.pid
        assert ("process" in second) == (second["outwatch"]["attribution"] == "exact")
