"""Lists on a disk that is really full: a small file system in memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outwatch.cli.group import run

from .list_server import ListServer, Page

pytestmark = [
    pytest.mark.integration,
    pytest.mark.security,
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux to mount a file system"),
]
LONG = b"".join(b"8.%d.%d.%d\n" % (number >> 16, number >> 8 & 255, number & 255) for number in range(60_000))


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep the state on a file system of 512 KiB."""
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("needs the program mount")
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    command = [mount, "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    monkeypatch.setenv("OUTWATCH_STATE_DIR", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=10, check=True)


@pytest.mark.parametrize("fetched", [True, False])
def test_a_list_that_finds_no_room_is_told_and_what_was_there_stays(
    small_disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fetched: bool
) -> None:
    small, long = tmp_path / "small.txt", tmp_path / "long.txt"
    small.write_bytes(b"203.0.113.7\n")
    long.write_bytes(LONG)
    assert run(["intel", "add", str(small)]) == 0
    before = sorted(path.name for path in small_disk.rglob("*"))
    with ListServer() as server:
        source = server.serve("/long.txt", Page(LONG)) if fetched else str(long)
        assert run(["intel", "add", source]) == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert str(small_disk) in err, "it is the disk that is full, and nothing is wrong with the network"
    assert sorted(path.name for path in small_disk.rglob("*")) == before
    argv = [sys.executable, "-m", "outwatch", "intel", "check", "203.0.113.7", "--json"]  # a process of its own, which maps the index
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert [one["list"] for one in json.loads(done.stdout)["matches"]] == ["small"]
