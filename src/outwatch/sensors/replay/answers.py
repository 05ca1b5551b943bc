"""Which names the DNS answers of a capture gave to which addresses, and for how long that held."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

_SECOND = 1_000_000_000
_LEAST = 60 * _SECOND  # that a name is remembered: programs use an address for longer than it holds
_LONGEST = 86_400 * _SECOND
_MOST = 16_384  # addresses, of each host that asked
_MOST_NAMES = 4  # of one address
_EARLY = _SECOND  # a packet of the connection may be captured before the answer on another interface


class Answered(NamedTuple):
    """A name that an answer gave to an address, and between which times that counts."""

    name: str
    since_ns: int
    until_ns: int


class Answers:
    """Remembers answers by who asked and by address; of too many the oldest go."""

    def __init__(self) -> None:
        """Remember none yet."""
        self._names: OrderedDict[tuple[bytes, str], OrderedDict[str, Answered]] = OrderedDict()

    def note(self, asker: bytes, address: str, name: str, time_ns: int, ttl: int) -> None:
        """Take a name that was answered with an address, and for how many seconds that holds (``ttl``)."""
        names = self._names.setdefault((asker, address), OrderedDict())
        self._names.move_to_end((asker, address))
        before = names.pop(name, None)
        since = before.since_ns if before is not None and before.since_ns <= time_ns <= before.until_ns else time_ns
        names[name] = Answered(name, since, time_ns + min(max(ttl * _SECOND, _LEAST), _LONGEST))
        if len(names) > _MOST_NAMES:
            names.popitem(last=False)
        if len(self._names) > _MOST:
            self._names.popitem(last=False)

    def names(self, asker: bytes, address: str, time_ns: int) -> Iterator[Answered]:
        """Yield what a host was told about an address and held when it turned there, the latest first."""
        for one in reversed(self._names.get((asker, address), {}).values()):
            if one.since_ns - _EARLY <= time_ns <= one.until_ns:
                yield one
