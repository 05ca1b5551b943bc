"""Newer files of countries and networks, fetched when somebody asks for it and from where the user says (``intel update --geo``).

A file is taken only if it can be read, has what the one before had, and is not older; until then the one before stays.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from outwatch.errors import LookupFailed, OutputError, StoreError
from outwatch.guard.files import private_folder
from outwatch.net.http import Http
from outwatch.net.places import FOLDER
from outwatch.net.places.mmdb import Mmdb
from outwatch.net.unpacking import Unpacking

_MOST = 512 << 20  # bytes of a file; a city database has 60 MB
_RATIO = 30.0  # such files shrink to a half or a quarter
_SECONDS = 600.0
_OK = 200
_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
_SHRUNK = 10  # a file that is so many times smaller than the one before is a mistake
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


class Fetched(NamedTuple):
    """What became of one address (shown without what stands behind ``?``): the new file, or why there is none."""

    address: str
    path: Path | None
    said: str


async def update(addresses: Sequence[str], state_dir: Path, http: Http) -> list[Fetched]:
    """Fetch each file to the folder below the state that ``enrichers/geo.py`` looks into; ``OutputError`` if there can be none.

    Addresses are of MMDB files, also compressed with gzip. One that fails leaves the others alone.
    """
    folder = private_folder(state_dir / FOLDER)
    return [await _fetched(address, folder, http) for address in dict.fromkeys(addresses)]


async def _fetched(address: str, folder: Path, http: Http) -> Fetched:
    shown = address.partition("?")[0].partition("#")[0]
    try:
        with _beside(folder) as (path, file):
            reply = await http.download(address, file, most=_MOST, seconds=_SECONDS)
            if reply.status != _OK:
                return Fetched(shown, None, f"not there (HTTP {reply.status})")
            file.close()
            with _unpacked(path, folder) as plain:
                return Fetched(shown, *_taken(plain, folder / _name(address)))
    except (LookupFailed, StoreError, OutputError) as error:
        return Fetched(shown, None, error.reason)
    except OSError as error:
        return Fetched(shown, None, f"can't be kept: {error.strerror or error}")


def _taken(fresh: Path, target: Path) -> tuple[Path | None, str]:
    """Put a file in its place if it is as good as the one there."""
    new, old = _looked_into(fresh), None
    with contextlib.suppress(StoreError):
        old = _looked_into(target)
    if old is not None:
        lacking = [field for field in old.gives if field not in new.gives]
        if lacking:
            return None, f"refused: it has no {' and no '.join(lacking)} any more; the one before stays"
        if new.made < old.made:
            return None, f"refused: it is of {new.made}, older than the one that is there; that stays"
        if os.stat(fresh).st_size * _SHRUNK < os.stat(target).st_size:
            return None, "refused: less than a tenth of the one before; that stays"
    os.replace(fresh, target)
    return target, f"{' and '.join(new.gives)}, {new.type} of {new.made}"


def _looked_into(path: Path) -> Mmdb:
    database = Mmdb(path)
    database.close()
    return database


def _name(address: str) -> str:
    """Name the file after its address, so that the next one from there replaces it."""
    last = urlsplit(address).path.rpartition("/")[2].lower().removesuffix(".gz").removesuffix(".mmdb")
    return f"{_NOT_IN_NAMES.sub('-', last)[:60].strip('-') or 'places'}-{sha256(address.encode()).hexdigest()[:8]}.mmdb"


@contextlib.contextmanager
def _beside(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new file in a folder, which is gone afterwards unless it got another name."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".fetched-", delete=False) as file:
        path = Path(file.name)
        try:
            yield path, file  # type: ignore[misc]  # a wrapper that does everything a BinaryIO does
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _unpacked(path: Path, folder: Path) -> Iterator[Path]:
    """Give the file, without gzip around it."""
    with path.open("rb") as packed:
        if packed.read(2) != _GZIP:
            yield path
            return
        packed.seek(0)
        with _beside(folder) as (plain, file):
            _unpack(packed, file.write)
            file.close()
            yield plain


def _unpack(packed: BinaryIO, write: Callable[[bytes], object]) -> None:
    unpacking = Unpacking(_MOST, _RATIO)
    unpacking.begin({"content-encoding": "gzip"})
    while piece := packed.read(_PIECE):
        for part in unpacking.unpacked(piece):
            write(part)
    unpacking.end()
