"""Processes and connections that are over before anybody could look: each is seen, with who it was and every byte."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.child import LONG
from integration.lab import SERVER, Lab

from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root]
PROCESSES, CONNECTIONS = 1000, 2000

_SOURCE = r"""
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(args[2]))};
	int one = socket(AF_INET, SOCK_STREAM, 0);
	size_t size = strlen(args[3]);

	inet_pton(AF_INET, args[1], &to.sin_addr);
	if (connect(one, (void *)&to, sizeof(to)) || write(one, args[3], size) != (ssize_t)size)
		return 1;
	return 0;
}
"""
_SPAWN = """
import json, os, sys
program, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
told = []
for number in range(count):
    said = "%d 0 0\\n" % (number % 700) + "x" * (number % 700)
    user = 1000 + number % 3
    argv = [program, address, "8443", said, "mark%d" % number]
    pid = os.fork()
    if not pid:
        os.setuid(user)
        os.execv(program, argv)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, number
    told.append([pid, str(user), argv, len(said)])
print(json.dumps(told))
"""
_MANY = """
import json, socket, sys
told = []
for number in range(int(sys.argv[2])):
    with socket.create_connection((sys.argv[1], 8443)) as one:
        said = b"%d 0 0\\n" % (number % 100) + b"x" * (number % 100)
        one.sendall(said)
        told.append([one.getsockname()[1], len(said)])
print(json.dumps(told))
"""


@pytest.fixture
def caller(folder: Path) -> str:
    """Build a program that lives about a millisecond."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed: nothing lives as short as a small C program")
    (folder / "caller.c").write_text(_SOURCE)
    for more in (["-static"], []):
        command = [compiler, "-O2", *more, "-o", str(folder / "caller"), str(folder / "caller.c")]
        made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONG)
        if not made.returncode:
            return str(folder / "caller")
    pytest.skip(f"cc can't build a program: {made.stderr[:200]}")


def test_a_thousand_processes_of_a_millisecond_are_all_seen_with_who_they_were_and_every_byte(lab: Lab, watch: Watch, caller: str) -> None:
    with script(lab, _SPAWN, caller, SERVER, PROCESSES) as parent:
        told = json.loads(parent.line())
        by_pid = {pid: rest for pid, *rest in told}

        def all_over(records: list[Record]) -> list[Record]:
            some = [one for one in records if one.get("process", {}).get("pid") in by_pid and one["event"]["action"] == "close"]
            return some if len(some) >= PROCESSES else []

        seen = watch.wait(all_over)
        facts = {
            one["process"]["pid"]: [one["user"]["id"], one["process"]["args"], one["source"]["bytes"]]
            for one in seen
            if one["process"]["executable"] == caller and one["process"]["parent"]["pid"] == parent.pid
        }
        assert len(seen) == PROCESSES
        assert facts == by_pid
        assert {json.dumps(one["outwatch"]["attribution"]) for one in seen} == {'"exact"'}


def test_two_thousand_connections_of_one_process_are_all_seen_with_every_byte(lab: Lab, watch: Watch) -> None:
    pid, told = done(lab, _MANY, SERVER, CONNECTIONS)
    seen = watch.of(pid, CONNECTIONS)
    assert sorted([one["source"]["port"], one["source"]["bytes"]] for one in seen) == sorted(told)
