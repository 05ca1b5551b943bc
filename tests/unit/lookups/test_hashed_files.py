"""Which file a process runs or ran: the kernel's device and inode decide, and nothing is opened that is not a plain file."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.lookups.hashing import files
from outwatch.lookups.hashing.files import File, running, sha256_of, way_elsewhere
from outwatch.model.records import ProgramFile

if sys.platform != "linux":
    pytest.skip("the kernel sensor is Linux's", allow_module_level=True)

pytestmark = pytest.mark.security


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    path = tmp_path / "tool"
    path.write_bytes(b"content")
    return path


def told_of(path: Path, namespace: str = "5") -> ProgramFile:
    """Give what the kernel says of a file."""
    facts = path.stat()
    return ProgramFile(device=f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}", inode=str(facts.st_ino), mount_namespace=namespace)


def is_that(path: Path, found: File | None) -> bool:
    return found is not None and (found.device, found.inode) == (path.stat().st_dev, path.stat().st_ino)


def test_the_file_that_the_kernel_told_of_is_taken(tool: Path) -> None:
    assert is_that(tool, running(os.getpid(), str(tool), told_of(tool)))
    assert is_that(tool, running(os.getpid(), str(tool), None))


@pytest.mark.parametrize("other", [{"inode": "1"}, {"device": "0:999999"}, {"inode": None}, {"device": None}, {"inode": "\ud800"}])
def test_any_other_file_is_not(tool: Path, other: dict[str, Any]) -> None:
    assert running(os.getpid(), str(tool), replace(told_of(tool), **other)) is None


def test_where_a_file_shows_another_device_than_its_file_system_the_table_of_mounts_decides(
    tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = told_of(tool)
    monkeypatch.setattr(files, "_spelled", lambda _device: "0:77")  # as btrfs does
    assert is_that(tool, running(os.getpid(), str(tool), told))
    assert running(os.getpid(), str(tool), replace(told, device="0:78")) is None


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_plain_file_is_never_what_runs(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert running(os.getpid(), str(path), told_of(path)) is None


class Proc:
    """A folder that looks like /proc, with processes that have a root each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.add("self", "mnt:[1]")

    def add(self, name: str, mounts: str, users: str = "user:[1]", root: Path | None = None) -> None:
        folder = self.path / name
        (folder / "ns").mkdir(parents=True)
        (folder / "ns" / "mnt").symlink_to(mounts)
        (folder / "ns" / "user").symlink_to(users)
        (folder / "root").symlink_to(root or "/nonexistent")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path / "proc")


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """Give the root of a container."""
    root = tmp_path / "container"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_bytes(b"content")
    return root


def test_a_file_in_other_mounts_is_found_through_somebody_who_is_there(proc: Proc, inside: Path) -> None:
    proc.add("70", "mnt:[4]", root=inside.parent)
    proc.add("71", "mnt:[5]", root=inside / "bin")  # shut into a folder
    proc.add("72", "mnt:[5]", root=inside)
    found = way_elsewhere("/bin/tool", told_of(inside / "bin" / "tool"), str(proc.path))
    assert found is not None
    path, way = found
    assert is_that(inside / "bin" / "tool", way.file)
    assert way.changed_ns == (inside / "bin" / "tool").stat().st_ctime_ns
    assert sha256_of(path, way.file) == hashlib.sha256(b"content").hexdigest()


def _another(inside: Path) -> None:
    other = inside / "bin" / "other"
    other.write_bytes(b"content")
    other.rename(inside / "bin" / "tool")


def _link(inside: Path) -> None:
    (inside / "other").write_bytes(b"x")
    (inside / "bin" / "tool").unlink()
    (inside / "bin" / "tool").symlink_to(inside / "other")


def _gone(inside: Path) -> None:
    (inside / "bin" / "tool").unlink()


@pytest.mark.parametrize("change", [_another, _link, _gone])
def test_another_file_at_that_path_is_not_taken_for_it(proc: Proc, inside: Path, change: Callable[[Path], None]) -> None:
    proc.add("72", "mnt:[5]", root=inside)
    told = told_of(inside / "bin" / "tool")
    with open(inside / "bin" / "tool", "rb"):  # so that its inode is not given away
        change(inside)
        assert way_elsewhere("/bin/tool", told, str(proc.path)) is None


@pytest.mark.parametrize(("mounts", "users"), [("mnt:[6]", "user:[1]"), ("mnt:[5]", "user:[2]")])
def test_mounts_that_are_others_or_that_anybody_may_make_are_not_looked_into(proc: Proc, inside: Path, mounts: str, users: str) -> None:
    proc.add("72", mounts, users, root=inside)
    assert way_elsewhere("/bin/tool", told_of(inside / "bin" / "tool"), str(proc.path)) is None


@pytest.mark.parametrize("kind", ["pipe", "device", "another file"])
def test_what_was_put_in_the_place_of_a_wanted_file_is_not_opened(tool: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    wanted = running(os.getpid(), str(tool), None)
    tool.unlink()
    if kind == "pipe":
        os.mkfifo(tool)
    elif kind == "device":
        tool.symlink_to("/dev/null")
    else:
        tool.write_bytes(b"contents")
    opened: list[int] = []
    really = os.open

    def noting(path: Any, flags: int) -> int:
        opened.append(flags)
        return really(path, flags)

    monkeypatch.setattr(os, "open", noting)
    assert sha256_of(str(tool), wanted) is None
    assert opened
    assert all(flags & os.O_PATH for flags in opened)
