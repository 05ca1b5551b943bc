"""The command report: where its file goes, when it is refused, and what stays when something goes wrong."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openpyxl import load_workbook

from .child import LONG
from .lab import PUBLIC, SERVER_V6, Caller, Lab, outwatch_command

if TYPE_CHECKING:
    from .conftest import Unprivileged

pytestmark = pytest.mark.integration
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX modes and signals")
as_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux")
FORMS = ("xlsx", "csv", "json", "jsonl")
CALLER = 54320


def recorded(path: Path, count: int, programs: int = 5) -> Path:
    """Write a recording of so many connections, each to a port and an address of its own."""
    with path.open("w") as file:
        for number in range(count):
            program = number % programs
            record = {
                "kind": "connection", "id": f"r{number}", "revision": 1,
                "@timestamp": f"2025-07-10T17:{number // 60 % 60:02}:{number % 60:02}.5Z",
                "network": {"transport": "tcp", "direction": "egress"}, "source": {"ip": "192.0.2.1", "port": 40000, "bytes": number},
                "destination": {"ip": f"198.51.100.{number % 250}", "port": number // 250 % 60000},
                "process": {"pid": program, "name": f"p{program}", "executable": f"/usr/bin/p{program}", "entity_id": f"e{program}"},
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return recorded(tmp_path / "recorded.jsonl", 300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir(mode=0o700)
    return folder


def report(*arguments: object, cwd: Path | str = "/", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = outwatch_command("report", *map(str, arguments))
    whole = {**os.environ, **(env or {})}
    return subprocess.run(argv, capture_output=True, text=True, timeout=LONG, cwd=cwd, env=whole, check=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    """Give what was said on failing: one line, without data."""
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_without_a_name_it_is_network_results_and_a_number_if_that_is_taken(recording: Path, folder: Path) -> None:
    for name in ("network_results.xlsx", "network_results_1.xlsx", "network_results_2.xlsx"):
        done = report("--from", recording, cwd=folder)
        assert (done.returncode, done.stdout) == (0, f"{name}\n"), done.stderr
        assert load_workbook(folder / name, read_only=True)["Connections"].max_row == 301
    assert len(os.listdir(folder)) == 3


def test_force_replaces_the_file_of_the_default_name_and_of_a_given_one(recording: Path, folder: Path) -> None:
    for arguments, name in ([], "network_results.xlsx"), (["-o", "r.csv"], "r.csv"):
        (folder / name).write_text("old")
        done = report("--from", recording, "--force", *arguments, cwd=folder)
        assert (done.returncode, done.stdout) == (0, f"{name}\n")
        assert (folder / name).read_bytes()[:3] != b"old"
    assert len(os.listdir(folder)) == 2


@pytest.mark.parametrize("form", FORMS)
def test_the_ending_decides_the_form(recording: Path, folder: Path, form: str) -> None:
    done = report("--from", recording, "-o", folder / f"R.{form.upper()}")
    assert done.returncode == 0
    beginning = {"xlsx": b"PK\x03\x04", "csv": b'"IP","Domain"', "json": b'{"schema":"outwatch/1"', "jsonl": b'{"kind":"connection"'}[form]
    assert (folder / f"R.{form.upper()}").read_bytes().startswith(beginning)
    assert os.listdir(folder) == [f"R.{form.upper()}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "r.txt"], ".xlsx"),
        (["-o", "r"], ".xlsx"),
        (["-o", "-"], ".xlsx"),
        (["--for", "5s", "--from", "x.jsonl"], "exclude"),
        (["--json", "--jsonl"], "exclude"),
        (["--for", "soon"], "duration"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_writes_nothing(folder: Path, arguments: list[str], said: str) -> None:
    done = report(*arguments, cwd=folder)
    assert (done.returncode, done.stdout, os.listdir(folder)) == (2, "", [])
    assert said in done.stderr


@posix
@pytest.mark.security
@pytest.mark.parametrize("trap", ["exists", "link", "dangling link", "is a folder", "no folder", "folder is a file", "open to all"])
def test_a_file_that_can_not_be_written_is_refused_before_anybody_waits(folder: Path, trap: str) -> None:
    target, victim = folder / "r.xlsx", folder / "victim"
    victim.write_text("precious")
    if trap == "exists":
        target.write_text("old")
    elif trap.endswith("link"):
        target.symlink_to(victim if trap == "link" else folder / "nowhere")
    elif trap == "is a folder":
        target.mkdir()
    elif trap == "open to all":
        folder.chmod(0o777)
    else:
        target = folder / ("gone" if trap == "no folder" else "victim") / "r.xlsx"
    before = sorted(os.listdir(folder))
    done = report("--for", "1h", "-o", target)  # if it watched, the test would run out of time
    assert str(target if target.parent == folder and trap != "open to all" else target.parent) in line_of(done)
    assert (sorted(os.listdir(folder)), victim.read_text()) == (before, "precious")


@posix
def test_a_current_folder_that_is_gone_is_named_as_the_reason(folder: Path) -> None:
    script = f'cd "{folder}" && rmdir "{folder}" && exec "$@"'
    argv = ["sh", "-c", script, "sh", *outwatch_command("report", "--for", "1h")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LONG, check=False)
    line = line_of(done)
    assert "No such file or directory" in line
    assert "standard output" not in line


@pytest.mark.root
def test_a_folder_without_the_right_to_write_is_refused_before_anybody_waits(lab: Lab, unprivileged: "Unprivileged") -> None:
    done = unprivileged.outwatch(lab, "report", "--for", "1h")
    assert "network_results.xlsx: Permission denied" in line_of(done)


@as_root
@pytest.mark.root
@pytest.mark.parametrize("name", ["network_results.xlsx", "r.csv"])
def test_under_sudo_the_report_belongs_to_who_asked_for_it(recording: Path, name: str) -> None:
    home = Path("/var/tmp") / f"caller{os.getpid()}"
    home.mkdir()
    try:
        os.chown(home, CALLER, CALLER)
        recording.chmod(0o644)
        asked = [] if name.startswith("network") else ["-o", name]
        done = report("--from", recording, *asked, cwd=home, env={"SUDO_UID": str(CALLER), "SUDO_GID": str(CALLER)})
        assert done.returncode == 0, done.stderr
        assert os.listdir(home) == [name]
        assert ((home / name).stat().st_uid, (home / name).stat().st_gid) == (CALLER, CALLER)
    finally:
        shutil.rmtree(home)


class Watched:
    """A report being made in front of a terminal."""

    def __init__(self, *arguments: str) -> None:
        from .test_terminal import Terminal

        self.terminal = Terminal("report", *arguments)

    def until(self, pattern: str) -> "re.Match[str]":
        times = 0
        while (match := re.search(pattern, self.terminal.text)) is None:
            times += 1
            self.terminal.until("connections", times)
        return match


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    if sys.platform == "win32":
        pytest.skip("this system has no pseudo-terminals")
    with ExitStack() as stack:

        def start(*arguments: str) -> Watched:
            made = Watched(*arguments)
            stack.callback(made.terminal.close)
            return made

        yield start


def test_a_terminal_shows_the_seconds_left_which_are_100_if_none_are_given(watched: Callable[..., Watched], folder: Path) -> None:
    bar = watched("-o", str(folder / "r.csv"))
    assert int(bar.until(r"(\d+) s left")[1]) in {98, 99, 100}
    bar.until(r"9[0-7] s left")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_watching_early_and_the_report_is_written(
    watched: Callable[..., Watched], folder: Path, calls: int, number: int
) -> None:
    bar = watched("-o", str(folder / "r.csv"), "--all", "--for", "1h")
    bar.until(r"[1-9]\d* connections")
    bar.terminal.process.send_signal(number)
    assert bar.terminal.wait() == 0
    assert "Ctrl+C writes the report now" in bar.terminal.text
    assert [row["Connections"] for row in rows(folder / "r.csv") if row["Port"] == str(calls) and row["IP"] == "127.0.0.1"][:1] == ["1"]


@pytest.fixture
def calls(own_folders: Path) -> Iterator[int]:
    """Hold a connection over loopback from this process, and a file; give the port that was called."""
    import socket

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0],
        (own_folders / "held open").open("w"),
    ):
        yield listener.getsockname()[1]


def test_without_a_terminal_there_is_no_bar(folder: Path, calls: int) -> None:
    done = report("-o", folder / "r.csv", "--for", "1s", "--all", env={"FORCE_COLOR": "1"})
    assert done.returncode == 0
    assert "left" not in done.stderr.replace("left out", "")
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr


@pytest.mark.parametrize(("options", "told"), [([], "not collected (--files)"), (["--files"], "held open")])
def test_open_files_are_collected_only_if_they_were_asked_for(folder: Path, calls: int, options: list[str], told: str) -> None:
    done = report("-o", folder / "r.csv", "--for", "1s", "--all", *options)
    assert done.returncode == 0, done.stderr
    mine = [row["Accessed Files"] for row in rows(folder / "r.csv") if row["Port"] == str(calls) and row["PID"] == str(os.getpid())]
    assert len(mine) >= 1
    assert all(told in cell for cell in mine)


@pytest.mark.parametrize(("mode", "lines"), [("--json", None), ("--jsonl", 301), ("--plain", 300)])
def test_forms_for_programs_are_printed_too(recording: Path, folder: Path, mode: str, lines: int | None) -> None:
    done = report("--from", recording, "-o", folder / "r.csv", mode)
    assert done.returncode == 0
    assert len(rows(folder / "r.csv")) == 300
    if lines is None:
        assert len(json.loads(done.stdout)["records"]) == 300
    else:
        assert len([line for line in done.stdout.splitlines() if not line.startswith("#")]) == lines
    assert f"{folder}/r.csv" in done.stderr


def test_a_report_in_lines_is_a_recording_of_the_same_rows_and_counts(tmp_path: Path, folder: Path) -> None:
    lines = recorded(tmp_path / "r.jsonl", 300).read_text().splitlines()
    several = [json.loads(line) | {"id": f"{copy}{at}"} for copy in range(3) for at, line in enumerate(lines[: 100 * (copy + 1)])]
    recording = tmp_path / "several.jsonl"
    recording.write_text("".join(json.dumps(one) + "\n" for one in several))
    for source, name in (recording, "first.jsonl"), (recording, "first.csv"), (folder / "first.jsonl", "second.csv"):
        assert report("--from", source, "-o", folder / name).returncode == 0

    def told(name: str) -> list[tuple[str, ...]]:
        return sorted(tuple(row.values()) for row in rows(folder / name))

    assert told("first.csv") == told("second.csv")
    assert sum(int(row["Connections"]) for row in rows(folder / "second.csv")) == 600


@pytest.mark.root
def test_a_live_report_has_a_row_for_each_process_and_destination(lab: Lab, caller: Callable[..., Caller], folder: Path) -> None:
    several, other = caller(), caller()
    ports = [several.call(PUBLIC) for _ in range(3)]
    other.call(PUBLIC)
    other.call(SERVER_V6, kind="udp", port=5353)
    config = folder / "lab.toml"
    config.write_text('[scope]\npublic = ["198.51.100.0/24", "2001:db8::/32"]\n')
    for name in ("r.csv", "r.xlsx"):
        done = lab.outwatch("report", "--for", "1s", "--no-dns", "--config", str(config), "-o", str(folder / name))
        assert (done.returncode, done.stdout) == (0, f"{folder / name}\n"), done.stderr
    found = {(row["PID"], row["IP"], row["Port"], row["Protocol"], row["Connections"]): row for row in rows(folder / "r.csv")}
    assert found.keys() == {
        (str(several.pid), PUBLIC, "443", "tcp", "3"),
        (str(other.pid), PUBLIC, "443", "tcp", "1"),
        (str(other.pid), SERVER_V6, "5353", "udp", "1"),
    }
    assert len(set(ports)) == 3
    assert found[str(several.pid), PUBLIC, "443", "tcp", "3"]["Links"].count("https://") == 3
    assert load_workbook(folder / "r.xlsx")["Connections"].max_row == 4


# A new process begins with the memory of who started it: here that is a small one, and not that of the tests.
_MOST_HELD = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@posix
@pytest.mark.parametrize("form", ["xlsx", "csv"])
def test_200000_rows_are_written_in_bounded_memory(tmp_path: Path, folder: Path, form: str) -> None:
    recording, path = recorded(tmp_path / "r.jsonl", 200_000), folder / f"r.{form}"
    command = outwatch_command("report", "--from", str(recording), "-q", "-o", str(path))
    done = subprocess.run([sys.executable, "-c", _MOST_HELD, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20, "KiB"
    if form == "csv":
        assert path.read_bytes().count(b"\r\n") == 200_001
        return
    with zipfile.ZipFile(path) as book, book.open("xl/worksheets/sheet2.xml") as sheet:
        assert book.testzip() is None
        assert sheet.read().count(b"<row ") == 200_001
