"""A report that can't be written: nothing half-written stays, what was seen does, and one line says so."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .child import LONG, Child
from .lab import PUBLIC, Caller, Lab, outwatch_command
from .test_report import FORMS, line_of, recorded, report, rows

pytestmark = pytest.mark.integration
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX modes and signals")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return recorded(tmp_path / "recorded.jsonl", 300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 16 KiB."""
    mount = shutil.which("mount")
    if mount is None or sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux and the program mount")
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def kept(state: Path) -> Path:
    (path,) = state.glob("unreported_*.jsonl")
    return path


@pytest.mark.root
@pytest.mark.security
@pytest.mark.parametrize("form", FORMS)
def test_on_a_full_disk_nothing_stays_but_what_was_seen(recording: Path, disk: Path, folder: Path, own_folders: Path, form: str) -> None:
    done = report("--from", recording, "-q", "-o", disk / f"r.{form}")
    line = line_of(done)
    path = kept(own_folders / "state")
    assert f"{disk}/r.{form}" in line
    assert "No space left" in line
    assert str(path) in line
    assert os.listdir(disk) == []
    assert path.stat().st_mode & 0o777 == 0o600
    again, direct = folder / "again.csv", folder / "direct.csv"
    assert report("--from", path, "-o", again).returncode == report("--from", recording, "-o", direct).returncode == 0
    assert again.read_bytes() == direct.read_bytes()
    assert len(rows(again)) == 300


@pytest.mark.root
def test_if_not_even_the_state_folder_takes_it_both_are_said(recording: Path, disk: Path) -> None:
    done = report("--from", recording, "-q", "-o", disk / "r.xlsx", env={"OUTWATCH_STATE_DIR": str(disk / "state")})
    line = line_of(done)
    assert "r.xlsx" in line
    assert "lost" in line
    assert [path for path in disk.rglob("*") if path.is_file()] == []


@pytest.mark.root
def test_a_folder_for_temporary_files_that_is_full_is_named(recording: Path, disk: Path, folder: Path) -> None:
    done = report("--from", recording, "-q", "-o", folder / "r.xlsx", env={"TMPDIR": str(disk)})
    assert str(disk) in line_of(done)
    assert (os.listdir(folder), os.listdir(disk)) == ([], [])


@pytest.mark.root
def test_a_read_only_disk_is_refused_before_anybody_waits(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert "Read-only file system" in line_of(report("--for", "1h", "-o", disk / "r.xlsx"))


def begun(path: Path) -> bool:
    """Tell whether something is in a new file or is a folder; what was only tried out is gone again."""
    with contextlib.suppress(FileNotFoundError):
        return path.is_dir() or path.stat().st_size > 0
    return False


def half_written(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait until the report is being written."""
    limit = time.monotonic() + LONG
    while not any(begun(path) for path in list(folder.iterdir())):
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < limit


@posix
@pytest.mark.security
@pytest.mark.parametrize("form", ["xlsx", "csv"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_report_is_written_leaves_nothing_half_written(
    tmp_path: Path, folder: Path, own_folders: Path, number: int, form: str
) -> None:
    recording, scratch = recorded(tmp_path / "large.jsonl", 12_000), tmp_path / "scratch"
    scratch.mkdir()
    argv = outwatch_command("report", "--from", str(recording), "-o", str(folder / f"r.{form}"))
    with Child(argv, env={**os.environ, "TMPDIR": str(scratch)}) as child:
        half_written(child.process, scratch if form == "xlsx" else folder)
        code = child.end(number)
    assert code == 130
    assert (os.listdir(folder), os.listdir(scratch)) == ([], [])
    assert "Traceback" not in child.errors
    assert str(kept(own_folders / "state")) in child.errors


@pytest.mark.root
def test_what_a_watch_saw_is_kept_when_the_disk_is_full(
    lab: Lab, caller: Callable[..., Caller], disk: Path, folder: Path, own_folders: Path
) -> None:
    (disk / "nearly full").write_bytes(b"x" * 12_000)
    one = caller()
    one.call(PUBLIC)
    done = lab.outwatch("report", "--for", "1s", "--no-dns", "-q", "-o", str(disk / "r.xlsx"))
    path = kept(own_folders / "state")
    assert str(path) in line_of(done)
    assert os.listdir(disk) == ["nearly full"]
    assert report("--from", path, "-o", folder / "r.csv").returncode == 0
    assert [(row["IP"], row["PID"]) for row in rows(folder / "r.csv")] == [(PUBLIC, str(one.pid))]
