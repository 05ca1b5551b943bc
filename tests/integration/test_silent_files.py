"""A file system whose server has gone, or wants us to wait: nothing waits for it, and what runs from there is no disguise."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from outwatch.guard.mounts import Mounts

from .child import Child
from .lab import SERVER, Lab

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

TALKS = f"exec 3<>/dev/tcp/{SERVER}/443; echo connected; read -r"
Serve = Callable[..., Child]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a folder with a program of its own, over which the other file system comes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy2(os.path.realpath("/bin/bash"), folder / "tool")
    return folder


@pytest.fixture
def serve(started: ExitStack, place: Path) -> Iterator[Serve]:
    """Mount the file system and answer for it until told to be silent."""

    def start(*before: str) -> Child:
        if not os.path.exists("/dev/fuse"):
            pytest.skip("there is no /dev/fuse")
        program = Path(__file__).with_name("silent_files.py")
        server = started.enter_context(Child([*before, sys.executable, "-S", str(program), str(place), "/bin/bash"]))
        assert server.line() == "ready"
        return server

    yield start
    started.close()
    subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


def talker(lab: Lab, started: ExitStack, *shell: object) -> Child:
    """Start a shell that is connected to the server."""
    child = started.enter_context(Child(lab.inside(lab.here, [*map(str, shell), "-c", TALKS])))
    assert child.line() == "connected"
    child.until(lambda: waits_for_input(child.pid), "wait for its input")  # what it runs for that is in memory now
    return child


def waits_for_input(pid: int) -> bool:
    """Tell whether a process is in a call whose first argument is standard input."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[1:2] == ["0x0"]


def silence(server: Child) -> None:
    server.tell("be silent")
    assert server.line() == "silent"


def test_what_is_mounted_is_known_at_once_to_be_a_file_system_that_may_hang(serve: Serve, place: Path) -> None:
    mounts = Mounts()
    path = os.fsencode(place / "tool")
    assert not mounts.may_hang(path)
    serve()
    assert mounts.may_hang(path)


@pytest.mark.parametrize("sensor", ["polling", "sock_diag"])
def test_a_look_ends_and_names_what_runs_from_a_file_system_that_is_silent(
    lab: Lab, serve: Serve, started: ExitStack, place: Path, sensor: str
) -> None:
    server = serve()
    child, other = talker(lab, started, place / "tool"), talker(lab, started, "/bin/bash")
    silence(server)
    records = lab.records("scan", "--sensor", sensor)
    told = {one["process"]["pid"]: one for one in records if one["kind"] == "connection"}
    assert told[child.pid]["process"]["executable"] == str(place / "tool")
    assert told[child.pid]["process"]["args"] == [str(place / "tool"), "-c", TALKS]
    assert "hash" not in told[child.pid]["process"]
    assert any(str(place / "tool") in problem and "does not answer" in problem for problem in records[-1]["problems"])
    assert told[other.pid]["process"]["hash"]["sha256"] == hashlib.sha256(Path("/bin/bash").read_bytes()).hexdigest()


@pytest.mark.parametrize("way", ["silent", "gone", "gone, and looked for by somebody"])
def test_in_mounts_of_its_own_a_file_that_nobody_can_look_at_is_not_taken_for_ours_at_that_path(
    lab: Lab, serve: Serve, started: ExitStack, place: Path, way: str
) -> None:
    server = serve("unshare", "--mount", "--propagation=private")
    child = talker(lab, started, "nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "--", place / "tool")
    if way == "silent":
        silence(server)
    else:
        server.tell("be silent")
        server.end()
    if "looked for" in way:
        with pytest.raises(OSError, match="not connected"):
            os.stat(f"/proc/{child.pid}/root{place}/tool")
        assert os.readlink(f"/proc/{child.pid}/exe").endswith(" (deleted)")
    (seen,) = [one for one in lab.records("scan") if one["kind"] == "connection" and one["process"]["pid"] == child.pid]
    assert seen["process"]["executable"] == str(place / "tool")
    assert seen["outwatch"]["executable"] == "other_namespace"
