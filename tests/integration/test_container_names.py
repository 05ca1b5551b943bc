"""A runtime that answers at a socket as Docker does, and some that do worse."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outwatch.engine.health import Health
from outwatch.errors import LookupFailed
from outwatch.lookups import container_names
from outwatch.lookups.container_names import ContainerNames, ContainerNamesConfig
from outwatch.model.records import Connection, Container

from .docker import WEB, Docker, Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is at the other end of a socket"),
]

GONE = "6f" * 32


class Worse(Docker):
    """Writes what a test wants, and goes on as long as somebody listens."""

    first, endless = b"", b""

    def do_GET(self) -> None:  # noqa: N802 - the name that the library calls
        try:
            self.wfile.write(self.first)
            while self.endless:
                self.wfile.write(self.endless)
        except OSError:
            self.server.hung_up.set()  # type: ignore[attr-defined]


class Silent(Docker):
    """Takes the question, and says nothing until it is hung up on."""

    def do_GET(self) -> None:  # noqa: N802 - the name that the library calls
        self.rfile.read()
        self.server.hung_up.set()  # type: ignore[attr-defined]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[type[Docker]], Server]]:
    servers: list[Server] = []

    def start(kind: type[Docker]) -> Server:
        servers.append(Server(tmp_path / "docker.sock", kind))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def name(tmp_path: Path, health: Health, connection: Callable[..., Connection]) -> Callable[..., str | None]:
    """Ask for the name of a container."""

    def ask(identity: str = WEB) -> str | None:
        names = ContainerNames(ContainerNamesConfig(docker=str(tmp_path / "docker.sock")), health=health)
        record = connection(container=Container(id=identity, runtime="docker"))
        asyncio.run(names.find(names.missing(record), record))
        found = names.enrich(record).container
        return found.name if found is not None else None

    return ask


def test_a_container_is_named_as_its_runtime_names_it(serve: Callable[..., Server], name: Callable[..., str | None]) -> None:
    serve(Docker)
    assert name() == "web"
    assert name(GONE) is None


def test_without_a_runtime_it_is_not_checked(name: Callable[..., str | None]) -> None:
    with pytest.raises(LookupFailed, match="docker did not answer"):
        name()


@pytest.mark.security
@pytest.mark.parametrize(
    ("first", "endless"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", b""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 60_000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"[" * 65_536),
    ],
    ids=["nothing", "something else", "a way elsewhere", "a head without end", "a body without end"],
)
def test_a_hostile_answer_is_no_name(serve: Callable[..., Server], name: Callable[..., str | None], first: bytes, endless: bytes) -> None:
    server = serve(type("Hostile", (Worse,), {"first": first, "endless": endless, "protocol_version": "HTTP/1.0"}))
    with pytest.raises(LookupFailed, match="makes no sense"):
        name()
    assert not endless or server.hung_up.wait(30)


@pytest.mark.security
def test_a_runtime_that_never_answers_is_hung_up_on(
    serve: Callable[..., Server], name: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_names, "_LONGEST", 0.1)
    server = serve(Silent)
    with pytest.raises(LookupFailed, match="did not answer"):
        name()
    assert server.hung_up.wait(30)


@pytest.mark.security
def test_a_socket_where_anybody_can_put_their_own_is_not_asked(
    serve: Callable[..., Server], name: Callable[..., str | None], health: Health, tmp_path: Path
) -> None:
    serve(Docker)
    tmp_path.chmod(0o777)
    assert name() is None
    assert [problem for problem in health.problems if problem.startswith("docker is not asked for names: ")]
