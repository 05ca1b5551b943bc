"""Rows in order and columns of numbers, however many, in little memory: what is too much for it lies in temporary files."""

from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO

_PIECE = 100_000  # rows that are sorted at a time
_MOST_PIECES = 64  # files that are open at a time
_IN_MEMORY = 1 << 18  # bytes of a temporary file that never reach the disk


class Sorter:
    """Sorts rows of at most 65,535 bytes, and keeps no more of them in memory than a piece."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        """Put what has to wait on the disk into ``folder``; it is gone when ``stack`` is closed."""
        self._folder, self._stack = folder, stack
        self._piece: list[bytes] = []
        self._pieces: list[IO[bytes]] = []
        self.count = 0

    def add(self, row: bytes) -> None:
        """Take a row; ``OSError`` if it has to be put aside and there is no room."""
        self._piece.append(row)
        self.count += 1
        if len(self._piece) >= _PIECE:
            self._put_aside(sorted(self._piece))
            self._piece = []
        if len(self._pieces) >= _MOST_PIECES:
            pieces, self._pieces = self._pieces, []
            self._put_aside(merge(*map(_read_back, pieces)))
            for file in pieces:
                file.close()

    def _put_aside(self, rows: Iterable[bytes]) -> None:
        file: IO[bytes] = self._stack.enter_context(TemporaryFile(dir=self._folder))  # noqa: SIM115 - the stack does
        file.writelines(len(row).to_bytes(2, "big") + row for row in rows)
        self._pieces.append(file)

    def rows(self) -> Iterator[bytes]:
        """Give all rows in their order."""
        self._piece.sort()
        return merge(*map(_read_back, self._pieces), self._piece) if self._pieces else iter(self._piece)


class Column:
    """Numbers of one kind (a code of ``array``) that are written one after another, and read as bytes in the end."""

    def __init__(self, folder: Path, stack: ExitStack, code: str) -> None:
        """Take the folder for what does not stay in memory, and the kind of number."""
        self._file: IO[bytes] = stack.enter_context(SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))  # noqa: SIM115
        self._waiting = array(code)
        self._written = 0
        self.append = self._waiting.append
        self.extend = self._waiting.frombytes

    @property
    def size(self) -> int:
        """The bytes so far."""
        return self._written + len(self._waiting) * self._waiting.itemsize

    def flush(self) -> None:
        """Take what was appended out of memory: to be called now and then."""
        self._written = self.size
        self._file.write(self._waiting)
        del self._waiting[:]

    def chunks(self) -> Iterator[bytes]:
        """Give the bytes from the beginning."""
        self.flush()
        self._file.seek(0)
        while chunk := self._file.read(_IN_MEMORY):
            yield chunk


def _read_back(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    read = file.read
    while size := read(2):
        yield read(int.from_bytes(size, "big"))
