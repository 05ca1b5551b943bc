"""TCP fast open: data travels with the SYN, before anything is established; it is counted, and who called is who is told."""

import json
import subprocess
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, SERVER_V6, Lab

from .sides import ours
from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
PORT = 8800
FIRST = 700  # bytes in the SYN

_SERVE = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as door:
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.setsockopt(socket.IPPROTO_TCP, 23, 16)  # TCP_FASTOPEN
    door.bind((sys.argv[1], int(sys.argv[2])))
    door.listen()
    print("ready", flush=True)
    for _ in range(int(sys.argv[3])):
        one, who = door.accept()
        with one:
            got = at_once = len(one.recv(65536))
            try:
                one.sendall(b"a" * 333)
                while piece := one.recv(65536):
                    got += len(piece)
            except ConnectionError:  # who has sent a reset may be faster
                pass
        print(json.dumps([who[1], at_once, got]), flush=True)
"""
_SEND = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as one:
    if sys.argv[4] == "option":
        one.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
        one.connect((sys.argv[1], int(sys.argv[2])))
        sent = one.send(b"f" * int(sys.argv[3]))
    else:
        sent = one.sendto(b"f" * int(sys.argv[3]), socket.MSG_FASTOPEN, (sys.argv[1], int(sys.argv[2])))
    got = 0
    while got < 333:
        got += len(one.recv(4096))
    one.sendall(b"g" * 55)
    print(json.dumps([one.getsockname()[1], sent + 55, got]))
"""


@pytest.fixture(scope="module")
def fast(lab: Lab) -> None:
    """Let both sides open fast; without a cookie, so that the first call is as fast as any other (tcp_fastopen 0x3 | 0x4 | 0x200)."""
    for name in (lab.here, lab.there):
        command = lab.inside(name, ["sh", "-c", "echo 519 > /proc/sys/net/ipv4/tcp_fastopen"])
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG)
        if done.returncode:
            pytest.skip(f"this kernel does not open fast: {done.stderr.strip()}")


def door(lab: Lab, address: str, times: int) -> Child:
    return script(lab, _SERVE, address, PORT, times, namespace=lab.there)


def both(lab: Lab, watch: Watch, port: int) -> dict[str, Record]:
    """Wait until both ends of the connection from this port are over."""

    def over(records: list[Record]) -> dict[str, Record]:
        some = [one for one in ours(lab, records) if (one["source"].get("port"), one["destination"].get("port")) == (port, PORT)]
        ended = [one for one in some if one["event"]["action"] in {"close", "failed"}]
        assert len(some) <= 2, some
        return {one["network"]["direction"]: one for one in ended} if len(ended) == 2 else {}

    return watch.wait(over)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("how", ["flag", "option"])
@pytest.mark.parametrize("address", [SERVER, SERVER_V6])
def test_a_connection_that_opens_fast_is_told_once_at_each_end_with_every_byte(lab: Lab, watch: Watch, address: str, how: str) -> None:
    with door(lab, address, 1) as server:
        assert server.line() == "ready"
        with script(lab, _SEND, address, PORT, FIRST, how) as caller:
            port, sent, got = json.loads(caller.line())
            assert caller.end() == 0, caller.errors
        _, at_once, received = json.loads(server.line())
        assert server.end() == 0, server.errors
    assert (at_once, received) == (FIRST, sent)  # the data did come with the SYN
    told = both(lab, watch, port)
    assert {way: one["process"]["pid"] for way, one in told.items()} == {"egress": caller.pid, "ingress": server.pid}
    for one in told.values():
        assert one["event"]["action"] == "close"
        assert [one["source"]["bytes"], one["destination"]["bytes"]] == [sent, got]
        assert one["destination"]["ip"] == address
        assert one["source"]["port"] == port


_SYN = """
import json, random, socket, struct, sys, time
here, there, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
said = b"x" * int(sys.argv[4])
def total(data):
    data += b"\\0" * (len(data) % 2)
    words = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    words = (words & 0xffff) + (words >> 16)
    return ~(words + (words >> 16)) & 0xffff
own = 45000 + random.randrange(1000)
def segment(number, flags, options, data):
    head = struct.pack("!HHIIBBHHH", own, port, number, 0, (20 + len(options)) // 4 << 4, flags, 65535, 0, 0) + options
    pseudo = socket.inet_aton(here) + socket.inet_aton(there) + struct.pack("!BBH", 0, 6, len(head + data))
    return head[:16] + struct.pack("!H", total(pseudo + head + data)) + head[18:] + data
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as one:
    one.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: the address need not be ours
    one.bind((here, 0))
    one.sendto(segment(1000, 2, b"\\x22\\x02\\x01\\x01", said), (there, 0))
    print(json.dumps(own), flush=True)
    sys.stdin.readline()
    one.sendto(segment(1001 + len(said), 4, b"", b""), (there, 0))
"""
"""A SYN with data by hand, from an address that does not answer to it; on demand a reset: such a call is never established."""


@pytest.mark.security
@pytest.mark.usefixtures("fast")
def test_a_fast_caller_that_goes_away_before_it_is_established_is_a_failed_call_of_its_own(lab: Lab, server: Child, tmp_path: Path) -> None:
    ghost = "192.0.2.77"  # nobody's address: the answer gets lost, and no kernel resets the call
    neighbour = ["ip", "-n", lab.there, "neigh", "replace", ghost, "lladdr", "02:00:00:00:00:77", "dev", "cable"]
    subprocess.run([*neighbour, "nud", "permanent"], check=True, capture_output=True, timeout=LONG)
    try:
        with Watch(lab, tmp_path / "watch") as watch, door(lab, SERVER, 2) as listener:
            assert listener.line() == "ready"
            with script(lab, _SYN, ghost, SERVER, PORT, 99) as forger:
                own = json.loads(forger.line())
                forger.tell("reset")
                assert forger.end() == 0, forger.errors

            def over(records: list[Record]) -> list[Record]:
                some = [one for one in ours(lab, records) if one["source"].get("port") == own]
                return [one for one in some if one["event"]["action"] in {"close", "failed"}]

            (seen,) = watch.wait(over)
            # The listener itself goes on: a later caller is another connection, of the same process.
            with script(lab, _SEND, SERVER, PORT, FIRST, "flag") as caller:
                port, sent, got = json.loads(caller.line())
                assert caller.end() == 0, caller.errors
            later = both(lab, watch, port)["ingress"]
    finally:
        subprocess.run(["ip", "-n", lab.there, "neigh", "del", ghost, "dev", "cable"], check=False, capture_output=True, timeout=LONG)
    assert (seen["network"]["direction"], seen["event"]["action"]) == ("ingress", "failed")
    assert (seen["source"]["ip"], seen["source"]["bytes"], seen["destination"]["port"]) == (ghost, 99, PORT)
    assert seen["process"]["pid"] == listener.pid
    assert later["id"] != seen["id"]
    assert (later["source"]["bytes"], later["destination"]["bytes"], later["process"]["pid"]) == (sent, got, listener.pid)
