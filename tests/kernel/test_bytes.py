"""Bytes as the generators counted them, whatever protocol and call they used; one connection each, whose owner is who opened it."""

import json
import os
from typing import Any

import pytest

from integration.lab import PUBLIC, SERVER, SERVER_V6, Lab

from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

TALK = """
import json, socket, sys
address, size, answer, first = sys.argv[1], *map(int, sys.argv[2:5])
with socket.create_connection((address, 8443)) as one:
    said = b"%d %d %d\\n" % (size, answer, first) + b"q" * size
    one.sendall(said)
    got = 0
    while got < answer or first:
        piece = one.recv(65536)
        if not piece:
            break
        got += len(piece)
    print(json.dumps([one.getsockname()[1], len(said), got]))
"""
_SENDFILE = """
import json, os, socket, sys
with socket.create_connection((sys.argv[1], 8443)) as one:
    file = os.memfd_create("data")
    said = b"300000 0 0\\n" + b"f" * 300000
    os.write(file, said)
    at = 0
    while at < len(said):
        at += os.sendfile(one.fileno(), file, at, len(said) - at)
print(json.dumps(len(said)))
"""
_SPLICE = """
import json, os, socket, sys
with socket.create_connection((sys.argv[1], 8443)) as one:
    out, into = os.pipe()
    said = b"20000 0 0\\n" + b"p" * 20000
    os.write(into, said)
    left = len(said)
    while left:
        left -= os.splice(out, one.fileno(), left)
print(json.dumps(len(said)))
"""
_FORK = """
import json, os, socket, sys
with socket.create_connection((sys.argv[1], 8443)) as one:
    said = b"5000 0 0\\n" + b"c" * 5000
    child = os.fork()
    if not child:
        one.sendall(said)
        os._exit(0)
    os.waitpid(child, 0)
print(json.dumps(len(said)))
"""
_CONNECTED = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as one:
    one.connect((sys.argv[1], 9001))
    got = 0
    for size in (0, 1, 700, 1400):
        one.send(b"u" * size)
        got += len(one.recv(4096)) if size else 0
print(json.dumps([0 + 1 + 700 + 1400, got]))
"""
_SEVERAL = """
import json, socket, sys
told = {}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for turn in (1, 2):
        for address in sys.argv[1:]:
            for port in (9001, 9002, 9003):
                size = port - 8900 + 10 * turn
                one.sendto(b"u" * size, (address, port))
                sent, got = told.get(address + " " + str(port), (0, 0))
                told[address + " " + str(port)] = sent + size, got + len(one.recv(4096))
print(json.dumps(told))
"""
_SENDMMSG = """
import ctypes, json, socket, sys
class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("size", ctypes.c_size_t)]
class Head(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("parts", ctypes.POINTER(Part)), ("count", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int)]
class Message(ctypes.Structure):
    _fields_ = [("head", Head), ("length", ctypes.c_uint)]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect((sys.argv[1], 9002))
    parts = [Part(b"m" * size, size) for size in range(100, 110)]
    messages = (Message * 10)(*(Message(Head(parts=ctypes.pointer(part), count=1)) for part in parts))
    assert ctypes.CDLL(None).sendmmsg(one.fileno(), messages, 10, 0) == 10
    got = sum(len(one.recv(4096)) for _ in parts)
print(json.dumps([sum(range(100, 110)), got]))
"""
_PING = """
import json, socket, struct, sys
address, kind = sys.argv[1], sys.argv[2]
v6 = ":" in address
said = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 77, 1) + b"e" * 48
if not v6:
    words = struct.unpack("!%dH" % (len(said) // 2), said)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    said = said[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xffff) + said[4:]
family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
with socket.socket(family, getattr(socket, kind), protocol) as one:
    if kind == "SOCK_RAW":  # replies alone (ICMP6_FILTER and ICMP_FILTER): neighbours talk too
        words = [0xffffffff] * 8 if v6 else [~1 & 0xffffffff]
        if v6:
            words[129 >> 5] ^= 1 << (129 & 31)
        one.setsockopt(protocol if v6 else 255, 1, struct.pack("=%dI" % len(words), *words))
    for _ in range(3):
        one.sendto(said, (address, 0))
        answer = one.recv(4096)
    head = 20 if kind == "SOCK_RAW" and not v6 else 0
print(json.dumps([3 * len(said), 3 * (len(answer) - head)]))
"""
_RAW = """
import json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, int(sys.argv[2])) as one:
    for size in (20, 30, 900):
        one.sendto(b"\\x12\\x34\\x01\\xbb" + b"r" * size, (sys.argv[1], 0))
print(json.dumps(4 * 3 + 20 + 30 + 900))
"""
_OPTIONS = """
import json, socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
    one.sendmsg([b"w" * 21], [(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))], 0, (sys.argv[1], 9003))
    got = len(one.recv(4096))
print(json.dumps([21, got]))
"""


def carried(record: Record) -> list[int]:
    return [record["source"]["bytes"], record["destination"]["bytes"]]


@pytest.mark.parametrize("address", [SERVER, SERVER_V6, f"::ffff:{SERVER}"])
@pytest.mark.parametrize("first", [0, 1], ids=["the caller hangs up first", "the server hangs up first"])
@pytest.mark.parametrize(("size", "answer"), [(0, 0), (1, 100_000), (400_000, 7)])
def test_both_ends_of_a_tcp_connection_tell_every_byte(lab: Lab, watch: Watch, address: str, first: int, size: int, answer: int) -> None:
    pid, (port, sent, received) = done(lab, TALK, address, size, answer, first)
    (seen,) = watch.of(pid, direction="egress")
    assert (seen["source"]["port"], seen["destination"]["port"], seen["event"]["action"]) == (port, 8443, "close")
    assert seen["destination"]["ip"] == address.removeprefix("::ffff:")
    assert carried(seen) == [sent, received]

    def accepted(records: list[Record]) -> list[Record]:
        some = [one for one in records if one["source"].get("port") == port and one["network"]["direction"] == "ingress"]
        return [one for one in some if one["event"]["action"] == "close" and one["destination"]["port"] == 8443 and one["id"] != seen["id"]]

    (other,) = watch.wait(accepted)
    assert carried(other) == [sent, received]


@pytest.mark.parametrize("code", [_SENDFILE, _SPLICE, _FORK], ids=["sendfile", "splice", "a child that inherited the socket"])
def test_bytes_are_the_openers_however_they_were_sent(lab: Lab, watch: Watch, code: str) -> None:
    pid, sent = done(lab, code, SERVER)
    (seen,) = watch.of(pid)
    assert carried(seen) == [sent, 0]


@pytest.mark.parametrize(
    ("code", "address", "port"),
    [(_CONNECTED, SERVER, 9001), (_CONNECTED, SERVER_V6, 9001), (_SENDMMSG, SERVER, 9002), (_OPTIONS, SERVER_V6, 9003)],
    ids=["connected", "connected over IPv6", "sendmmsg", "IPv6 with destination options"],
)
def test_bytes_of_udp_are_those_of_the_payload(lab: Lab, watch: Watch, code: str, address: str, port: int) -> None:
    pid, told = done(lab, code, address)
    (seen,) = watch.of(pid, transport="udp")
    assert (seen["destination"]["ip"], seen["destination"]["port"]) == (address, port)
    assert carried(seen) == told


def test_each_peer_of_one_udp_socket_is_a_connection_with_its_own_bytes(lab: Lab, watch: Watch) -> None:
    pid, told = done(lab, _SEVERAL, SERVER, PUBLIC)
    seen = watch.of(pid, 6, transport="udp")
    assert {f"{one['destination']['ip']} {one['destination']['port']}": carried(one) for one in seen} == told
    assert len({one["source"]["port"] for one in seen}) == 1


@pytest.mark.parametrize(("address", "kind"), [(SERVER, "SOCK_RAW"), (SERVER, "SOCK_DGRAM"), (SERVER_V6, "SOCK_RAW")])
def test_pings_are_seen_with_their_bytes(lab: Lab, watch: Watch, address: str, kind: str) -> None:
    allow = ("sh", "-c", 'echo "0 4294967294" > /proc/sys/net/ipv4/ping_group_range && exec "$@"', "sh")
    pid, told = done(lab, _PING, address, kind, before=allow)
    seen = [one for one in watch.of(pid, transport="icmp") if one["destination"]["ip"] == address]
    assert [carried(one) for one in seen] == [told]


@pytest.mark.parametrize("protocol", [253, 6, 17], ids=["an experiment", "a TCP of one's own", "a UDP of one's own"])
def test_raw_sockets_are_seen_with_their_bytes_whatever_protocol_they_speak(lab: Lab, watch: Watch, protocol: int) -> None:
    pid, sent = done(lab, _RAW, PUBLIC, protocol)
    (seen,) = watch.of(pid)
    assert (seen["network"]["transport"], seen["destination"]["ip"]) == (f"raw:{protocol}", PUBLIC)
    assert seen["source"]["bytes"] == sent


@pytest.mark.parametrize("code", [TALK, _CONNECTED], ids=["tcp", "udp"])
def test_the_network_namespace_is_that_of_the_socket_not_of_the_watcher(lab: Lab, watch: Watch, code: str) -> None:
    pid, _told = done(lab, code, SERVER, 1, 1, 1)
    (seen,) = watch.of(pid)
    assert seen["network"]["namespace"] == str(os.stat(f"/run/netns/{lab.here}").st_ino)
    assert seen["network"]["namespace"] != str(os.stat("/proc/self/ns/net").st_ino)


_HOLD = """
import json, socket, sys
one = socket.create_connection((sys.argv[1], 8443))
one.sendall(b"1000000 0 0\\n")
for line in sys.stdin:
    one.sendall(b"h" * int(line))
    print(json.dumps(one.getsockname()[1]), flush=True)
"""


def test_bytes_of_an_open_connection_are_told_while_it_lives(lab: Lab, watch: Watch) -> None:
    with script(lab, _HOLD, SERVER) as child:
        sent = len("1000000 0 0\n")
        for more in (10, 2000):
            child.tell(str(more))
            json.loads(child.line())
            sent += more

            def is_told(records: list[Record], sent: int = sent) -> Any:
                return [one for one in records if one.get("process", {}).get("pid") == child.pid and one["source"].get("bytes") == sent]

            (seen,) = watch.wait(is_told)
            assert seen["event"]["action"] in {"connect", "traffic"}
            assert "end" not in seen["event"]
