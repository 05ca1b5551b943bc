"""What a package database says of a file, and how the databases are asked."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

from outwatch.model.records import PackageManager

Algorithm = Literal["md5", "sha1", "sha256", "sha384", "sha512"]

_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PIECE = 1 << 17  # bytes
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)


class DatabaseBroken(Exception):
    """A package database is there and can't be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The package that a path belongs to, and the checksum its file should have (lower-case hexadecimal, ``None`` if it has none)."""

    manager: PackageManager
    name: str
    version: str | None = None
    algorithm: Algorithm | None = None
    digest: str | None = None


class Database(Protocol):
    """One package manager's record of what is installed."""

    def claims(self, paths: Collection[str]) -> dict[str, Claim]:
        """Say which package each path belongs to; a path that belongs to none is left out. ``DatabaseBroken``."""


class Root:
    """A machine's file system, seen from its root: databases of tests are kept elsewhere."""

    def __init__(self, folder: str = "/") -> None:
        """Look below ``folder``."""
        self._folder = folder.rstrip("/")

    def at(self, path: str) -> str:
        """Give where a path of that machine is to be found."""
        return self._folder + path

    @cached_property
    def _merged(self) -> dict[str, str]:
        """Give the folders that are links into ``/usr``: ``/bin`` is ``/usr/bin``, and packages may use either name."""
        found = {}
        for name in _MERGED:
            try:
                target = os.readlink(self.at(f"/{name}"))
            except OSError:
                continue
            if target.startswith(("usr/", "/usr/")):
                found[f"/{name}/"] = f"/{target.strip('/')}/"
        return found

    def spellings(self, path: str) -> Iterable[str]:
        """Yield the names that a file may have in a database, its own first."""
        yield path
        for short, long in self._merged.items():
            if path.startswith(long):
                yield short + path.removeprefix(long)
            elif path.startswith(short):
                yield long + path.removeprefix(short)


def read(path: str, most: int) -> bytes:
    """Read a file of a database; ``OSError`` as usual, ``DatabaseBroken`` if it has more than ``most`` bytes."""
    return b"".join(_read(path, most))


def pieces(path: str, most: int, end: bytes = b"\n") -> Iterator[bytes]:
    """Read the same piece by piece, each but the last cut behind an ``end``: databases of many megabytes leave no trace in memory."""
    left = b""
    for data in _read(path, most):
        whole, found, rest = (left + data).rpartition(end)
        if found:
            yield whole + found
        left = rest
    if left:
        yield left


def _read(path: str, most: int) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | _NOFOLLOW)
    with open(descriptor, "rb", buffering=0) as file:
        left = most
        while data := file.read(min(left + 1, _PIECE)):
            left -= len(data)
            if left < 0:
                raise DatabaseBroken(f"{path}: larger than {most >> 20} MiB")
            yield data
