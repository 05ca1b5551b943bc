"""Names that were heard: what the process asked for before it called, joined to its connections. Passive: nobody is asked.

Joined first by process and address, then by address alone within the time that the answer allows. The name that was asked for is
shown, not the alias behind it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, Name, NameOrigin, Question
from outwatch.net import domains
from outwatch.net.addresses import parse
from outwatch.net.resolvers import encrypted

_MOST = 50_000  # answers that are remembered, of processes and of addresses
_MOST_OF_ADDRESS = 4  # names that one address keeps
_MOST_WAITING = 20_000  # connections that may still get a name
_LONGEST = 3_600.0  # seconds that a process's own answer counts, whatever it allows: it may keep an address for long
_LEAST = 60.0  # seconds that an answer counts at least: connections begin after it
_MOST_SECRETIVE = 4_000
_MOST_ADDRESSES = 64  # of one answer

# The most trustworthy first: asked for by the client and answered by a name server; answered; asked for alone; …
_TRUST: dict[tuple[NameOrigin | None, bool], int] = {
    ("sni", True): 0, ("http", True): 0, ("quic", True): 0, ("dns", True): 1,
    ("sni", False): 2, ("quic", False): 2, ("http", False): 2, ("dns", False): 3, ("hosts", True): 4, ("ptr", True): 5,
}  # fmt: skip
_SAID = frozenset({"sni", "http", "quic"})
_OURS = frozenset({"dns", *_SAID})


class _Answer(NamedTuple):
    """A name that led to an address, and until when (seconds since the epoch). ``trusted``: the system's own name server said so."""

    name: str
    until: float
    trusted: bool


class NamesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``resolvers``: addresses of name servers whose word is taken beside those of this system, also within containers."""

    resolvers: tuple[str, ...] = ()


class Names:
    """Adds names with their origin to connections, and chooses the best for ``destination.domain``."""

    def __init__(self, config: NamesConfig, *, resolvers: frozenset[str], namespace: str | None) -> None:
        """Take the name servers of this system, and its network namespace: only what they answer there confirms a name.

        In a namespace of their own everybody can answer from any address.
        """
        self._resolvers = resolvers
        self._declared = frozenset(str(address) for text in config.resolvers if (address := parse(text)) is not None)
        self._namespace = namespace
        self._of_process: OrderedDict[tuple[str, str], _Answer] = OrderedDict()
        self._of_address: OrderedDict[str, dict[str, _Answer]] = OrderedDict()
        self._waiting: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._waits = 0
        self._secretive: OrderedDict[str, str] = OrderedDict()  # processes and the resolver that they ask over an encrypted connection

    def learn(self, question: Question) -> Iterable[str]:
        """Remember an answer; gives the ids of connections that it names afterwards."""
        asked = question.dns.question.name if question.dns and question.dns.question else None
        name = domains.hostname(asked) if asked else None
        if name is None or question.dns is None:
            return []
        answers = question.dns.answers or ()
        addresses = {one.data: one.ttl or 0 for one in answers if one.data} or dict.fromkeys(question.dns.resolved_ip or (), 0)
        heard, process = question.timestamp.timestamp(), question.process
        trusted = self._trusts(question)
        named: list[str] = []
        for text, ttl in list(addresses.items())[:_MOST_ADDRESSES]:
            address = parse(text)
            if address is None:
                continue
            ip = str(address)
            answer = _Answer(name, heard + min(max(float(ttl), _LEAST), _LONGEST), trusted)
            if process is not None and process.entity_id is not None:
                _keep(self._of_process, (process.entity_id, ip), answer._replace(until=heard + _LONGEST))
            there = self._of_address.setdefault(ip, {})
            there.pop(name, None)
            there[name] = answer
            if len(there) > _MOST_OF_ADDRESS:
                del there[next(iter(there))]
            _bound(self._of_address)
            waiting = self._waiting.pop(ip, None)
            if waiting:
                self._waits -= len(waiting)
                named += waiting
        return named

    def enrich(self, connection: Connection) -> Connection:
        """Add the names that were heard for the destination, and say which of those that the client used a name server confirms."""
        ip = connection.destination.ip
        if ip is None or connection.network.direction == "ingress":
            return connection
        connection = self._with_resolver(connection, ip)
        there = connection.outwatch.names or ()
        when = connection.timestamp.timestamp()
        answer = self._answer(connection, ip, when)
        heard = self._of_address.get(ip, {})
        names = [self._checked(one, heard) for one in there if one.origin != "dns"]
        if answer is not None:
            names.insert(0, Name(name=answer.name, origin="dns", confirmed=answer.trusted or None))
        elif not any(one.origin in _OURS for one in names):
            self._wait(ip, connection.id)
        merged = tuple(names) or None
        connection = self._with_reason(connection, named=bool(merged))
        if merged == connection.outwatch.names and (merged is None or connection.destination.domain is not None):
            return connection
        best = min((one for one in names if _rank(one) is not None), key=lambda one: _rank(one) or 0, default=None)
        domain = best.name if best else connection.destination.domain
        if domain != connection.destination.domain:
            connection = replace(connection, destination=replace(connection.destination, domain=domain))
        return (
            replace(connection, outwatch=replace(connection.outwatch, names=merged)) if merged != connection.outwatch.names else connection
        )

    def _with_resolver(self, connection: Connection, ip: str) -> Connection:
        """Say if this is a connection to a resolver that nobody can listen to, and remember who has one."""
        said = next((one.name for one in connection.outwatch.names or () if one.origin in {"sni", "quic"}), None)
        resolver = encrypted(ip, connection.destination.port, said)
        if resolver is None:
            return connection
        identity = connection.process.entity_id if connection.process else None
        if identity is not None:
            self._secretive[identity] = resolver
            if len(self._secretive) > _MOST_SECRETIVE:
                self._secretive.popitem(last=False)
        return replace(connection, outwatch=replace(connection.outwatch, encrypted_dns=resolver))

    def _with_reason(self, connection: Connection, *, named: bool) -> Connection:
        """Say why a name is missing, if the process asks where nobody can listen; take it back when there is one."""
        findings, process = connection.outwatch, connection.process
        resolver = self._secretive.get(process.entity_id or "") if process and not named and not findings.encrypted_dns else None
        reason = f"its process asks {resolver}, which can't be heard" if resolver else None
        return connection if reason == findings.no_name else replace(connection, outwatch=replace(findings, no_name=reason))

    def _trusts(self, question: Question) -> bool:
        resolver = question.destination.ip
        address = parse(resolver) if resolver else None
        if address is None:
            return False
        if str(address) in self._declared:
            return True
        at_home = question.network.namespace in {None, self._namespace}
        return at_home and (address.is_loopback or str(address) in self._resolvers)

    def _answer(self, connection: Connection, ip: str, when: float) -> _Answer | None:
        process = connection.process
        own = self._of_process.get((process.entity_id, ip)) if process and process.entity_id else None
        if own is not None and when <= own.until:
            return own
        known = [one for one in self._of_address.get(ip, {}).values() if when <= one.until]
        return known[-1] if known else None

    def _checked(self, one: Name, heard: dict[str, _Answer]) -> Name:
        """Say whether a name that the client used led to this address."""
        if one.origin not in _SAID:
            return one
        answer = heard.get(domains.hostname(one.name) or "")
        confirmed = True if answer is not None and answer.trusted else one.confirmed
        return one if confirmed == one.confirmed else replace(one, confirmed=confirmed)

    def _wait(self, ip: str, identity: str) -> None:
        waiting = self._waiting.setdefault(ip, OrderedDict())
        if identity not in waiting:
            waiting[identity] = None
            self._waits += 1
        while self._waits > _MOST_WAITING:
            _, oldest = self._waiting.popitem(last=False)
            self._waits -= len(oldest)


def _rank(one: Name) -> int | None:
    return _TRUST.get((one.origin, bool(one.confirmed)))


def _keep(table: OrderedDict[tuple[str, str], _Answer], key: tuple[str, str], answer: _Answer) -> None:
    table[key] = answer
    table.move_to_end(key)
    _bound(table)


def _bound(table: OrderedDict[tuple[str, str], _Answer] | OrderedDict[str, dict[str, _Answer]]) -> None:
    if len(table) > _MOST:
        table.popitem(last=False)


PART = Part(name="names", config=NamesConfig, build=Names, live_only=True)
