"""The commands over captures, as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from . import frames
from .frames import CLIENT, Side, client_hello, conversation

PACKETS = conversation(Side((CLIENT, 40_000), ("198.51.100.7", 443)), [client_hello("www.example.com")], [b"x" * 99])


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "traffic"
    path.write_bytes(frames.pcap(PACKETS))
    return path


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "outwatch", *arguments, "--no-dns"]
    return subprocess.run(command, input=stdin, capture_output=True, env=os.environ, timeout=60, check=False)


def records(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "command", [("replay", "{}"), ("replay", "--format", "pcap", "{}"), ("scan", "--from", "{}"), ("watch", "--from", "{}")]
)
def test_a_capture_is_judged_wherever_a_recording_is(capture: Path, command: tuple[str, ...]) -> None:
    connection, summary = records(run(*(part.format(capture) for part in command), "--jsonl"))
    assert connection["destination"] == {
        "ip": "198.51.100.7", "port": 443, "bytes": 99, "domain": "www.example.com", "service": "https",
    }  # fmt: skip
    assert connection["network"]["community_id"].startswith("1:")
    assert connection["outwatch"]["verdict"] == "normal"
    assert "attribution" not in connection["outwatch"]
    assert (summary["seen"], summary["unattributed"]) == (1, 0)
    assert "broken_lines" not in summary


def test_a_pipe_is_told_from_its_first_bytes_and_its_last_word_is_the_same(capture: Path) -> None:
    (connection, _), *_ = [records(run("replay", str(capture), "--jsonl"))]
    piped = records(run("replay", "-", "--jsonl", stdin=capture.read_bytes()))
    last = next(one for one in reversed(piped) if one["kind"] == "connection")
    last["revision"] = connection["revision"]
    assert last == connection


def test_internal_networks_say_what_comes_in(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(frames.pcap(conversation(Side(("203.0.113.5", 40_000), ("198.51.100.7", 443)), [b"x"], [])))
    out, _ = records(run("replay", str(path), "--jsonl"))
    into, _ = records(run("replay", str(path), "--jsonl", "--all", "--internal", "198.51.100.0/24"))
    assert (out["network"]["direction"], out["outwatch"]["verdict"]) == ("egress", "normal")
    assert (into["network"]["direction"], into["outwatch"].get("verdict")) == ("ingress", None)


def test_explain_finds_what_replay_has_shown(capture: Path) -> None:
    connection, _ = records(run("replay", str(capture), "--jsonl"))
    done = run("explain", connection["id"][:8], "--from", str(capture))
    assert done.returncode == 0
    assert b"198.51.100.7:443" in done.stdout


def test_a_capture_that_is_cut_is_named_and_incomplete(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-5])
    done = run("replay", str(capture), "--jsonl", "--strict")
    assert done.returncode == 4
    assert f"{capture}:{len(PACKETS)}: reading ends here: the capture is cut off here" in done.stderr.decode()
    assert json.loads(done.stdout.splitlines()[0])["destination"]["domain"] == "www.example.com"
