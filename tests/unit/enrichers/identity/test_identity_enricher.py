"""What the enricher reads of a process, how often, and what it never believes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.enrichers.identity import Identity
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Container, Findings, Hash, Login, Process, Script, User

Make = Callable[..., Connection]
ID = "ab" * 32
PYTHON = Process(pid=77, name="python3", executable="/usr/bin/python3.11", args=("python3", "x.py"), entity_id="e1")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which is Linux's")


class Table:
    """A process table that counts how often it is asked: the pid belongs to ``entity``."""

    def __init__(self) -> None:
        self.entity: str | None = "e1"
        self.asked = 0

    def identify(self, pid: int, seen_at: float) -> Process | None:
        self.asked += 1
        return Process(pid=pid, entity_id=self.entity) if self.entity else None


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def enricher(table: Table, tmp_path: Path) -> Identity:
    """Give an enricher whose /proc and /run are folders of the test."""
    (tmp_path / "run" / "systemd" / "sessions").mkdir(parents=True)
    return Identity(PartConfig(), processes=table, proc=str(tmp_path / "proc"), run=str(tmp_path / "run"))


def process_is(tmp_path: Path, cgroup: str = "/", loginuid: str = "4294967295", session: str = "4294967295", pid: int = 77) -> Path:
    """Write what /proc would say of a process."""
    folder = tmp_path / "proc" / str(pid)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::{cgroup}\n")
    (folder / "loginuid").write_text(loginuid)
    (folder / "sessionid").write_text(session)
    os.symlink("/srv/app", folder / "cwd")
    return folder


def session_is(tmp_path: Path, number: str, text: str) -> None:
    (tmp_path / "run" / "systemd" / "sessions" / number).write_text(text)


def test_a_script_is_joined_with_the_working_directory_that_the_process_has(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path)
    found = enricher.enrich(connection(process=PYTHON)).outwatch
    assert found.script == Script(kind="script", name="/srv/app/x.py")
    assert found.subject == "/usr/bin/python* script:/srv/app/x.py"


def test_the_working_directory_of_the_record_comes_first(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path)
    found = enricher.enrich(connection(process=replace(PYTHON, working_directory="/home/alice"))).outwatch
    assert found.subject == "/usr/bin/python* script:/home/alice/x.py"


def test_one_process_is_read_once_for_all_its_connections(enricher: Identity, connection: Make, tmp_path: Path, table: Table) -> None:
    folder = process_is(tmp_path, cgroup="/system.slice/web.service")
    for number in range(50):
        assert enricher.enrich(connection(id=f"c{number}", process=PYTHON)).outwatch.unit == "web.service"
    (folder / "cgroup").unlink()
    again = replace(PYTHON, hash=Hash(sha256="a" * 64))  # another object that describes the same program
    assert enricher.enrich(connection(process=again)).outwatch.unit == "web.service"
    assert table.asked == 1


def test_another_program_in_the_same_process_is_read_anew(enricher: Identity, connection: Make, tmp_path: Path, table: Table) -> None:
    folder = process_is(tmp_path, cgroup="/system.slice/ssh.service")
    enricher.enrich(connection(process=PYTHON))
    (folder / "cgroup").write_text("0::/user.slice/user-1000.slice/session-3.scope\n")
    shell = replace(PYTHON, executable="/usr/bin/bash", args=("bash",))
    found = enricher.enrich(connection(process=shell)).outwatch
    assert (found.unit, found.subject, found.script) == ("session-3.scope", "/usr/bin/bash", None)
    assert table.asked == 2


@pytest.mark.security
@pytest.mark.parametrize("entity", ["e2", None])
def test_what_is_said_of_a_reused_pid_is_not_said_of_the_process_before(
    enricher: Identity, connection: Make, tmp_path: Path, table: Table, entity: str | None
) -> None:
    process_is(tmp_path, cgroup=f"/docker/{ID}", loginuid="1000")
    table.entity = entity
    found = enricher.enrich(connection(process=PYTHON))
    assert found.container is None
    assert found.outwatch.login is None
    assert found.outwatch.script == Script(kind="script", name="x.py")  # from the record alone: the directory is another's too


def test_facts_of_an_earlier_program_are_taken_off(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path)
    stale = Findings(sensor="replay", attribution="exact", subject="/usr/bin/curl", script=Script(kind="code", name="x"), unit="x.service")
    found = enricher.enrich(connection(process=replace(PYTHON, args=("python3",)), outwatch=stale)).outwatch
    assert (found.subject, found.script, found.unit) == ("/usr/bin/python*", None, None)


def test_a_file_that_is_deleted_later_changes_the_subject_of_the_same_process(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path)
    process = Process(pid=77, executable="/usr/bin/tool", args=("tool",), entity_id="e1")
    assert enricher.enrich(connection(process=process)).outwatch.subject == "/usr/bin/tool"
    gone = enricher.enrich(connection(process=process, outwatch=Findings(executable="deleted")))
    assert gone.outwatch.subject == "deleted:/usr/bin/tool"


def test_a_container_is_named_and_keeps_the_name_that_somebody_gave_it(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path, cgroup=f"/system.slice/docker-{ID}.scope")
    found = enricher.enrich(connection(process=PYTHON, container=Container(id=ID, name="web")))
    assert found.container == Container(id=ID, name="web", runtime="docker")
    assert found.outwatch.started_by == "container"


@pytest.mark.parametrize(
    ("cgroup", "loginuid", "number"),
    [("/user.slice/user-1000.slice/session-3.scope", "1000", "4294967295"), ("/system.slice/web.service", "1000", "3")],
    ids=["by the cgroup", "by the audit session"],
)
def test_a_login_has_user_and_address(
    enricher: Identity, connection: Make, tmp_path: Path, cgroup: str, loginuid: str, number: str
) -> None:
    process_is(tmp_path, cgroup=cgroup, loginuid=loginuid, session=number)
    session_is(tmp_path, "3", "UID=1000\nUSER=alice\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\nTYPE=tty\n")
    found = enricher.enrich(connection(process=PYTHON, user=User(id="0", name="root"))).outwatch
    assert found.login == Login(id="1000", user="alice", address="192.0.2.7")
    assert found.started_by == "ssh"


@pytest.mark.security
@pytest.mark.parametrize("number", ["../../../etc/passwd", "3/../3", "", "x" * 100])
def test_a_session_is_never_a_path(enricher: Identity, connection: Make, tmp_path: Path, number: str) -> None:
    folder = process_is(tmp_path)
    (folder / "sessionid").write_text(number)
    assert enricher.enrich(connection(process=PYTHON)).outwatch.login is None


@pytest.mark.security
def test_a_session_of_another_user_is_not_believed(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path, cgroup="/user.slice/user-1000.slice/session-3.scope", loginuid="1001")
    session_is(tmp_path, "3", "UID=1000\nUSER=alice\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nSERVICE=sshd\n")
    found = enricher.enrich(connection(process=PYTHON)).outwatch
    assert found.login == Login(id="1001")


def test_the_account_of_the_process_names_the_login_if_it_is_the_same(enricher: Identity, connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path, loginuid="1000")
    assert enricher.enrich(connection(process=PYTHON)).outwatch.login == Login(id="1000", user="alice")
    other = replace(PYTHON, args=("python3", "y.py"))
    assert enricher.enrich(connection(process=other, user=User(id="0", name="root"))).outwatch.login == Login(id="1000")


def test_of_a_process_that_has_gone_the_record_itself_is_read(enricher: Identity, connection: Make, table: Table) -> None:
    table.entity = None
    found = enricher.enrich(connection(process=replace(PYTHON, args=("python3", "/opt/x.py")))).outwatch
    assert found.subject == "/usr/bin/python* script:/opt/x.py"


class Family(Table):
    """A table of processes of which only number 5 is still there."""

    def identify(self, pid: int, seen_at: float) -> Process | None:
        return Process(pid=5, entity_id="parent") if pid == 5 else None


SHELL = Process(pid=5, executable="/bin/sh", args=("sh",), entity_id="parent")
GONE = replace(PYTHON, parent=Process(pid=6, executable="/bin/sh", entity_id="between", parent=SHELL))


@pytest.mark.parametrize("state", [None, "other_namespace"])
def test_a_process_that_has_gone_was_in_the_container_that_its_parent_is_in(connection: Make, tmp_path: Path, state: Any) -> None:
    process_is(tmp_path, cgroup=f"/docker/{ID}", pid=5)
    enricher = Identity(PartConfig(), processes=Family(), proc=str(tmp_path / "proc"), run=str(tmp_path / "run"))
    found = enricher.enrich(connection(process=GONE, outwatch=Findings(executable=state)))
    assert found.container == Container(id=ID, runtime="docker")
    assert found.outwatch.script == Script(kind="script", name="x.py")  # where the parent is now says nothing about that


def test_the_first_process_of_a_container_does_not_take_the_unit_of_what_began_it(connection: Make, tmp_path: Path) -> None:
    process_is(tmp_path, cgroup="/system.slice/containerd.service", pid=5)
    enricher = Identity(PartConfig(), processes=Family(), proc=str(tmp_path / "proc"), run=str(tmp_path / "run"))
    assert enricher.enrich(connection(process=GONE)).outwatch.unit == "containerd.service"
    first = replace(GONE, entity_id="e9")
    assert enricher.enrich(connection(process=first, outwatch=Findings(executable="other_namespace"))).outwatch.unit is None


@pytest.mark.parametrize("process", [None, Process(pid=77, name="x", entity_id="e1"), Process(name="x")])
def test_without_a_path_there_is_no_subject(enricher: Identity, connection: Make, process: Any) -> None:
    assert enricher.enrich(connection(process=process)).outwatch.subject is None


def test_the_memory_for_processes_is_bounded(tmp_path: Path, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outwatch.enrichers.identity._REMEMBERED", 10)
    enricher = Identity(PartConfig(), processes=Family(), proc=str(tmp_path / "proc"), run=str(tmp_path / "run"))
    for number in range(50):
        enricher.enrich(connection(process=replace(PYTHON, entity_id=f"e{number}")))
    assert len(enricher._told) == len(enricher._origins) == 10
