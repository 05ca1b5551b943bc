"""A program whose file was exchanged between two looks is told; an update of its package is none of that."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

from .child import LONG, Child
from .lab import SERVER, Lab, outwatch_command

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

Record = dict[str, Any]
TALKS = f"exec 3<>/dev/tcp/{SERVER}/443; echo connected; read -r"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scan(lab: Lab, tool: Path) -> Record:
    """Let a copy of a shell connect, and give what a look tells of it."""
    with Child(lab.inside(lab.here, [str(tool), "-c", TALKS])) as child:
        assert child.line() == "connected"
        records = lab.records("scan")
        child.tell("end")
    return [one for one in records if one["kind"] == "connection" and one["process"]["pid"] == child.pid][-1]


def points(record: Record) -> list[float]:
    return [one["points"] for one in record["outwatch"].get("reasons", ()) if one["detector"] == "executable_changed"]


def test_a_program_that_is_another_than_at_the_last_look_is_told(lab: Lab, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    shutil.copy2("/bin/bash", tool)
    first, again = scan(lab, tool), scan(lab, tool)
    before = sha256(tool)
    with open(tool, "ab") as file:
        file.write(b"\0")
    changed, later = scan(lab, tool), scan(lab, tool)
    for record in (first, again):
        assert "changed" not in record["outwatch"]
        assert points(record) == []
    assert changed["outwatch"]["changed"]["sha256"] == before
    assert changed["process"]["hash"]["sha256"] == sha256(tool) != before
    assert again["@timestamp"] <= changed["outwatch"]["changed"]["last_seen"] <= changed["outwatch"]["changed"]["first_seen"]
    assert later["outwatch"]["changed"] == changed["outwatch"]["changed"]
    assert points(changed) == points(later) == [25]


@pytest.fixture
def curl() -> Path:
    """Give curl as a package of Debian has it."""
    path = shutil.which("curl", path="/usr/bin:/bin")
    if path is None or not Path("/var/lib/dpkg/info/curl.list").exists():
        pytest.skip("curl is not installed by dpkg here")
    return Path(os.path.realpath(path))


class OwnMounts:
    """Mounts of their own, which programs can be run in."""

    def __init__(self, lab: Lab) -> None:
        self._holder = Child(lab.inside(lab.here, ["unshare", "--mount", "sh", "-c", "echo ready; read -r _"]))

    def __enter__(self) -> Self:
        self._holder.__enter__()
        assert self._holder.line() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.__exit__()

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", f"--net=/proc/{self._holder.pid}/ns/net", *argv]

    def run(self, *argv: str) -> str:
        return subprocess.run(self.inside(*argv), capture_output=True, text=True, timeout=LONG, cwd="/", check=True).stdout

    def scan(self, curl: Path) -> Record:
        """Let curl connect, and give what a look tells of it."""
        with Child(self.inside(str(curl), "-s", "-v", f"telnet://{SERVER}:443")) as child:
            child.wait_for_error("Connected to")
            records = [json.loads(line) for line in self.run(*outwatch_command("scan", "--jsonl")).splitlines()]
        told: list[Record] = [one for one in records if one["kind"] == "connection" and one["process"]["pid"] == child.pid]
        return told[-1]


def test_a_changed_file_of_a_package_is_told_and_that_the_package_put_it_back_is_an_update(lab: Lab, curl: Path, tmp_path: Path) -> None:
    fake = tmp_path / "curl"
    fake.write_bytes(curl.read_bytes() + b"\0")
    fake.chmod(0o755)
    with OwnMounts(lab) as mounts:
        mounts.run("mount", "--bind", str(fake), str(curl))
        wrong = mounts.scan(curl)
        mounts.run("umount", str(curl))
        right = mounts.scan(curl)
    assert wrong["outwatch"]["package"]["matches"] is False
    assert points(wrong) == [60]
    assert right["outwatch"]["package"]["matches"] is True
    assert right["outwatch"]["changed"]["sha256"] == wrong["process"]["hash"]["sha256"] == sha256(fake)
    assert right["outwatch"]["changed"]["by_package"] is True
    assert points(right) == []
