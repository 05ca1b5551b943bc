"""Connections that have no name that is believed, and may get one when it is heard at last."""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable

from msgspec import Struct

from outwatch.enrichers.names.answers import Answer

_MOST, _MOST_OF_ADDRESS = 20_000, 256
_LATE = 60.0  # seconds in which another process's answer may name a connection that was there before it
_LATE_OWN = 3_600.0  # the same for what its own process asked


class _Waits(Struct, frozen=True, gc=False):
    """Since when (seconds of the boot clock) a connection waits, its process and network namespace, and whether it has some name."""

    since: float
    asker: str | None
    namespace: str
    has_name: bool


class Waiting:
    """Who waits, by address; the oldest are given up.

    ``at`` gives those who wait for the name of an address, by id.
    """

    def __init__(self) -> None:
        """Begin with nobody."""
        self._table: OrderedDict[str, dict[str, _Waits]] = OrderedDict()
        self._count = 0
        self.at: Callable[[str], Container[str] | None] = self._table.get  # no function of our own around it: it is asked all the time

    def __len__(self) -> int:
        """Count those who wait."""
        return self._count

    def add(self, ip: str, identity: str, asker: str | None, namespace: str, now: float, *, has_name: bool) -> None:
        """Let a connection wait that does not yet; ``has_name``: it has one that is not believed."""
        there = self._table.setdefault(ip, {})
        there[identity] = _Waits(now, asker, namespace, has_name)
        self._count += 1
        if len(there) > _MOST_OF_ADDRESS:
            del there[next(iter(there))]
            self._count -= 1
        while self._count > _MOST:
            _, oldest = self._table.popitem(last=False)
            self._count -= len(oldest)

    def take(self, ip: str, answer: Answer, asker: str | None, namespace: str | None, *, by_address: bool) -> Iterable[str]:
        """Give those whom an answer names, who then wait no more: the asker's own, and ``by_address`` those of others that are not old.

        ``namespace`` limits the others to a network namespace.
        """
        there = self._table.get(ip)
        if there is None:
            return ()
        now = answer.since
        taken = [
            identity
            for identity, one in there.items()
            if (asker is not None and one.asker == asker and now - one.since <= _LATE_OWN)
            or (by_address and namespace in {None, one.namespace} and (answer.is_trusted or not one.has_name) and now - one.since <= _LATE)
        ]
        for identity in taken:
            del there[identity]
        self._count -= len(taken)
        if not there:
            del self._table[ip]
        return taken
