"""Names of containers: only for whom the right runtime knows, and only what a runtime would say."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import FileRefused, LookupFailed
from outwatch.lookups import container_names
from outwatch.lookups.container_names import ContainerNames, ContainerNamesConfig, Nonsense, name_in
from outwatch.model.records import Connection, Container, Findings

from .asked import answered

Make = Callable[..., Connection]
ID, OTHER = "5e" * 32, "6f" * 32
OK = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nServer: Docker/27.3.1 (linux)\r\n\r\n"

linux = pytest.mark.skipif(sys.platform != "linux", reason="the runtimes' sockets are Linux's")


def reply(**facts: object) -> bytes:
    """Answer as Docker does."""
    return OK + json.dumps({"Id": ID, "Created": "2025-07-10T17:42:01Z", "Name": "/web", "Config": {"Image": "nginx"}, **facts}).encode()


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (reply(), "web"),
        (reply(Name="k8s_app.1-a"), "k8s_app.1-a"),  # Podman's own interface has no stroke
        (reply().replace(b"1.0 200 OK", b"1.1 200 OK"), "web"),
        (b'HTTP/1.0 404 Not Found\r\n\r\n{"message":"No such container"}', None),
    ],
)
def test_the_name_is_read_from_what_a_runtime_says(answer: bytes, name: str | None) -> None:
    assert name_in(answer, ID) == name


@pytest.mark.security
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        OK + b"null",
        OK + b"[" * 100_000,
        OK + b'{"Id": "' + b"\xff" * 64 + b'"}',
        OK + b"{}",
        reply(Id=OTHER),
        reply(Id=None),
        reply(Name=None),
        reply(Name=["web"]),
        reply(Name=""),
        reply(Name="/"),
        reply(Name="-x"),
        reply(Name="web\n"),
        reply(Name="we\x1bb"),
        reply(Name="we\u202eb"),
        reply(Name="/etc/passwd"),
        reply(Name="x" * 300),
        reply().replace(b"200", b"500"),
        reply().replace(b"200", b"2000"),
        reply().replace(b"200", b"301"),
    ],
)
def test_what_no_runtime_says_is_no_name(answer: bytes) -> None:
    with pytest.raises(Nonsense):
        name_in(answer, ID)


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Answer in the place of runtimes, and note what they were asked."""
    noted: list[tuple[str, str]] = []

    async def answer(path: Path, identity: str) -> bytes:
        noted.append((str(path), identity))
        return reply(Id=identity)

    monkeypatch.setattr(container_names, "_reply", answer)
    return noted


@pytest.fixture
def names(health: Health) -> ContainerNames:
    return ContainerNames(ContainerNamesConfig(podman="/run/user/1000/podman/podman.sock"), health=health)


def inside(make: Make, unit: str | None = None, **facts: Any) -> Connection:
    return make(container=Container(**{"id": ID, "runtime": "docker", **facts}), outwatch=Findings(unit=unit))


def test_nobody_is_asked_unless_it_is_switched_on() -> None:
    assert ContainerNamesConfig().enabled is False


@linux
@pytest.mark.parametrize(("runtime", "path"), [("docker", "/run/docker.sock"), ("podman", "/run/user/1000/podman/podman.sock")])
def test_each_runtime_is_asked_for_its_own_containers_once(
    names: ContainerNames, connection: Make, asked: list[tuple[str, str]], runtime: str, path: str
) -> None:
    record = inside(connection, runtime=runtime)
    named = answered(names, record)
    assert named.container == Container(id=ID, runtime=runtime, name="web")
    assert names.enrich(named) is named
    assert answered(names, record) == named
    assert asked == [(path, ID)]


@linux
@pytest.mark.parametrize(
    "facts", [{"runtime": "containerd"}, {"runtime": "lxc", "id": "web"}, {"runtime": None}, {"id": None}, {"id": "../x"}, {"id": ID[1:]}]
)
def test_others_are_not_asked(names: ContainerNames, connection: Make, facts: dict[str, Any]) -> None:
    assert names.missing(inside(connection, **facts)) is None
    assert names.missing(connection()) is None


@linux
@pytest.mark.security
def test_a_container_by_another_users_word_alone_is_not_asked_about(names: ContainerNames, connection: Make) -> None:
    # Below their own manager users make cgroups as they like, also with the id of somebody else's container.
    assert names.missing(inside(connection, unit=f"user@{os.geteuid() + 1}.service")) is None
    assert names.missing(inside(connection, unit=f"user@{os.geteuid()}.service")) is not None
    assert names.missing(inside(connection, unit="web.service")) is not None


@linux
@pytest.mark.parametrize("fault", [FileNotFoundError("none"), TimeoutError(), Nonsense("x"), ConnectionResetError()])
def test_no_answer_counts_as_not_checked_and_is_asked_again_later(
    names: ContainerNames, connection: Make, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def fail(_path: Path, _identity: str) -> bytes:
        raise fault

    monkeypatch.setattr(container_names, "_reply", fail)
    record = inside(connection)
    with pytest.raises(LookupFailed, match="docker"):
        asyncio.run(names.find(names.missing(record), record))
    assert names.enrich(record) is record
    assert names.missing(record) is None
    now = time.monotonic()
    monkeypatch.setattr("outwatch.lookups.container_names.time.monotonic", lambda: now + container_names._SOON + 1)
    assert names.missing(record) is not None


@linux
@pytest.mark.security
def test_a_socket_that_must_not_be_trusted_is_told(
    names: ContainerNames, health: Health, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(path: Path, _identity: str) -> bytes:
        raise FileRefused(path, "user 1000 listens there", "use another socket")

    monkeypatch.setattr(container_names, "_reply", refuse)
    record = inside(connection)
    assert answered(names, record) is record
    assert health.problems == ["docker is not asked for names: /run/docker.sock: user 1000 listens there; use another socket"]


@linux
def test_a_name_that_changed_is_taken_over(names: ContainerNames, connection: Make, asked: list[tuple[str, str]]) -> None:
    record = inside(connection, name="before")
    named = answered(names, record)
    assert named.container is not None
    assert named.container.name == "web"
    other = replace(record, container=Container(id=OTHER, runtime="docker", name="kept"))
    assert names.enrich(other) is other


@linux
def test_the_memory_for_names_is_bounded(
    names: ContainerNames, connection: Make, asked: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_names, "_REMEMBERED", 5)
    for number in range(12):
        answered(names, inside(connection, id=f"{number:064x}"))
    assert len(names._names) == 5
