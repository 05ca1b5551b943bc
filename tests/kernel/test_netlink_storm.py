"""Sockets that close faster than anybody could read: the netlink sensor goes on looking, ends in time, and counts what it lost."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import PUBLIC, SERVER, Lab, outwatch_command, standing_lab

from .builds import build
from .watch import Record, settings

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
LOOPS = 2

_STORM = r"""
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
static volatile int over;
static void stop(int number)
{
	over = 1;
}
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	long made = 0;

	signal(SIGTERM, stop);
	signal(SIGALRM, stop);
	alarm(60);
	inet_pton(AF_INET, args[1], &to.sin_addr);
	puts("ready");
	fflush(stdout);
	while (!over) {
		int one = socket(AF_INET, SOCK_DGRAM, 0);
		made += !connect(one, (void *)&to, sizeof(to));
		close(one);
	}
	printf("%ld\n", made);
	return 0;
}
"""
"""ADDRESS: connects a socket for datagrams and closes it, as fast as it can, until it is told to end; says how often."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with standing_lab() as lab:
        yield lab


def test_in_a_storm_a_watch_ends_when_it_should_and_counts_nothing_twice(lab: Lab, folder: Path, tmp_path: Path) -> None:
    program = build(folder, "storm", _STORM)
    storms = [Child(lab.inside(lab.here, [str(program), SERVER])) for _ in range(LOOPS)]
    try:
        with lab.caller() as caller:
            for one in storms:
                assert one.line() == "ready"
            port = caller.call(PUBLIC)
            argv = lab.inside(lab.here, outwatch_command("watch", "--for", "2s", "--jsonl", "--all", "--no-dns", "--sensor", "sock_diag"))
            env = settings(tmp_path, OUTWATCH_SENSORS__SOCK_DIAG__BUFFER_MIB="1")
            with (tmp_path / "records").open("wb") as out:
                done = subprocess.run(argv, stdout=out, stderr=subprocess.PIPE, check=False, text=True, timeout=LONG, env=env, cwd="/")
            running = [one.process.poll() is None for one in storms]
            made = 0
            for one in storms:
                one.process.terminate()
                made += int(one.line())
    finally:
        for one in storms:
            with one:
                pass
    assert done.returncode == 0, done.stderr
    assert running == [True] * LOOPS, "the watch ended only when the storm did"
    lines = (tmp_path / "records").read_bytes().splitlines()
    records: list[Record] = [json.loads(line) for line in (*(one for one in lines if b'"port":%d,' % port in one), lines[-1])]
    assert [one["process"]["pid"] for one in records[:1]] == [caller.pid]
    summary = records[-1]
    # What the kernel's worker has not told when the watch ends is neither seen nor lost.
    assert 0 < summary["seen"] + summary["lost"].get("netlink", 0) <= made + 1000
    assert not any("one look" in one for one in summary["blind"])
