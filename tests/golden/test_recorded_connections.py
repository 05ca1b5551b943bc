"""Recorded connections in, records and verdicts out: the whole fast lane, word for word.

``expected.jsonl`` is what the contract and the arithmetic of verdicts say of ``recorded.jsonl`` under ``config.toml``. It
was written from them, so a difference is a change of behaviour to be thought about, never a file to be overwritten.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.cli.group import run

HERE = Path(__file__).parent
EXPECTED = [json.loads(line) for line in (HERE / "expected.jsonl").read_text("utf-8").splitlines()]
Output = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Copy the configuration, with an owner and a mode that can be trusted wherever the project lies."""
    path = tmp_path / "config.toml"
    path.write_bytes((HERE / "config.toml").read_bytes())
    path.chmod(0o600)
    return path


@pytest.fixture
def output(config: Path) -> Output:
    """Replay a recording in a process of its own and give the records that come out."""

    def replay(path: Path | str, *options: str, stdin: bytes = b"") -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "outwatch", "replay", str(path), "--config", str(config), "--jsonl", *options]
        done = subprocess.run(command, input=stdin, capture_output=True, check=True, env=os.environ, timeout=60)
        assert done.stderr == b""
        found = [json.loads(line) for line in done.stdout.splitlines()]
        del found[-1]["event"]  # when the replay itself ran
        return found

    return replay


def differing(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Give what differs, by id, so that a failure is readable."""
    return {
        f"{at}: {wanted.get('id', wanted['kind'])}": (given, wanted)
        for at, (given, wanted) in enumerate(zip(found, expected, strict=True))
        if given != wanted
    }


def test_every_recorded_connection_gets_the_record_and_verdict_expected(output: Output) -> None:
    assert differing(output(HERE / "recorded.jsonl", "--all"), EXPECTED) == {}


def test_a_compressed_pipe_says_the_same(output: Output) -> None:
    packed = gzip.compress((HERE / "recorded.jsonl").read_bytes())
    assert differing(output("-", "--all", stdin=packed), EXPECTED) == {}


def test_what_comes_out_goes_in_again_unchanged(output: Output, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl"
    again.write_text("".join(json.dumps(one) + "\n" for one in EXPECTED), "utf-8")
    assert differing(output(again, "--all"), EXPECTED) == {}


def test_without_all_only_what_leaves_for_the_outside_is_shown_and_all_is_counted(output: Output) -> None:
    found = output(HERE / "recorded.jsonl")

    def hidden(one: dict[str, Any]) -> bool:
        network = one.get("network", {})
        outside = network.get("scope") not in {"private", "loopback", "link_local"}
        return network.get("direction") == "ingress" or not outside or one.get("outwatch", {}).get("verdict") == "allowed"

    assert differing(found, [one for one in EXPECTED if not hidden(one)]) == {}
    assert found[-1] == EXPECTED[-1]


@pytest.mark.parametrize(
    ("options", "code"),
    [([], 0), (["--fail-on", "critical"], 3), (["--fail-on", "low"], 3), (["--strict"], 4), (["--strict", "--fail-on", "high"], 3)],
)
def test_the_exit_code_tells_of_findings_and_of_the_loss_recorded(config: Path, options: list[str], code: int) -> None:
    assert run(["replay", str(HERE / "recorded.jsonl"), "--config", str(config), "--jsonl", *options]) == code
