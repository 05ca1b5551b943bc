"""Connections that are half over, older than the watch, longer than it, or at the place of one that has just gone."""

import json
from collections import Counter
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import PUBLIC, SERVER, SERVER_V6, Lab

from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]


def carried(record: Record) -> list[int]:
    return [record["source"]["bytes"], record["destination"]["bytes"]]


_LISTEN = """
import json, socket, sys
with socket.create_server((sys.argv[1], 8750), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as door:
    print("ready", flush=True)
    with door.accept()[0] as one:
        while one.recv(65536):
            pass
        sys.stdin.readline()
        one.sendall(b"a" * 70000)
sys.stdin.readline()
"""
_HALF = """
import json, socket, sys
with socket.create_connection((sys.argv[1], 8750)) as one:
    sent = one.send(b"h" * 1000)
    one.shutdown(socket.SHUT_WR)
    print("half", flush=True)
    got = 0
    while piece := one.recv(65536):
        got += len(piece)
print(json.dumps([sent, got]), flush=True)
"""


@pytest.mark.parametrize("address", [SERVER, SERVER_V6])
def test_a_half_closed_connection_goes_on_until_both_ends_are_done(lab: Lab, watch: Watch, address: str) -> None:
    with script(lab, _LISTEN, address, namespace=lab.there) as server:
        assert server.line() == "ready"
        with script(lab, _HALF, address) as child:
            assert child.line() == "half"
            for one in (child, server):
                (open_still,) = watch.of(one.pid, over=False)
                assert "end" not in open_still["event"]
            server.tell("answer")
            told = json.loads(child.line())
            assert child.end() == 0, child.errors
        for one in (child, server):
            (seen,) = watch.of(one.pid)
            assert (carried(seen), seen["event"]["action"]) == (told, "close")


_LONG = """
import json, socket, sys
with socket.create_connection((sys.argv[1], 8443)) as one:
    one.sendall(b"5000000 0 0\\n")
    sent = len(b"5000000 0 0\\n")
    for line in sys.stdin:
        one.sendall(b"l" * int(line))
        sent += int(line)
        print(json.dumps(sent), flush=True)
"""


def test_of_a_connection_older_than_the_watch_all_bytes_of_its_life_are_told(lab: Lab, server: Child, tmp_path: Path) -> None:
    with script(lab, _LONG, PUBLIC) as child:
        child.tell("123456")
        child.line()
        with Watch(lab, tmp_path / "watch") as watch:
            (first,) = watch.of(child.pid, over=False)
            assert (first["event"]["action"], first["source"]["bytes"]) == ("existing", 123456 + 12)
            for more in (1, 3_000_000):
                child.tell(str(more))
                sent = json.loads(child.line())

                def is_told(records: list[Record], sent: int = sent) -> list[Record]:
                    return [one for one in records if one["id"] == first["id"] and one["source"]["bytes"] == sent]

                (later,) = watch.wait(is_told)
                assert later["event"]["action"] == "traffic"
            assert child.end() == 0, child.errors
            (last,) = watch.of(child.pid)
    assert (last["id"], last["event"]["action"], carried(last)) == (first["id"], "close", [sent, 0])
    growing = [one["source"]["bytes"] for one in watch.history if one["id"] == first["id"]]
    assert growing == sorted(growing)
    revisions = [one["revision"] for one in watch.history if one["id"] == first["id"]]
    assert revisions == sorted(set(revisions))


def test_of_a_connection_longer_than_the_watch_the_last_word_has_all_bytes(lab: Lab, server: Child, tmp_path: Path) -> None:
    with script(lab, _LONG, PUBLIC) as child, Watch(lab, tmp_path / "watch") as watch:
        (first,) = watch.of(child.pid, over=False)
        child.tell("777777")
        sent = json.loads(child.line())
        watch.end()
        (last,) = [one for one in watch.latest.values() if one["id"] == first["id"]]
        assert last["event"]["action"] != "close"
        assert carried(last) == [sent, 0]


_AGAIN = """
import json, socket, struct, sys
told = []
for number in range(int(sys.argv[2])):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: the place is free at once
        one.bind(("192.0.2.1", 23333))  # none that the system gives to others
        one.connect((sys.argv[1], 8443))
        said = b"%d %d 0\\n" % (number, number * 3) + b"r" * number
        one.sendall(said)
        got = 0
        while got < number * 3:
            got += len(one.recv(65536))
        told.append([len(said), got])
print(json.dumps(told))
"""


def test_connections_with_the_same_ends_one_after_the_other_are_as_many_records_with_their_own_bytes(lab: Lab, watch: Watch) -> None:
    times = 300
    pid, told = done(lab, _AGAIN, SERVER, times)
    seen = watch.of(pid, times)
    assert {(one["source"]["port"], one["destination"]["port"]) for one in seen} == {(23333, 8443)}
    assert [carried(one) for one in seen] == told  # in the order of their start
    assert Counter(one["event"]["action"] for one in seen) == {"close": times}


_ONE_SOCKET = """
import json, socket, struct, sys
told = []
one = socket.socket()
for port in (8443, 1, 8443):
    try:
        one.connect((sys.argv[1], port))
        said = one.send(b"%d 0 0\\n" % port)
    except OSError:
        said = 0
    told.append([port, said])
    libc = __import__("ctypes").CDLL(None)
    nowhere = struct.pack("=H14x", 0)
    assert libc.connect(one.fileno(), nowhere, len(nowhere)) == 0  # AF_UNSPEC: hang up, and keep the socket
one.close()
print(json.dumps(told))
"""


def test_a_socket_that_is_used_for_one_connection_after_the_other_tells_each(lab: Lab, watch: Watch) -> None:
    pid, told = done(lab, _ONE_SOCKET, SERVER)
    seen = watch.of(pid, 3)
    assert [[one["destination"]["port"], one["source"]["bytes"]] for one in seen] == told
    assert [one["event"]["action"] for one in seen] == ["close", "failed", "close"]
    assert len({one["id"] for one in seen}) == 3
