"""Where the kernel sensor can't be had, or sees less: what is said, and what is taken instead."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.child import LONG
from integration.lab import NOBODY, SERVER, Lab, outwatch_command, python_for_nobody

from .test_bytes import TALK
from .watch import Watch, done, settings

pytestmark = [pytest.mark.integration, pytest.mark.root]

_DATAGRAM = f"""
import json, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.sendto(b"u" * 40, ("{SERVER}", 9001))
    print(json.dumps(len(one.recv(4096))))
"""
OVER = "mount -t sysfs fresh /sys"
INSTEAD = "umount -l /sys && mount -t sysfs fresh /sys"


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = python_for_nobody()
    if found is None:
        pytest.skip("no Python interpreter that an unprivileged user can reach")
    python, env = found
    os.chown(folder, NOBODY, NOBODY)
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", python, *outwatch_command(*arguments)[1:]]
    whole = {**settings(folder), **env}
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LONG, env=whole, cwd="/")


def test_without_rights_the_kernel_sensor_fails_with_the_reason_and_the_remedy(lab: Lab, folder: Path) -> None:
    ended = as_nobody(folder, "scan", "--sensor", "ebpf", "--jsonl")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "CAP_BPF" in ended.stderr
    assert "run it as root" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_rights_another_sensor_is_taken_and_the_reason_is_said(lab: Lab, folder: Path) -> None:
    ended = as_nobody(folder, "scan", "--jsonl", "--no-dns")
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert summary["sensor"] in {"tracefs", "sock_diag", "polling"}
    assert any("ebpf" in one and "CAP_BPF" in one for one in summary["blind"])


def test_root_of_a_user_namespace_has_no_rights_either(lab: Lab, tmp_path: Path) -> None:
    argv = ["unshare", "--user", "--map-root-user", "--", *outwatch_command("scan", "--sensor", "ebpf", "--jsonl")]
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LONG, env=settings(tmp_path), cwd="/")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "as root" in ended.stderr


@pytest.mark.parametrize("hide", [OVER, INSTEAD], ids=["another mount over it", "another mount instead, as ip netns exec does"])
@pytest.mark.usefixtures("server")
def test_datagrams_are_seen_or_said_to_be_unseen_where_the_cgroups_are_hidden(lab: Lab, tmp_path: Path, hide: str) -> None:
    inside = f"--net=/run/netns/{lab.here}"
    before = ("nsenter", inside, "unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', "sh")
    assert shutil.which("unshare")
    with Watch(lab, tmp_path / "watch", before=before) as watch:
        pid, _ = done(lab, _DATAGRAM)
        again, _ = done(lab, TALK, SERVER, 1, 1, 1)
        watch.of(again)
        summary = watch.end()
    seen = [one for one in watch.latest.values() if one.get("process", {}).get("pid") == pid]
    blind = [one for one in summary["blind"] if one.startswith("UDP")]
    assert [one["source"]["bytes"] for one in seen] == [40] or blind
    assert bool(seen) != bool(blind)
