"""Names that were heard: what the process asked for before it called, joined to its connections. Passive: nobody is asked.

Joined first by process and address, then by address alone within the time that the answer allows. The name that was asked for is
shown, not the alias behind it. Once joined, a connection keeps its name, whatever is heard later.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.enrichers.names.answers import Answer, Answers, AnswersOfProcesses, chosen
from outwatch.enrichers.names.recent import Recent
from outwatch.enrichers.names.servers import NameServers, Resolvers
from outwatch.enrichers.names.waiting import Waiting
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, Findings, Name, NameOrigin, Question
from outwatch.net import domains
from outwatch.net.addresses import Scopes, parse
from outwatch.net.resolvers import ENCRYPTED, START, encrypted, starts

_MOST_OF_PROCESSES, _MOST_OF_ONE_PROCESS, _MOST_TRUSTED, _MOST_OTHERS = 40_000, 4_000, 40_000, 10_000  # answers that are remembered
_MOST_JOINED = 20_000  # open connections whose names are remembered
_MOST_SECRETIVE = 4_000
_MOST_ADDRESSES, _MOST_SHARED = 512, 64  # of one answer: for its process, and for others
_LONGEST = 3_600.0  # seconds that a process's own answer counts, whatever it allows: it may keep an address for long
_LEAST = 60.0  # seconds that an answer counts at least: connections begin after it

# The most trustworthy first: asked for by the client and answered by a name server; answered; asked for alone; …
_CONFIRMED: dict[NameOrigin | None, int] = {"sni": 0, "http": 0, "quic": 0, "dns": 1, "hosts": 4, "ptr": 5}
_CLAIMED: dict[NameOrigin | None, int] = {"sni": 2, "quic": 2, "http": 2, "dns": 3}
_LAST = 6  # no name to choose
_SAID = frozenset({"sni", "http", "quic"})
_OF_TLS = frozenset({"sni", "quic"})
_OVER = frozenset({"close", "failed"})
_EVERYWHERE = frozenset({"public", "unclassified"})  # addresses that lead to the same host from every network namespace
_NOBODYS = frozenset({"loopback", "multicast"})  # addresses that tell nothing of who is behind them
_UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - what an answer may say, nobody listens there
_LAYER = "heard names"


def _clock() -> Callable[[], float]:
    """Give a clock that nobody can set: seconds since the machine was started, where that can be had also those in which it slept."""
    if sys.platform == "linux":
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic


class NamesConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``resolvers``: addresses of name servers whose word is taken beside those of this system, also within containers."""

    resolvers: tuple[str, ...] = ()


class _Join(Struct, gc=False):
    """What a connection was joined to; it stays, for the answers may be gone when the connection ends."""

    ip: str
    answer: Answer | None
    confirmed: tuple[str, ...] = ()


class Names:
    """Adds names with their origin to connections, and chooses the best for ``destination.domain``."""

    def __init__(
        self,
        config: NamesConfig,
        *,
        resolvers: Resolvers,
        namespace: str | None,
        scopes: Scopes | None = None,
        health: Health | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Take who gives the name servers of this system, and its network namespace: only what they answer there confirms a name.

        ``scopes`` tells addresses that mean the same everywhere from
        those that don't. Answers that must go although they still hold are counted in ``health``.
        """
        self._home = namespace or ""
        self._place = (scopes or Scopes()).place
        self._health = health
        self._clock = clock or _clock()
        self._servers = NameServers(config.resolvers, resolvers, self._home, self._clock)
        self._of_process = AnswersOfProcesses(_MOST_OF_PROCESSES, _MOST_OF_ONE_PROCESS)
        self._trusted = Answers(_MOST_TRUSTED)
        self._others = Answers(_MOST_OTHERS)  # so that what anybody answers drives out nothing that is believed
        self._joined: Recent[_Join] = Recent(_MOST_JOINED)
        self._waiting = Waiting()
        self._resolvers = starts()
        self._secretive: OrderedDict[str, str] = OrderedDict()  # processes and the resolver that they ask over an encrypted connection

    def learn(self, question: Question) -> Iterable[str]:
        """Remember an answer; gives the ids of connections that it names afterwards."""
        asked = question.dns.question.name if question.dns and question.dns.question else None
        name = domains.hostname(asked) if asked else None
        if name is None or question.dns is None:
            return []
        addresses = {one.data: one.ttl or 0 for one in question.dns.answers or () if one.data and one.type != "CNAME"}
        addresses = addresses or dict.fromkeys(question.dns.resolved_ip or (), 0)
        heard, now, is_trusted = question.timestamp.timestamp(), self._clock(), self._servers.answered(question)
        shown = Name(name=name, origin="dns", confirmed=is_trusted or None)
        asker = question.process.entity_id if question.process else None
        namespace = question.network.namespace or self._home
        named: list[str] = []
        gone = 0
        for number, (text, ttl) in enumerate(islice(addresses.items(), _MOST_ADDRESSES)):
            address = parse(text)
            if address is None:
                continue
            ip = str(address)
            answer = Answer(name, shown, heard, heard, now, now + min(max(float(ttl), _LEAST), _LONGEST), is_trusted)
            if asker is not None:
                self._of_process.add(asker, ip, answer)
            key = self._key(ip, namespace, is_trusted=is_trusted) if number < _MOST_SHARED else None
            if key is not None:
                gone += (self._trusted if is_trusted else self._others).add(key, answer)
            for identity in self._waiting.take(ip, answer, asker, None if key == ip else namespace, by_address=key is not None):
                self._joined.put(identity, _Join(ip, answer))
                named.append(identity)
        if gone and self._health is not None:
            self._health.lose(_LAYER, gone)
        return named

    def enrich(self, connection: Connection) -> Connection:
        """Add the names that were heard for the destination, and say which of those that the client used a name server confirms."""
        destination, findings = connection.destination, connection.outwatch
        ip, there = destination.ip, findings.names
        if ip is None or connection.network.direction == "ingress":
            return connection
        known = self._joined.get(connection.id)
        join = known if known is not None and known.ip == ip else None
        answer = join.answer if join is not None else self._first(connection, ip)
        names = None
        if there or answer is not None:
            join = join or _Join(ip, answer)
            names = self._all(connection, there, join) if there or answer is None or not answer.is_trusted else (answer.asked,)
        if connection.event.action in _OVER:
            if known is not None:
                self._joined.drop(connection.id)
        elif join is not None and join is not known and (answer is not None or join.confirmed):
            self._joined.put(connection.id, join)
        may_be = destination.port in ENCRYPTED and (there is not None or ip[:START] in self._resolvers or ":" in ip)
        if may_be or self._secretive or findings.no_name is not None:
            findings = self._of_resolver(connection, ip, names)
        if names != there or (names is not None and destination.domain is None):
            findings = replace(findings, names=names)
            best = names[0].name if names and not there else _best(names or ())
            if best is not None and best != destination.domain:
                return replace(connection, destination=replace(destination, domain=best), outwatch=findings)
        return connection if findings is connection.outwatch else replace(connection, outwatch=findings)

    def _first(self, connection: Connection, ip: str) -> Answer | None:
        """Look for the answer that a connection goes back to; if its process asked for none, it waits for one that is believed."""
        waiting = self._waiting.at(ip)
        if waiting is not None and connection.id in waiting:
            return None
        process, began, now = connection.process, connection.timestamp, self._clock()
        asker = process.entity_id if process is not None else None
        own = self._of_process.of(asker) if asker is not None else None
        if own is not None and (there := own.get(ip)):
            found = chosen(there, began, now, _LONGEST)
            if found is not None:
                return found
        found = None
        if there := self._trusted.get(ip):
            found = chosen(there, began, now)
        if found is not None:
            return found
        namespace = connection.network.namespace or self._home
        local = f"{namespace} {ip}"
        if there := self._trusted.get(local):
            found = chosen(there, began, now)
        if found is None:
            if there := self._others.get(local):
                found = chosen(there, began, now)
            self._waiting.add(ip, connection.id, asker, namespace, now, has_name=found is not None)
        return found

    def _all(self, connection: Connection, there: tuple[Name, ...] | None, join: _Join) -> tuple[Name, ...] | None:
        """Put together the names of a connection: what was answered first, then those that stand in it, confirmed if they led here."""
        answer, asked = join.answer, None
        if answer is not None:
            asked = answer.asked
            if not answer.is_trusted and self._is_confirmed(answer.name, connection, join):
                asked = replace(asked, confirmed=True)
        if not there:
            return (asked,) if asked is not None else None
        names: list[Name] = []
        for one in there:
            if one.origin == "dns":  # from an earlier turn: it gives way only to one that is believed where it is not
                asked = one if asked is None or one.confirmed or not asked.confirmed else asked
                continue
            if not one.confirmed and one.origin in _SAID and self._is_confirmed(one.name, connection, join):
                one = Name(name=one.name, origin=one.origin, confirmed=True)  # noqa: PLW2901
            if not names or one not in names:
                names.append(one)
        return (asked, *names) if asked is not None else tuple(names) or None

    def _is_confirmed(self, said: str, connection: Connection, join: _Join) -> bool:
        """Tell whether a name server of this system said that a name leads to an address, when the connection was first seen or now."""
        answer, ip = join.answer, join.ip
        if said in join.confirmed or (answer is not None and answer.is_trusted and answer.name == said):
            return True
        name = domains.hostname(said)
        if name is None:
            return False
        now, process = self._clock(), connection.process
        asker = process.entity_id if process is not None else None
        own = self._of_process.of(asker) if asker is not None else None
        there = own.get(ip) if own is not None else None
        found = any(one.is_trusted and one.name == name and now - one.since <= _LONGEST for one in there or ())
        for key in () if found else (ip, f"{connection.network.namespace or self._home} {ip}"):
            found = found or any(one.name == name and now <= one.until for one in self._trusted.get(key) or ())
        if found:
            join.confirmed = (*join.confirmed, said)
        return found

    def _of_resolver(self, connection: Connection, ip: str, names: tuple[Name, ...] | None) -> Findings:
        """Say if this is a connection to a resolver that nobody can listen to, and remember who has one; else why a name is missing."""
        findings, port = connection.outwatch, connection.destination.port
        said = None
        for one in names or () if findings.names else ():  # where none was there, nobody has said one
            if one.origin in _OF_TLS:
                said = one
                break
        resolver, reason = encrypted(ip, port, said.name if said is not None else None), None
        if resolver is None and not self._secretive and findings.no_name is None:
            return findings
        process = connection.process
        if resolver is not None and said is not None and not said.confirmed and encrypted(ip, port, None) is None:
            resolver += ", by the name that it gives"
        if resolver is not None or (names is None and self._secretive):
            identity = process.entity_id if process is not None else None
            if identity is not None and resolver is not None:
                self._secretive[identity] = resolver
                self._secretive.move_to_end(identity)
                if len(self._secretive) > _MOST_SECRETIVE:
                    self._secretive.popitem(last=False)
            elif identity is not None and (asks := self._secretive.get(identity)):
                reason = f"its process asks {asks}, which can't be heard"
        if (resolver is None or resolver == findings.encrypted_dns) and reason == findings.no_name:
            return findings
        return replace(findings, encrypted_dns=resolver or findings.encrypted_dns, no_name=reason)

    def _key(self, ip: str, namespace: str, *, is_trusted: bool) -> str | None:
        """Say under what an answer is remembered for those who did not ask: by the address, if it means the same everywhere; or not at all.

        Strangers' answers count in their own namespace alone, whatever the address.
        """
        _, scope = self._place(ip)
        if scope in _NOBODYS or ip in _UNSPECIFIED:
            return None
        return ip if is_trusted and scope in _EVERYWHERE else f"{namespace} {ip}"


def _best(names: tuple[Name, ...]) -> str | None:
    """Give the most trustworthy name."""
    best, rank = None, _LAST
    for one in names:
        trust = (_CONFIRMED if one.confirmed else _CLAIMED).get(one.origin, _LAST)
        if trust < rank:
            best, rank = one.name, trust
            if not trust:
                break
    return best


PART = Part(name="names", config=NamesConfig, build=Names, live_only=True)
