"""What is kept of lists in the state folder: of each the last good content, and when it was asked for.

``intel/lists/NAME.entries`` is a line of JSON about the list, filled up with blanks to a fixed length, and then a line for each entry; a
line that is an object says from which event of a feed those after it come. ``NAME.asked`` says how the last attempt went. Both are replaced
in one step, so that whoever reads never waits and never sees a part.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from outwatch.errors import OutwatchError, StoreError
from outwatch.guard.files import new_file, private_folder, write_atomic
from outwatch.intel.entries import Entry

_VERSION = 1
_HEADER = 8192  # octets of the first line
_LONGEST_LINE = 1 << 16
_LONGEST_TEXT = 2000  # characters of an ETag and the like
_NOTHING = Entry("ip", "")[2:]  # of an entry of which nothing is said
_DAMAGED = "damaged; outwatch intel update fetches the list anew"


class Contents(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line: where entries come from and how many there are.

    ``read_at`` is when they were read (seconds since the epoch), ``counts`` are entries by their kind, ``unused`` everything else by the
    reason. ``etag`` and ``last_modified`` are the server's words about this very content.
    """

    version: int = msgspec.field(default_factory=lambda: _VERSION)
    name: str
    source: str
    kind: Literal["indicator", "warning"]
    form: str
    read_at: int
    counts: dict[str, int] = {}
    unused: dict[str, int] = {}
    etag: str | None = None
    last_modified: str | None = None

    @property
    def entries(self) -> int:
        """How many there are."""
        return sum(self.counts.values())


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a list was last asked for at ``source``, when its content was last found to be current, and what went wrong since."""

    source: str
    at: int
    confirmed: int | None = None
    problem: str | None = None


class Event(msgspec.Struct, frozen=True):
    """A line that says: what follows is of this event of a feed, which last ``changed`` then."""

    event: str
    changed: int


class Writing:
    """One list on its way to the disk."""

    def __init__(self, file: BinaryIO) -> None:
        """Leave room for the first line."""
        self._file = file
        self._encode = msgspec.json.Encoder().encode
        file.write(bytes(_HEADER))

    def add(self, entry: Entry) -> None:
        """Write an entry."""
        self._file.write(self._encode(entry if entry[2:] != _NOTHING else entry[:2]) + b"\n")

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Write entries as they come."""
        for entry in entries:
            self.add(entry)

    def begin(self, event: Event) -> None:
        """Say that the entries that follow are those of an event."""
        self._file.write(self._encode(event) + b"\n")

    def finish(self, contents: Contents) -> None:
        """Write the first line; without it the file is none."""
        line = self._encode(contents)
        if len(line) >= _HEADER:
            raise OutwatchError(f"{contents.name}: its address is too long")
        self._file.seek(0)
        self._file.write(line.ljust(_HEADER - 1) + b"\n")
        self._file.seek(0, os.SEEK_END)


class Shelf:
    """The folder of the lists."""

    def __init__(self, state_dir: Path) -> None:
        """Use ``intel`` below the state folder; it is made when something is written."""
        self.folder = state_dir / "intel"
        self.index_path = self.folder / "index"
        self._lists = self.folder / "lists"

    def contents(self, name: str) -> Contents | None:
        """Say what there is of a list; ``None`` if there is nothing, ``StoreError`` if it can't be read."""
        path = self._path(name)
        with _opened(path) as file:
            return None if file is None else _contents(path, file)

    def entries(self, name: str) -> Iterator[Entry | Event]:
        """Yield what is kept of a list; ``StoreError`` if it is damaged."""
        path = self._path(name)
        decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)
        with _opened(path) as file:
            if file is None:
                return
            left = _contents(path, file).entries
            while line := file.readline(_LONGEST_LINE):
                try:
                    if line.startswith(b"{"):
                        yield msgspec.json.decode(line, type=Event)
                        continue
                    yield decoder.decode(line)
                except (msgspec.MsgspecError, ValueError) as error:
                    raise StoreError(path, _DAMAGED) from error
                left -= 1
            if left:
                raise StoreError(path, _DAMAGED)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Writing]:
        """Replace a list's content when the block ends well; else what was there stays."""
        private_folder(self._lists)
        with new_file(self._path(name), replaces=True) as file:
            yield Writing(file)

    def asked(self, name: str) -> Asked | None:
        """Say how the last attempt to get a list went; ``None`` if there was none, or nothing is known of it."""
        try:
            return msgspec.json.decode((self._lists / f"{name}.asked").read_bytes(), type=Asked)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None

    def note(self, name: str, asked: Asked) -> None:
        """Keep how an attempt went."""
        private_folder(self._lists)
        write_atomic(self._lists / f"{name}.asked", msgspec.json.encode(asked))

    def remove(self, name: str) -> None:
        """Forget a list."""
        for path in (self._path(name), self._lists / f"{name}.asked"):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing lists or making the index meanwhile; they wait. Readers need no lock."""
        path = private_folder(self.folder) / "lock"
        with open(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0), 0o600), "rb+") as file:
            _lock(file)
            yield

    def _path(self, name: str) -> Path:
        return self._lists / f"{name}.entries"


def bounded(headers: Mapping[str, str], name: str) -> str | None:
    """Give a header that is worth keeping, and can be sent back."""
    value = headers.get(name)
    return value if value and len(value) <= _LONGEST_TEXT and value.isascii() and value.isprintable() else None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise StoreError(path, error.strerror or str(error)) from error
    with file:
        yield file


def _contents(path: Path, file: BinaryIO) -> Contents:
    try:
        found = msgspec.json.decode(file.read(_HEADER), type=Contents)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise StoreError(path, _DAMAGED) from error
    if found.version != _VERSION:
        raise StoreError(path, "another version of outwatch has written it; outwatch intel update fetches the list anew")
    return found


def _lock(file: BinaryIO) -> None:
    """Wait until nobody else has the lock; it goes with the file."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - elsewhere there is none

        while True:
            with contextlib.suppress(OSError):  # it gives up after ten seconds
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
    else:
        import fcntl  # noqa: PLC0415 - Windows has none

        fcntl.flock(file, fcntl.LOCK_EX)
