"""The kernel sensor, the kernel's own list of sockets and polling look at the same traffic: each confirms the others."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from integration.child import Child
from integration.lab import PUBLIC, SERVER, SERVER_V6, Lab, outwatch_command

from .builds import HEADLESS, build
from .sides import number
from .watch import Record, Watch, script, settings

pytestmark = [pytest.mark.integration, pytest.mark.root]
CALLS = 12

_HERE = """
import json, socket, sys
doors = [socket.create_server((address, 8600), family=family)
         for address, family in (("192.0.2.1", socket.AF_INET), ("2001:db8::1", socket.AF_INET6))]
print("ready", flush=True)
streams, datagrams, callers = [], [], []
for number in range(int(sys.argv[1])):
    streams.append(socket.create_connection((sys.argv[2 + number % 3], 8443)))
for address, port in ((sys.argv[2], 9001), (sys.argv[3], 9002), (sys.argv[4], 9003)):
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    one.connect((address, port))
    one.send(b"u" * 77)
    assert len(one.recv(4096)) == 39
    datagrams.append(one)
callers = [door.accept()[0] for door in doors for _ in range(2)]
told = [["tcp", one.getsockname()[1]] for one in streams] + [["udp", one.getsockname()[1]] for one in datagrams]
told += [["tcp", one.getpeername()[1]] for one in callers]
print(json.dumps(told), flush=True)
sys.stdin.readline()
carried = {}
for number, one in enumerate(streams):
    answer, first = 5000 * number, number % 2
    said = b"%d %d %d\\n" % (number * 777, answer, first) + b"q" * number * 777
    one.sendall(said)
    got = 0
    while got < answer or first:
        piece = one.recv(65536)
        if not piece:
            break
        got += len(piece)
    carried[one.getsockname()[1]] = [len(said), got]
for number, one in enumerate(callers):
    said = one.makefile("rb").read(10 + number)
    one.sendall(b"a" * 1000 * number)
    assert one.recv(1) == b""
    carried[one.getpeername()[1]] = [len(said), 1000 * number]
for one in streams + datagrams + callers:
    one.close()
print(json.dumps(carried), flush=True)
sys.stdin.read()
"""
"""Calls by TCP and UDP, and is called; holds all until it is told to talk, and says what each has carried (source, destination)."""

_THERE = """
import socket, sys
held = [socket.create_connection((address, 8600)) for address in ("192.0.2.1", "2001:db8::1") for _ in range(2)]
sys.stdin.readline()
for number, one in enumerate(held):
    one.sendall(b"c" * (10 + number))
    got = 0
    while got < 1000 * number:
        got += len(one.recv(65536))
    one.close()
sys.stdin.read()
"""


def facts(one: Record) -> tuple[Any, ...]:
    ends = [one[end].get(key) for end in ("source", "destination") for key in ("ip", "port")]
    return (one["network"]["transport"], one["network"]["direction"], *ends, one.get("process", {}).get("pid"))


class Looker:
    """A watch by another sensor from inside the namespace; gives what it says of some connections."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.latest: dict[str, Record] = {}

    def read_until(self, keys: set[tuple[str, int]], actions: set[str]) -> list[Record]:
        """Read until each connection with such a transport and source port has said one of these; give the last word on each."""

        def those(key: tuple[str, int]) -> bool:
            return any(of_key(one) == key and one["event"]["action"] in actions for one in self.latest.values())

        def all_told(line: str) -> bool:
            one = json.loads(line)
            if one["kind"] == "connection" and of_key(one) in keys:
                self.latest[one["id"]] = one
                return all(map(those, keys))
            return False

        if not all(map(those, keys)):
            self._child.line(all_told)
        return list(self.latest.values())


def of_key(one: Record) -> tuple[str, int]:
    return one["network"]["transport"], one["source"].get("port", 0)


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def looker(lab: Lab, folder: Path, started: ExitStack, sensor: str) -> Looker:
    """Start a watch, and wait until it has looked."""
    env = settings(folder, OUTWATCH_SENSORS__SOCK_DIAG__INTERVAL="0.2", OUTWATCH_SENSORS__POLLING__INTERVAL="0.2")
    with lab.caller() as probe:
        port = probe.call(SERVER)
        argv = lab.inside(lab.here, [*outwatch_command("watch", "--jsonl", "--all", "--no-dns", "--sensor", sensor)])
        child = started.enter_context(Child(argv, env=env))
        child.line(lambda line: f'"port":{port}' in line)
    return Looker(child)


def carried(records: Iterable[Record]) -> dict[str, list[int | None]]:
    return {str(one["source"]["port"]): [one["source"].get("bytes"), one["destination"].get("bytes")] for one in records}


def test_three_sensors_tell_the_same_connections_of_the_same_processes_with_the_same_bytes(
    lab: Lab, watch: Watch, tmp_path: Path, started: ExitStack
) -> None:
    lookers = {sensor: looker(lab, tmp_path / sensor, started, sensor) for sensor in ("sock_diag", "polling")}
    here = started.enter_context(script(lab, _HERE, CALLS, SERVER, SERVER_V6, PUBLIC))
    assert here.line() == "ready"
    there = started.enter_context(script(lab, _THERE, namespace=lab.there))
    keys = {(transport, port) for transport, port in json.loads(here.line())}
    namespace = number(lab.here)

    def of_kernel(records: list[Record], actions: set[str]) -> list[Record]:
        mine = [one for one in records if of_key(one) in keys and one["network"]["namespace"] == namespace]
        return mine if {of_key(one) for one in mine if one["event"]["action"] in actions} == keys else []

    opened = {"connect", "traffic", "existing"}
    held = {sensor: one.read_until(keys, opened) for sensor, one in lookers.items()}
    held["ebpf"] = watch.wait(lambda records: of_kernel(records, opened))
    told = {sensor: sorted(map(facts, records)) for sensor, records in held.items()}
    assert len(told["ebpf"]) == CALLS + 3 + 4
    assert told["sock_diag"] == told["ebpf"]
    assert told["polling"] == told["ebpf"]
    assert {one[-1] for one in told["ebpf"]} == {here.pid}

    for child in (here, there):
        child.tell("go")
    said = json.loads(here.line())
    closed = {"close"}
    over = {sensor: one.read_until(keys, closed) for sensor, one in lookers.items()}
    over["ebpf"] = watch.wait(lambda records: of_kernel(records, closed))
    for records in over.values():
        assert sorted(map(facts, records)) == told["ebpf"]
    streams = {sensor: carried(one for one in records if of_key(one)[0] == "tcp") for sensor, records in over.items()}
    assert streams["ebpf"] == said
    assert streams["sock_diag"] == said
    assert set(map(tuple, carried(one for one in over["ebpf"] if of_key(one)[0] == "udp").values())) == {(77, 39)}
    # Who does not know bytes does not invent them.
    silent = [*over["polling"], *(one for one in over["sock_diag"] if of_key(one)[0] == "udp")]
    assert {tuple(one) for one in carried(silent).values()} == {(None, None)}


@pytest.mark.security
@pytest.mark.parametrize("sensor", ["ebpf", "sock_diag"])  # psutil does not look behind a first thread that has ended
def test_a_process_that_has_given_up_its_first_thread_hides_its_connection_from_no_sensor(
    lab: Lab, server: Child, folder: Path, sensor: str
) -> None:
    program = build(folder, "headless", HEADLESS, "-pthread")
    with Child(lab.inside(lab.here, [str(program), SERVER, "8443", "0 0 0\n"])) as child:
        assert child.line() == "headless"
        records = lab.records("scan", "--all", "--no-dns", "--sensor", sensor, env=settings(folder))
        child.tell("end")
    found = [one for one in records if one["kind"] == "connection" and one["destination"].get("port") == 8443]
    own = [
        one
        for one in found
        if one["network"]["direction"] == "egress" and one["network"].get("namespace", number(lab.here)) == number(lab.here)
    ]
    assert [one.get("process", {}).get("pid") for one in own] == [child.pid]
