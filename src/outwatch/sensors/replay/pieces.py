"""Bytes that come in pieces, in any order, some of them twice: each is kept once, as it came first."""

from bisect import bisect_right


class Pieces:
    """Pieces by their offset; ``held`` is how many bytes are kept. What lies behind ``most`` bytes or makes too many gaps is left out."""

    __slots__ = ("_most", "_most_pieces", "_starts", "_texts", "held")

    def __init__(self, most: int, most_pieces: int) -> None:
        """Keep at most so many bytes, in at most so many pieces that don't touch."""
        self._most = most
        self._most_pieces = most_pieces
        self._starts: list[int] = []
        self._texts: list[bytes] = []
        self.held = 0

    def add(self, at: int, text: bytes) -> None:
        """Keep what of a piece is new."""
        end = min(at + len(text), self._most)
        first = at
        while at < end:
            index = bisect_right(self._starts, at)
            if index:
                at = max(at, self._starts[index - 1] + len(self._texts[index - 1]))
            until = min(end, self._starts[index]) if index < len(self._starts) else end
            if at < until:
                self._insert(index, at, text[at - first : until - first])
            at = max(at, until)

    def beginning(self) -> bytes:
        """Give what there is without a gap from the first byte on."""
        return self._texts[0] if self._starts and not self._starts[0] else b""

    def _insert(self, index: int, at: int, text: bytes) -> None:
        """Put a new piece before that of the index, joined with neighbours that it touches."""
        self.held += len(text)
        joins_left = index > 0 and self._starts[index - 1] + len(self._texts[index - 1]) == at
        joins_right = index < len(self._starts) and self._starts[index] == at + len(text)
        if joins_right:
            text += self._texts.pop(index)
            del self._starts[index]
        if joins_left:
            self._texts[index - 1] += text
        elif len(self._starts) < self._most_pieces:
            self._starts.insert(index, at)
            self._texts.insert(index, text)
        else:
            self.held -= len(text)
