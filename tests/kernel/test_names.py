"""Names that were asked for are joined to the right connections, from what the kernel hears: DNS, TLS, HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.child import Child
from integration.lab import PUBLIC, SERVER, SERVER_V6, Lab

from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

_RESOLVER = """
import socket, struct, sys, threading
KNOWN = {"one.example": "198.51.100.7", "two.example": "198.51.100.7", "edge.cdn.example": "198.51.100.7", "here.example": "192.0.2.2"}
def encoded(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\\0"
def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    name, kind = ".".join(labels), query[at + 1 : at + 3]
    records, final = b"", name
    if name.startswith("alias."):
        final = "edge.cdn.example"
        records += encoded(name) + struct.pack("!HHIH", 5, 1, 300, len(encoded(final))) + encoded(final)
    address = KNOWN.get(final)
    if kind == struct.pack("!H", 28) and address:
        data = socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    else:
        data = socket.inet_aton(address) if address else b""
    if data:
        records += encoded(final) + struct.pack("!2sHIH", kind, 1, 300, len(data)) + data
    count = (final != name) + bool(data)
    return query[:2] + struct.pack("!5H", 0x8180 if data else 0x8183, 1, count, 0, 0) + query[12 : at + 5] + records
def over_tcp(listener):
    while True:
        one, _ = listener.accept()
        size = struct.unpack("!H", one.recv(2, socket.MSG_WAITALL))[0]
        said = answer(one.recv(size, socket.MSG_WAITALL))
        for piece in (struct.pack("!H", len(said)), said[:20], said[20:]):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.sendall(piece)
        one.recv(1)
        one.close()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("192.0.2.2", 53))
threading.Thread(target=over_tcp, args=(socket.create_server(("192.0.2.2", 53)),), daemon=True).start()
print("ready", flush=True)
while True:
    query, who = udp.recvfrom(4096)
    udp.sendto(answer(query), who)
"""
"""A name server with an alias behind another name, over UDP and (in three pieces) TCP."""

_ASK = """
import json, socket, ssl, struct, sys, time
def query(name, kind=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", kind, 1)
def ask(name, kind=1):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(20)
        one.sendto(query(name, kind), ("192.0.2.2", 53))
        return one.recv(4096)
def ask_over_tcp(name):
    with socket.create_connection(("192.0.2.2", 53)) as one:
        said = query(name)
        one.sendall(struct.pack("!H", len(said)) + said)
        size = struct.unpack("!H", one.recv(2, socket.MSG_WAITALL))[0]
        one.recv(size, socket.MSG_WAITALL)
def say(address, *pieces):
    with socket.create_connection((address, 8443)) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            one.sendall(piece)
            time.sleep(0.02)  # so that each piece is a segment
        return one.getsockname()[1]
def hello(name):
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
"""

Names = list[tuple[str, str, Any]]


@pytest.fixture(scope="module", autouse=True)
def resolver(lab: Lab) -> Iterator[Child]:
    with script(lab, _RESOLVER, namespace=lab.there) as child:
        assert child.line() == "ready"
        yield child


def found(watch: Watch, pid: int, port: int) -> Record:
    """Wait for the connection from a local port."""

    def over(records: list[Record]) -> Record:
        mine = [one for one in records if one["source"].get("port") == port and one.get("process", {}).get("pid") == pid]
        return next((one for one in mine if one["event"]["action"] == "close"), {})

    return watch.wait(over)


def names(one: Record) -> Names:
    return [(name["name"], name["origin"], name.get("confirmed")) for name in one["outwatch"].get("names", [])]


@pytest.mark.parametrize("way", ["ask", "ask_over_tcp"])
def test_the_name_that_was_asked_for_is_shown_and_not_the_one_behind_it(lab: Lab, watch: Watch, way: str) -> None:
    pid, port = done(lab, f'{_ASK}\n{way}("alias.example")\nprint(json.dumps(say("{PUBLIC}", b"x")))')
    one = found(watch, pid, port)
    assert one["destination"]["domain"] == "alias.example"
    assert names(one) == [("alias.example", "dns", None)]  # a name server of the lab is not this system's


def test_each_process_has_the_name_that_it_asked_for(lab: Lab, watch: Watch) -> None:
    for name in ("one.example", "two.example", "one.example"):
        pid, port = done(lab, f'{_ASK}\nask("{name}")\nprint(json.dumps(say("{PUBLIC}", b"x")))')
        assert found(watch, pid, port)["destination"]["domain"] == name


def test_what_another_process_asked_for_names_a_connection_too(lab: Lab, watch: Watch) -> None:
    done(lab, f'{_ASK}\nask("here.example")\nprint("0")')
    pid, port = done(lab, f'{_ASK}\nprint(json.dumps(say("{SERVER}", b"x")))')
    assert names(found(watch, pid, port)) == [("here.example", "dns", None)]


def test_a_name_over_ipv6(lab: Lab, watch: Watch) -> None:
    pid, port = done(lab, f'{_ASK}\nask("one.example", 28)\nprint(json.dumps(say("{SERVER_V6}", b"x")))')
    assert found(watch, pid, port)["destination"]["domain"] == "one.example"


@pytest.mark.parametrize("cuts", [(), (1,), (3, 40), (5, 6, 7, 100)], ids=["whole", "after one octet", "in three", "in five"])
def test_the_server_name_of_tls_is_told_with_its_fingerprint(lab: Lab, watch: Watch, cuts: tuple[int, ...]) -> None:
    code = f"""{_ASK}
said = hello("shop.example.net")
edges = [0, *{cuts}, len(said)]
print(json.dumps(say("192.0.2.2", *(said[a:b] for a, b in zip(edges, edges[1:])))))"""
    pid, port = done(lab, code)
    one = found(watch, pid, port)
    assert one["tls"]["client"]["server_name"] == "shop.example.net"
    assert one["tls"]["client"]["ja4"].startswith("t13d")
    assert ("shop.example.net", "sni", None) in names(one)


@pytest.mark.parametrize(
    "request_line", ["GET /a HTTP/1.1", "POST / HTTP/1.0", "CONNECT web.example.org:443 HTTP/1.1"], ids=lambda one: one.split()[0]
)
def test_the_host_of_plain_http_is_told(lab: Lab, watch: Watch, request_line: str) -> None:
    said = f"{request_line}\\r\\nHost: web.example.org\\r\\nUser-Agent: x\\r\\n\\r\\n"
    pid, port = done(lab, f'{_ASK}\nprint(json.dumps(say("192.0.2.2", b"{said}")))')
    assert ("web.example.org", "http", None) in names(found(watch, pid, port))


def test_what_is_neither_tls_nor_http_has_no_name_of_its_own(lab: Lab, watch: Watch) -> None:
    pid, port = done(lab, f'{_ASK}\nprint(json.dumps(say("2001:db8::2", bytes(range(200)))))')
    assert not [one for one in names(found(watch, pid, port)) if one[1] != "dns"]


def test_questions_are_told_with_who_asked_and_what_came_back(lab: Lab, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch") as watch:
        pid, port = done(lab, f'{_ASK}\nask("one.example")\nask("no.such.example")\nprint(json.dumps(say("{PUBLIC}", b"x")))')
        found(watch, pid, port)
        watch.end()
    told = [json.loads(line) for line in (tmp_path / "watch" / "records.jsonl").read_text().splitlines() if '"kind":"dns"' in line]
    mine = {one["dns"]["question"]["name"]: one for one in told if one["process"]["pid"] == pid}
    assert mine["one.example"]["dns"]["resolved_ip"] == [PUBLIC]
    assert mine["one.example"]["dns"]["answers"] == [{"data": PUBLIC, "ttl": 300}]
    assert mine["no.such.example"]["dns"]["response_code"] == "NXDOMAIN"
    assert {one["destination"]["ip"] for one in mine.values()} == {"192.0.2.2"}


def test_names_can_be_switched_off(lab: Lab, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch", env={"OUTWATCH_CAPTURE__NAMES": "false"}) as watch:
        pid, port = done(lab, f'{_ASK}\nask("one.example")\nprint(json.dumps(say("{PUBLIC}", hello("shop.example.net"))))')
        one = found(watch, pid, port)
        watch.end()
    assert "domain" not in one["destination"]
    assert "tls" not in one
    assert b'"kind":"dns"' not in (tmp_path / "watch" / "records.jsonl").read_bytes()
