"""Names of containers, asked of Docker or Podman through the socket on this machine; only if that is switched on.

Both speak the same HTTP at it: ``GET /containers/ID/json`` (Docker Engine API, "Inspect a container"). containerd and CRI-O speak gRPC and
are not asked. A name is for reading: what a program is, its subject says without it.
"""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from outwatch.engine.beside import beside
from outwatch.engine.health import Health
from outwatch.errors import FileRefused, LookupFailed
from outwatch.guard.sockets import connected
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection

_REMEMBERED = 4_000
_LONGEST = 3.0  # seconds that one question may take
_AGAIN, _SOON = 600.0, 60.0  # seconds until a name is asked for again, and one that could not be had
_MOST = 1 << 20  # bytes of a reply
_PIECE = 1 << 16
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_FOUND, _UNKNOWN = b"200", b"404"
_ID = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"/?([A-Za-z0-9][A-Za-z0-9_.-]{0,254})\Z")
_OF_USER = re.compile(r"user@([0-9]+)\.service\Z")


class ContainerNamesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``enabled``: ask at all; ``docker`` and ``podman``: where they listen."""

    enabled: bool = False
    docker: str = "/run/docker.sock"
    podman: str = "/run/podman/podman.sock"


class _Container(NamedTuple):
    """A container, and which runtime is to be asked."""

    runtime: str
    id: str


class _Reply(msgspec.Struct):
    """What is of use in a reply."""

    id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")


class Nonsense(ValueError):
    """A reply that no runtime gives."""


class ContainerNames:
    """Adds ``container.name``."""

    at_once = 4

    def __init__(self, config: ContainerNamesConfig, *, health: Health) -> None:
        """Take where runtimes listen, and where to tell of a socket that must not be trusted."""
        self._paths = {"docker": Path(config.docker), "podman": Path(config.podman)}
        self._health = health
        self._names: OrderedDict[_Container, tuple[str | None, float]] = OrderedDict()

    def enrich(self, connection: Connection) -> Connection:
        """Add the name if it is known."""
        one, container = _asked_about(connection), connection.container
        name = self._names.get(one, (None, 0.0))[0] if one is not None else None
        if name is None or container is None or container.name == name:
            return connection
        return replace(connection, container=replace(container, name=name))

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the container if its name is not known, or was asked for too long ago."""
        one = _asked_about(connection)
        if one is None:
            return None
        known = self._names.get(one)
        return one if known is None or known[1] < time.monotonic() else None

    async def find(self, key: Hashable, _connection: Connection) -> None:
        """Ask the runtime."""
        if not isinstance(key, _Container):
            return
        name: str | None = None
        try:
            async with asyncio.timeout(_LONGEST):
                name = name_in(await _reply(self._paths[key.runtime], key.id), key.id)
        except FileRefused as error:
            self._health.problem(f"{key.runtime} is not asked for names: {error}")
        except Nonsense as error:
            raise LookupFailed(f"{key.runtime} answered what makes no sense") from error
        except (OSError, TimeoutError) as error:
            raise LookupFailed(f"{key.runtime} did not answer") from error
        finally:
            self._names[key] = name, time.monotonic() + (_AGAIN if name is not None else _SOON)
            self._names.move_to_end(key)
            if len(self._names) > _REMEMBERED:
                self._names.popitem(last=False)


def _asked_about(connection: Connection) -> _Container | None:
    """Say which container is to be asked about; of users' own ones only our own runtime can know."""
    container = connection.container
    if container is None or container.runtime not in {"docker", "podman"} or not _ID.match(container.id or "") or sys.platform != "linux":
        return None
    user = _OF_USER.match(connection.outwatch.unit or "")
    if user is not None and user[1] != str(os.geteuid()):
        return None
    return _Container(container.runtime, container.id or "")


async def _reply(path: Path, identity: str) -> bytes:
    """Ask a runtime about a container; ``OSError`` if that can't be done, ``FileRefused`` if anybody might listen there."""
    if sys.platform == "win32":
        raise OSError("there are no such sockets here")
    socket = await beside(lambda: connected(path), _LONGEST, "container names")
    with contextlib.ExitStack() as undo:
        undo.enter_context(socket)
        reader, writer = await asyncio.open_unix_connection(sock=socket)
        undo.pop_all()
    try:
        # Of the older version, so that the answer comes in one piece and ends with the connection.
        writer.write(f"GET /containers/{identity}/json HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode("ascii"))
        data = bytearray()
        while piece := await reader.read(_PIECE):
            data += piece
            if len(data) > _MOST:
                raise Nonsense("too long")
        return bytes(data)
    finally:
        writer.transport.abort()


def name_in(reply: bytes, identity: str) -> str | None:
    """Read the name of the container ``identity`` from a runtime's reply; ``None`` if the runtime does not know it; ``Nonsense``."""
    head, _, body = reply.partition(b"\r\n\r\n")
    status = _STATUS.match(head + b"\r")
    if status is None or status[1] not in {_FOUND, _UNKNOWN}:
        raise Nonsense("no answer to the question")
    if status[1] == _UNKNOWN:
        return None
    try:
        found = msgspec.json.decode(body, type=_Reply)
    except (ValueError, RecursionError) as error:
        raise Nonsense("not the description of a container") from error
    name = _NAME.match(found.name)
    if found.id != identity or name is None:
        raise Nonsense("the description of something else")
    return name[1]


PART = Part(name="container_names", config=ContainerNamesConfig, build=ContainerNames, live_only=True)
