"""Ten thousand hostile names through every output: no exception, no raw control byte, no record lost."""

import asyncio
import io
import json
import os
import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from outwatch.model import wire
from outwatch.model.records import Connection, Detection, Findings, Judged, Name, Summary, Unknown
from outwatch.sinks.suspicious_log import SuspiciousLog, SuspiciousLogConfig
from outwatch.views.terminal.explain import explanation
from outwatch.views.terminal.plain import COLUMNS, plain
from outwatch.views.terminal.table import picture, show

pytestmark = pytest.mark.security
COUNT = 10_000
ATOMS = (
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;https://x.test\x1b\\click\x1b]8;;\x1b\\", "\x1bP+q\x1b\\", "\x9b2J", "\x9d0;t\x9c",
    "\n", "\r", "\r\n", "\t", "\v", "\f", "\b\b\b", "\0", "\x7f", "\x85", "\u2028", "\u2029",
    "\u202egnp.exe", "\u2066x\u2069", "\u200b", "\u200f", "\ufeff", "\u061c", "\U000e0041",
    "\ud800", "\udfff", "\udc80", "\udcff",
    "[bold red]x[/]", "[link=https://x.test]x[/link]", "[/]", "[", ":smile:", "<script>", "&amp;", "%s%n{0}", "${x}", "`id`", "=1+1",
    "@x", "|",
    "2025-07-10 00:00:00 - WARNING - Process: forged", '{"kind":"summary"}', "# 0 connections", '"', "\\", "'", "\\x1b",
    "漢字", "a\u0301\u0302\u0303", "\U0001f99c", "\ufffe", "\uffff", "\ue000", " ", "\xa0", "\u3000", "x" * 500,
)  # fmt: skip
BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass
class Done:
    """How a run of the program ended."""

    code: int
    out: bytes
    err: bytes


Outwatch = Callable[..., Done]


def hostile(number: int) -> dict[str, Any]:
    """Make a recorded connection whose every text is hostile; its number is its pid."""
    dice = random.Random(number)

    def text(most: int = 4) -> str:
        return "".join(dice.choices(ATOMS, k=dice.randint(1, most)))

    made: dict[str, Any] = {
        "kind": "connection",
        "id": f"{number}-{text(2)}",
        "@timestamp": "2025-07-10T17:42:01.25Z",
        "event": {"action": "connect"},
        "network": {"transport": text(1), "direction": "egress"},
        "source": {"ip": "192.0.2.10", "port": 40000},
        "destination": {"ip": text(2) if number % 10 == 3 else "203.0.113.9", "port": 443, "domain": text()},
        "process": {
            "pid": number,
            "name": text(),
            "executable": "/tmp/" + text(),
            "args": [text(), text()],
            "working_directory": text(),
            "parent": {"pid": 1, "name": text()},
        },
        "user": {"id": text(1), "name": text()},
        "outwatch": {"sensor": text(1), "subject": text(), "names": [{"name": text(), "origin": "ptr"}]},
    }
    if number % 500 == 7:  # some nearly fill a line of the greatest length, each in another place
        long = "\x1b[m" + "x" * 900_000
        place = [(made, "id"), (made["process"], "name"), (made["destination"], "domain"), (made["user"], "name")][number // 500 % 4]
        place[0][place[1]] = f"{number}-{long}"
    return made


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write them all to a recording."""
    path = tmp_path_factory.mktemp("hostile") / "names.jsonl"
    path.write_text("".join(json.dumps(hostile(number)) + "\n" for number in range(1, COUNT + 1)), "ascii")
    return path


@pytest.fixture(scope="module")
def records(recording: Path) -> list[Connection]:
    """Read them back, as any recording is read."""
    found = [wire.decode(line) for line in recording.read_bytes().splitlines()]
    kept = [record for record in found if isinstance(record, Connection)]
    assert len(kept) == COUNT
    return kept


@pytest.fixture
def outwatch(tmp_path: Path) -> Outwatch:
    """Run the program and end with what it said."""

    def run(*arguments: str | bytes, stdin: bytes = b"", **environment: str) -> Done:
        command: list[str | bytes] = [sys.executable, "-m", "outwatch", *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, env={**os.environ, **environment}, timeout=120, cwd=tmp_path, check=False
        )
        assert b"Traceback" not in done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def assert_harmless(data: bytes, *, allowed: str = "\n", machine: bool = False) -> None:
    """Fail on anything that a terminal, a line reader or an eye would take for more than text; JSON may hold rare signs raw."""
    text = data.decode("utf-8")
    bad = {sign for sign in set(text) - set(allowed) if not sign.isprintable()}
    if machine:
        bad = {sign for sign in bad if unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or sign in BIDIRECTIONAL}
    assert not bad, sorted(map(ascii, bad))


def numbers(found: list[dict[str, Any]]) -> list[int]:
    """Give the numbers of records, by their ids, in order."""
    return sorted(int(one["id"].partition("-")[0]) for one in found if one["kind"] == "connection")


EVERY = list(range(1, COUNT + 1))


def test_json_lines_hold_every_record_on_a_line_of_its_own(outwatch: Outwatch, recording: Path) -> None:
    done = outwatch("replay", str(recording), "--jsonl", "--all")
    assert (done.code, done.err) == (0, b"")
    assert_harmless(done.out, machine=True)
    assert len(done.out.decode().splitlines()) == done.out.count(b"\n") == COUNT + 1
    found = [json.loads(line) for line in done.out.splitlines()]
    assert numbers(found) == EVERY
    assert found[-1]["seen"] == COUNT
    assert found[-1]["lost"] == {}


def test_the_json_document_holds_every_record(outwatch: Outwatch, recording: Path) -> None:
    done = outwatch("replay", str(recording), "--json", "--all")
    assert (done.code, done.err) == (0, b"")
    assert_harmless(done.out, machine=True)
    assert numbers(json.loads(done.out)["records"]) == EVERY


def test_plain_lines_hold_every_record_in_its_columns(outwatch: Outwatch, recording: Path) -> None:
    done = outwatch("replay", str(recording), "--plain", "--all")
    assert (done.code, done.err) == (0, b"")
    assert_harmless(done.out, allowed="\n\t")
    rows = [line.split("\t") for line in done.out.decode().splitlines() if not line.startswith("# ")]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert sorted(int(row[COLUMNS.index("pid")]) for row in rows) == EVERY


def test_the_suspicious_log_has_a_line_for_each(outwatch: Outwatch, recording: Path, tmp_path: Path) -> None:
    done = outwatch("replay", str(recording), "--all", "--log", "suspicious.log", "--quiet")
    assert (done.code, done.err) == (0, b"")
    data = (tmp_path / "suspicious.log").read_bytes()
    assert_harmless(data)
    lines = data.decode().splitlines()
    assert len(lines) == COUNT
    assert all(f"(PID: {number}) => " in line for number, line in zip(EVERY, lines, strict=True))


def test_the_table_shows_what_it_says_it_shows(outwatch: Outwatch, recording: Path) -> None:
    done = outwatch("replay", str(recording), "--all", NO_COLOR="1", COLUMNS="250")
    assert (done.code, done.err) == (0, b"")
    assert_harmless(done.out)
    assert b"9,500 more rows" in done.out
    assert f"{COUNT:,} connections seen".encode() in done.out


def test_the_table_can_hold_every_record(records: list[Connection]) -> None:
    sample = records[::5]
    console = Console(record=True, width=250, file=io.StringIO(), color_system=None)
    show(console, picture([_judged(record) for record in sample], Summary(), most=COUNT))
    text = console.export_text()
    assert_harmless(text.encode("utf-8", "surrogatepass"))
    words = {word for line in text.splitlines() for word in line.split() if word.isdecimal()}
    assert {str(record.process.pid) for record in sample if record.process} <= words


def _judged(record: Connection) -> Connection:
    name = record.process.name or "" if record.process else ""
    reason = Detection(detector=name, points=50, reason=name, evidence={name: name, "list": (name, name)}, techniques=(name,), source=name)
    return replace(record, outwatch=Findings(verdict="medium", score=50, reasons=(reason, reason), names=(Name(name=name),)))


def test_every_record_can_be_explained(records: list[Connection]) -> None:
    for record in records:
        text = explanation(_judged(record))
        assert_harmless(text.encode("utf-8"))
        assert text.startswith(record.id.partition("-")[0] + "-")


def test_reasons_of_any_text_pass_every_output(records: list[Connection], tmp_path: Path) -> None:
    judged = [_judged(record) for record in records]
    for record in judged:
        assert_harmless(wire.encode(record), allowed="", machine=True)
        assert_harmless(plain(record) or b"", allowed="\t")
    sink = SuspiciousLog(SuspiciousLogConfig(), path=tmp_path / "x.log", level="medium")
    asyncio.run(sink.write(judged))
    data = (tmp_path / "x.log").read_bytes()
    assert_harmless(data)
    assert len(data.decode().splitlines()) == COUNT


def test_raw_surrogates_and_controls_pass_also_where_no_edge_has_cleaned_them(tmp_path: Path) -> None:
    # A sensor of somebody else may forget to clean what it reads; one such record must not cost the others.
    when = datetime(2025, 7, 10, tzinfo=UTC)
    made: list[Judged] = [
        _judged(Connection(id=atom, timestamp=when, outwatch=Findings(attribution=Unknown(unknown="exited")))) for atom in ATOMS
    ]
    for record in made:
        assert_harmless(wire.encode(record), allowed="", machine=True)
        assert_harmless(plain(record) or b"", allowed="\t")
        assert_harmless(explanation(record).encode("utf-8"))
    sink = SuspiciousLog(SuspiciousLogConfig(), path=tmp_path / "x.log", level="medium")
    asyncio.run(sink.write(made))
    assert len((tmp_path / "x.log").read_text().splitlines()) == len(ATOMS)


@pytest.mark.parametrize("mode", ["--jsonl", "--json", "--plain", "--no-color"])
def test_what_is_broken_is_named_without_repeating_its_escapes(outwatch: Outwatch, mode: str) -> None:
    bad = "".join(
        json.dumps(one) + "\n"
        for atom in ATOMS[:40]
        for one in (
            {"kind": atom},
            {"kind": "connection", "id": "x", "@timestamp": atom},
            {"kind": "loss", "layer": atom, "count": atom},
            atom,
        )
    )
    done = outwatch("replay", "-", "--strict", mode, stdin=bad.encode() + b'{"kind":"loss","layer":"\\u001b[31m\\n","count":1}\n')
    assert done.code == 4
    assert b"stdin:1: " in done.err
    assert_harmless(done.err)
    assert_harmless(done.out, machine=mode.startswith("--json"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "{}.jsonl"],
        ["replay", "--internal", "{}", "-"],
        ["replay", "--config", "{}.toml", "-"],
        ["scan", "--for", "{}"],
        ["scan", "--sensor", "{}"],
        ["scan", "--log", "/nowhere/{}"],
        ["explain", "{}", "--from", "-"],
        ["allow", "add", "{} x"],
        ["allow", "add", "--port", "{}"],
        ["allow", "add", "--program", "/nowhere/{}"],
        ["allow", "remove", "{}"],
        ["config", "check", "--config", "{}"],
        ["{}"],
        ["replay", "--{}"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "text", ["\x1b[31mred\x07", "\x1b]8;;https://x.test\x1b\\x", "a\nb\rc", "\x9b2J", "\u202ex", "[bold]x[/bold]"], ids=ascii
)
def test_an_error_message_never_repeats_an_escape(outwatch: Outwatch, arguments: list[str], text: str) -> None:
    done = outwatch(*[one.replace("{}", text) for one in arguments])
    assert done.code in {1, 2}
    assert done.err
    assert_harmless(done.err)
    assert_harmless(done.out)


def test_a_hostile_key_of_the_configuration_is_named_harmlessly(outwatch: Outwatch, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('"\\u001b[31m\\n" = 1\n')
    path.chmod(0o600)
    done = outwatch("config", "check", "--config", str(path))
    assert done.code == 2
    assert_harmless(done.err)
    assert b"c.toml" in done.err
