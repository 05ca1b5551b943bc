"""Gets the files that lists consist of: from a URL, asked whether it has changed at all, or from this machine."""

import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO, NamedTuple, cast
from urllib.parse import urljoin

from outwatch.errors import OutputError, RuleError
from outwatch.intel.lists import is_url
from outwatch.intel.stored import bounded
from outwatch.net.http import Http

_OK, _NOT_MODIFIED, _NOT_FOUND, _GONE, _TOO_MANY = 200, 304, 404, 410, 429
_WORDS = {
    401: "it wants a key",
    403: "it refuses",
    _NOT_FOUND: "there is no such file",
    _GONE: "it is gone",
    _TOO_MANY: "it was asked too often",
}


class Version(NamedTuple):
    """Which content of a source one has: what its server said of it."""

    etag: str | None = None
    last_modified: str | None = None


class Fetched(NamedTuple):
    """A file, at its beginning, and which version of it that is."""

    file: BinaryIO
    version: Version


class Missing(RuleError):
    """There is no such file at a source."""


class Downloads:
    """Fetches whole files to a folder, where they are gone again after use."""

    def __init__(self, http: Http, folder: Path, *, most: int, ratio: float, seconds: float) -> None:
        """Take the client, and what a file may be: ``most`` bytes, ``ratio`` times what was sent, fetched within ``seconds``."""
        self._http, self._folder = http, folder
        self._most, self._ratio, self._seconds = most, ratio, seconds

    @asynccontextmanager
    async def fetched(self, source: str, before: Version) -> AsyncIterator[Fetched | None]:
        """Give a file, or ``None`` if it is still the version that one has.

        ``LookupFailed`` if nobody answers, ``RuleError`` (``Missing``) if it can't be had, ``OutputError`` if there is no room for it.
        """
        if not is_url(source):
            with _opened(source) as file:
                version = _version(file)
                yield None if version == before else Fetched(file, version)
            return
        asked = {"If-None-Match": before.etag, "If-Modified-Since": before.last_modified}
        headers = {name: value for name, value in asked.items() if value}
        with TemporaryFile(dir=self._folder) as file:
            kept = _Kept(file, self._folder)
            reply = await self._http.download(
                source,
                kept,  # type: ignore[arg-type]  # all that is done with it is to write
                headers=headers,
                most=self._most,
                ratio=self._ratio,
                seconds=self._seconds,
            )
            kept.finish()
            if reply.status == _NOT_MODIFIED and headers:
                yield None
                return
            if reply.status != _OK:
                kind = Missing if reply.status in {_NOT_FOUND, _GONE} else RuleError
                words = _WORDS.get(reply.status, "it has nothing to give just now")
                raise kind(source, None, f"{words} (HTTP status {reply.status})")
            yield Fetched(cast("BinaryIO", file), Version(bounded(reply.headers, "etag"), bounded(reply.headers, "last-modified")))


class _Kept:
    """Writes to a temporary file; that the disk is full is an ``OutputError``, not a fault of the network."""

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file, self._folder = file, folder

    def write(self, data: bytes) -> int:
        with self._no_room():
            return self._file.write(data)

    def finish(self) -> None:
        """Go back to the beginning."""
        with self._no_room():
            self._file.seek(0)

    @contextmanager
    def _no_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.ftruncate(self._file.fileno(), 0)  # what waits to be written has room now, so that the file can be closed
            raise OutputError(self._folder, error.strerror or str(error)) from error


def beside(source: str, name: str) -> str:
    """Give the source of a file that lies beside another."""
    return urljoin(source, name) if is_url(source) else str(Path(source).with_name(name))


def _opened(path: str) -> BinaryIO:
    """Open a plain file; ``Missing`` and ``RuleError`` say why not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise Missing(path, None, "there is no such file") from error
    except (OSError, ValueError) as error:
        raise RuleError(path, None, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RuleError(path, None, "it is no plain file")
    return open(descriptor, "rb")


def _version(file: BinaryIO) -> Version:
    """Tell versions of a file on this machine apart as a server does."""
    facts = os.fstat(file.fileno())
    return Version(f"{facts.st_dev}-{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}")
