"""Records as they come, a line each, to a stream such as standard output."""

from collections.abc import Callable, Sequence
from typing import BinaryIO, ClassVar

from outwatch.errors import OutputError
from outwatch.model.records import Record


class Lines:
    """Writes each record with ``spell``, and lets the reader see every batch at once."""

    name: ClassVar[str] = "lines"
    settled: ClassVar[bool] = False

    def __init__(self, *, stream: BinaryIO, spell: Callable[[Record], bytes | None]) -> None:
        """Take the stream and what turns a record into its line (``None``: this kind has none)."""
        self._stream = stream
        self._spell = spell

    async def write(self, records: Sequence[Record]) -> None:
        """Write the records' lines; ``BrokenPipeError`` when the reader has gone, ``OutputError`` when the disk is full."""
        lines = [line for record in records if (line := self._spell(record)) is not None]
        if not lines:
            return
        try:
            self._stream.write(b"\n".join(lines) + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError("standard output", error.strerror or str(error)) from error

    async def close(self) -> None:
        """Leave the stream to its owner."""
