"""What is known about one process at one moment, before it becomes part of a record."""

from dataclasses import dataclass
from datetime import UTC, datetime

from outwatch.guard.text import cleaned
from outwatch.model.identity import entity_id
from outwatch.model.records import FileState

MOST_ARGS, MOST_ARG, MOST_TEXT = 256, 4096, 1 << 17
"""Arguments that are kept, the length of one and of all: they must fit into the line of a record also if each character is escaped."""

MOST_PARENT_ARGS, MOST_PARENT_ARG = 16, 256
"""Arguments of parents that are kept, and their length: who they are matters, not all they were told."""

MOST_DEPTH = 62
"""Parents that are followed: a chain longer than this is somebody's trick (and no record, ``model/wire.py``)."""


@dataclass(frozen=True, slots=True)
class Birth:
    """A pid, and the moment its process began: seconds since the epoch, and in the system's own exact unit."""

    pid: int
    start: float
    exact: str

    def entity(self, boot: str) -> str:
        """Name this process for good, on this boot of this machine."""
        return entity_id(boot, self.pid, self.exact)

    @property
    def time(self) -> datetime:
        """The start as a time of records."""
        return datetime.fromtimestamp(self.start, UTC)


@dataclass(frozen=True, slots=True)
class Facts:
    """One process; ``None`` is what could not be read. ``mark`` changes when the process runs another program."""

    name: str | None = None
    executable: str | None = None
    state: FileState | None = None
    args: tuple[str, ...] | None = None
    working_directory: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    parent: int | None = None
    mark: str | None = None


def bounded_args(args: list[str] | list[bytes], most: int = MOST_ARGS, longest: int = MOST_ARG) -> tuple[str, ...]:
    """Make arguments valid text, at most so many and so long; what is cut ends in ``…``."""
    kept: list[str] = []
    left = MOST_TEXT
    for one in args[:most]:
        text = cleaned(one, longest)
        left -= len(text)
        if left < 0:
            break
        kept.append(text)
    return (*kept, "…") if len(kept) < len(args) else tuple(kept)
