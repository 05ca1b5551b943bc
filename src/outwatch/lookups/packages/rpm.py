"""Packages of Fedora, Red Hat and SUSE: ``rpmdb.sqlite``, whose table ``Basenames`` leads from a file's name to its packages.

A package is one blob, a header as the RPM file format has it: how many entries and bytes, the entries (tag, type, place, count: four
big-endian numbers each), and the bytes they point into.
"""

import os
import sqlite3
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import quote

from outwatch.guard.text import cleaned
from outwatch.lookups.packages.claims import Algorithm, Claim, DatabaseBroken, Root

_PLACES = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
_MOST_HEADER = 64 << 20  # bytes of one package
_MOST_ENTRIES = 4096
_MOST_SAME_NAME = 2_000  # files of one name
_STEP, _MOST_STEPS = 100_000, 2_000  # of sqlite's own machine: a database of somebody's invention must not keep us
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_DIGESTS, _INDEXES, _BASENAMES, _DIRNAMES, _ALGORITHM = 1035, 1116, 1117, 1118, 5011
_INT32, _STRING, _STRINGS = 4, 6, 8
# Numbers of RFC 4880; without one it is MD5.
_ALGORITHMS: dict[int, tuple[Algorithm, int]] = {
    1: ("md5", 32), 2: ("sha1", 40), 8: ("sha256", 64), 9: ("sha384", 96), 10: ("sha512", 128),
}  # fmt: skip


class _Entry(NamedTuple):
    tag: int
    kind: int
    offset: int
    length: int


class Header:
    """One package's header; ``DatabaseBroken`` if it lies about its lengths."""

    def __init__(self, blob: bytes) -> None:
        """Read where everything stands."""
        if len(blob) < 8:  # noqa: PLR2004 - two numbers
            raise DatabaseBroken("rpm: a header is cut off")
        entries, size = struct.unpack_from(">II", blob)
        begin = 8 + 16 * entries
        if entries > _MOST_ENTRIES or begin + size > len(blob):
            raise DatabaseBroken("rpm: a header is shorter than it says")
        self._data = blob[begin : begin + size]
        self._entries = {one[0]: _Entry(*one) for one in struct.iter_unpack(">IIII", blob[8:begin])}

    def texts(self, tag: int) -> list[bytes]:
        """Give the texts of a tag; none if there is no such tag."""
        entry = self._entries.get(tag)
        if entry is None or entry.kind not in {_STRING, _STRINGS}:
            return []
        found = self._data[entry.offset :].split(b"\0", entry.length)
        if len(found) <= entry.length:  # behind the last one's end stands the rest
            raise DatabaseBroken("rpm: texts are cut off")
        return found[: entry.length]

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Give the numbers of a tag; none if there is no such tag."""
        entry = self._entries.get(tag)
        if entry is None or entry.kind != _INT32:
            return ()
        if entry.offset + 4 * entry.length > len(self._data):
            raise DatabaseBroken("rpm: numbers are cut off")
        return struct.unpack_from(f">{entry.length}I", self._data, entry.offset)

    def text(self, tag: int) -> str | None:
        """Give the first text of a tag."""
        found = self.texts(tag)
        return cleaned(found[0], 256) if found else None

    def place_of(self, path: bytes) -> int | None:
        """Find a path among the package's files."""
        names, folders = self.texts(_BASENAMES), self.texts(_DIRNAMES)
        folder, _, name = path.rpartition(b"/")
        for at, (one, index) in enumerate(zip(names, self.numbers(_INDEXES), strict=False)):
            if one == name and index < len(folders) and folders[index] == folder + b"/":
                return at
        return None

    def claim(self, at: int) -> Claim | None:
        """Describe the package and the checksum of one of its files."""
        name, version, release = self.text(_NAME), self.text(_VERSION), self.text(_RELEASE)
        if name is None:
            return None
        epoch = self.numbers(_EPOCH)
        full = f"{version}-{release}" if version and release else version
        if full and epoch and epoch[0]:
            full = f"{epoch[0]}:{full}"
        digests = self.texts(_DIGESTS)
        algorithm, length = _ALGORITHMS.get(next(iter(self.numbers(_ALGORITHM)), 1), (None, 0))
        digest = digests[at].decode("ascii", "replace") if at < len(digests) else ""
        if len(digest) != length or not length:
            return Claim(manager="rpm", name=name, version=full)
        return Claim(manager="rpm", name=name, version=full, algorithm=algorithm, digest=digest.lower())


class Rpm:
    """Reads rpm's database."""

    def __init__(self, root: Root) -> None:
        """Read nothing yet."""
        self._root = root

    def claims(self, paths: Collection[str]) -> dict[str, Claim]:
        """Say which package each path belongs to."""
        place = next((there for one in _PLACES if os.path.isfile(there := self._root.at(one))), None)
        if place is None:
            return {}
        try:
            # Unchanging, so that nothing is written beside it: neither locks nor a shared memory file.
            database = sqlite3.connect(f"file:{quote(place)}?mode=ro&immutable=1", uri=True)
            try:
                steps = iter(range(_MOST_STEPS))
                database.set_progress_handler(lambda: next(steps, None) is None, _STEP)
                database.text_factory = bytes
                return {path: claim for path in paths if (claim := self._claim(database, path)) is not None}
            finally:
                database.close()
        except sqlite3.Error as error:
            raise DatabaseBroken(f"{place}: {error}") from error

    def _claim(self, database: sqlite3.Connection, path: str) -> Claim | None:
        for spelling in self._root.spellings(path):
            raw = os.fsencode(spelling)
            for blob in self._blobs(database, raw.rpartition(b"/")[2]):
                header = Header(blob)
                at = header.place_of(raw)
                if at is not None:
                    return header.claim(at)
        return None

    @staticmethod
    def _blobs(database: sqlite3.Connection, name: bytes) -> Iterator[bytes]:
        """Yield the packages that have a file of this name."""
        query = "SELECT DISTINCT hnum FROM Basenames WHERE key = CAST(? AS TEXT) LIMIT ?"
        for (number,) in database.execute(query, (name, _MOST_SAME_NAME)).fetchall():
            row = database.execute("SELECT blob FROM Packages WHERE hnum = ? AND length(blob) <= ?", (number, _MOST_HEADER)).fetchone()
            if row is not None and isinstance(row[0], bytes):
                yield row[0]
