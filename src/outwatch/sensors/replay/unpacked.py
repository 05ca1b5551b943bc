"""Recordings as bytes, whether they are compressed or not."""

import zlib
from collections.abc import Iterable, Iterator

_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_PIECE = 1 << 16

Pieces = Iterable[bytes | None]
"""Bytes as they come; ``None`` where there is nothing more just now."""

FAILURES = (OSError, EOFError, zlib.error)
"""What reading on may raise: the file can't be read, or its compression is cut off or broken."""


def unpacked(pieces: Pieces) -> Iterator[bytes | None]:
    """Decompress if the stream begins like gzip, else pass it on; each piece is small whatever the ratio. Raises ``FAILURES``."""
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
