"""Which name servers are believed."""

from collections.abc import Callable, Iterable

from outwatch.model.records import Question
from outwatch.net.addresses import Network, parse, parse_network

_AGAIN = 5.0  # seconds until the system is asked again who its name servers are: they change with every network that a laptop joins

Resolvers = Callable[[], Iterable[str]]
"""Gives addresses and networks of name servers."""


class NameServers:
    """Those of this system, where it asks them itself, and those that the user declares."""

    def __init__(self, declared: Iterable[str], system: Resolvers, home: str, clock: Callable[[], float]) -> None:
        """Take the user's, who gives the system's, the system's network namespace, and a clock that nobody sets."""
        self._declared = frozenset(str(address) for text in declared if (address := parse(text)) is not None)
        self._system = system
        self._home = home
        self._clock = clock
        self._known: tuple[Network, ...] = ()
        self._until = -1.0

    def answered(self, question: Question) -> bool:
        """Tell whether it was one of them that answered. In a network namespace of their own everybody can answer from any address."""
        resolver = question.destination.ip
        address = parse(resolver) if resolver else None
        if address is None:
            return False
        if str(address) in self._declared:
            return True
        if question.network.namespace not in {None, "", self._home}:
            return False
        now = self._clock()
        if now > self._until:
            self._known = tuple(network for text in self._system() if (network := parse_network(text)) is not None)
            self._until = now + _AGAIN
        return any(address in network for network in self._known)
