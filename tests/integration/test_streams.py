"""Standard output, standard error and exit codes, whatever they are connected to. No root and no other host is needed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import outwatch

from .child import LONG, Child
from .lab import outwatch_command

pytestmark = pytest.mark.integration
posix = pytest.mark.skipif(sys.platform == "win32", reason="a thing of POSIX shells")
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, **(env or {})}
    return subprocess.run(outwatch_command(*arguments), capture_output=True, text=True, timeout=LONG, env=whole, check=False)


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which ``outwatch`` is the program under test."""
    defined = f'outwatch() {{ "{sys.executable}" -m outwatch "$@"; }}; {script}'
    return subprocess.run(["bash", "-c", defined], capture_output=True, text=True, timeout=2 * LONG, check=False)


@pytest.fixture
def calls() -> Iterator[int]:
    """Hold a connection over loopback; give its local port."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0],
    ):
        yield client.getsockname()[1]


def test_the_module_and_its_version_can_be_asked_for() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"outwatch {outwatch.__version__}", "")


def test_without_a_command_it_scans(calls: int) -> None:
    done = run("--jsonl", "--all")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert calls in {one["source"]["port"] for one in records if one["kind"] == "connection"}


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["scan", "--json", "--jsonl"], id="two forms of output"),
        pytest.param(["scan", "--for", "soon"], id="no duration"),
        pytest.param(["scan", "--nonsense"], id="no such option"),
        pytest.param(["nonsense"], id="no such command"),
        pytest.param(["replay"], id="nothing to replay"),
        pytest.param(["scan", "--config", "/nonexistent/outwatch.toml"], id="no such configuration"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_key_is_named_with_its_file_and_the_nearest_right_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[detectors.allow_list]\nunlistd = "medium"\n')
    done = run("scan", "--config", str(file))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(file) in line
    assert "detectors.allow_list.unlistd" in line
    assert "'unlisted'" in line


def test_a_sensor_that_does_not_exist_here_ends_with_1() -> None:
    done = run("scan", "--sensor", "ebpf")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@posix
@pytest.mark.parametrize(
    "command",
    ["scan --all", "scan --all --jsonl", "scan --all --json", "scan --all --plain", "config show", "doctor", "--help", "--version"],
)
def test_a_reader_that_has_left_is_no_error(calls: int, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(outwatch_command(*command.split()), stdout=writing, stderr=subprocess.PIPE, timeout=LONG, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@posix
def test_watch_ends_quietly_when_its_reader_has_left() -> None:
    script = f'"{sys.executable}" -m outwatch watch --all --jsonl | head -1; echo "${{PIPESTATUS[0]}}"'
    with ExitStack() as held, Child(["bash", "-c", script]) as piped:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2000))
        held.enter_context(socket.create_connection(listener.getsockname()))
        piped.line()  # head has its line now, and goes

        def has_ended() -> bool:
            held.enter_context(socket.create_connection(listener.getsockname()))  # something to tell, so that it is noticed
            return piped.process.poll() is not None

        piped.until(has_ended, "end")
        piped.end()
    assert (piped.lines[-1], piped.errors) == ("0", "")


@full
@pytest.mark.parametrize(
    "command", ["scan", "scan --plain", "scan --jsonl", "scan --json", "watch --jsonl --for 1s", "config show", "--help"]
)
def test_a_full_disk_behind_standard_output_ends_with_one_line_and_1(command: str) -> None:
    done = shell(f"outwatch {command} >/dev/full")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "No space left" in done.stderr


@posix
@pytest.mark.parametrize("command", ["scan >&-", "scan --jsonl >&-", "watch --for 1s >&-", "scan >&- 2>&-", "replay - <&-"])
def test_a_closed_stream_is_no_reason_for_a_traceback(command: str) -> None:
    done = shell(f"outwatch {command}")
    assert "Traceback" not in done.stderr
    assert "AttributeError" not in done.stderr
    assert "-" not in command.split() or done.returncode == 1, "there was nothing to read from"


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
@pytest.mark.parametrize("command", [("scan", "--all"), ("--help",), ("scan", "--help"), ("doctor",), ("scan", "--nonsense")], ids=" ".join)
def test_without_a_terminal_nothing_is_coloured(calls: int, command: tuple[str, ...], env: dict[str, str]) -> None:
    done = run(*command, env=env)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def test_no_color_wins_over_forced_colour(calls: int) -> None:
    assert "\x1b" not in run("scan", "--all", env={"NO_COLOR": "1", "FORCE_COLOR": "1"}).stdout


def test_colour_can_be_forced_into_a_pipe(calls: int) -> None:
    assert "\x1b[" in run("scan", "--all", env={"FORCE_COLOR": "1"}).stdout


@pytest.mark.parametrize("form", ["--plain", "--jsonl", "--json"])
def test_forms_for_programs_are_never_coloured(calls: int, form: str) -> None:
    done = run("scan", "--all", form, env={"FORCE_COLOR": "1"})
    assert str(calls) in done.stdout
    assert "\x1b" not in done.stdout


@posix
@pytest.mark.parametrize(
    ("words", "expected"), [("outwatch wa", "watch"), ("outwatch scan --fail", "--fail-on"), ("outwatch allow im", "import")]
)
def test_the_shell_completes_commands_and_options(words: str, expected: str) -> None:
    env = {"_OUTWATCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert expected in run(env=env).stdout.replace(",", " ").split()


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_that_calls_back(name: str) -> None:
    done = run("completion", name)
    assert done.returncode == 0
    assert f"_OUTWATCH_COMPLETE={name}_complete" in done.stdout


@posix
def test_quiet_still_says_why_it_failed(tmp_path: Path) -> None:
    # Exit code 1 without a word is of no use in a mail from cron.
    blocked = tmp_path / "no-folder" / "x.log"
    done = run("scan", "--quiet", "--log", str(blocked))
    assert done.returncode == 1
    assert str(blocked.parent) in done.stderr


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_with_its_summary_in_plain_lines_too(calls: int, number: int) -> None:
    with Child(outwatch_command("watch", "--all", "--plain")) as watch:
        watch.line(lambda line: f":{calls}\t" in line)
        assert watch.end(number) == 0
        assert any(line.startswith("# ") and "connections seen" in line for line in watch.lines)
