"""Opens an index file: checks it as a whole, brings what every look-up needs into memory, and leaves on the disk what only hits need.

The file is not mapped: whoever shortened it would end every process that has it mapped (SIGBUS).
"""

import os
import stat
import sys
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from outwatch.errors import StoreError
from outwatch.intel import layout

_CHUNK = 1 << 18
_MENDS = "outwatch intel update makes it anew"


class Sections(NamedTuple):
    """The sections of an index: those in memory as numbers of their kind, and what reads from one on disk.

    ``read(name, place, size)`` gives at most ``size`` bytes from ``place`` on; ``IndexError`` if they are not there. It works as long as
    ``whose`` lives.
    """

    near: Mapping[str, memoryview]
    read: Callable[[str, int, int], bytes]
    whose: object


def opened(path: Path) -> Sections:
    """Open a file. ``StoreError`` if it is not there, damaged, cut short, or no index of this version and kind of machine."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            return _checked(descriptor, path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(path, error.strerror or str(error)) from error


class _Disk:
    """Reads from a file that stays open as long as this lives, also when another takes its name."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, place: int, size: int) -> bytes:
        if sys.platform == "win32":  # which has no such call, and takes ``_Memory``
            raise IndexError(place)
        try:
            return os.pread(self._descriptor, size, place)
        except OSError as error:
            raise IndexError(place) from error


class _Memory:
    """Does the same where a file that somebody has open can't be replaced."""

    def __init__(self, descriptor: int, length: int) -> None:
        self._data = _read(descriptor, 0, length)

    def read(self, place: int, size: int) -> bytes:
        return self._data[place : place + size]


def _checked(descriptor: int, path: Path) -> Sections:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise StoreError(path, "not a plain file")
    header = _read(descriptor, 0, layout.START)
    length, checksum = _expected(header, path)
    if length != facts.st_size:
        raise StoreError(path, f"damaged: it has {facts.st_size:,} bytes instead of {length:,}; {_MENDS}")
    table = _table(header, length)
    if table is None:
        raise StoreError(path, f"damaged: its table is wrong; {_MENDS}")
    far = min(table[name][0] for name in layout.FAR)
    data = _read(descriptor, 0, far)
    summed, at = crc32(data[layout.START :]), far
    while chunk := _read(descriptor, at, _CHUNK):
        summed, at = crc32(chunk, summed), at + len(chunk)
    if crc32(header[layout.HEADER.size :], summed) != checksum:
        raise StoreError(path, f"damaged: its checksum is wrong; {_MENDS}")
    return _cut(table, data, _Memory(descriptor, length) if sys.platform == "win32" else _Disk(descriptor))


def _expected(header: bytes, path: Path) -> tuple[int, int]:
    """Give the length and the checksum that a file must have."""
    if header[: len(layout.MAGIC)] != layout.MAGIC:
        raise StoreError(path, "not an index of outwatch")
    if len(header) < layout.START:
        raise StoreError(path, f"damaged: it ends within its header; {_MENDS}")
    _, version, order, length, checksum = layout.HEADER.unpack_from(header)
    if version != layout.VERSION or order != layout.ORDER:
        raise StoreError(path, f"made by another version of outwatch or on another kind of machine; {_MENDS}")
    return length, checksum


def _table(header: bytes, length: int) -> Mapping[str, tuple[int, int]] | None:
    """Give place and size of each section; ``None`` if they don't lie within the file, those on the disk behind the others."""
    table = dict(zip(layout.SECTIONS, layout.SECTION.iter_unpack(header[layout.HEADER.size : layout.START]), strict=True))
    far = min(table[name][0] for name in layout.FAR)
    for name, (place, size) in table.items():
        end = length if name in layout.FAR else far
        if place < layout.START or place % layout.ALIGNED or place + size > end or size % layout.WIDTHS[layout.SECTIONS[name]]:
            return None
    return table


def _cut(table: Mapping[str, tuple[int, int]], data: bytes, rest: _Disk | _Memory) -> Sections:
    def read(name: str, place: int, size: int) -> bytes:
        begin, whole = table[name]
        if not 0 <= place < whole:
            raise IndexError(place)
        return rest.read(begin + place, min(size, whole - place))

    view = memoryview(data)
    near = {name: view[place : place + size].cast(layout.SECTIONS[name]) for name, (place, size) in table.items() if name not in layout.FAR}
    return Sections(near, read, rest)


def _read(descriptor: int, at: int, size: int) -> bytes:
    os.lseek(descriptor, at, os.SEEK_SET)
    chunks, left = [], size
    while left and (more := os.read(descriptor, left)):
        chunks.append(more)
        left -= len(more)
    return b"".join(chunks)
