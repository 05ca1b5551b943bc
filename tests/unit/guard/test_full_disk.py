"""A disk that is really full: a small file system in memory."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outwatch.errors import OutputError
from outwatch.guard.files import append_line, write_atomic

pytestmark = [
    pytest.mark.security,
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux to mount a file system"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 KiB."""
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("needs the program mount")
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    command = [mount, "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=10, check=True)


def fill(path: Path, line: str) -> None:
    """Write three lines at a time until more was written than the disk can hold."""
    for _ in range(100):
        append_line(path, [line] * 3)


def test_a_log_on_a_full_disk_holds_whole_lines_only_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    path, line = small_disk / "log", "x" * 999
    with pytest.raises(OutputError, match="No space left on device"):
        fill(path, line)
    written = path.read_text().splitlines()
    assert written
    assert set(written) == {line}
    assert len(written) % 3 == 0
    assert path.read_bytes().endswith(b"\n")
    os.truncate(path, 0)
    append_line(path, ["room again"])
    assert path.read_text() == "room again\n"


def test_a_replacement_on_a_full_disk_leaves_the_old_content_and_nothing_beside_it(small_disk: Path) -> None:
    write_atomic(small_disk / "state", b"old")
    with pytest.raises(OutputError, match="No space left on device"):
        write_atomic(small_disk / "state", b"n" * (1 << 20))
    assert os.listdir(small_disk) == ["state"]
    assert (small_disk / "state").read_bytes() == b"old"
    write_atomic(small_disk / "state", b"new")
    assert (small_disk / "state").read_bytes() == b"new"
