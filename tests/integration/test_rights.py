"""What a user without rights gets to see, and what outwatch refuses to trust or write."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .child import LONG
from .lab import NOBODY, PUBLIC, SERVER, Caller, Lab, of_port, outwatch_command

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]


def test_connections_of_others_are_recorded_and_blamed_on_nobody(lab: Lab, caller: Callers, unprivileged: Any) -> None:
    with unprivileged.caller(lab) as mine:
        foreign, own = caller().call(SERVER), mine.call(SERVER)
        records = unprivileged.records(lab, "scan")
    hidden = of_port(records, foreign)
    assert hidden["outwatch"]["attribution"] == {"unknown": "no_rights"}
    assert "process" not in hidden
    assert hidden["user"] == {"id": "0"}, "whose account made a socket, the kernel says to everybody"
    assert of_port(records, own)["process"]["pid"] == mine.pid
    assert records[-1]["unattributed"] == 1
    assert records[-1]["unattributed_why"] == {"no_rights": 1}
    assert any("root" in what for what in records[-1]["blind"])


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 4)])
def test_missing_rights_make_the_answer_incomplete_only_under_strict(
    lab: Lab, caller: Callers, unprivileged: Any, options: tuple[str, ...], code: int
) -> None:
    caller().call(SERVER)
    assert unprivileged.outwatch(lab, "scan", *options).returncode == code


def test_a_complete_answer_satisfies_strict(lab: Lab, caller: Callers) -> None:
    caller().call(SERVER)
    assert lab.outwatch("scan", "--strict").returncode == 0


def test_the_table_says_that_rights_are_missing(lab: Lab, caller: Callers, unprivileged: Any) -> None:
    caller().call(SERVER)
    said = unprivileged.outwatch(lab, "scan").stdout
    assert "(no rights)" in said
    assert "unattributed: 1" in said


def test_a_log_folder_without_access_ends_with_one_line(lab: Lab, unprivileged: Any) -> None:
    closed = unprivileged.home / "closed"
    closed.mkdir(mode=0o700)  # root's
    done = unprivileged.outwatch(lab, "scan", "--log", str(closed / "x.log"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(closed) in done.stderr
    assert list(closed.iterdir()) == []


@pytest.mark.security
def test_a_configuration_that_somebody_else_owns_is_refused(lab: Lab, unprivileged: Any) -> None:
    theirs = unprivileged.home / "config.toml"
    theirs.write_text('log_level = "high"\n')
    os.chown(theirs, NOBODY, NOBODY)
    done = lab.outwatch("scan", "--config", str(theirs))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(NOBODY) in done.stderr
    assert done.stdout == ""


@pytest.mark.security
def test_a_log_that_is_a_link_is_refused(lab: Lab, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "suspicious.log"
    target.write_text("precious\n")
    link.symlink_to(target)
    done = lab.outwatch("scan", "--log", str(link))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert target.read_text() == "precious\n"


_FULL = """
set -e
mount -t tmpfs -o size=4k,mode=700 full "$1"
shift
dd if=/dev/zero of="$1" bs=4096 count=1 status=none
shift
log=$1
shift
"$@" >/dev/null && code=0 || code=$?
wc -c <"$log"
exit $code
"""


def test_a_full_disk_leaves_no_half_line_and_ends_with_1(
    lab: Lab, caller: Callers, copied_python: Callable[[str], str], tmp_path: Path
) -> None:
    caller(copied_python("updater")).call(PUBLIC)
    disk = tmp_path / "disk"
    disk.mkdir()
    log = str(disk / "suspicious.log")
    command = ["unshare", "--mount", "sh", "-c", _FULL, "sh", str(disk), str(disk / "filler"), log]
    argv = lab.inside(lab.here, [*command, *outwatch_command("scan", "--log", log)])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.stdout.strip() == "0", "what could not be written whole must not be written at all"
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr


def test_the_allow_list_of_a_user_lies_in_the_users_folder(lab: Lab, unprivileged: Any) -> None:
    done = unprivileged.outwatch(lab, "allow", "add", "192.0.2.0/24")
    assert done.returncode == 0
    (written,) = unprivileged.home.rglob("allow.toml")
    assert str(written) in done.stdout
    assert written.stat().st_uid == NOBODY
    assert written.stat().st_mode & 0o777 == 0o600
