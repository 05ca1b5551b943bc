"""SCTP with a socket for each caller: the bytes are counted at both ends, from the first packet on."""

import json
import socket
from contextlib import ExitStack

import pytest

from integration.lab import SERVER, SERVER_V6, Lab

from .sides import ours
from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
PORT, SAID, ANSWERED = 8901, 5000, 70

_SERVE = """
import json, os, socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as door:
    door.bind(("::", int(sys.argv[1])))
    door.listen()
    door.settimeout(30)
    print("ready", flush=True)
    if os.fork():
        os.wait()
    else:
        callers = [door.accept()[0] for _ in range(int(sys.argv[2]))]
        for one in callers:
            got = 0
            while got < int(sys.argv[3]):
                got += len(one.recv(65536))
            one.sendall(b"a" * int(sys.argv[4]))
        print(json.dumps(os.getpid()), flush=True)
        sys.stdin.readline()
        for one in callers:
            one.recv(1)
"""
_CALL = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) as one:
    one.connect((sys.argv[1], int(sys.argv[2])))
    one.sendall(b"s" * int(sys.argv[3]))
    got = 0
    while got < int(sys.argv[4]):
        got += len(one.recv(65536))
    print(json.dumps(one.getsockname()[1]), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _speaks_sctp() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        pytest.skip(f"this kernel has no SCTP: {error.strerror}")


def test_both_ends_tell_the_same_bytes_and_the_server_s_end_belongs_to_who_accepts(lab: Lab, watch: Watch) -> None:
    places = (SERVER, SERVER_V6, SERVER)
    with ExitStack() as started:
        server = started.enter_context(script(lab, _SERVE, PORT, len(places), SAID, ANSWERED, namespace=lab.there))
        server.line()
        callers = [started.enter_context(script(lab, _CALL, place, PORT, SAID, ANSWERED)) for place in places]
        ports = {json.loads(caller.line()): (place, caller.pid) for place, caller in zip(places, callers, strict=True)}
        acceptor = json.loads(server.line())

        def ends(records: list[Record], direction: str) -> dict[int, Record]:
            some = [one for one in ours(lab, records) if one["network"]["transport"] == "sctp"]
            return {one["source"]["port"]: one for one in some if one["network"]["direction"] == direction}

        def carried(one: Record) -> list[int]:
            return [one["source"].get("bytes") or 0, one["destination"].get("bytes") or 0]

        def agree(records: list[Record]) -> list[dict[int, Record]]:
            out, accepted = ends(records, "egress"), ends(records, "ingress")
            same = out.keys() == accepted.keys() == ports.keys() and all(carried(out[port]) == carried(accepted[port]) for port in ports)
            return [out, accepted] if same and all(carried(one)[0] > SAID and carried(one)[1] > ANSWERED for one in out.values()) else []

        out, accepted = watch.wait(agree)
        assert {port: (one["destination"]["ip"], one["process"]["pid"]) for port, one in out.items()} == ports
        assert {port: (one["destination"]["ip"], one["process"]["pid"]) for port, one in accepted.items()} == {
            port: (place, acceptor) for port, (place, _pid) in ports.items()
        }
        for child in (*callers, server):
            child.tell("")
            child.end()

        def over(records: list[Record]) -> bool:
            both = [*ends(records, "egress").values(), *ends(records, "ingress").values()]
            return [one["event"]["action"] for one in both] == ["close"] * 6

        watch.wait(over)
    told = [one for one in ours(lab, list(watch.latest.values())) if one["network"]["transport"] == "sctp"]
    assert len(told) == 2 * len(places)
