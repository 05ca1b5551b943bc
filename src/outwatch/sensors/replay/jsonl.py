"""outwatch's own JSON lines, plain or compressed (``docs/reference/records.md``)."""

import zlib
from collections.abc import Callable, Iterable, Iterator

from outwatch.errors import RuleError
from outwatch.model import wire
from outwatch.model.records import Observation, Summary

_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_PIECE = 1 << 16
_LONGEST = wire.MOST + 2

Pieces = Iterable[bytes | None]
"""Bytes as they come; ``None`` where there is nothing more just now."""


def observations(pieces: Pieces, name: str, broken: Callable[[RuleError], None]) -> Iterator[Observation | None]:
    """Yield the observations of a stream of lines, and ``None`` where it pauses.

    ``broken`` is told file, line and reason of each line that is no record, and where reading ends too early. Compression is
    recognised by its first bytes. Memory stays bounded by the longest line allowed, whatever comes.
    """
    number = 0
    try:
        for line in _lines(_inflated(pieces)):
            if line is None:
                yield None
                continue
            number += 1
            if not line.strip():
                continue
            try:
                record = wire.decode(line)
            except wire.WireError as error:
                broken(RuleError(name, number, str(error)))
                continue
            if record is not None and not isinstance(record, Summary):
                yield record
    except (OSError, EOFError, zlib.error) as error:
        broken(RuleError(name, number + 1, f"reading ends here: {error}"))


def _inflated(pieces: Pieces) -> Iterator[bytes | None]:
    """Decompress if the stream begins like gzip, else pass it on; each piece is small whatever the ratio."""
    rest = iter(pieces)
    head = b""
    for piece in rest:
        if piece is None:
            yield None
            continue
        head += piece
        if len(head) >= len(_GZIP):
            break
    if head[: len(_GZIP)] == _GZIP:
        yield from _members(head, rest)
    else:
        yield head
        yield from rest


def _members(head: bytes, rest: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """Decompress the members of a gzip file (RFC 1952, 2.2), one after another."""
    machine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    data: bytes | None = head
    finished = False
    while True:
        if data is None:
            yield None
        else:
            while data:
                yield machine.decompress(data, _PIECE)
                data, finished = machine.unconsumed_tail, False
                if machine.eof:
                    data, finished = machine.unused_data.lstrip(b"\0"), True
                    machine = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            data = next(rest)
        except StopIteration:
            break
    yield machine.flush()
    if not finished:
        raise EOFError("the compressed data is cut off")


def _lines(pieces: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Yield lines without their ends, ``None`` at pauses; of a line that is too long, only as much as shows that it is."""
    begun = b""
    too_long = False
    for piece in pieces:
        if piece is None:
            yield None
            continue
        first, *others = piece.split(b"\n")
        begun = begun if too_long else begun + first
        too_long = len(begun) > _LONGEST
        if others:
            yield begun[:_LONGEST].rstrip(b"\r")
            *whole, begun = others
            for line in whole:
                yield line.rstrip(b"\r")
            too_long = False
    if begun:
        yield begun[:_LONGEST].rstrip(b"\r")
