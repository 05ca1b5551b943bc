"""How connections end, and who opened them."""

import json

import pytest

from integration.lab import SERVER, SERVER_V6, SILENT, Lab

from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

_TRY = """
import json, socket, sys
address, port, waits = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as one:
    one.setblocking(bool(waits))
    one.connect_ex((address, port))
    print(json.dumps(one.getsockname()[1]))
"""
_ACCEPT = """
import json, socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
one, who = listener.accept()
got = len(one.recv(4096))
one.sendall(b"a" * 33)
one.recv(1)
print(json.dumps([who[1], got]), flush=True)
"""
_CALL = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as one:
    one.sendall(b"c" * 21)
    one.recv(4096)
print("1")
"""
_SELF = """
import json, socket
with socket.socket() as one:
    one.bind(("192.0.2.1", 7777))
    one.connect(("192.0.2.1", 7777))
    one.send(b"q" * 10)
    one.recv(10)
print("1")
"""
_HELD = """
import json, socket, sys
one = socket.socket()
one.setblocking(False)
one.connect_ex((sys.argv[1], 443))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("address", "port", "waits"), [(SERVER, 1, 1), (SERVER_V6, 1, 1), (SILENT, 443, 0)], ids=["refused", "refused over IPv6", "unanswered"]
)
def test_an_attempt_that_nobody_took_has_failed(lab: Lab, watch: Watch, address: str, port: int, waits: int) -> None:
    pid, own = done(lab, _TRY, address, port, waits)
    (seen,) = watch.of(pid)
    assert (seen["event"]["action"], seen["network"]["direction"]) == ("failed", "egress")
    assert (seen["destination"]["ip"], seen["destination"]["port"]) == (address, port)
    assert seen["event"]["start"] <= seen["event"]["end"]
    assert seen["outwatch"]["verdict"]
    assert seen["source"].get("bytes", 0) == 0
    assert seen["source"]["port"] == own


def test_an_attempt_is_told_while_it_waits_for_an_answer_and_is_one_connection(lab: Lab, watch: Watch) -> None:
    with script(lab, _HELD, SILENT) as child:
        child.line()
        (waiting,) = watch.of(child.pid, over=False)
        assert waiting["event"]["action"] == "connect"
        assert waiting["destination"] == {"ip": SILENT, "port": 443, **waiting["destination"]}
        child.end()
        (seen,) = watch.of(child.pid)
        assert (seen["id"], seen["event"]["action"], seen["event"]["start"]) == (waiting["id"], "failed", waiting["event"]["start"])


def test_what_is_accepted_is_ingress_not_judged_and_the_listeners(lab: Lab, watch: Watch) -> None:
    with script(lab, _ACCEPT, 8111) as listener:
        assert listener.line() == "ready"
        with script(lab, _CALL, "192.0.2.1", 8111, namespace=lab.there) as caller:
            caller.line()
        port, _got = json.loads(listener.line())
        (seen,) = watch.of(listener.pid)
    assert (seen["network"]["direction"], seen["event"]["action"]) == ("ingress", "close")
    assert (seen["source"], seen["destination"]["port"], seen["destination"]["bytes"]) == (
        {"ip": SERVER, "port": port, "bytes": 21},
        8111,
        33,
    )
    assert "verdict" not in seen["outwatch"]


def test_a_connection_to_oneself_is_one_that_was_opened_from_here(lab: Lab, watch: Watch) -> None:
    pid, _ = done(lab, _SELF)
    (seen,) = watch.of(pid)
    assert (seen["network"]["direction"], seen["source"]["bytes"]) == ("egress", 10)
    assert "verdict" in seen["outwatch"]

    def left_open(records: list[Record]) -> list[Record]:
        return [one for one in records if one.get("process", {}).get("pid") == pid]

    assert watch.wait(left_open) == [seen]
