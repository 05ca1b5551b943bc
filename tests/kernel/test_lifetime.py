"""What is there when a watch begins, and what it leaves behind."""

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, SERVER_V6, Lab, outwatch_command

from .watch import Record, Watch, script, settings

pytestmark = [pytest.mark.integration, pytest.mark.root]
MANY = 600  # more than fit into one piece of what the kernel gives (32 KiB)

_HELD = """
import json, socket, sys
held = [socket.create_connection((sys.argv[1], 443)) for _ in range(int(sys.argv[3]))]
held.append(socket.create_connection((sys.argv[2], 8443)))
held[-1].sendall(b"0 1000 1\\n")
got = 0
while got < 1000:
    got += len(held[-1].recv(4096))
assert not held[-1].recv(1)  # the server has hung up
pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
pair[0].connect((sys.argv[1], 9001))
pair[1].bind(("192.0.2.1", 0))
listener = socket.create_server(("192.0.2.1", 8222))
print(json.dumps([one.getsockname()[1] for one in held + pair]), flush=True)
sys.stdin.readline()
pair[0].send(b"u" * 100)
pair[1].sendto(b"v" * 50, (sys.argv[1], 9002))
for one in pair:
    one.recv(4096)
one = listener.accept()[0]
one.recv(4096)
one.close()
for one in pair:
    one.close()
print(json.dumps(0), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def held(lab: Lab, server: Child) -> Iterator[tuple[Child, list[int]]]:
    """Hold many connections over IPv4, the last one over IPv6, then two sockets for datagrams: connected, and not."""
    with script(lab, _HELD, SERVER, SERVER_V6, MANY) as child:
        yield child, json.loads(child.line())


def scan(folder: Path, sensor: str) -> list[Record]:
    argv = outwatch_command("scan", "--jsonl", "--all", "--no-dns", "--sensor", sensor)
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LONG, env=settings(folder), cwd="/")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if '"192.0.2.' in line or '"2001:db8:' in line]


def test_a_scan_tells_every_connection_that_is_there_whose_it_is_and_what_it_has_carried(
    tmp_path: Path, held: tuple[Child, list[int]]
) -> None:
    child, ports = held
    records = [one for one in scan(tmp_path, "ebpf") if one.get("process", {}).get("pid") == child.pid]
    tcp = [one for one in records if one["network"]["transport"] == "tcp"]
    assert sorted(one["source"]["port"] for one in tcp) == sorted(ports[: MANY + 1])  # one over IPv6 may have the port of another
    assert len(records) == MANY + 2  # and the connected socket for datagrams
    assert {one["event"]["action"] for one in records} == {"existing"}
    assert {one["network"]["direction"] for one in records} == {"egress"}
    assert {one["process"]["executable"] for one in records} == {os.path.realpath(f"/proc/{child.pid}/exe")}
    (last,) = [one for one in tcp if one["destination"]["ip"] == SERVER_V6]
    assert (last["source"]["port"], last["source"]["bytes"], last["destination"]["bytes"]) == (ports[MANY], 9, 1000)
    assert "start" not in last["event"]
    (datagrams,) = [one for one in records if one["network"]["transport"] == "udp"]
    assert (datagrams["destination"]["ip"], datagrams["destination"]["port"]) == (SERVER, 9001)
    assert "bytes" not in datagrams["source"]  # nobody counted before


def test_a_process_has_the_same_identity_whoever_looks(lab: Lab, tmp_path: Path) -> None:
    with lab.caller() as caller:
        port = caller.call(SERVER)
        argv = lab.inside(lab.here, outwatch_command("scan", "--jsonl", "--all", "--no-dns", "--sensor", "polling"))
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LONG, env=settings(tmp_path), cwd="/")
        records = [json.loads(line) for line in done.stdout.split("\n") if f'"port":{port}' in line] + [
            one for one in scan(tmp_path, "ebpf") if one["source"].get("port") == port and one.get("process", {}).get("pid") == caller.pid
        ]
        first, second = (one["process"] for one in records)
    while first and second:
        assert (first["pid"], first["entity_id"]) == (second["pid"], second["entity_id"])
        first, second = first.get("parent"), second.get("parent")
    assert first == second


def test_sockets_that_were_there_go_on_as_one_connection_each(
    lab: Lab, watch: Watch, tmp_path: Path, held: tuple[Child, list[int]]
) -> None:
    child, ports = held
    with Watch(lab, tmp_path / "watch") as fresh:
        child.tell("go")
        with script(
            lab, "import socket, sys; socket.create_connection(('192.0.2.1', 8222)).send(b'x'); input()", namespace=lab.there
        ) as caller:
            child.line()
            caller.tell("end")
        seen = fresh.of(child.pid, 2, transport="udp")
        assert {one["source"]["port"]: (one["source"]["bytes"], one["destination"]["bytes"]) for one in seen} == {
            ports[-2]: (100, 51),
            ports[-1]: (50, 26),
        }
        (accepted,) = fresh.of(child.pid, direction="ingress")
        assert "start" in accepted["event"]
        (later,) = [one for one in fresh.history if one["id"] in {other["id"] for other in seen if other["source"]["port"] == ports[-1]}][
            :1
        ]
        assert later["event"]["action"] != "existing"
        assert later["event"]["start"] > max(one["@timestamp"] for one in fresh.history if one["event"]["action"] == "existing")


def loaded(pid: int) -> set[tuple[str, int]]:
    """Give the ids of what a process holds in the kernel: programs, maps and links."""
    found = set()
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            text = entry.read_text("ascii", "replace")
            found |= {(kind, int(number)) for kind, number in re.findall(r"^(prog|map|link)_id:\t(\d+)$", text, re.MULTILINE)}
    return found


def is_loaded(kind: str, number: int) -> bool:
    libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    descriptor = getattr(libbpf, f"bpf_{kind}_get_fd_by_id")(ctypes.c_uint32(number))
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_in_the_kernel_when_a_watch_has_ended(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    with Watch(lab, tmp_path / "watch") as watch:
        there = loaded(watch.process.pid)
        assert {kind for kind, _ in there} == {"prog", "map", "link"}
        assert all(is_loaded(*one) for one in there)
        watch.process.send_signal(number)
        watch.process.wait(timeout=LONG)
    limit = time.monotonic() + LONG
    while left := [one for one in there if is_loaded(*one)]:  # the kernel frees them a moment later
        assert time.monotonic() < limit, left
        time.sleep(0.01)
