"""Several processes listen to one port: what is accepted belongs to the one whose listener was called."""

import json

import pytest

from integration.lab import SERVER, SERVER_V6, Lab

from .sides import ours
from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
PORT, CALLS = 8900, 40

_SERVE = """
import json, select, socket, sys
with socket.socket(socket.AF_INET6) as door:
    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    door.bind(("::", int(sys.argv[1])))
    door.listen()
    print("ready", flush=True)
    callers = []
    while door in select.select([door, sys.stdin], [], [])[0]:
        one, who = door.accept()
        one.close()
        callers.append(who[1])
    print(json.dumps(callers), flush=True)
"""
_CALL = """
import json, socket, sys
for number in range(int(sys.argv[4])):
    with socket.create_connection((sys.argv[1 + number % 2], int(sys.argv[3]))) as one:
        one.recv(1)
print(json.dumps(True))
"""


def test_what_is_accepted_belongs_to_the_process_whose_listener_was_called(lab: Lab, watch: Watch) -> None:
    first, second = (script(lab, _SERVE, PORT, namespace=lab.there) for _ in range(2))
    with first, second:
        assert (first.line(), second.line()) == ("ready", "ready")
        done(lab, _CALL, SERVER, SERVER_V6, PORT, CALLS)

        def accepted(records: list[Record]) -> list[Record]:
            ends = [one for one in ours(lab, records) if one["network"]["direction"] == "ingress"]
            called = [one for one in ends if one["destination"].get("port") == PORT]
            return called if len(called) == CALLS else []

        told = {(one["source"]["port"], one["process"]["pid"]) for one in watch.wait(accepted)}
        answered = set()
        for server in (first, second):
            server.tell("")
            answered |= {(port, server.pid) for port in json.loads(server.line())}
    assert told == answered
    assert {pid for _port, pid in told} == {first.pid, second.pid}
