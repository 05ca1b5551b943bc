"""A list's bytes as they are meant: decompressed, and no more of them than a list may have."""

import gzip
import io
import struct
import zlib
from typing import BinaryIO, Protocol

from outwatch.intel.formats.ledger import Ledger

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"  # RFC 1952, 2.3.1; PKWARE's APPNOTE, 4.3.7
_LOCAL = struct.Struct("<4s2xHH16xHH")  # signature, flags, method, lengths of name and extra field
_SEALED, _DEFLATED = 1, 8  # flag of a password, number of the method
_SMALL = 1 << 20  # octets that a file may become whatever its ratio
_BUFFER = 1 << 16
_BROKEN = (EOFError, zlib.error, struct.error, OSError)


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpacked(file: BinaryIO, ledger: Ledger) -> io.BufferedReader:
    """Give the content of a seekable file: gzip and the first member of a zip file are decompressed, anything else is as it is.

    ``RuleError`` from here and from reading on: the compression is broken, or the content larger than it may be.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(len(_ZIP))
    file.seek(0)
    source: _Source = file
    if head[: len(_GZIP)] == _GZIP:
        source = gzip.GzipFile(fileobj=file)
    elif head == _ZIP:
        source = _FirstMember(file)
    return io.BufferedReader(_Bounded(source, None if source is file else size, ledger), _BUFFER)


class _FirstMember:
    """The first member of a zip file, read from the front; its directory at the end, which may be huge and lie, is not looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._machine: zlib._Decompress | None = None
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        if self._machine is None:
            _, flags, method, name, extra = _LOCAL.unpack(self._file.read(_LOCAL.size))
            if flags & _SEALED or method != _DEFLATED:
                raise zlib.error("not deflated")
            self._file.seek(name + extra, io.SEEK_CUR)
            self._machine = zlib.decompressobj(-zlib.MAX_WBITS)
        while not self._machine.eof:
            self._waiting = self._waiting or self._file.read(_BUFFER)
            if not self._waiting:
                raise EOFError("cut off")
            piece = self._machine.decompress(self._waiting, size)
            self._waiting = self._machine.unconsumed_tail
            if piece:
                return piece
        return b""


class _Bounded(io.RawIOBase):
    """Passes octets on until there are too many of them."""

    def __init__(self, source: _Source, packed: int | None, ledger: Ledger) -> None:
        self._source, self._ledger = source, ledger
        self._most = ledger.bounds.most_octets
        self._grown = None if packed is None else max(_SMALL, int(packed * ledger.bounds.ratio))
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int:  # type: ignore[override]  # nobody but BufferedReader calls it
        try:
            piece = self._source.read(len(into))
        except _BROKEN as error:
            reason = "can't be read" if self._grown is None else "can't be decompressed"
            raise self._ledger.refused(f"{reason}: {error}") from error
        self._count += len(piece)
        if self._count > self._most:
            raise self._ledger.refused(f"is larger than {self._most / (1 << 20):,.6g} MiB")
        if self._grown is not None and self._count > self._grown:
            raise self._ledger.refused(f"grows more than {self._ledger.bounds.ratio:g}-fold when it is decompressed")
        into[: len(piece)] = piece
        return len(piece)
