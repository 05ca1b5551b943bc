"""``--simulate overrun`` shows what a loss looks like, and ``doctor`` which hooks are on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import SERVER, Lab

from .test_losses import _MANY
from .watch import Watch, done, settings

pytestmark = [pytest.mark.integration, pytest.mark.root]


def test_an_overrun_is_in_the_records_and_in_the_summary(lab: Lab, server: Child, tmp_path: Path) -> None:
    with Watch(lab, tmp_path / "watch", more=("--simulate", "overrun")) as watch:
        pid, sent = done(lab, _MANY, SERVER, 300)
        summary = watch.end()
    told = [json.loads(line) for line in (tmp_path / "watch" / "records.jsonl").read_text().splitlines()]
    lost = [one for one in told if one["kind"] == "loss"]
    seen = {one["source"]["port"] for one in watch.latest.values() if one.get("process", {}).get("pid") == pid}
    assert len(seen) < len(sent)
    assert sum(one["count"] for one in lost if one["layer"] == "kernel ring") == summary["lost"]["kernel ring"]
    assert summary["lost"]["kernel ring"] >= 2 * (len(sent) - len(seen))
    assert all(one["from"] <= one["until"] for one in lost)


@pytest.mark.parametrize("without", ["", '["sharing"]'])
def test_doctor_lists_the_hooks_and_what_it_costs_that_one_is_off(may_load: None, tmp_path: Path, without: str) -> None:
    more = {"OUTWATCH_SENSORS__EBPF__WITHOUT": without} if without else {}
    command = [sys.executable, "-m", "outwatch", "doctor"]
    said = subprocess.run(command, capture_output=True, text=True, env=settings(tmp_path, **more), timeout=LONG, check=True).stdout
    lines = [line.strip() for line in said.splitlines()]
    assert {"tcp: on", "processes: on", "datagrams: on", "storms: on"} <= set(lines)
    off = [line for line in lines if line.startswith("sharing: off (switched off); AF_PACKET")]
    assert (len(off) == 1) is bool(without)
