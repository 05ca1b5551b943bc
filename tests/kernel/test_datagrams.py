"""Sockets for datagrams and their peers: who talks to whom, whoever was first, on however many processors."""

import json
from collections import Counter
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import PUBLIC, SERVER, SERVER_V6, SILENT, Lab

from .builds import build
from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
PEERS = 5000

_MANY = """
import json, socket, sys
told = {}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    for turn in (1, 2):
        for port in range(20000, 20000 + int(sys.argv[2])):
            sent = one.sendto(b"p" * (port % 50 + turn), (sys.argv[1], port))
            told[port] = told.get(port, 0) + sent
print(json.dumps(told))
"""


def carried(record: Record) -> list[int]:
    return [record["source"]["bytes"], record["destination"]["bytes"]]


def test_of_thousands_of_peers_of_one_socket_each_has_its_own_record_and_bytes(lab: Lab, watch: Watch) -> None:
    pid, told = done(lab, _MANY, SILENT, PEERS)
    seen = watch.of(pid, PEERS, transport="udp")
    assert {str(one["destination"]["port"]): one["source"]["bytes"] for one in seen} == told
    assert {one["destination"]["ip"] for one in seen} == {SILENT}
    assert len({one["source"]["port"] for one in seen}) == 1


_AT_ONCE = r"""
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static int one, turn, apart;
static _Atomic int ready;
static struct sockaddr_in to = {.sin_family = AF_INET};
static char data[2000];
static void *say(void *number)
{
	long which = (long)number;
	struct sockaddr_in peer = to;
	cpu_set_t where;

	CPU_ZERO(&where);
	CPU_SET(which, &where);
	pthread_setaffinity_np(pthread_self(), sizeof(where), &where);
	peer.sin_port = htons(20000 + turn + (apart ? 10000 * which : 0));
	atomic_fetch_add(&ready, 1);
	while (atomic_load(&ready) < 2)
		;
	if (sendto(one, data, turn % 500 + 1 + which, 0, (void *)&peer, sizeof(peer)) != turn % 500 + 1 + which)
		_exit(1);
	return NULL;
}
int main(int count, char **args)
{
	pthread_t threads[2];
	time_t late = time(NULL) + 10;  /* where others keep the processors busy, one waits for the other in each turn */

	inet_pton(AF_INET, args[1], &to.sin_addr);
	apart = atoi(args[3]);
	for (turn = 0; turn < atoi(args[2]) && time(NULL) < late; turn++) {
		one = socket(AF_INET, SOCK_DGRAM, 0);
		ready = 0;
		for (long which = 0; which < 2; which++)
			pthread_create(&threads[which], NULL, say, (void *)which);
		for (long which = 0; which < 2; which++)
			pthread_join(threads[which], NULL);
		close(one);
	}
	printf("%d\n", turn);
	return 0;
}
"""
"""ADDRESS TIMES APART: two threads on two processors send the first datagrams of a new socket at the same moment; says how often."""

_RUN = """
import os, sys
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def at_once(folder: Path) -> Path:
    return build(folder, "at_once", _AT_ONCE, "-pthread", "-D_GNU_SOURCE")


@pytest.mark.parametrize("apart", [1, 0], ids=["to two peers", "to one peer"])
def test_first_datagrams_that_two_processors_send_at_once_are_told_apart(lab: Lab, watch: Watch, at_once: Path, apart: int) -> None:
    pid, turns = done(lab, _RUN, at_once, SILENT, 2000, apart)
    assert turns
    wanted = [(20000 + turn, turn % 500 + 1) for turn in range(turns)] + [(30000 + turn, turn % 500 + 2) for turn in range(turns)]
    if not apart:
        wanted = [(20000 + turn, 2 * (turn % 500) + 3) for turn in range(turns)]

    def told(records: list[Record]) -> dict[int, int] | None:
        """Sum by peer: a processor that is held up in the middle makes a second record of the same peer."""
        sums: Counter[int] = Counter()
        for one in records:
            if one.get("process", {}).get("pid") == pid:
                sums[one["destination"]["port"]] += one["source"].get("bytes", 0)
        return sums if sums == dict(wanted) else None

    assert watch.wait(told)


_IN_TURN = """
import json, socket, sys
told = []
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as one:
    for number, (address, port) in enumerate([(sys.argv[1], 9001), (sys.argv[2], 9002), (sys.argv[1], 9003), (sys.argv[1], 9001)]):
        one.connect((address, port))
        sent, got = one.send(b"t" * (100 + number)), len(one.recv(4096))
        told.append([address, port, sent, got])
print(json.dumps(told))
"""


@pytest.mark.parametrize("addresses", [(SERVER, PUBLIC), (SERVER_V6, SERVER_V6)], ids=["IPv4", "IPv6"])
def test_a_socket_that_is_connected_to_one_peer_after_the_other_has_a_record_for_each(
    lab: Lab, watch: Watch, addresses: tuple[str, str]
) -> None:
    pid, told = done(lab, _IN_TURN, *addresses)
    wanted: dict[tuple[str, int], list[int]] = {}
    for address, port, sent, got in told:
        before = wanted.get((address, port), [0, 0])
        wanted[address, port] = [before[0] + sent, before[1] + got]
    seen = watch.of(pid, 3)
    assert {(one["destination"]["ip"], one["destination"]["port"]): carried(one) for one in seen} == wanted
    assert {one["network"]["direction"] for one in seen} == {"egress"}


_SERVE = """
import json, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as one:
    one.bind((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    told = {}
    for _ in range(int(sys.argv[3])):
        data, who = one.recvfrom(4096)
        before = told.get(who[1], (0, 0))
        told[who[1]] = before[0] + len(data), before[1] + one.sendto(data * 2, who)
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
"""
_ASK = """
import json, socket, sys
many = [socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[3]))]
for turn in (1, 2):
    for number, one in enumerate(many):
        one.sendto(b"k" * (number + turn), (sys.argv[1], int(sys.argv[2])))
        one.recv(4096)
print(json.dumps(0), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_callers_of_a_udp_server_are_ingress_there_and_egress_where_they_are(lab: Lab, watch: Watch, address: str) -> None:
    callers, port = 20, 9100
    with script(lab, _SERVE, address, port, 2 * callers) as here:
        assert here.line() == "ready"
        with script(lab, _ASK, address, port, callers, namespace=lab.there) as there:
            there.line()
            told = {int(own): bytes_ for own, bytes_ in json.loads(here.line()).items()}
            assert (here.end(), there.end()) == (0, 0)
    for child, way in ((here, "ingress"), (there, "egress")):
        seen = watch.of(child.pid, callers, transport="udp")
        assert {one["network"]["direction"] for one in seen} == {way}
        assert {one["source"]["port"]: carried(one) for one in seen} == told
        assert {(one["destination"]["ip"], one["destination"]["port"]) for one in seen} == {(address, port)}
        assert any("verdict" in one["outwatch"] for one in seen) == (way == "egress")


_REACH_OUT = """
import json, socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.bind(("192.0.2.1", 9101))
    print("ready", flush=True)
    _, who = one.recvfrom(100)
    one.sendto(b"o" * 44, (sys.argv[1], 9001))
    one.recv(100)
    print(json.dumps(who[1]), flush=True)
"""


@pytest.mark.security
def test_a_server_that_calls_somebody_else_itself_is_judged_for_that(lab: Lab, watch: Watch) -> None:
    with script(lab, _REACH_OUT, SERVER) as here:
        assert here.line() == "ready"
        with script(
            lab,
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9101))",
            namespace=lab.there,
        ) as there:
            there.end()
        caller = json.loads(here.line())
        assert here.end() == 0, here.errors
    seen = {one["network"]["direction"]: one for one in watch.of(here.pid, 2)}
    assert (seen["ingress"]["source"]["port"], carried(seen["ingress"])) == (caller, [1, 0])
    assert (seen["egress"]["destination"]["port"], carried(seen["egress"])) == (9001, [44, 23])
    assert "verdict" in seen["egress"]["outwatch"]


_OLD = """
import json, socket, sys
free, bound, tied = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3))
bound.bind(("192.0.2.1", 0))
tied.connect((sys.argv[1], 9001))
for one in (free, bound, tied):
    one.sendto(b"b" * 60, (sys.argv[1], 9001)) if one is not tied else one.send(b"b" * 60)
    one.recv(100)
print("ready", flush=True)
sys.stdin.readline()
told = {}
for number, one in enumerate((free, bound, tied)):
    one.sendto(b"n" * (70 + number), (sys.argv[1], 9002)) if one is not tied else one.send(b"n" * (70 + number))
    told[one.getsockname()[1]] = [70 + number, len(one.recv(100))]
    one.close()
print(json.dumps(told), flush=True)
"""


def test_of_sockets_that_were_there_before_only_what_they_carry_from_now_on_is_counted(lab: Lab, server: Child, tmp_path: Path) -> None:
    with script(lab, _OLD, SERVER) as old:
        assert old.line() == "ready"
        with Watch(lab, tmp_path / "watch") as watch:
            old.tell("go")
            told = json.loads(old.line())
            seen = watch.of(old.pid, 3)
    assert {str(one["source"]["port"]): carried(one) for one in seen} == told
    assert {one["network"]["direction"] for one in seen} == {"egress"}
    assert sorted(one["destination"]["port"] for one in seen) == [9001, 9002, 9002]
