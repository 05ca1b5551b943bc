"""Records as they come, a line each, to a stream such as standard output."""

from collections.abc import Callable, Sequence
from typing import BinaryIO, ClassVar

from outwatch.errors import OutputError
from outwatch.model.records import Record


class Lines:
    """Writes records with ``spell``, and lets the reader see every batch at once."""

    name: ClassVar[str] = "lines"
    settled: ClassVar[bool] = False

    def __init__(self, *, stream: BinaryIO, spell: Callable[[Sequence[Record]], bytes]) -> None:
        """Take the stream and what turns records into lines, each with its line break."""
        self._stream = stream
        self._spell = spell

    async def write(self, records: Sequence[Record]) -> None:
        """Write the records' lines; ``BrokenPipeError`` when the reader has gone, ``OutputError`` when the disk is full."""
        lines = self._spell(records)
        if not lines:
            return
        try:
            self._stream.write(lines)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError("standard output", error.strerror or str(error)) from error

    async def close(self) -> None:
        """Leave the stream to its owner."""
