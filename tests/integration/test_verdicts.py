"""Verdicts over real connections: odd programs, the log, the allow list."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .lab import PUBLIC, SERVER, SERVER_V6, Caller, Lab, of_port

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]
LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - WARNING - Process: (?P<name>.+) \(PID: (?P<pid>\d+)\) => (?P<far>\S+)"
    r" \(local port (?P<port>\d+)\) \[(?P<domain>[^;]+); (?P<verdict>\w+) (?P<score>\d+); (?P<reason>.+)\]"
)


def test_a_program_below_tmp_is_suspicious(lab: Lab, caller: Callers, copied_python: Callable[[str], str]) -> None:
    program = copied_python("updater")
    local = caller(program).call(PUBLIC)
    record = of_port(lab.records("scan"), local)
    assert record["process"]["executable"] == program
    assert record["process"]["name"] == "updater"
    assert record["outwatch"]["verdict"] == "medium"
    assert record["outwatch"]["score"] == 50
    assert record["outwatch"]["reasons"][0]["detector"] == "executable_path"


@pytest.mark.parametrize(("level", "code"), [("low", 3), ("medium", 3), ("high", 0), ("critical", 0)])
def test_fail_on_ends_with_3_from_that_level_on(
    lab: Lab, caller: Callers, copied_python: Callable[[str], str], level: str, code: int
) -> None:
    caller(copied_python("updater")).call(PUBLIC)
    assert lab.outwatch("scan", "--fail-on", level).returncode == code


def test_fail_on_is_quiet_about_ordinary_programs(lab: Lab, caller: Callers) -> None:
    caller().call(PUBLIC)
    assert lab.outwatch("scan", "--fail-on", "low").returncode == 0


@pytest.mark.parametrize(
    ("address", "spelled"), [pytest.param(PUBLIC, f"{PUBLIC}:443", id="v4"), pytest.param(SERVER_V6, f"[{SERVER_V6}]:443", id="v6")]
)
def test_the_log_has_one_line_in_the_form_of_the_contract(
    lab: Lab, caller: Callers, copied_python: Callable[[str], str], tmp_path: Path, address: str, spelled: str
) -> None:
    odd, ordinary, log = caller(copied_python("updater")), caller(), tmp_path / "suspicious.log"
    local = odd.call(address)
    ordinary.call(address)
    assert lab.outwatch("scan", "--log", str(log)).returncode == 0
    (line,) = log.read_text().splitlines()
    found = LOG_LINE.fullmatch(line)
    assert found, line
    assert (found["name"], int(found["pid"]), int(found["port"])) == ("updater", odd.pid, local)
    assert (found["far"], found["verdict"], found["score"]) == (spelled, "medium", "50")
    assert log.stat().st_mode & 0o777 == 0o600


def test_each_scan_appends_to_the_log(lab: Lab, caller: Callers, copied_python: Callable[[str], str], tmp_path: Path) -> None:
    caller(copied_python("updater")).call(PUBLIC)
    log = tmp_path / "suspicious.log"
    for lines in (1, 2):
        lab.outwatch("scan", "--log", str(log))
        assert len(log.read_text().splitlines()) == lines


def test_a_scan_without_findings_leaves_an_empty_log(lab: Lab, caller: Callers, tmp_path: Path) -> None:
    caller().call(PUBLIC)
    log = tmp_path / "suspicious.log"
    assert lab.outwatch("scan", "--log", str(log)).returncode == 0
    assert log.read_bytes() == b""


def test_a_deleted_program_is_said_to_be_deleted(lab: Lab, caller: Callers, copied_python: Callable[[str], str]) -> None:
    program = copied_python("updater")
    client = caller(program)
    local = client.call(PUBLIC)
    Path(program).unlink()
    record = of_port(lab.records("scan"), local)
    assert record["outwatch"]["executable"] == "deleted"
    assert record["process"]["executable"] == program
    assert record["process"]["hash"]["sha256"], "the file has no name any more, but it can still be read"


def test_everything_unlisted_can_be_made_medium(lab: Lab, caller: Callers) -> None:
    local = caller().call(PUBLIC)
    record = of_port(lab.records("scan", env={"OUTWATCH_DETECTORS__ALLOW_LIST__UNLISTED": "medium"}), local)
    assert record["outwatch"]["verdict"] == "medium"
    assert record["outwatch"]["reasons"][0]["detector"] == "allow_list"


def test_an_allowed_address_is_hidden_and_counted_until_it_is_removed(lab: Lab, unprivileged: Any) -> None:
    with unprivileged.caller(lab) as client:
        local = client.call(PUBLIC)
        assert unprivileged.outwatch(lab, "allow", "add", PUBLIC, "--port", "443", "--comment", "mirror").returncode == 0
        listed = unprivileged.outwatch(lab, "allow", "list").stdout
        assert PUBLIC in listed
        assert "mirror" in listed
        hidden = unprivileged.records(lab, "scan")
        assert [one["kind"] for one in hidden] == ["summary"]
        assert hidden[0]["verdicts"] == {"allowed": 1}
        shown = of_port(unprivileged.records(lab, "scan", "--all"), local)
        assert shown["outwatch"]["verdict"] == "allowed"
        assert "mirror" in shown["outwatch"]["reasons"][0]["reason"]
        assert unprivileged.outwatch(lab, "allow", "remove", PUBLIC).returncode == 0
        assert of_port(unprivileged.records(lab, "scan"), local)["outwatch"]["verdict"] == "normal"


def test_an_imported_list_allows_and_names_its_broken_lines(lab: Lab, unprivileged: Any) -> None:
    plain = unprivileged.home / "white.txt"
    plain.write_text(f"# ours\n{PUBLIC}/32\nnot an address!\nmirror.example.com\n")
    done = unprivileged.outwatch(lab, "allow", "import", str(plain))
    assert done.returncode == 0
    assert f"{plain}:3:" in done.stderr
    assert unprivileged.outwatch(lab, "allow", "import", "--strict", str(plain)).returncode == 4
    with unprivileged.caller(lab) as client:
        ours, others = client.call(PUBLIC), client.call(SERVER)
        records = unprivileged.records(lab, "scan", "--all")
    assert of_port(records, ours)["outwatch"]["verdict"] == "allowed"
    assert of_port(records, others)["outwatch"]["verdict"] == "normal"


@pytest.fixture
def allowed_program(lab: Lab, unprivileged: Any, copied_python: Callable[[str], str]) -> str:
    """Give a program in an odd place that the user has allowed by path and checksum."""
    program = copied_python("updater")
    done = unprivileged.outwatch(lab, "allow", "add", "--program", program)
    assert done.returncode == 0, done.stderr
    return program


def test_an_allowed_program_is_allowed(lab: Lab, unprivileged: Any, allowed_program: str) -> None:
    with unprivileged.caller(lab, allowed_program) as client:
        local = client.call(PUBLIC)
        record = of_port(unprivileged.records(lab, "scan", "--all"), local)
    assert record["outwatch"]["verdict"] == "allowed"


def test_an_allowed_program_does_not_get_into_the_log_while_its_checksum_is_taken(
    lab: Lab, unprivileged: Any, allowed_program: str
) -> None:
    # cron mails what the log says: a first opinion that is taken back a moment later must not be written.
    log = unprivileged.home / "suspicious.log"
    with unprivileged.caller(lab, allowed_program) as client:
        client.call(PUBLIC)
        unprivileged.records(lab, "scan", "--log", str(log))
    assert log.read_text() == ""


def test_another_file_under_an_allowed_path_is_not_allowed(lab: Lab, unprivileged: Any, allowed_program: str) -> None:
    with open(allowed_program, "ab") as file:
        file.write(b"\0")  # still runs, but is not the file that was allowed
    with unprivileged.caller(lab, allowed_program) as client:
        local = client.call(PUBLIC)
        record = of_port(unprivileged.records(lab, "scan"), local)
    assert record["outwatch"]["verdict"] == "medium"


@pytest.mark.security
def test_a_process_that_renames_itself_is_still_known_by_its_file(
    lab: Lab, caller: Callers, copied_python: Callable[[str], str], tmp_path: Path
) -> None:
    program = copied_python("\x1b[31mevil\nname")
    log = tmp_path / "suspicious.log"
    local = caller(program).call(PUBLIC)
    assert of_port(lab.records("scan"), local)["process"]["executable"] == program, "a record is data and keeps the name"
    table = lab.outwatch("scan", "--log", str(log), env={"COLUMNS": "200"}).stdout
    plain = lab.outwatch("scan", "--plain").stdout
    assert "\x1b" not in table + plain + log.read_text()
    assert len(log.read_text().splitlines()) == 1
    assert "\\x1b[31mevil\\x0aname" in table
