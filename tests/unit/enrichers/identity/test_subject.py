"""The subject is the same for the same program, and nothing that somebody chooses makes it that of another."""

from typing import Any

import pytest

from outwatch.enrichers.identity.subject import subject_of
from outwatch.enrichers.identity.units import NOWHERE, Place
from outwatch.model.programs import runs_anything
from outwatch.model.records import Script

SUM = "0123456789abcdef" + "0" * 48


def subject(path: str, state: Any = None, script: Script | None = None, place: Place = NOWHERE, sha256: str | None = SUM) -> str:
    return subject_of(path, state, script, place, sha256)


@pytest.mark.parametrize(
    ("path", "script", "expected"),
    [
        ("/usr/bin/curl", None, "/usr/bin/curl"),
        ("/usr/bin/python3.11", Script(kind="script", name="/opt/x.py"), "/usr/bin/python* script:/opt/x.py"),
        ("/usr/bin/python3.11", Script(kind="module", name="http.server"), "/usr/bin/python* module:http.server"),
        ("/usr/bin/bash", Script(kind="code", name="0123456789abcdef"), "/usr/bin/bash code:0123456789abcdef"),
        ("/usr/bin/node", Script(kind="script", name="/home/u/a-1.2.3/x.js"), "/usr/bin/node script:/home/u/a-*/x.js"),
        (
            "/usr/bin/node",
            Script(kind="script", name="/a.js", loads=("/b.js", "/c.js")),
            "/usr/bin/node script:/a.js with:/b.js with:/c.js",
        ),
        ("/usr/bin/java", Script(kind="class", name="/opt/a-1.0.jar!Main"), "/usr/bin/java class:/opt/a-*.jar!Main"),
        ("C:\\Program Files\\App\\app.exe", None, "C:\\Program Files\\App\\app.exe"),
    ],
)
def test_a_program_in_its_place_is_named_by_path_and_script(path: str, script: Script | None, expected: str) -> None:
    assert subject(path, script=script) == expected


def test_an_update_and_its_new_checksum_leave_the_subject_as_it_is() -> None:
    before = subject("/usr/bin/python3.11", script=Script(kind="script", name="/opt/x.py"), sha256=SUM)
    assert subject("/usr/bin/python3.13", script=Script(kind="script", name="/opt/x.py"), sha256="f" * 64) == before


@pytest.mark.security
@pytest.mark.parametrize(
    ("state", "path", "expected"),
    [
        ("memfd", "/memfd:sshd", "memfd:sshd#0123456789abcdef"),
        ("deleted", "/usr/sbin/sshd", "deleted:/usr/sbin/sshd#0123456789abcdef"),
        ("replaced", "/usr/sbin/sshd", "replaced:/usr/sbin/sshd#0123456789abcdef"),
        ("other_namespace", "/usr/sbin/sshd", "other_namespace:/usr/sbin/sshd#0123456789abcdef"),
    ],
)
def test_a_path_that_does_not_lead_to_the_file_is_no_name(state: str, path: str, expected: str) -> None:
    assert subject(path, state) == expected
    assert subject(path, state, sha256=None) == expected.partition("#")[0]
    assert subject(path, state, sha256="f" * 64) != expected


@pytest.mark.security
def test_a_name_in_memory_can_not_write_a_checksum_that_is_not_its_own() -> None:
    forged = subject("/memfd:sshd#0123456789abcdef", "memfd", sha256=None)
    assert forged != subject("/memfd:sshd", "memfd", sha256=SUM)


@pytest.mark.security
def test_a_path_can_not_write_a_script_or_a_star() -> None:
    real = subject("/usr/bin/python3", script=Script(kind="script", name="/opt/x.py"))
    assert subject("/usr/bin/python3 script:/opt/x.py") != real
    assert subject("/usr/bin/python* script:/opt/x.py") != real
    assert subject("/home/u/app-*/x") != subject("/home/u/app-1.2.3/x")
    assert subject("/home/u/app-\\x2a/x") != subject("/home/u/app-*/x")
    node = subject("/usr/bin/node", script=Script(kind="script", name="/a.js", loads=("/b.js",)))
    assert subject("/usr/bin/node", script=Script(kind="script", name="/a.js with:/b.js")) != node


@pytest.mark.security
def test_a_relative_script_can_not_pose_as_a_whole_path() -> None:
    assert runs_anything(subject("/usr/bin/python3", script=Script(kind="script", name="x.py")))
    assert runs_anything(subject("/tmp/python3 x", script=None)) is False  # no interpreter by its name; its path is named in full


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place(container="a" * 64, runtime="docker"), "container:/usr/bin/python*"),
        (Place(pod="p"), "container:/usr/bin/python*"),
        (Place(container="a" * 64, runtime="podman", user="1000"), "container@1000:/usr/bin/python*"),
        (Place(user="1000", user_unit="app-flatpak-org.example.App-4711.scope"), "flatpak@1000:org.example.App/usr/bin/python*"),
        (Place(unit="web.service"), "other_namespace:/usr/bin/python*#0123456789abcdef"),
    ],
)
def test_a_program_in_a_container_keeps_its_subject_when_the_container_starts_anew(place: Place, expected: str) -> None:
    assert subject("/usr/bin/python3.11", "other_namespace", place=place) == expected


def test_a_container_does_not_rename_a_program_of_the_host() -> None:
    assert subject("/usr/bin/curl", None, place=Place(container="a" * 64)) == "/usr/bin/curl"


@pytest.mark.security
def test_a_deleted_or_hidden_program_is_not_excused_by_a_container() -> None:
    assert subject("/usr/bin/curl", "deleted", place=Place(container="a" * 64)).startswith("deleted:/usr/bin/curl#")
