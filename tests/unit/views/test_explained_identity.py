"""What an explanation says of the program behind a connection."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outwatch.detectors.allow_list import mistakes
from outwatch.model.records import Changed, Connection, Container, Detection, Findings, Login, Package, Process, Script
from outwatch.views.terminal.explain import explanation

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 9, 10, tzinfo=UTC)


def said(make: Make, *, container: Container | None = None, **findings: Any) -> list[str]:
    """Explain a connection with these findings; give the lines."""
    return [line.strip() for line in explanation(make(container=container, outwatch=Findings(**findings))).splitlines()]


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ({"script": Script(kind="script", name="/opt/x.py")}, "runs: script /opt/x.py"),
        ({"script": Script(kind="code", name="0123456789abcdef")}, "runs: inline code, sha256 0123456789abcdef…"),
        ({"script": Script(kind="stdin", name="-")}, "runs: code from standard input"),
        ({"script": Script(kind="jar", name="/a.jar", loads=("-javaagent:/b.jar",))}, "runs: jar /a.jar, after -javaagent:/b.jar"),
        ({"package": Package(name="curl", version="7.88", matches=True)}, "package: curl 7.88 (unchanged)"),
        ({"package": Package(name="curl", matches=False)}, "package: curl (CHANGED: this is not the file that the package brought)"),
        ({"package": Package(name="curl", version="1")}, "package: curl 1 (no checksum to compare)"),
        ({"changed": Changed(sha256="ab12", last_seen=WHEN)}, "before: another file, sha256 ab12, seen until 2025-07-09 10:00 UTC"),
        ({"changed": Changed(sha256="ab12", by_package=True)}, "before: another file, sha256 ab12 (an update of the package)"),
        ({"subject": "/usr/bin/python* script:/opt/x.py"}, "program: /usr/bin/python* script:/opt/x.py"),
        ({"unit": "user@1000.service", "user_unit": "sync.service"}, "unit: user@1000.service / sync.service"),
        ({"started_by": "cron"}, "begun by: cron"),
        ({"pod": "8a0f5b2c"}, "pod: 8a0f5b2c"),
        ({"login": Login(id="1000", user="alice", address="192.0.2.7")}, "login: alice from 192.0.2.7"),
        ({"login": Login(id="1000")}, "login: 1000"),
    ],
)
def test_what_is_known_of_a_program_is_said(connection: Make, findings: dict[str, Any], line: str) -> None:
    assert line in said(connection, **findings)


def test_a_container_is_said_with_what_runs_it(connection: Make) -> None:
    assert "container: docker web ab12" in said(connection, container=Container(id="ab12", name="web", runtime="docker"))


def test_what_is_not_known_is_not_said(connection: Make) -> None:
    empty = said(connection, script=Script(), package=Package(), changed=Changed(), login=Login())
    labels = {"runs", "package", "before", "program", "begun by", "unit", "container", "pod", "login"}
    assert not labels & {line.partition(":")[0] for line in empty}


@pytest.mark.parametrize(
    ("executable", "subject", "command"),
    [
        ("/tmp/tool", "/tmp/tool", "--program /tmp/tool"),
        ("/tmp/python3", "/tmp/python3 script:/opt/x.py", "--program '/tmp/python3 script:/opt/x.py'"),
        ("/tmp/python3", "/tmp/python3 module:x", "203.0.113.9"),
    ],
)
def test_the_command_that_is_offered_is_one_that_the_allow_list_takes(
    connection: Make, executable: str, subject: str, command: str
) -> None:
    reason = Detection(detector="executable_path", family="process", points=50, reason="odd")
    findings = Findings(subject=subject, verdict="medium", score=50, reasons=(reason,))
    text = explanation(connection(process=Process(pid=7, executable=executable), outwatch=findings))
    assert f"outwatch allow add {command} --comment" in text
    entry = {"program": subject} if "script" in command else {"program": executable} if "--program" in command else {"destination": command}
    assert mistakes([entry]) == {}


@pytest.mark.security
def test_hostile_names_are_shown_harmless(connection: Make) -> None:
    evil = "\x1b]0;x\x07\nverdict: normal"
    lines = said(
        connection,
        container=Container(id=evil),
        subject=evil,
        script=Script(kind="script", name=evil, loads=(evil,)),
        unit=evil,
        login=Login(user=evil, address=evil),
        package=Package(name=evil),
    )
    assert all(line.isprintable() for line in lines)
    assert "verdict: normal" not in lines
