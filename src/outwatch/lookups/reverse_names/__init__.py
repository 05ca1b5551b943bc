"""Names of addresses from ``/etc/hosts`` and reverse DNS (RFC 1035, 3.5; RFC 3596, 2.5).

Whoever runs an address writes its PTR record, so a name from there counts only when a look-up of that name leads back to the address;
one that does not is kept as unconfirmed and never becomes ``destination.domain``.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec.structs import replace

from outwatch.errors import LookupFailed
from outwatch.guard.text import cleaned
from outwatch.lookups.reverse_names.asking import Answer, Asker
from outwatch.lookups.reverse_names.hosts import HostsFile
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, Name, Scope
from outwatch.net import domains
from outwatch.net.addresses import parse

_LEAST, _LONGEST = 30.0, 86_400.0  # seconds that an answer is remembered, whatever it says itself
_LONGEST_NEGATIVE = 10_800.0  # RFC 2308, 5: one to three hours
_FAILED_FOR = 60.0  # RFC 2308, 7: at most five minutes
_MOST_NAMES = 4  # of one address that are looked at
_OURS = frozenset({"ptr", "hosts"})  # origins of the names that are found here
_HOSTS_EVERY = 1.0  # seconds between looks whether the hosts file has changed


class ReverseNamesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``private``: ask for names of private addresses too; ``at_once`` questions, each for at most ``seconds``.

    ``remembered`` addresses keep their answer for as long as it allows.
    """

    private: bool = False
    at_once: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 144
    seconds: Annotated[float, msgspec.Meta(gt=0, le=30)] = 2.0
    remembered: Annotated[int, msgspec.Meta(ge=1)] = 20_000


@dataclass(frozen=True)
class _Known:
    """The names of an address, and until when they stand."""

    names: tuple[Name, ...]
    until: float


class ReverseNames:
    """Adds the names of destinations, and the first confirmed one as ``destination.domain`` where there is none yet."""

    def __init__(
        self,
        config: ReverseNamesConfig,
        *,
        asks: bool = True,
        this_machine: bool = True,
        asker: Asker | None = None,
        hosts: HostsFile | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the limits; nothing is sent unless it ``asks``; a hosts file speaks only of connections of ``this_machine``."""
        self.at_once = config.at_once
        self._seconds = config.seconds
        self._most = config.remembered
        self._asked: frozenset[Scope] = frozenset(({"public", "private"} if config.private else {"public"}) if asks else ())
        self._clock = clock
        self._asker = asker or Asker(clock)
        self._hosts = (hosts or HostsFile()) if this_machine else None
        self._hosts_seen = -_HOSTS_EVERY
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def enrich(self, connection: Connection) -> Connection:
        """Add the names that are known of the destination."""
        ip = connection.destination.ip
        if ip is None or connection.network.direction == "ingress":
            return connection
        known = self._known.get(ip)
        names = self._from_hosts(ip) or (known.names if known else None)
        if names is None:
            return connection
        there = connection.outwatch.names or ()
        ours = [one.name for one in there if one.origin in _OURS]
        if ours and self._hosts is None:
            return connection  # a recording's names are those of its time
        merged = (*(one for one in there if one.origin not in _OURS), *names)
        if merged != there:
            connection = replace(connection, outwatch=replace(connection.outwatch, names=merged or None))
        domain = connection.destination.domain
        if domain is None or domain in ours:
            best = next((one.name for one in names if one.confirmed), None)
            if best != domain:
                connection = replace(connection, destination=replace(connection.destination, domain=best))
        return connection

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the destination if it is one that is asked about, and no answer stands."""
        ip = connection.destination.ip
        if (
            ip is None
            or connection.network.scope not in self._asked
            or connection.network.direction == "ingress"
            or connection.outwatch.own
        ):
            return None
        known = self._known.get(ip)
        if (known is not None and known.until > self._clock()) or self._from_hosts(ip):
            return None
        return ip

    async def find(self, key: Hashable, connection: Connection) -> None:  # noqa: ARG002 - all addresses are alike
        """Ask for the names of an address, and remember them, also that there are none."""
        ip = str(key)
        until = self._clock() + self._seconds
        address = parse(ip)
        try:
            reverse = await self._asker.ask(address.reverse_pointer, "PTR", until) if address else Answer((), _LONGEST)
        except LookupFailed:
            self._remember(ip, self._known[ip].names if ip in self._known else (), _FAILED_FOR)
            raise
        before = {one.name for one in self._known[ip].names if one.confirmed} if ip in self._known else set()
        names, seconds, failure = [], [reverse.seconds], None
        for claimed in reverse.values[:_MOST_NAMES]:  # one at a time: ``at_once`` is a promise
            try:
                confirmed, holds = await self._leads_back(claimed, ip, until)
            except LookupFailed as error:
                confirmed, holds, failure = claimed in before, _FAILED_FOR, error
            names.append(Name(name=domains.hostname(claimed) or cleaned(claimed, 253), origin="ptr", confirmed=confirmed))
            seconds.append(holds)
        self._remember(ip, tuple(names), max(_LEAST, min(*seconds, _LONGEST if names else _LONGEST_NEGATIVE)))
        if failure is not None:
            raise failure

    async def _leads_back(self, claimed: str, ip: str, until: float) -> tuple[bool, float]:
        """Tell whether a look-up of a claimed name gives the address, and for how many seconds that holds."""
        host = domains.hostname(claimed)
        if host is None:
            return False, _LONGEST
        forward = await self._asker.ask(host, "AAAA" if ":" in ip else "A", until)
        return parse(ip) in {parse(address) for address in forward.values}, forward.seconds

    def _from_hosts(self, ip: str) -> tuple[Name, ...]:
        if self._hosts is None:
            return ()
        now = self._clock()
        if now - self._hosts_seen >= _HOSTS_EVERY:
            self._hosts_seen = now
            self._hosts.refresh()
        return tuple(Name(name=name, origin="hosts", confirmed=True) for name in self._hosts.names(ip))

    def _remember(self, ip: str, names: tuple[Name, ...], seconds: float) -> None:
        self._known[ip] = _Known(names, self._clock() + seconds)
        self._known.move_to_end(ip)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


PART = Part(name="reverse_names", config=ReverseNamesConfig, build=ReverseNames)
