"""The kernel's list of sockets on real traffic: what closes between two looks, whose it is, and every byte."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .child import Child
from .lab import NOBODY, PUBLIC, SERVER, SERVER_V6, SHARED_PORT, SILENT, Caller, Lab, of_port

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]
Watchers = Callable[..., Child]
INTERVAL = "OUTWATCH_SENSORS__SOCK_DIAG__INTERVAL"

_ANSWER = """
import socket, sys, threading
listener = socket.socket(socket.AF_INET6)
listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind(("::", 0))
listener.listen(500)
print(listener.getsockname()[1], flush=True)
def serve(one):
    with one, one.makefile("rb") as said:
        line = said.readline()
        who, size, answer = line.split()
        said.read(int(size))
        one.sendall(b"a" * int(answer))
        if who != b"server":
            said.read()
def accept():
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()
threading.Thread(target=accept, daemon=True).start()
sys.stdin.read()
"""
_TALK = """
import json, socket, sys
for line in sys.stdin:
    address, port, who, size, answer, times = json.loads(line)
    told = []
    for _ in range(times):
        one = socket.create_connection((address, port))
        head = b"%s %d %d\\n" % (who.encode(), size, answer)
        one.sendall(head + b"q" * size)
        if who == "half":
            one.shutdown(socket.SHUT_WR)
        got = 0
        while got < answer or who != "client":
            piece = one.recv(65536)
            if not piece:
                break
            got += len(piece)
        told.append([one.getsockname()[1], len(head) + size, got])
        one.close()
    print(json.dumps(told), flush=True)
"""


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look so seldom that nothing but the word of the kernel can tell of what happens in a test."""
    monkeypatch.setenv(INTERVAL, "3600")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, for tests of what looks tell."""
    monkeypatch.setenv(INTERVAL, "0.1")


@pytest.fixture
def watch(watcher: Watchers, caller: Callers) -> Callable[..., Child]:
    """Start a watch and wait for its first look."""

    def start(*options: str, sensor: str = "sock_diag") -> Child:
        local = caller().call(SERVER)
        watching = watcher("watch", "--jsonl", "--all", "--sensor", sensor, *options)
        watching.line(lambda line: local in ports(json.loads(line)))
        return watching

    return start


def server(lab: Lab, started: ExitStack, namespace: str) -> int:
    """Start the answering server and give its port."""
    return int(started.enter_context(Child(lab.inside(namespace, [sys.executable, "-c", _ANSWER]))).line())


def talker(lab: Lab, started: ExitStack, namespace: str) -> Caller:
    return started.enter_context(Caller(lab.inside(namespace, [sys.executable, "-c", _TALK])))


def ports(record: dict[str, Any]) -> set[int]:
    return {record.get("source", {}).get("port"), record.get("destination", {}).get("port")}


def records_of(watching: Child) -> list[dict[str, Any]]:
    return [json.loads(line) for line in watching.lines]


def last_words(watching: Child, wanted: Collection[int], action: str = "close") -> list[dict[str, Any]]:
    """Read until as many connections from these source ports have ended; a port may be used again. Gives what was said last of each."""
    ended: dict[str, dict[str, Any]] = {}

    def all_there(line: str) -> bool:
        record = json.loads(line)
        if record["kind"] == "connection" and record["event"]["action"] == action and record["source"]["port"] in wanted:
            ended[record["id"]] = record
        return len(ended) == len(wanted)

    watching.line(all_there)
    return list(ended.values())


def totals(ended: Collection[dict[str, Any]]) -> list[list[int]]:
    return sorted([one["source"]["port"], one["source"]["bytes"], one["destination"]["bytes"]] for one in ended)


@pytest.mark.parametrize("address", [SERVER, SERVER_V6])
@pytest.mark.parametrize(("first", "size", "answer"), [("client", 5, 3), ("client", 70_000, 0), ("server", 9, 150_000), ("server", 0, 0)])
def test_connections_between_two_looks_are_all_seen_with_every_byte(
    lab: Lab, started: ExitStack, watch: Watchers, address: str, first: str, size: int, answer: int
) -> None:
    port, client, watching = server(lab, started, lab.there), talker(lab, started, lab.here), watch()
    said = client.ask([address, port, first, size, answer, 100])
    ended = last_words(watching, [local for local, _, _ in said])
    assert totals(ended) == sorted(said)
    for one in ended:
        assert (one["destination"]["ip"], one["destination"]["port"]) == (address, port)
        assert (one["network"]["transport"], one["network"]["direction"]) == ("tcp", "egress")
        assert one["outwatch"]["attribution"] == {"unknown": "exited"}
        assert not {"process", "user"} & one.keys(), "the kernel does not say whose a closed socket was"


@pytest.mark.parametrize("first", ["client", "server", "half"])
def test_accepted_connections_between_two_looks_are_ingress_with_the_callers_bytes_first(
    lab: Lab, started: ExitStack, watch: Watchers, first: str
) -> None:
    port, outsider, watching = server(lab, started, lab.here), talker(lab, started, lab.there), watch()
    said = outsider.ask(["192.0.2.1", port, first, 11, 2000, 30])
    ended = last_words(watching, [local for local, _, _ in said])
    assert totals(ended) == sorted(said)
    assert {one["network"]["direction"] for one in ended} == {"ingress"}
    assert {one["source"]["ip"] for one in ended} == {SERVER}
    assert all("verdict" not in one["outwatch"] for one in ended)


def test_a_call_that_closes_one_half_first_is_off_by_no_more_than_the_end_of_the_answer(
    lab: Lab, started: ExitStack, watch: Watchers
) -> None:
    # Nothing that the kernel tells afterwards says whether the other end's FIN was counted here.
    port, client, watching = server(lab, started, lab.there), talker(lab, started, lab.here), watch()
    said = client.ask([SERVER, port, "half", 10, 20, 20])
    ended = {one["source"]["port"]: one for one in last_words(watching, [local for local, _, _ in said])}
    for local, sent, received in said:
        assert ended[local]["source"]["bytes"] == sent
        assert ended[local]["destination"]["bytes"] - received in {0, 1}


@pytest.mark.parametrize("address", [PUBLIC, SERVER_V6])
def test_connected_udp_between_two_looks_is_seen_without_bytes(caller: Callers, watch: Watchers, address: str) -> None:
    client, watching = caller(), watch()
    wanted = set(client.ask([("udp", address, 53)] * 20))
    client.ask("close")
    for one in last_words(watching, wanted):
        assert (one["destination"], one["network"]["transport"]) == ({**one["destination"], "ip": address, "port": 53}, "udp")
        assert "bytes" not in one["source"], "what is not known is not there"
        assert "bytes" not in one["destination"]


def test_a_refused_call_between_two_looks_has_failed(caller: Callers, watch: Watchers) -> None:
    client, watching = caller(), watch()
    local = client.call(SERVER, 9, "silent")  # without waiting: such a socket keeps its far end
    client.ask("close")
    (one,) = last_words(watching, {local}, "failed")
    assert (one["destination"]["ip"], one["destination"]["port"], one["source"]["bytes"]) == (SERVER, 9, 0)


def test_a_refused_call_that_was_waited_for_names_at_least_the_address(caller: Callers, watch: Watchers) -> None:
    client, watching = caller(), watch()
    client.call(SERVER, 9)
    client.ask("close")
    one = json.loads(watching.line(lambda line: json.loads(line)["event"]["action"] == "failed"))
    assert one["destination"]["ip"] == SERVER
    assert "port" not in one["destination"], "the kernel has forgotten it"
    assert one["network"]["direction"] == "egress"


def test_a_call_that_is_given_up_unanswered_has_failed(often: None, caller: Callers, watch: Watchers) -> None:
    client, watching = caller(), watch()
    local = client.call(SILENT, kind="silent")
    opened = json.loads(watching.line(lambda line: local in ports(json.loads(line))))
    client.ask("close")
    (one,) = last_words(watching, {local}, "failed")
    assert opened["event"]["action"] == "connect"
    assert one["id"] == opened["id"]
    assert one["process"]["pid"] == client.pid


_DRIP = """
import os, socket
one = socket.create_connection(("192.0.2.2", int(input())))
one.sendall(b"client 1000000 70000\\n")
print(one.getsockname()[1], flush=True)
while (size := int(input())):
    one.sendall(b"d" * size)
    print("sent", flush=True)
got = 0
while got < 70000:
    got += len(one.recv(65536))
one.close()
print("closed", flush=True)
input()
"""


def test_an_open_connection_tells_its_totals_and_ends_with_the_last_byte(
    often: None, lab: Lab, started: ExitStack, watch: Watchers
) -> None:
    port, watching = server(lab, started, lab.there), watch()
    client = started.enter_context(Caller(lab.inside(lab.here, [sys.executable, "-c", _DRIP])))
    client.tell(str(port))
    local = int(client.line())
    head = len("client 1000000 70000\n")

    def told(action: str, sent: int) -> dict[str, Any]:
        def wanted(line: str) -> bool:
            one = json.loads(line)
            return local in ports(one) and one["event"]["action"] == action and one["source"]["bytes"] == head + sent

        return dict(json.loads(watching.line(wanted)))

    opened = json.loads(watching.line(lambda line: local in ports(json.loads(line))))
    assert (opened["event"]["action"], opened["source"]["bytes"] in {0, head}) == ("connect", True)
    client.tell("400000")
    moved = told("traffic", 400_000)
    client.tell("600000")
    client.tell("0")
    ended = told("close", 1_000_000)
    assert ended["destination"]["bytes"] == 70_000
    assert {one["id"] for one in (opened, moved, ended)} == {opened["id"]}
    assert {one["process"]["pid"] for one in (opened, moved, ended)} == {client.pid}
    assert opened["event"]["start"] == ended["event"]["start"] < ended["event"]["end"]


@pytest.mark.security
def test_an_established_call_from_a_port_that_also_listens_is_still_outbound(lab: Lab, started: ExitStack) -> None:
    # The kernel has counted the SYN: a listener beside it can't hide a call from judgement.
    client = started.enter_context(Caller(lab.inside(lab.here, [sys.executable, "-c", SHARED_PORT, SERVER, "1"])))
    local = int(client.line())
    assert of_port(lab.records("scan", "--all", "--sensor", "sock_diag"), local)["network"]["direction"] == "egress"
    assert of_port(lab.records("scan", "--all", "--sensor", "polling"), local)["network"]["direction"] == "ingress", "as it is known to"


def test_both_sensors_agree_on_what_both_can_see(often: None, lab: Lab, caller: Callers, started: ExitStack) -> None:
    host, guest = caller(), caller()
    waiting = host.ask("listen")
    guest.ask([("tcp", SERVER, 443), ("tcp", SERVER_V6, 443), ("udp", PUBLIC, 53), ("udp", SERVER_V6, 53), ("silent", SILENT, 80)])
    guest.ask([("tcp", "192.0.2.1", waiting), ("tcp", "127.0.0.1", waiting)])
    seen = []
    for sensor in ("polling", "sock_diag"):
        records = lab.records("scan", "--all", "--sensor", sensor)[:-1]
        seen.append(sorted(json.dumps(_facts(one), sort_keys=True) for one in records))
    assert len(seen[0]) == 9
    assert seen[0] == seen[1]


def _facts(one: dict[str, Any]) -> dict[str, Any]:
    ends = {end: {key: value for key, value in one[end].items() if key != "bytes"} for end in ("source", "destination")}
    return {**ends, "network": one["network"], "pid": one.get("process", {}).get("pid"), "user": one.get("user"), "event": one["event"]}


@pytest.mark.security
def test_what_the_kernel_could_not_tell_is_counted_to_the_last_socket(
    caller: Callers, watch: Watchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTWATCH_SENSORS__SOCK_DIAG__BUFFER_MIB", "1")
    client, watching = caller(), watch()
    os.kill(watching.pid, signal.SIGSTOP)  # a stalled reader; the test's end kills it in any case
    for _ in range(12):
        client.ask([("udp", PUBLIC, 53)] * 500)
        client.ask("close")
    watching.until(lambda: dropped(watching), "loss: the kernel keeps whatever it is given")  # it tells in its own time
    os.kill(watching.pid, signal.SIGCONT)
    accounted = [0]

    def all_accounted(line: str) -> bool:
        one = json.loads(line)
        accounted[0] += one["count"] if one["kind"] == "loss" else one["network"]["transport"] == "udp"
        return accounted[0] >= 6000

    watching.line(all_accounted)
    assert watching.end(signal.SIGINT) == 0
    lost = sum(one["count"] for one in records_of(watching) if one["kind"] == "loss")
    seen = {one["id"] for one in records_of(watching) if one.get("network", {}).get("transport") == "udp"}
    assert lost > 0
    assert len(seen) + lost == 6000
    assert records_of(watching)[-1]["lost"] == {"netlink": lost}


def dropped(watching: Child) -> int:
    """Give what the kernel itself counts as dropped for the socket that listens to all four groups."""
    rows = [line.split() for line in Path(f"/proc/{watching.pid}/net/netlink").read_text().splitlines()[1:]]
    return sum(int(row[8]) for row in rows if (row[1], int(row[3], 16)) == ("4", 0b1111))


def test_without_rights_a_scan_still_works_and_says_what_it_misses(lab: Lab, caller: Callers, unprivileged: Any) -> None:
    with unprivileged.caller(lab) as mine:
        foreign, own = caller().call(SERVER), mine.call(SERVER)
        records = unprivileged.records(lab, "scan", "--sensor", "sock_diag")
    assert of_port(records, own)["process"]["pid"] == mine.pid
    hidden = of_port(records, foreign)
    assert hidden["outwatch"]["attribution"] == {"unknown": "no_rights"}
    assert hidden["user"] == {"id": "0"}, "whose socket it is, the kernel says to everybody"
    assert any("root" in what for what in records[-1]["blind"])


_JOINS = "import socket; one = socket.socket(16, 3, 4); one.bind((0, 0)); one.setsockopt(270, 1, 1)"


def test_without_rights_short_connections_are_seen_too(lab: Lab, caller: Callers, started: ExitStack, unprivileged: Any) -> None:
    joining = lab.inside(lab.here, [unprivileged.python, "-c", _JOINS], NOBODY)
    if subprocess.run(joining, check=False, capture_output=True).returncode:
        pytest.skip("this kernel tells of closed sockets only with CAP_NET_ADMIN")
    port, client, local = server(lab, started, lab.there), talker(lab, started, lab.here), caller().call(SERVER)
    argv = lab.inside(lab.here, [unprivileged.python, "-m", "outwatch", "watch", "--jsonl", "--sensor", "sock_diag"], NOBODY)
    watching = started.enter_context(Child(argv, env={**unprivileged.env, INTERVAL: "3600"}))
    watching.line(lambda line: local in ports(json.loads(line)))
    said = client.ask([SERVER, port, "client", 10, 20, 10])
    ended = last_words(watching, [local for local, _, _ in said])
    assert totals(ended) == sorted(said)


_DEAF = """  # outwatch on a kernel that does not tell which sockets close
from outwatch.sensors.sock_diag import netlink
netlink._hear = lambda _buffer: None
from outwatch.cli import main
main()
"""


def test_where_the_kernel_does_not_tell_ends_looks_find_them(often: None, lab: Lab, caller: Callers, started: ExitStack) -> None:
    port, short, client = server(lab, started, lab.there), talker(lab, started, lab.here), caller()
    first = client.call(SERVER)
    argv = [sys.executable, "-c", _DEAF, "watch", "--jsonl", "--sensor", "sock_diag"]
    watching = started.enter_context(Child(lab.inside(lab.here, argv)))
    watching.line(lambda line: first in ports(json.loads(line)))
    local = client.call(PUBLIC)
    opened = json.loads(watching.line(lambda line: local in ports(json.loads(line))))
    said = short.ask([SERVER, port, "client", 10, 20, 10])
    remembered = last_words(watching, [number for number, _, _ in said])  # the kernel holds their ends for a minute
    client.ask("close")
    (ended,) = (one for one in last_words(watching, {first, local}) if one["source"]["port"] == local)
    assert (ended["id"], ended["process"]["pid"]) == (opened["id"], client.pid)
    assert all(one["outwatch"]["attribution"] == {"unknown": "exited"} or "process" in one for one in remembered)
    assert watching.end(signal.SIGINT) == 0
    told = [one["id"] for one in records_of(watching) if one.get("event", {}).get("action") == "close"]
    assert len(set(told)) == len(told) == 12
    assert any("CAP_NET_ADMIN" in what for what in records_of(watching)[-1]["blind"])
