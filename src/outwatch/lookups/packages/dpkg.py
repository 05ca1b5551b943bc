"""Debian's packages: ``/var/lib/dpkg/info/*.list`` and ``*.md5sums``, ``status`` and ``diversions`` (dpkg(1), dpkg-divert(1)).

There is no index from files to packages. The package that is called like the program is tried first; if that is not it, all lists are
gone through once for all paths that are asked for together, and nothing of them is kept.
"""

import os
import re
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet

from outwatch.guard.text import cleaned
from outwatch.lookups.packages.claims import Claim, DatabaseBroken, Root, pieces, read

_FOLDER = "/var/lib/dpkg"
_MOST_LIST = 32 << 20
_MOST_STATUS = 128 << 20
_MOST_LISTS = 50_000
_MD5 = re.compile(rb"[0-9a-f]{32}\Z")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*\Z")


class Dpkg:
    """Reads dpkg's database."""

    def __init__(self, root: Root) -> None:
        """Read nothing yet."""
        self._root = root
        self._info = root.at(f"{_FOLDER}/info")

    def claims(self, paths: Collection[str]) -> dict[str, Claim]:
        """Say which package each path belongs to."""
        if not os.path.isdir(self._info):
            return {}
        try:
            return self._claims(paths)
        except OSError as error:
            raise DatabaseBroken(f"{error.filename}: {error.strerror}") from error

    def _claims(self, paths: Collection[str]) -> dict[str, Claim]:
        original, diverted = self._diversions()
        wanted: dict[bytes, list[tuple[str, str | None, str | None]]] = {}  # line, and for whom: path, only this package, never this one
        for path in paths:
            for spelling in self._root.spellings(path):
                before = diverted.get(spelling)
                if before is not None:  # the file of another package, moved out of the way
                    wanted.setdefault(os.fsencode(before[0]), []).append((path, None, before[1]))
                elif spelling in original:
                    wanted.setdefault(os.fsencode(spelling), []).append((path, original[spelling], None))
                else:
                    wanted.setdefault(os.fsencode(spelling), []).append((path, None, None))
        owners: dict[str, tuple[str, bytes]] = {}
        for package in self._packages(paths):
            for line in _among(wanted.keys(), f"{self._info}/{package}.list"):
                for path, only, never in wanted[line]:
                    name = package.partition(":")[0]
                    if (only is None or only == name) and never != name:
                        owners.setdefault(path, (package, line))
            if len(owners) == len(paths):
                break
        versions = _versions(self._root.at(f"{_FOLDER}/status"), {package for package, _ in owners.values()}) if owners else {}
        return {path: self._claim(package, line, versions.get(package)) for path, (package, line) in owners.items()}

    def _packages(self, paths: Collection[str]) -> Iterator[str]:
        """Yield packages with a list, first those that are called like one of the programs."""
        names = {path.rpartition("/")[2] for path in paths}
        first = [name for name in names if _NAME.match(name) and os.path.exists(f"{self._info}/{name}.list")]
        yield from first
        tried = set(first)
        found = sorted(entry.removesuffix(".list") for entry in os.listdir(self._info) if entry.endswith(".list"))
        yield from (package for package in found[:_MOST_LISTS] if package not in tried)

    def _claim(self, package: str, line: bytes, version: str | None) -> Claim:
        digest = self._digest(package, line)
        return Claim(
            manager="dpkg",
            name=cleaned(package.partition(":")[0], 256),
            version=version,
            algorithm="md5" if digest else None,
            digest=digest,
        )

    def _digest(self, package: str, line: bytes) -> str | None:
        """Find the checksum of a file: ``d41d8cd98f00b204e9800998ecf8427e  usr/bin/tool``."""
        ends = b"  " + line.removeprefix(b"/") + b"\n"
        try:
            for piece in pieces(f"{self._info}/{package}.md5sums", _MOST_LIST):
                at = piece.find(ends)
                if at >= 0:
                    digest = piece[piece.rfind(b"\n", 0, at) + 1 : at]
                    return digest.decode("ascii") if _MD5.match(digest) else None
        except OSError:
            pass
        return None

    def _diversions(self) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
        """Give who diverted each path, and for each place that a file was moved to, whence and by whom; ``:`` is the administrator."""
        try:
            lines = read(self._root.at(f"{_FOLDER}/diversions"), _MOST_LIST).decode("utf-8", "surrogateescape").splitlines()
        except OSError:
            return {}, {}
        triples = list(zip(lines[::3], lines[1::3], lines[2::3], strict=False))
        return {old: by for old, _, by in triples}, {new: (old, by) for old, new, by in triples}


def _among(wanted: AbstractSet[bytes], path: str) -> set[bytes]:
    """Give the lines of a list that are wanted; one that has gone since the folder was read has none."""
    found: set[bytes] = set()
    try:
        for piece in pieces(path, _MOST_LIST):
            found |= wanted & set(piece.split(b"\n"))
    except FileNotFoundError:
        pass
    return found


def _versions(path: str, packages: AbstractSet[str]) -> dict[str, str | None]:
    """Find the versions of installed packages; their paragraphs are those of deb-control(5)."""
    found: dict[str, str | None] = {}
    for piece in pieces(path, _MOST_STATUS, b"\n\n"):
        for package in packages - found.keys():
            name, _, architecture = package.partition(":")
            for at in re.finditer(rb"^Package: " + re.escape(name.encode()) + rb"$", piece, re.MULTILINE):
                end = piece.find(b"\n\n", at.start())
                paragraph = piece[at.start() : end if end >= 0 else len(piece)].decode("utf-8", "backslashreplace")
                fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
                if fields.get("Status", "").endswith(" installed") and architecture in {"", fields.get("Architecture")}:
                    found[package] = cleaned(fields["Version"], 256) if fields.get("Version") else None
                    break
    return found
