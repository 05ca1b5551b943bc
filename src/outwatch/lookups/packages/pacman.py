"""Arch's packages: a folder each below ``/var/lib/pacman/local``, with ``desc``, ``files`` and ``mtree`` (mtree(5))."""

import os
import re
import zlib
from collections.abc import Collection, Iterator

from outwatch.guard.text import cleaned
from outwatch.lookups.packages.claims import Claim, DatabaseBroken, Root, read

_FOLDER = "/var/lib/pacman/local"
_MOST = 64 << 20
_MOST_PACKAGES = 50_000
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_SHA256 = re.compile(rb" sha256digest=([0-9a-f]{64})(?: |\Z)")
_GZIP = 31  # window of zlib for gzip


class Pacman:
    """Reads pacman's database."""

    def __init__(self, root: Root) -> None:
        """Read nothing yet."""
        self._root = root
        self._folder = root.at(_FOLDER)

    def claims(self, paths: Collection[str]) -> dict[str, Claim]:
        """Say which package each path belongs to."""
        if not os.path.isdir(self._folder):
            return {}
        wanted = {os.fsencode(one.removeprefix("/")): path for path in paths for one in self._root.spellings(path)}
        found: dict[str, Claim] = {}
        try:
            for package in self._packages(paths):
                for line in wanted.keys() & self._files(package):
                    found.setdefault(wanted[line], self._claim(package, line))
                if len(found) == len(paths):
                    break
        except OSError as error:
            raise DatabaseBroken(f"{error.filename}: {error.strerror}") from error
        return found

    def _packages(self, paths: Collection[str]) -> Iterator[str]:
        """Yield the packages' folders, first those that begin like one of the programs."""
        names = tuple(f"{path.rpartition('/')[2]}-" for path in paths)
        found = sorted(os.listdir(self._folder), key=lambda package: (not package.startswith(names), package))
        return iter(found[:_MOST_PACKAGES])

    def _files(self, package: str) -> set[bytes]:
        """Read the list of a package's files; folders end in a stroke, and other lists follow."""
        try:
            text = read(f"{self._folder}/{package}/files", _MOST)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return set(text.partition(b"%FILES%\n")[2].partition(b"\n\n")[0].split(b"\n"))

    def _claim(self, package: str, line: bytes) -> Claim:
        text = read(f"{self._folder}/{package}/desc", _MOST)
        fields = {block.partition(b"\n")[0]: block.partition(b"\n")[2].split(b"\n")[0] for block in text.split(b"\n\n")}
        name, version = fields.get(b"%NAME%"), fields.get(b"%VERSION%")
        digest = self._digest(package, line)
        return Claim(
            manager="pacman",
            name=cleaned(name or package.rsplit("-", 2)[0], 256),
            version=cleaned(version, 256) if version else None,
            algorithm="sha256" if digest else None,
            digest=digest,
        )

    def _digest(self, package: str, line: bytes) -> str | None:
        try:
            packed = read(f"{self._folder}/{package}/mtree", _MOST)
        except FileNotFoundError:
            return None
        unpacking = zlib.decompressobj(_GZIP)
        try:
            text = unpacking.decompress(packed, _MOST)
        except zlib.error as error:
            raise DatabaseBroken(f"{package}/mtree: {error}") from error
        if unpacking.unconsumed_tail:
            raise DatabaseBroken(f"{package}/mtree: larger than {_MOST >> 20} MiB")
        for entry in text.split(b"\n"):
            path, _, facts = entry.partition(b" ")
            if path.startswith(b"./") and _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), path[2:]) == line:
                digest = _SHA256.search(b" " + facts)
                return digest[1].decode("ascii") if digest else None
        return None
