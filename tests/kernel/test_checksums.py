"""The checksum in a record is that of the file that was executed, whatever is put in that place afterwards, and wherever it lies."""

import hashlib
import shutil
import time
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, Lab

from .builds import CONNECT, build
from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

_TURNCOAT = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(8443)};
	int one = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, args[2], &to.sin_addr);
	if (connect(one, (void *)&to, sizeof(to)) || write(one, "0 0 0\n", 6) != 6 || rename(args[1], args[0]))
		return 1;
	execl(args[0], args[0], "-", NULL);
	return 2;
}
"""
"""OTHER ADDRESS: connects, puts another file in its own place, and becomes that."""

_RUN = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
_BASH = f"exec 3<>/dev/tcp/{SERVER}/8443; printf '0 0 0\\n' >&3; read -r"
_ELSEWHERE = (
    "mount -t tmpfs own {0} && cp {1} {0}/tool && echo made && read -r _ && {0}/tool {2} 8443 0 '0 0 0\n' && echo done && read -r _"
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def checksum(record: Record) -> str | None:
    found = record["process"].get("hash", {}).get("sha256")
    assert found is None or isinstance(found, str)
    return found


def until_hashed(watch: Watch, pid: int) -> Record:
    """Wait for the record of a process's one connection to carry a checksum."""
    (seen,) = watch.of(pid, over=False)
    return hashed(watch, seen["id"])


def hashed(watch: Watch, identity: str) -> Record:
    """Wait for a record to carry a checksum."""
    return watch.wait(lambda records: [one for one in records if one["id"] == identity and checksum(one)])[0]


def test_a_program_that_becomes_a_better_one_at_the_same_path_does_not_get_its_checksum(lab: Lab, watch: Watch, folder: Path) -> None:
    bad, good = build(folder, "tool", _TURNCOAT), folder / "good"
    shutil.copy2("/bin/bash", good)
    expected = sha256(good)
    with script(lab, _RUN, bad, good, SERVER) as child:
        child.tell("echo it runs")
        assert child.line() == "it runs"
        (first,) = watch.of(child.pid, over=False)
        child.tell(_BASH)
        (second,) = [one for one in watch.of(child.pid, 2, over=False) if one["id"] != first["id"]]
        assert checksum(hashed(watch, second["id"])) == expected  # so nobody waits for anything any more
        seen = watch.latest[first["id"]]
        child.tell("end")
        child.end()
    assert seen["process"]["executable"] == str(bad)
    assert checksum(seen) != expected
    assert expected[:16] not in seen["outwatch"]["subject"]


def test_a_program_that_was_renamed_while_it_runs_has_its_checksum(lab: Lab, watch: Watch, folder: Path) -> None:
    tool = folder / "tool"
    shutil.copy2("/bin/bash", tool)
    expected = sha256(tool)
    with script(lab, _RUN, tool, "-c", f"mv {tool} {tool}.old; {_BASH}") as child:
        seen = until_hashed(watch, child.pid)
        child.tell("end")
        child.end()
    assert seen["process"]["executable"] == str(tool)
    assert seen["outwatch"]["executable"] == "deleted"
    assert checksum(seen) == expected


def in_own_mounts(lab: Lab, folder: Path, *how: str) -> Child:
    """Run a program that lies in mounts which only a shell has, that waits then; its standard output tells how far it is."""
    connect = build(folder, "connect", CONNECT)
    (folder / "mnt").mkdir()
    shell = _ELSEWHERE.format(folder / "mnt", connect, SERVER)
    return Child(lab.inside(lab.here, ["unshare", "--mount", *how, "sh", "-c", shell]))


def run_there(child: Child, folder: Path) -> None:
    """Let the program run, once it is certainly older than that."""
    child.line()
    tool = Path(f"/proc/{child.pid}/root{folder}/mnt/tool")
    limit = time.monotonic() + LONG
    while time.time() - tool.stat().st_ctime < 0.1:
        assert time.monotonic() < limit
    child.tell("go")
    assert child.line() == "done"


def of_parent(watch: Watch, pid: int) -> Record:
    """Give the record of a child of a process."""

    def found(records: list[Record]) -> list[Record]:
        return [one for one in records if one.get("process", {}).get("parent", {}).get("pid") == pid and "end" in one["event"]]

    return watch.wait(found)[0]


def test_a_program_that_ran_in_mounts_of_its_own_is_found_there_when_it_has_gone(lab: Lab, watch: Watch, folder: Path) -> None:
    with in_own_mounts(lab, folder) as child:
        run_there(child, folder)
        seen = hashed(watch, of_parent(watch, child.pid)["id"])
        child.tell("end")
        assert child.end() == 0, child.errors
    assert (seen["process"]["executable"], seen["outwatch"]["executable"]) == (f"{folder}/mnt/tool", "other_namespace")
    assert checksum(seen) == sha256(folder / "connect")
    assert seen["outwatch"]["subject"].endswith(f"#{sha256(folder / 'connect')[:16]}")


def test_mounts_that_anybody_can_make_are_not_looked_into_for_a_program_that_has_gone(lab: Lab, watch: Watch, folder: Path) -> None:
    with in_own_mounts(lab, folder, "--user", "--map-root-user") as child:
        run_there(child, folder)
        seen = of_parent(watch, child.pid)
        with script(lab, _RUN, "/bin/bash", "-c", _BASH) as other:  # later than that one, and hashed
            until_hashed(watch, other.pid)
            other.tell("end")
            other.end()
        child.tell("end")
        child.end()
    assert seen["outwatch"]["executable"] == "other_namespace"
    assert checksum(watch.latest[seen["id"]]) is None


def test_the_very_file_is_named_as_the_kernel_knows_it(lab: Lab, watch: Watch, program: Path) -> None:
    facts = program.stat()
    with script(lab, _RUN, program, "-c", _BASH) as child:
        (seen,) = watch.of(child.pid, over=False)
        namespace = Path(f"/proc/{child.pid}/ns/mnt").stat().st_ino
        child.tell("end")
        child.end()
    told = seen["outwatch"]["file"]
    assert (told["inode"], told["mount_namespace"]) == (str(facts.st_ino), str(namespace))
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert told["device"] in {fields[2] for fields in mounts if str(program).startswith(fields[4])}
