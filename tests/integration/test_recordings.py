"""What was recorded can be explained, replayed, and read by others' tools."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .child import LONG, Child
from .lab import PUBLIC, SERVER, Caller, Lab, outwatch_command

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]


@pytest.fixture
def recording(lab: Lab, caller: Callers, copied_python: Callable[[str], str], tmp_path: Path) -> Path:
    """Record an ordinary connection and a suspicious one."""
    caller().call(SERVER)
    caller(copied_python("updater")).call(PUBLIC)
    path = tmp_path / "recorded.jsonl"
    done = lab.outwatch("watch", "--jsonl", "--for", "1s")
    assert done.returncode == 0, done.stderr
    path.write_text(done.stdout)
    return path


def judged(text: str) -> dict[str, tuple[Any, ...]]:
    """Give id, verdict, score, reasons of the last word on each connection."""
    records = [json.loads(line) for line in text.splitlines()]
    return {
        one["id"]: (one["outwatch"].get("verdict"), one["outwatch"].get("score"), one["outwatch"].get("reasons"), one["process"]["pid"])
        for one in records
        if one["kind"] == "connection"
    }


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(outwatch_command(*arguments), input=stdin, capture_output=True, text=True, timeout=LONG, cwd="/", check=False)


def test_explain_knows_the_last_scan_by_id_and_by_its_beginning(lab: Lab, caller: Callers, copied_python: Callable[[str], str]) -> None:
    caller(copied_python("updater")).call(PUBLIC)
    record = lab.records("scan")[0]
    whole, short = run("explain", record["id"]), run("explain", record["id"][:8])
    assert whole.returncode == short.returncode == 0
    assert whole.stdout == short.stdout
    assert "runs from a temporary folder" in whole.stdout
    assert "score 50" in whole.stdout
    assert f"{PUBLIC}:443" in whole.stdout


def test_explain_takes_the_short_id_that_the_table_shows(lab: Lab, caller: Callers) -> None:
    caller().call(PUBLIC)
    row = next(line for line in lab.outwatch("scan").stdout.splitlines() if PUBLIC in line)
    assert run("explain", row.split()[-1]).returncode == 0


def test_explain_ends_with_1_for_an_id_nobody_has(lab: Lab) -> None:
    lab.records("scan")
    done = run("explain", "nosuchid")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_explain_reads_a_recording(recording: Path) -> None:
    worst = next(identity for identity, facts in judged(recording.read_text()).items() if facts[0] == "medium")
    done = run("explain", worst, "--from", str(recording))
    assert done.returncode == 0
    assert "medium" in done.stdout


@pytest.mark.parametrize("command", [("replay", "{}"), ("scan", "--from", "{}"), ("watch", "--from", "{}")], ids=" ".join)
def test_every_way_to_read_a_recording_gives_its_ids_and_verdicts(recording: Path, command: tuple[str, ...]) -> None:
    done = run(*(part.format(recording) for part in command), "--jsonl")
    assert done.returncode == 0, done.stderr
    assert judged(done.stdout) == judged(recording.read_text())
    assert {facts[0] for facts in judged(done.stdout).values()} == {"normal", "medium"}
    assert json.loads(done.stdout.splitlines()[-1])["sensor"] == "replay"


@pytest.mark.parametrize("command", [("replay", "-"), ("scan", "--from", "-"), ("watch", "--from", "-")], ids=" ".join)
def test_a_recording_may_come_through_a_pipe(recording: Path, command: tuple[str, ...]) -> None:
    done = run(*command, "--jsonl", stdin=recording.read_text())
    assert done.returncode == 0
    assert judged(done.stdout) == judged(recording.read_text())


def test_what_comes_through_a_pipe_is_shown_before_the_pipe_ends(recording: Path) -> None:
    # ssh elsewhere outwatch watch --jsonl | outwatch watch --from -
    with Child(outwatch_command("watch", "--from", "-", "--jsonl")) as follower:
        first = recording.read_text().splitlines()[0]
        follower.tell(first)
        assert json.loads(follower.line())["id"] == json.loads(first)["id"]


@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        pytest.param(("replay", "-"), signal.SIGINT, 130, id="replay, Ctrl+C"),
        pytest.param(("replay", "-"), signal.SIGTERM, 130, id="replay, SIGTERM"),
        pytest.param(("watch", "--from", "-"), signal.SIGINT, 0, id="watch, Ctrl+C"),
    ],
)
def test_a_silent_pipe_does_not_keep_a_signal_from_ending_it(command: tuple[str, ...], number: int, code: int, tmp_path: Path) -> None:
    with Child(outwatch_command(*command, "--jsonl")) as reader:
        reader.tell("no record")  # once it complains about this line, it reads and its handlers stand
        reader.wait_for_error("stdin:1")
        reader.process.send_signal(number)
        assert reader.process.wait(timeout=LONG) == code


def test_a_broken_line_is_named_and_the_rest_goes_on(recording: Path) -> None:
    lines = recording.read_text().splitlines()
    recording.write_text("\n".join([lines[0], '{"kind": "connection", "id"', *lines[1:]]) + "\n")
    whole = judged("\n".join(lines))
    done = run("replay", str(recording), "--jsonl")
    assert done.returncode == 0
    assert f"{recording}:2:" in done.stderr
    assert judged(done.stdout) == whole
    assert run("replay", str(recording), "--strict").returncode == 4


def test_a_recording_that_is_not_there_ends_with_1(tmp_path: Path) -> None:
    done = run("replay", str(tmp_path / "nothing.jsonl"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_json_is_one_document_that_jq_reads(lab: Lab, caller: Callers) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    caller().call(SERVER)
    document = lab.outwatch("scan", "--json").stdout
    asked = ".schema, (.records | length), .records[0].destination.ip, .summary.seen"
    done = subprocess.run(["jq", "-c", asked], input=document, capture_output=True, text=True, timeout=LONG, check=True)
    assert done.stdout.split() == ['"outwatch/1"', "1", f'"{SERVER}"', "1"]


def test_plain_lines_have_the_columns_of_the_manual(lab: Lab, caller: Callers) -> None:
    client = caller()
    local = client.call(SERVER)
    cells = [line.split("\t") for line in lab.outwatch("scan", "--plain").stdout.splitlines() if not line.startswith("#")]
    (row,) = cells
    assert row[1:4] == ["existing", "normal", "0"]
    assert row[5:11] == [str(client.pid), "root", "egress", "tcp", f"192.0.2.1:{local}", f"{SERVER}:443"]
    assert row[11:13] == ["-", "-"], "a cell without a value holds a dash"
    assert len(row) == 20
    assert row[15:] == ["-"] * 5, "nothing is known of a documentation address"
    assert row[14] == "1"


@pytest.mark.parametrize("command", [("scan",), ("watch", "--for", "1s")], ids=lambda one: one[0])
def test_the_last_of_the_json_lines_is_the_summary(lab: Lab, caller: Callers, command: tuple[str, ...]) -> None:
    caller().call(SERVER)
    kinds = [one["kind"] for one in lab.records(*command)]
    assert kinds[-1] == "summary"
    assert kinds.count("summary") == 1
    assert "connection" in kinds
