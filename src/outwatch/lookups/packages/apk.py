"""Alpine's packages: ``/lib/apk/db/installed`` (apk-package(5)), one text with a paragraph for each package."""

import base64
import binascii
import os
from collections.abc import Collection

from outwatch.guard.text import cleaned
from outwatch.lookups.packages.claims import Algorithm, Claim, DatabaseBroken, Root, read

_PLACES = ("/lib/apk/db/installed", "/usr/lib/apk/db/installed")
_MOST = 256 << 20
_SUMS: dict[bytes, tuple[Algorithm, int]] = {b"Q1": ("sha1", 20), b"Q2": ("sha256", 32)}
_MOST_SAME_NAME = 10_000


class Apk:
    """Reads apk's database."""

    def __init__(self, root: Root) -> None:
        """Read nothing yet."""
        self._root = root

    def claims(self, paths: Collection[str]) -> dict[str, Claim]:
        """Say which package each path belongs to."""
        for place in _PLACES:
            try:
                data = b"\n" + read(self._root.at(place), _MOST)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DatabaseBroken(f"{error.filename}: {error.strerror}") from error
            return {path: claim for path in paths if (claim := self._claim(data, path)) is not None}
        return {}

    def _claim(self, data: bytes, path: str) -> Claim | None:
        for spelling in self._root.spellings(path):
            folder, _, name = os.fsencode(spelling).rpartition(b"/")
            line, at = b"\nR:" + name + b"\n", -1
            for _ in range(_MOST_SAME_NAME):
                at = data.find(line, at + 1)
                if at < 0:
                    break
                above = data.rfind(b"\nF:", 0, at) + 3
                if data[above : data.find(b"\n", above)] == folder.removeprefix(b"/"):
                    return _made(data, at, at + len(line))
        return None


def _made(data: bytes, at: int, behind: int) -> Claim | None:
    """Read the package around a file: its name and version above, its checksum below (``Z:Q1`` and base64)."""
    above = data[data.rfind(b"\n\n", 0, at) + 1 : at].split(b"\nF:", 1)[0]
    fields = {line[:2]: line[2:] for line in above.split(b"\n") if line[1:2] == b":"}
    if not fields.get(b"P:"):
        return None
    algorithm, digest = None, None
    while data.startswith((b"a:", b"Z:"), behind):
        end = data.find(b"\n", behind)
        value = data[behind + 2 : end if end >= 0 else len(data)]
        if data.startswith(b"Z:", behind):
            algorithm, digest = _digest(value)
        if end < 0:
            break
        behind = end + 1
    version = cleaned(fields[b"V:"], 256) if fields.get(b"V:") else None
    return Claim(manager="apk", name=cleaned(fields[b"P:"], 256), version=version, algorithm=algorithm, digest=digest)


def _digest(text: bytes) -> tuple[Algorithm | None, str | None]:
    kind = _SUMS.get(text[:2])
    try:
        raw = base64.b64decode(text[2:], validate=True)
    except (binascii.Error, ValueError):
        return None, None
    return (kind[0], raw.hex()) if kind is not None and len(raw) == kind[1] else (None, None)
