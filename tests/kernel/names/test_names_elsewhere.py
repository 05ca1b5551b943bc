"""Sensors that can't hear what is asked for know reverse names that lead back, and say that they know no others."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from integration.child import LONG
from integration.lab import PUBLIC, of_port, outwatch_command

from .names_lab import OWN, NamesLab

pytestmark = [pytest.mark.integration, pytest.mark.root]


@pytest.mark.parametrize("sensor", ["sock_diag", "polling"])
def test_a_sensor_that_only_looks_tells_confirmed_reverse_names_and_what_is_missing(
    lab_with_names: NamesLab, tmp_path: Path, sensor: str
) -> None:
    (tmp_path / "outwatch.toml").write_text(f'[scope]\npublic = ["{PUBLIC}/32"]\n')
    program = outwatch_command("scan", "--jsonl", "--all", "--sensor", sensor, "--config", str(tmp_path / "outwatch.toml"))
    command = lab_with_names.lab.inside(lab_with_names.lab.here, [*lab_with_names.privately(OWN), *program])
    with lab_with_names.lab.caller() as caller:
        port = caller.call(PUBLIC)
        env = {**os.environ, "OUTWATCH_LOOKUPS__REVERSE_NAMES__ENABLED": "true"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, env=env, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    *records, summary = map(json.loads, done.stdout.splitlines())
    one = of_port(records, port)
    assert one["destination"]["domain"] == "www.example"
    assert one["outwatch"]["names"] == [{"name": "www.example", "origin": "ptr", "confirmed": True}]
    assert summary["sensor"] == sensor
    assert [what for what in summary["blind"] if what.startswith("names that were asked for")]
