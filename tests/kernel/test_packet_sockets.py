"""Frames that are sent past IP (AF_PACKET): by which process, and how many bytes, frame by frame."""

import json
from pathlib import Path

import pytest

from integration.lab import SERVER, Lab

from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
KIND = 0x88B5  # the EtherType for experiments (IEEE 802)
SIZES = (46, 100, 1400, 1500)

_SEND = """
import json, socket, sys
kind, bypass, ether = getattr(socket, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_PACKET, kind, 0) as one:
    if bypass:
        one.setsockopt(263, 20, 1)  # SOL_PACKET, PACKET_QDISC_BYPASS
    told = 0
    for size in map(int, sys.argv[4:]):
        if kind == socket.SOCK_RAW:
            told += one.sendto(b"\\xff" * 6 + bytes(6) + ether.to_bytes(2) + b"r" * size, ("cable", 0))
        else:
            told += one.sendto(b"d" * size, ("cable", ether, 0, 0, b"\\xff" * 6))
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
"""
_LISTEN = """
import json, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(int(sys.argv[1]))) as one:
    one.bind(("cable", int(sys.argv[1])))
    print("ready", flush=True)
    print(json.dumps(sum(len(one.recv(65536)) for _ in range(int(sys.argv[2])))), flush=True)
    sys.stdin.readline()
"""


def told(watch: Watch, pid: int, end: str) -> Record:
    """Wait until it is told how many bytes a process has sent (``source``) or received (``destination``)."""

    def counted(records: list[Record]) -> list[Record]:
        some = [one for one in records if one["network"]["transport"] == "packet" and one.get("process", {}).get("pid") == pid]
        return some if any("bytes" in one[end] for one in some) else []

    (seen,) = watch.wait(counted)
    return seen


@pytest.mark.parametrize("bypass", [0, 1], ids=["through the queue", "past the queue"])
@pytest.mark.parametrize("kind", ["SOCK_RAW", "SOCK_DGRAM"])
def test_sent_frames_are_told_with_their_process_and_every_byte(lab: Lab, watch: Watch, kind: str, bypass: int) -> None:
    with script(lab, _LISTEN, KIND, len(SIZES), namespace=lab.there) as listener:
        assert listener.line() == "ready"
        with script(lab, _SEND, kind, bypass, KIND, *SIZES) as sender:
            sent = json.loads(sender.line())
            arrived = json.loads(listener.line())
            assert sender.end() == 0, sender.errors
        assert listener.end() == 0, listener.errors
    assert arrived == sum(SIZES) + 14 * len(SIZES)  # the frames did leave
    seen, other = told(watch, sender.pid, "source"), told(watch, listener.pid, "destination")
    assert [seen["source"]["bytes"], seen["destination"]["bytes"]] == [sent, 0]
    assert (seen["process"]["name"], seen["outwatch"]["attribution"]) == (Path(seen["process"]["executable"]).name, "exact")
    assert seen["network"]["namespace"] != other["network"]["namespace"]
    assert {key for end in ("source", "destination") for key in seen[end]} == {"bytes"}  # no address, no port
    assert sorted([other["source"]["bytes"], other["destination"]["bytes"]]) == [0, arrived]


def test_who_only_listens_to_frames_has_opened_nothing(lab: Lab, watch: Watch) -> None:
    with script(lab, _LISTEN, KIND, 1) as listener:
        assert listener.line() == "ready"
        with script(lab, _SEND, "SOCK_RAW", 0, KIND, 100, namespace=lab.there) as sender:
            sender.line()
            listener.line()
            sender.end()
        listener.end()
    seen = told(watch, listener.pid, "source")
    assert (seen["network"]["direction"], seen["source"]["bytes"]) == ("ingress", 114)
    assert "verdict" not in seen["outwatch"]


_ANSWER = """
import json, socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(int(sys.argv[1]))) as one:
    one.bind(("cable", int(sys.argv[1])))
    print("ready", flush=True)
    one.recv(65536)
    print(json.dumps(one.send(b"\\xff" * 6 + bytes(6) + int(sys.argv[1]).to_bytes(2) + b"o" * 900)), flush=True)
    sys.stdin.readline()
"""


def test_who_begins_to_send_after_listening_is_judged_for_that(lab: Lab, watch: Watch) -> None:
    with script(lab, _ANSWER, KIND) as listener:
        assert listener.line() == "ready"
        with script(lab, _SEND, "SOCK_RAW", 0, KIND, 100, namespace=lab.there) as sender:
            sender.line()
            sent = json.loads(listener.line())
            sender.end()
        listener.end()

    def judged(records: list[Record]) -> list[Record]:
        some = [one for one in records if one.get("process", {}).get("pid") == listener.pid and one["network"]["direction"] == "egress"]
        return [one for one in some if one["source"].get("bytes") == sent and "verdict" in one["outwatch"]]

    assert len(watch.wait(judged)) == 1


def test_a_process_that_opens_packet_sockets_and_sends_nothing_is_not_told(lab: Lab, watch: Watch) -> None:
    code = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); print('made', flush=True); input()"
    with script(lab, code) as silent:
        assert silent.line() == "made"
        with lab.caller() as probe:
            probe.call(SERVER)
            probe.ask("close")
            watch.of(probe.pid)
    assert not [one for one in watch.latest.values() if one.get("process", {}).get("pid") == silent.pid]


def test_two_processes_that_send_frames_are_told_apart(lab: Lab, watch: Watch) -> None:
    with script(lab, _SEND, "SOCK_RAW", 0, KIND, 100) as first, script(lab, _SEND, "SOCK_RAW", 1, KIND, 200, 300) as second:
        sent = {child.pid: json.loads(child.line()) for child in (first, second)}
        for child in (first, second):
            child.end()
    assert {pid: told(watch, pid, "source")["source"]["bytes"] for pid in sent} == sent
