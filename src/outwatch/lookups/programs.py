"""The program of a connection as it is looked up: its path, if that leads to the very file that runs, and that file's checksum."""

import os
import re
from functools import lru_cache
from typing import NamedTuple

from outwatch.model.records import Connection

_REMEMBERED = 4_000
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Program(NamedTuple):
    """A path, and the SHA-256 of what runs under it."""

    path: str
    sha256: str


def program_of(connection: Connection) -> Program | None:
    """Give a connection's program; ``None`` if something is odd about its path (``outwatch.executable``), or its checksum is not known."""
    process = connection.process
    if process is None or process.hash is None or connection.outwatch.executable is not None:
        return None
    return _named(process.executable or "", process.hash.sha256 or "")


@lru_cache(maxsize=_REMEMBERED)
def _named(path: str, digest: str) -> Program | None:
    return Program(path, digest) if os.path.isabs(path) and _SHA256.match(digest) else None
