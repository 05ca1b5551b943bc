"""One record made to break the program costs no other record its place, in any output."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.security
TIME = "2025-07-10T17:42:01.25Z"
MODES = ("--jsonl", "--json", "--plain", "--no-color")


def recorded(identity: str, time: str = TIME, process: str = '{"pid":5,"name":"x","executable":"/tmp/x"}', **more: Any) -> str:
    """Spell a connection; a process may be nested deeper than a JSON writer would go."""
    record = {
        "kind": "connection",
        "id": identity,
        "@timestamp": time,
        "network": {"transport": "tcp", "direction": "egress"},
        "source": {"ip": "192.0.2.10", "port": 40000},
        "destination": {"ip": "203.0.113.9", "port": {"sister-1": 441, "sister-2": 442}.get(identity, 443)},
        **more,
    }
    return json.dumps(record)[:-1] + f',"process":{process}}}'


def nested(depth: int) -> str:
    """Spell a process with so many parents."""
    return '{"pid":1,"name":"p","executable":"/tmp/x","parent":' + '{"pid":1,"parent":' * depth + '{"pid":1}' + "}" * (depth + 1)


HOSTILE = {
    "first moment of the calendar, east": recorded("hostile", "0001-01-01T00:00:00+14:00"),
    "last moment of the calendar, west": recorded("hostile", "9999-12-31T23:59:59.999999-12:00"),
    "first moment": recorded("hostile", "0001-01-01T00:00:00Z"),
    "last moment": recorded("hostile", "9999-12-31T23:59:59.999999Z"),
    "start out of the calendar": recorded("hostile", event={"start": "0001-01-01T00:00:00+14:00"}),
    "process start out of the calendar": recorded("hostile", process='{"pid":5,"start":"0001-01-01T00:00:00+14:00","executable":"/tmp/x"}'),
    "check out of the calendar": recorded(
        "hostile", outwatch={"reputation": [{"provider": "x", "state": "clean", "checked_at": "9999-12-31T23:59:59-12:00"}]}
    ),
    "500 parents": recorded("hostile", process=nested(500)),
    "500 parents, whole second": recorded("hostile", "2025-07-10T17:42:01Z", nested(500)),
    "900 parents, whole second": recorded("hostile", "2025-07-10T17:42:01Z", nested(900)),
    "985 parents": recorded("hostile", process=nested(985)),
    "20,000 parents": recorded("hostile", process=nested(20_000)),
    "100,000 arguments": recorded("hostile", process=json.dumps({"pid": 5, "executable": "/tmp/x", "args": ["a"] * 100_000})),
    "greatest numbers": recorded("hostile", revision=2**63 - 1, outwatch={"count": 2**64 - 1}),
    "number beyond 64 bits": recorded("hostile", outwatch={"count": 2**200}),
    "not a number": recorded("hostile", outwatch={"reputation": [{"provider": "x", "state": "clean", "score": 0}]}).replace(
        ":0}", ":1e999}"
    ),
}


def replay(lines: list[str], *options: str, folder: Path, zone: str = "XST-14") -> tuple[int, str, str]:
    """Replay these lines somewhere on the edge of the day; give exit code, data and talk."""
    command = [sys.executable, "-m", "outwatch", "replay", "-", "--all", *options]
    environment = {**os.environ, "TZ": zone, "COLUMNS": "250"}
    done = subprocess.run(
        command, input="\n".join(lines).encode(), capture_output=True, env=environment, cwd=folder, timeout=60, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_its_sisters_come_out_in_every_mode(tmp_path: Path, hostile: str, mode: str) -> None:
    code, out, err = replay([recorded("sister-1"), hostile, recorded("sister-2")], mode, folder=tmp_path)
    assert "Traceback" not in err
    assert code == 0
    # Either it is shown as it is, or it is a broken line: it never simply vanishes, nor makes a part fail.
    assert "failed" not in err
    if mode == "--no-color":
        seen = re.search(r"([\d,]+) connections seen", out)
        assert seen is not None
        assert int(seen[1].replace(",", "")) >= (2 if err else 3)  # a record may claim to stand for many
    else:
        assert "sister-1" in out
        assert "sister-2" in out
    assert ("hostile" in out) is ("stdin:2:" not in err)


@pytest.mark.parametrize("zone", ["XST-14", "XST+12"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_its_sisters_stand_in_the_suspicious_log(tmp_path: Path, hostile: str, zone: str) -> None:
    lines = [recorded("sister-1"), hostile, recorded("sister-2")]
    code, _, err = replay(lines, "--plain", "--log", "x.log", folder=tmp_path, zone=zone)
    assert "Traceback" not in err
    assert code == 0
    logged = (tmp_path / "x.log").read_text().splitlines()
    assert len(logged) == (2 if "stdin:2:" in err else 3)


@pytest.mark.parametrize("zone", ["XST-14", "XST+12"])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_it_can_be_explained_or_is_named_as_broken(tmp_path: Path, hostile: str, zone: str) -> None:
    (tmp_path / "x.jsonl").write_text(hostile + "\n")
    for options in ([], ["--json"]):
        command = [sys.executable, "-m", "outwatch", "explain", "hostile", "--from", "x.jsonl", *options]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "TZ": zone}, cwd=tmp_path, timeout=60, check=False)
        assert b"Traceback" not in done.stderr
        assert (done.returncode, b"x.jsonl:1:" in done.stderr) in {(0, False), (1, True)}
