"""Sockets that more than one process uses: who opened the connection stays its process, whoever used it too is named beside it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from integration.lab import SERVER, SERVER_V6, Lab

from .sides import ours
from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
PORT = 8900

_OPEN = """
import json, os, socket, sys
address, kind = sys.argv[1], getattr(socket, sys.argv[2])
one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
one.connect((address, 8443 if kind == socket.SOCK_STREAM else 9001))
said = b"4000 600 0\\n" if kind == socket.SOCK_STREAM else b"first"
sent, got = one.send(said), 0
if kind == socket.SOCK_DGRAM:
    got += len(one.recv(100))
"""
"""Opens a connection and says something on it; what follows hands it over."""

_REST = """
def go_on(one, times):
    sent = got = 0
    for number in range(times):
        sent += one.send(b"s" * 1000)
        if kind == socket.SOCK_DGRAM:
            got += len(one.recv(4096))
    if kind == socket.SOCK_STREAM:
        while got < 600:
            got += len(one.recv(4096))
    return sent, got
"""
_INHERIT = (
    _OPEN
    + _REST
    + """
out, into = os.pipe()
child = os.fork()
if not child:
    os.write(into, json.dumps(go_on(one, 4)).encode())
    os._exit(0)
os.waitpid(child, 0)
more = json.loads(os.read(out, 100))
one.close()
print(json.dumps([child, sent + more[0], got + more[1]]))
"""
)
_PASS = (
    _OPEN
    + _REST
    + """
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
other = '''
import array, json, os, socket, sys
kind = int(sys.argv[1])
_, parts, _, _ = socket.socket(fileno=0).recvmsg(1, 100)
one = socket.socket(fileno=array.array("i", parts[0][2])[0])
''' + sys.argv[3] + '''
print(json.dumps(go_on(one, 4)))
'''
out, into = os.pipe()
argv = [sys.executable, "-S", "-c", other, str(int(kind)), "another"]
child = os.fork()
if not child:
    os.dup2(there.fileno(), 0)
    os.dup2(into, 1)
    one.close()
    os.execv(sys.argv[4], argv)
socket.send_fds(here, [b"x"], [one.fileno()])
one.close()  # from now on the socket is the other's alone
os.waitpid(child, 0)
more = json.loads(os.read(out, 100))
print(json.dumps([child, sent + more[0], got + more[1]]))
"""
)


def others(one: Record) -> list[dict[str, Any]]:
    return list(one["outwatch"].get("shared_with", []))


def carried(one: Record) -> list[int]:
    return [one["source"]["bytes"], one["destination"]["bytes"]]


@pytest.mark.parametrize(
    ("address", "kind"),
    [(SERVER, "SOCK_STREAM"), (SERVER_V6, "SOCK_STREAM"), (SERVER, "SOCK_DGRAM"), (SERVER_V6, "SOCK_DGRAM")],
    ids=["tcp", "tcp over IPv6", "udp", "udp over IPv6"],
)
def test_a_child_that_goes_on_with_an_inherited_socket_is_named_beside_its_parent(lab: Lab, watch: Watch, address: str, kind: str) -> None:
    parent, (child, sent, got) = done(lab, _INHERIT, address, kind)
    (seen,) = watch.of(parent)
    assert carried(seen) == [sent, got]
    (other,) = others(seen)
    assert other["pid"] == child
    assert other["executable"] == seen["process"]["executable"]
    assert other["start"] >= seen["process"]["start"]
    assert other["entity_id"] != seen["process"]["entity_id"]


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"], ids=["tcp", "udp"])
def test_a_process_that_was_passed_a_socket_is_named_with_its_own_program(lab: Lab, watch: Watch, kind: str) -> None:
    python = os.path.realpath("/usr/bin/python3")
    if not os.access(python, os.X_OK):
        pytest.skip("there is no /usr/bin/python3")
    opener, (child, sent, got) = done(lab, _PASS, SERVER, kind, "import socket\n" + _REST, python)
    (seen,) = watch.of(opener)
    assert carried(seen) == [sent, got]
    (other,) = others(seen)
    assert (other["pid"], other["executable"], other["name"]) == (child, python, Path(python).name)
    assert other["args"][-1] == "another"
    assert other["start"]


_THREADS = (
    _OPEN
    + _REST
    + """
import threading
told = []
one_more = threading.Thread(target=lambda: told.append(go_on(one, 4)))
one_more.start()
one_more.join()
one.close()
print(json.dumps([sent + told[0][0], got + told[0][1]]))
"""
)
_EXEC = (
    _OPEN
    + """
os.set_inheritable(one.fileno(), True)
code = "import json, os, socket, sys; one = socket.socket(fileno=int(sys.argv[1])); one.send(b'e' * 50); print(json.dumps(50))"
os.execv(sys.executable, [sys.executable, "-S", "-c", code, str(one.fileno())])
"""
)
_HOLD = (
    _OPEN
    + """
out, into = os.pipe()
child = os.fork()
if not child:
    os.read(out, 1)
    os._exit(0)
one.send(b"h" * 50)
one.close()
os.write(into, b"x")
os.waitpid(child, 0)
print(json.dumps(0))
"""
)


@pytest.mark.parametrize("code", [_THREADS, _EXEC, _HOLD], ids=["a thread", "the same process after exec", "a child that only holds it"])
def test_who_does_not_use_it_as_another_process_is_not_named(lab: Lab, watch: Watch, code: str) -> None:
    pid, _ = done(lab, code, SERVER, "SOCK_STREAM")
    (seen,) = watch.of(pid)
    assert others(seen) == []


_WORKERS = """
import json, os, socket, sys
door = socket.create_server(("192.0.2.1", int(sys.argv[1])), backlog=50)
workers = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        while True:
            one, who = door.accept()
            with one:
                if one.recv(10) == b"end":
                    os._exit(0)
                one.sendall(b"w" * 40)
                os.write(1, (json.dumps([os.getpid(), who[1]]) + "\\n").encode())  # whole: the workers share this pipe
                one.recv(10)
    workers.append(child)
print("ready", flush=True)
for child in workers:
    os.waitpid(child, 0)
"""
_VISIT = """
import json, socket, sys
for _ in range(int(sys.argv[2])):
    with socket.create_connection(("192.0.2.1", int(sys.argv[1]))) as one:
        one.sendall(b"visit")
        one.recv(100)
for _ in range(int(sys.argv[3])):
    with socket.create_connection(("192.0.2.1", int(sys.argv[1]))) as one:
        one.sendall(b"end")
        one.recv(100)
print(json.dumps(0), flush=True)
"""


def test_of_workers_that_share_a_listener_the_one_that_answered_is_named(lab: Lab, watch: Watch) -> None:
    visits, workers = 12, 3
    with script(lab, _WORKERS, PORT, workers) as listener:
        assert listener.line() == "ready"
        with script(lab, _VISIT, PORT, visits, workers, namespace=lab.there) as visitor:
            visitor.line()
        answered = dict(reversed(json.loads(listener.line())) for _ in range(visits))
        assert listener.end() == 0, listener.errors

    def accepted(records: list[Record]) -> list[Record]:
        some = [one for one in ours(lab, records) if one["destination"].get("port") == PORT and one["network"]["direction"] == "ingress"]
        ended = [one for one in some if one["event"]["action"] == "close" and one["source"]["port"] in answered]
        return ended if len(ended) >= visits else []

    seen = watch.wait(accepted)
    users = {one["source"]["port"]: {one["process"]["pid"], *(other["pid"] for other in others(one))} for one in seen}
    assert users == {port: {listener.pid, worker} for port, worker in answered.items()}
    assert {tuple(carried(one)) for one in seen} == {(5, 40)}


_MADE = """
import json, os, socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
child = os.fork()
if not child:
    one.sendto(b"d" * 100, (sys.argv[1], 9002))
    one.recv(100)
    os._exit(0)
os.waitpid(child, 0)
one.close()
print(json.dumps(child))
"""


def test_of_a_socket_that_another_process_was_the_first_to_use_both_are_named(lab: Lab, watch: Watch) -> None:
    maker, user = done(lab, _MADE, SERVER)

    def over(records: list[Record]) -> list[Record]:
        some = [one for one in records if {one.get("process", {}).get("pid"), *(other["pid"] for other in others(one))} == {maker, user}]
        return [one for one in some if one["event"]["action"] == "close"]

    (seen,) = watch.wait(over)
    assert (carried(seen), seen["destination"]["port"]) == ([100, 51], 9002)


_MANY = """
import json, os, socket, sys
one = socket.create_connection((sys.argv[1], 8443))
one.sendall(b"100000 0 0\\n")
children = []
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        for _ in range(3):
            one.send(b"m" * 10)
        os._exit(0)
    os.waitpid(child, 0)
    children.append(child)
one.close()
print(json.dumps(children))
"""


@pytest.mark.parametrize("count", [1, 4, 9])
def test_of_many_users_each_is_named_once_and_the_first_ones_are(lab: Lab, watch: Watch, count: int) -> None:
    pid, children = done(lab, _MANY, SERVER, count)
    (seen,) = watch.of(pid)
    named = [one["pid"] for one in others(seen)]
    assert named == children[: len(named)]
    assert len(named) >= min(count, 4)
    assert seen["source"]["bytes"] == len("100000 0 0\n") + count * 30
