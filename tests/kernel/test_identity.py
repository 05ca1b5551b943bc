"""Who a process is cannot be disguised: the file that runs is told, not the name it goes by."""

import shutil
from pathlib import Path

import pytest

from integration.lab import SERVER, Lab

from .watch import Record, Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

TALKS = f"exec 3<>/dev/tcp/{SERVER}/8443; printf '0 0 0\\n' >&3; echo 1; read -r"
"""What a shell does: connect, say so, and wait until it is told to end."""

_RENAME = f"""
import ctypes, os, socket
libc = ctypes.CDLL(None)
libc.prctl(15, b"sshd", 0, 0, 0)
one = socket.create_connection(("{SERVER}", 8443))
one.sendall(b"0 0 0\\n")
print("1", flush=True)
input()
"""
_MEMFD = f"""
import os
file = os.memfd_create("curl", 0)
with open("/bin/bash", "rb") as shell:
    os.write(file, shell.read())
os.execve("/proc/self/fd/%d" % file, ["/usr/bin/curl", "-c", {TALKS!r}], {{}})
"""
_EXEC = """
import os, sys
os.execv(sys.argv[1], ["/usr/bin/curl", "-c", sys.argv[2]])
"""
_DELETE = """
import os, sys
os.execv(sys.argv[1], ["tool", "-c", "rm " + sys.argv[1] + "; " + sys.argv[2]])
"""
_REPLACE = """
import os, sys
os.execv(sys.argv[1], ["tool", "-c", "mv " + sys.argv[1] + " " + sys.argv[1] + ".old; cp /bin/sh " + sys.argv[1] + "; " + sys.argv[2]])
"""
_BIND = """
import os, sys
inside = "mount --bind " + sys.argv[1] + " /usr/bin/env && exec /usr/bin/env -c \\"" + sys.argv[2].replace("$", "\\\\$") + "\\""
os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", inside])
"""
_STACKED = """
import os, sys
folder = os.path.dirname(sys.argv[1]) + "/mnt"
os.mkdir(folder)
inside = ("F=" + folder + "; mount -t tmpfs a $F && mount -t tmpfs b $F && mkdir -p $F/usr/bin && "
          "cp " + sys.argv[1] + " $F/usr/bin/curl && exec $F/usr/bin/curl -c \\"" + sys.argv[2] + "\\"")
os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", inside])
"""


def told(lab: Lab, watch: Watch, code: str, *arguments: object) -> Record:
    """Let a script become who it wants to be and connect, and give what is told of its connection."""
    with script(lab, code, *arguments) as child:
        child.line()
        (seen,) = watch.of(child.pid, over=False)
        child.tell("end")
        child.end()
    return seen


@pytest.fixture
def deep(program: Path) -> Path:
    """Put the program below more folders than the kernel's walk has room for."""
    folder = program.parent.joinpath(*"abcdefghijklmnopqrst")
    folder.mkdir(parents=True)
    return Path(shutil.move(program, folder / "curl"))


@pytest.fixture
def long(program: Path) -> Path:
    """Give the program the longest name a file can have."""
    return program.rename(program.with_name("n" * 255))


def test_a_process_that_renames_itself_keeps_its_executable(lab: Lab, watch: Watch) -> None:
    seen = told(lab, watch, _RENAME)
    assert Path(seen["process"]["executable"]).name.startswith("python")
    assert seen["process"]["name"] != "sshd"


def test_a_program_in_memory_is_told_so(lab: Lab, watch: Watch) -> None:
    seen = told(lab, watch, _MEMFD)
    assert seen["outwatch"]["executable"] == "memfd"
    assert seen["process"].get("executable") != "/usr/bin/curl"
    assert seen["process"]["name"] != "curl"


@pytest.mark.parametrize(("code", "state"), [(_DELETE, "deleted"), (_REPLACE, "replaced")])
def test_a_program_whose_file_is_no_longer_that_one_is_told_so(lab: Lab, watch: Watch, program: Path, code: str, state: str) -> None:
    seen = told(lab, watch, code, program, TALKS)
    assert (seen["process"]["executable"], seen["outwatch"]["executable"]) == (str(program), state)


def test_a_program_that_is_still_there_is_nothing_odd_and_is_not_what_it_calls_itself(lab: Lab, watch: Watch, program: Path) -> None:
    seen = told(lab, watch, _EXEC, program, TALKS)
    assert (seen["process"]["executable"], seen["process"]["name"]) == (str(program), program.name)
    assert seen["process"]["args"][0] == "/usr/bin/curl"
    assert "executable" not in seen["outwatch"]


def test_a_program_bound_over_a_known_path_elsewhere_is_told_to_be_of_another_namespace(lab: Lab, watch: Watch, program: Path) -> None:
    seen = told(lab, watch, _BIND, program, TALKS)
    assert seen["outwatch"]["executable"] == "other_namespace"


def test_a_path_goes_up_through_mounts_that_lie_upon_each_other(lab: Lab, watch: Watch, program: Path) -> None:
    seen = told(lab, watch, _STACKED, program, TALKS)
    assert seen["process"]["executable"] == f"{program.parent}/mnt/usr/bin/curl"
    assert seen["outwatch"]["executable"] == "other_namespace"


@pytest.mark.parametrize("where", ["deep", "long"])
def test_a_program_at_a_path_too_long_for_the_kernels_walk_is_found_while_it_lives(
    lab: Lab, watch: Watch, where: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(where)
    seen = told(lab, watch, _EXEC, path, TALKS)
    assert seen["process"].get("executable") == str(path)
    assert "executable" not in seen["outwatch"]
