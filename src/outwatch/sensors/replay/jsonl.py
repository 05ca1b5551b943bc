"""outwatch's own JSON lines, plain or compressed (``docs/reference/records.md``)."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from outwatch.errors import RuleError
from outwatch.model import wire
from outwatch.model.records import Observation, Summary

_GZIP = b"\x1f\x8b"
_PIECE = wire.MOST + 2


def read(path: str, broken: Callable[[RuleError], None]) -> Iterator[Observation]:
    """Yield the observations of a file; a file that can't be read is told to ``broken`` like a line."""
    try:
        with open(path, "rb") as file:
            yield from observations(file, path, broken)
    except OSError as error:
        broken(RuleError(path, None, error.strerror or str(error)))


def observations(raw: BinaryIO, name: str, broken: Callable[[RuleError], None]) -> Iterator[Observation]:
    """Yield the observations of a stream of lines; ``broken`` is told file, line and reason of each line that is none.

    Compression is recognised by its first bytes. Memory stays bounded by the longest line allowed, whatever comes.
    """
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", raw))
    stream = cast("BinaryIO", gzip.GzipFile(fileobj=buffered)) if buffered.peek(2)[:2] == _GZIP else buffered
    number = 0
    try:
        for number, line in _lines(stream):
            try:
                record = wire.decode(line)
            except wire.WireError as error:
                broken(RuleError(name, number, str(error)))
                continue
            if record is not None and not isinstance(record, Summary):
                yield record
    except (OSError, EOFError, zlib.error) as error:
        broken(RuleError(name, number + 1, f"reading ends here: {error}"))


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines that are not empty; of one that is too long, only as much as shows that it is."""
    number = 0
    while piece := stream.readline(_PIECE):
        number += 1
        line = piece
        while piece and not piece.endswith(b"\n") and len(piece) == _PIECE:
            piece = stream.readline(_PIECE)
        if line.strip():
            yield number, line.rstrip(b"\r\n")
