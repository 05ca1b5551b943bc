"""One pid, a thousand processes: whose number was whose before is never believed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from integration.lab import SERVER, Lab

from .builds import CONNECT, build
from .sides import ours
from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
TIMES, PROGRAMS = 1000, 7
FIRST_PORT = 20_000

_AGAIN = """
import json, os, socket, sys
address, times, own = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
programs = sys.argv[4:]
last = os.open("/proc/sys/kernel/ns_last_pid", os.O_WRONLY)
free = (one for one in range(30000, 3000, -1) if not any(os.path.exists("/proc/%d" % near) for near in range(one, one + 4)))
pid = next(free)
own_argv = open("/proc/self/cmdline").read().split("\\0")[:-1]
told, others = {}, 0
def talk(text, port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("", port))
        one.connect((address, 8443))
        one.sendall(text.encode())
for number in range(times):
    program = programs[number * number % len(programs)]
    text = "%d 0 0\\n" % (number % 300) + "x" * (number % 300)
    argv = [program, address, "8443", str(own + number), text, "mark%d" % number]
    for turn in range(1, 501):
        if not turn % 50:
            pid = next(free)  # somebody else has it and stays
        os.pwrite(last, b"%d" % (pid - 1), 0)
        child = os.fork()
        if not child:
            if os.getpid() == pid:
                if number % 5:
                    os.execv(program, argv)
                talk(text, own + number)
                os._exit(0)
            os._exit(77)  # somebody else was faster
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended != 77:
            break
        others += 1
    assert ended == 0, (number, ended)
    told[own + number] = [argv if number % 5 else own_argv, len(text)]
print(json.dumps([pid, others, told]))
"""
"""Becomes the same pid again and again, each time another program that connects from a port of its own.

Every fifth is a child that runs what its parent runs.
"""


@pytest.fixture
def programs(folder: Path) -> list[str]:
    first = build(folder, "one0", CONNECT)
    return [str(first), *(str(shutil.copy2(first, folder / f"one{number}")) for number in range(1, PROGRAMS))]


@pytest.mark.parametrize(
    ("before", "own"),
    [(("unshare", "--pid", "--fork", "--mount-proc"), FIRST_PORT), ((), FIRST_PORT + TIMES)],
    ids=["in a pid namespace of its own", "in the first pid namespace"],
)
def test_every_process_that_got_the_same_pid_is_told_with_its_own_program_and_arguments(
    lab: Lab, watch: Watch, folder: Path, programs: list[str], before: tuple[str, ...], own: int
) -> None:
    (folder / "again.py").write_text(_AGAIN)
    short = f"exec(open('{folder}/again.py').read())"  # of longer arguments only the beginning is told
    with script(lab, short, SERVER, TIMES, own, *programs, before=before) as parent:
        pid, _, told = json.loads(parent.line())
        assert parent.end() == 0, parent.errors
    wanted = {int(port): facts for port, facts in told.items()}

    def all_over(records: list[Record]) -> list[Record]:
        some = [one for one in ours(lab, records) if one["source"].get("port") in wanted and one["event"]["action"] == "close"]
        mine = [one for one in some if one["network"]["direction"] == "egress"]
        return mine if len(mine) >= TIMES else []

    every = watch.wait(all_over)
    assert {one["source"]["port"]: one["source"]["bytes"] for one in every} == {port: count for port, (_, count) in wanted.items()}
    assert [one["process"].get("args") for one in every] == [wanted[one["source"]["port"]][0] for one in every]
    assert [one["process"]["executable"] for one in every] == [os.path.realpath(wanted[one["source"]["port"]][0][0]) for one in every]
    assert all(one["process"]["name"] == Path(one["process"]["executable"]).name for one in every)
    assert {json.dumps(one["outwatch"]["attribution"]) for one in every} == {'"exact"'}
    assert not [one for one in every if "executable" in one["outwatch"]]  # the files are there and unchanged
    if not before:
        pids = {one["process"]["pid"] for one in every}
        assert pid in pids
        assert len(pids) <= 10
        assert len({one["process"]["start"] for one in every}) == TIMES
