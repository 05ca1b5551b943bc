"""Answers that nobody asked for, or that come from whom nobody asked, name nothing and confirm nothing."""

import sys

import pytest

from integration.lab import PUBLIC, SERVER
from kernel.watch import Watch

from .names_lab import OWN, PLAIN, SECURE, STRANGER, STUB, UNASKED, NamesLab, name_server, to_port, told

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

_RESOLVE = "import socket, sys\nsocket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)"
_CONNECT = "import socket, sys\nsocket.create_connection((sys.argv[-2], int(sys.argv[-1]))).close()"
_MESSAGES = """
import socket, struct, sys
def query(name):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", 1, 1)
def forged(name, address):
    asked = query(name)
    answer = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + socket.inet_aton(address)
    return asked[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + asked[12:] + answer
"""
_LISTENS = f"""{_MESSAGES}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("192.0.2.1", 0))
    one.settimeout(20)
    one.sendto(b"x", (sys.argv[1], 9))  # it speaks with somebody, but with no name server yet
    print(one.getsockname()[1], flush=True)
    print(one.recv(4096).hex(), flush=True)
    one.sendto(query("www.example"), (sys.argv[1], 53))
    one.recv(4096)
"""
_FORGES = f"""{_MESSAGES}
said = forged("google.com", sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
    raw.sendto(struct.pack("!4H", 53, int(sys.argv[1]), 8 + len(said), 0) + said, ("192.0.2.1", 0))
"""
"""PORT ADDRESS: says from port 53 that google.com is at ADDRESS."""

_ASKS_OVER_TCP = f"""{_MESSAGES}
with socket.create_connection((sys.argv[1], 53)) as one:
    one.settimeout(20)
    print(one.getsockname()[1], flush=True)
    sys.stdin.readline()
    asked = query("www.example")
    one.sendall(struct.pack("!H", len(asked)) + asked)
    one.recv(struct.unpack("!H", one.recv(2, socket.MSG_WAITALL))[0], socket.MSG_WAITALL)
    sys.stdin.readline()
"""
_FORGES_A_SEGMENT = f"""{_MESSAGES}
def checksum(data):
    total = sum(struct.unpack(f"!{{len(data) // 2}}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF
said = forged("google.com", sys.argv[2])
said = struct.pack("!H", len(said)) + said
said += bytes(len(said) % 2)
here, there = socket.inet_aton("192.0.2.2"), socket.inet_aton("192.0.2.1")
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
    for number in range(0, 1 << 32, 1 << 29):  # whatever the right one is, it is none of these
        head = struct.pack("!2H2I4H", 53, int(sys.argv[1]), number, 0, 5 << 12 | 0x18, 65535, 0, 0)
        whole = here + there + struct.pack("!2H", 6, len(head) + len(said)) + head + said
        raw.sendto(head[:16] + struct.pack("!H", checksum(whole)) + head[18:] + said, ("192.0.2.1", 0))
"""
"""PORT ADDRESS: says the same into a connection of somebody else."""


def test_a_name_server_that_is_not_the_systems_confirms_nothing(lab_with_names: NamesLab, watched: Watch) -> None:
    (one,) = to_port(watched, lab_with_names.curl(f"http://google.com:{PLAIN}/", server=STRANGER), PLAIN)
    assert told(one) == ("google.com", [("google.com", "http", None), ("google.com", "dns", None)][::-1])
    claims = to_port(watched, lab_with_names.curl(f"https://google.com:{SECURE}/", "--resolve", f"google.com:{SECURE}:{PUBLIC}"), SECURE)
    assert {confirmed for one in claims for name, _, confirmed in told(one)[1] if name == "google.com"} == {None}


def test_what_a_stranger_answers_takes_no_name_away_that_is_believed(lab_with_names: NamesLab, watched: Watch) -> None:
    lab_with_names.python(_RESOLVE, "www.example")
    lab_with_names.python(_RESOLVE, "google.com", server=STRANGER)
    (one,) = to_port(watched, lab_with_names.python(_CONNECT, PUBLIC, str(PLAIN)), PLAIN)
    assert told(one) == ("www.example", [("www.example", "dns", True)])


def test_who_has_a_network_namespace_and_answers_himself_there_names_only_his_own(lab_with_names: NamesLab, watched: Watch) -> None:
    name_server(lab_with_names, STUB, {"google.com.": {"A": ["203.0.113.120"]}})
    there = lab_with_names.lab.there
    pid = lab_with_names.python(f"{_RESOLVE}\n{_CONNECT}", "google.com", "203.0.113.120", str(PLAIN), server=STUB, namespace=there)
    (theirs,) = [one for one in to_port(watched, pid, PLAIN) if one["network"]["direction"] == "egress"]
    assert told(theirs) == ("google.com", [("google.com", "dns", None)])
    (ours,) = to_port(watched, lab_with_names.python(_CONNECT, "203.0.113.120", str(PLAIN)), PLAIN)
    assert told(ours) == (None, [])


def test_an_answer_that_nobody_asked_for_is_not_heard(lab_with_names: NamesLab, watched: Watch) -> None:
    lab = lab_with_names.lab
    child = lab_with_names.child(lab.here, [sys.executable, "-c", _LISTENS, OWN])
    lab_with_names.python(_FORGES, child.line(), UNASKED, namespace=lab.there)
    assert b"google" in bytes.fromhex(child.line())  # it reached the socket
    assert watched.asked(child.pid, "www.example")
    assert {one["dns"]["question"]["name"] for one in watched.questions if one["process"]["pid"] == child.pid} == {"www.example"}
    (one,) = to_port(watched, lab_with_names.python(_CONNECT, UNASKED, str(PLAIN)), PLAIN)
    assert told(one) == (None, [])


def test_a_segment_that_tcp_does_not_take_is_not_heard(lab_with_names: NamesLab, watched: Watch) -> None:
    lab = lab_with_names.lab
    child = lab_with_names.child(lab.here, [sys.executable, "-c", _ASKS_OVER_TCP, SERVER])
    lab_with_names.python(_FORGES_A_SEGMENT, child.line(), UNASKED, namespace=lab.there)
    child.tell("ask")
    (asked,) = watched.asked(child.pid, "www.example")
    assert asked["dns"]["resolved_ip"] == [PUBLIC]
    assert {one["dns"]["question"]["name"] for one in watched.questions if one["process"]["pid"] == child.pid} == {"www.example"}
