"""outwatch's own JSON lines (``docs/reference/records.md``)."""

from collections.abc import Callable, Iterable, Iterator

from outwatch.errors import RuleError
from outwatch.model import wire
from outwatch.model.records import Observation, Summary
from outwatch.sensors.replay.unpacked import FAILURES, Pieces

_LONGEST = wire.MOST + 2


def observations(pieces: Pieces, name: str, broken: Callable[[RuleError], None]) -> Iterator[Observation | None]:
    """Yield the observations of a stream of lines, and ``None`` where it pauses.

    ``broken`` is told file, line and reason of each line that is no record, and where reading ends too early. Memory stays bounded by
    the longest line allowed, whatever comes.
    """
    number = 0
    try:
        for line in _lines(pieces):
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
    except FAILURES as error:
        broken(RuleError(name, number + 1, f"reading ends here: {error}"))


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
