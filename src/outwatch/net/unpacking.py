"""Bodies of HTTP replies: unpacked within bounds, so that a small reply can't become a huge one (RFC 9110, 8.4)."""

import zlib
from collections.abc import Iterator, Mapping

from outwatch.errors import LookupFailed

_PIECE = 1 << 16
_SMALL = 1 << 20  # bytes that may come out whatever the ratio
_GZIP = 16 + zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS  # what some servers send as "deflate", which means zlib (RFC 9110, 8.4.1.2)
_DEFLATE, _MODULUS = 8, 31  # RFC 1950, 2.2: the method in the first byte, and what both bytes together are a multiple of


class Unpacking:
    """One body on its way; gives at most ``most`` bytes, and at most ``ratio`` times as many as came in."""

    def __init__(self, most: int, ratio: float | None = None) -> None:
        """Take the bounds; ``LookupFailed`` is raised beyond them, and for what can't be unpacked."""
        self._most = most
        self._ratio = ratio
        self._came = self._given = 0
        self._coding = ""
        self._head = b""
        self._inflate: zlib._Decompress | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """Look at the headers of the reply, by their names in lower case."""
        coding = headers.get("content-encoding", "").strip().lower().removeprefix("x-")
        if coding not in {"", "identity", "gzip", "deflate"}:
            raise LookupFailed("packed in an unknown way")
        self._coding = coding.replace("identity", "")
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > len(str(self._most)) or int(length) > self._most):
            raise self._too_large()

    def unpacked(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece of the body comes to."""
        self._came += len(piece)
        for part in self._inflated(piece) if self._coding else (piece,):
            self._given += len(part)
            if max(self._given, self._came) > self._most:
                raise self._too_large()
            if self._ratio is not None and self._given > max(_SMALL, self._ratio * self._came):
                raise LookupFailed(f"unpacks to more than {self._ratio:g} times its size")
            if part:
                yield part

    def end(self) -> None:
        """Make sure that nothing is missing."""
        if self._coding and self._came and (self._inflate is None or not self._inflate.eof):
            raise LookupFailed("broken compression")

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            data = self._head = self._head + data
            if len(data) < 2:  # noqa: PLR2004 - that many tell what it is
                return
            self._inflate = zlib.decompressobj(_GZIP if self._coding == "gzip" else _zlib_or_raw(data))
        while True:
            try:
                part = self._inflate.decompress(data, _PIECE)
            except zlib.error:
                raise LookupFailed("broken compression") from None
            yield part
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                data = self._inflate.unused_data
                if not data:
                    return
                if self._coding != "gzip":
                    raise LookupFailed("broken compression")
                self._inflate = zlib.decompressobj(_GZIP)  # files may follow each other (RFC 1952, 2.2)
            elif not data and len(part) < _PIECE:
                return

    def _too_large(self) -> LookupFailed:
        size = f"{self._most >> 20} MB" if self._most >> 20 else f"{self._most} bytes"
        return LookupFailed(f"larger than {size}")


def _zlib_or_raw(data: bytes) -> int:
    """Tell what "deflate" means this time."""
    is_zlib = data[0] & 0x0F == _DEFLATE and (data[0] << 8 | data[1]) % _MODULUS == 0
    return zlib.MAX_WBITS if is_zlib else _RAW
