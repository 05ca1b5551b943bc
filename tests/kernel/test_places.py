"""Where a process was when it called: its folder and its group, also when both have gone before anybody could look."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.lab import SERVER, Lab
from outwatch.sensors.ebpf.cgroups import Groups, cgroup_root

from .watch import Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root]

CONTAINER = "ab" * 32
GROUP = f"outwatch_test.slice/docker-{CONTAINER}.scope"

_TALK = f"""
import socket
with socket.create_connection(("{SERVER}", 8443)) as one:
    one.sendall(b"0 0 0\\n")
"""
_MOVED = """
import os, sys
os.chdir(sys.argv[1])
with open(sys.argv[2] + "/cgroup.procs", "w") as group:
    group.write(str(os.getpid()))
os.execv(sys.argv[3], ["python3", "-S", "./talk.py"])
"""


@pytest.fixture
def root() -> Iterator[int]:
    with cgroup_root() as descriptor:
        yield descriptor


@pytest.fixture
def group(root: int, watch: Watch) -> Iterator[int]:
    """Make a container's group, under the eyes of the watch, and give a descriptor of it; it goes at the end at the latest."""
    parent, name = GROUP.split("/")
    os.mkdir(parent, dir_fd=root)
    os.mkdir(GROUP, dir_fd=root)
    descriptor = os.open(GROUP, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    yield descriptor
    os.close(descriptor)
    if name in os.listdir(f"/proc/self/fd/{root}/{parent}"):
        os.rmdir(GROUP, dir_fd=root)
    os.rmdir(parent, dir_fd=root)


def test_a_script_in_a_container_is_named_whole_when_all_of_it_has_gone(
    lab: Lab, watch: Watch, root: int, group: int, tmp_path: Path
) -> None:
    (tmp_path / "talk.py").write_text(_TALK)
    python = os.path.realpath("/usr/bin/python3")
    if not os.access(python, os.X_OK):
        pytest.skip("there is no /usr/bin/python3")
    with script(lab, _MOVED, tmp_path, f"/proc/{os.getpid()}/fd/{group}", python) as child:
        assert child.end() == 0, child.errors
    os.rmdir(GROUP, dir_fd=root)
    (seen,) = watch.of(child.pid)
    assert seen["process"]["working_directory"] == str(tmp_path)
    assert seen["outwatch"]["script"] == {"kind": "script", "name": f"{tmp_path}/talk.py"}
    assert seen["outwatch"]["cgroup"] == f"/{GROUP}"
    assert seen["container"] == {"id": CONTAINER, "runtime": "docker"}


def test_groups_that_are_there_already_are_known_by_their_paths(root: int, group: int) -> None:
    groups = Groups()
    groups.look(root)
    assert groups.path(os.fstat(group).st_ino) == f"/{GROUP}"
