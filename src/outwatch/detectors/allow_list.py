"""What the user expects: entries that lower a verdict, and a level for all that no entry covers.

``unlisted = "medium"`` makes it the classic white list: whatever is not on it is reported.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar, Literal

import msgspec

from outwatch.engine.verdict import POINTS
from outwatch.errors import RuleError
from outwatch.guard.text import cleaned, printable
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.programs import runs_anything
from outwatch.model.records import Connection, Detection, Family, Judged, Scope, asked_name
from outwatch.net import domains
from outwatch.net.addresses import Network, embedded, parse, parse_network

_PORT = re.compile(r"[0-9]{1,5}\Z")
_PORTS = re.compile(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})\Z")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_TRANSPORT = re.compile(r"(tcp|udp|icmp|sctp|packet|raw:[0-9]{1,3})\Z", re.IGNORECASE)
_LAST_PORT = 65535


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be: every key that is there must fit, and there must be one beside ``comment`` and ``expires``.

    ``destination`` is an address, a network or a domain with all below it; ``port`` a number or ``"8000-8100"``; ``program`` a path or
    an ``outwatch.subject``; ``user`` a name or id; from the day ``expires`` on the entry is void.
    """

    destination: str | None = None
    port: int | str | None = None
    transport: str | None = None
    program: str | None = None
    sha256: str | None = None
    user: str | None = None
    comment: str | None = None
    expires: date | None = None


class AllowListConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``unlisted``: level of what no entry covers, in ``unlisted_scopes``; ``points``: how far an entry lowers a score."""

    unlisted: Literal["normal", "low", "medium", "high"] = "normal"
    unlisted_scopes: tuple[Scope, ...] = ("public", "unclassified")
    points: Annotated[float, msgspec.Meta(ge=0, le=100)] = 50
    entries: tuple[Entry, ...] = ()


class _Ready:
    """An entry with its texts understood."""

    __slots__ = ("detection", "entry", "high", "low")

    def __init__(self, entry: Entry, low: int, high: int, detection: Detection) -> None:
        self.entry, self.low, self.high, self.detection = entry, low, high, detection

    def covers(self, seen: Judged) -> bool:
        """Tell whether everything but the destination fits."""
        entry = self.entry
        port = seen.destination.port
        if entry.port is not None and (port is None or not self.low <= port <= self.high):
            return False
        if entry.transport is not None and entry.transport.lower() != seen.network.transport:
            return False
        if entry.user is not None and (seen.user is None or entry.user not in {seen.user.name, seen.user.id}):
            return False
        if not self._program_fits(seen):
            return False
        return entry.expires is None or seen.timestamp.date() < entry.expires

    def _program_fits(self, seen: Judged) -> bool:
        entry, process = self.entry, seen.process
        if entry.sha256 is not None:
            known = process.hash.sha256 if process and process.hash else None
            if known is None or known.lower() != entry.sha256.lower():
                return False
        if entry.program is None:
            return True
        # A path is believed only when it leads to the very file that runs.
        if seen.outwatch.executable is not None:
            return False
        return entry.program in {seen.outwatch.subject, process.executable if process else None}


class AllowList:
    """Finds the entry that covers a connection; by address, network and name at once, not entry by entry."""

    name: ClassVar[str] = "allow_list"
    family: ClassVar[Family] = "rarity"
    needs: ClassVar[frozenset[Field]] = frozenset()

    def __init__(self, config: AllowListConfig, *, place: Callable[[str, str, str], RuleError]) -> None:
        """Understand the entries; those that can't be used go to ``problems`` through ``place(key, value, reason)``."""
        self.problems: list[RuleError] = []
        self._points = config.points
        self._unlisted = POINTS[config.unlisted]
        self._unlisted_scopes = frozenset(config.unlisted_scopes)
        self._networks: dict[tuple[int, int], dict[int, list[_Ready]]] = {}
        self._names: dict[str, list[_Ready]] = {}
        self._anywhere: list[_Ready] = []
        for at, entry in enumerate(config.entries):
            problem = self._add(entry)
            if problem:
                key, value, reason = problem
                self.problems.append(place(f"detectors.allow_list.entries[{at}].{key}".rstrip("."), value, reason))

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield the first entry that covers this record, or that none does."""
        for ready in self._candidates(seen):
            if ready.covers(seen):
                return (ready.detection,)
        if not self._unlisted or not isinstance(seen, Connection) or seen.network.scope not in self._unlisted_scopes:
            return ()
        evidence = {key: value for key, value in (("ip", seen.destination.ip), ("domain", seen.destination.domain)) if value}
        reason = "no entry of the allow list covers it"
        return (Detection(detector=self.name, family=self.family, points=self._unlisted, reason=reason, evidence=dict(evidence)),)

    def _candidates(self, seen: Judged) -> Iterator[_Ready]:
        address = parse(seen.destination.ip) if self._networks and seen.destination.ip else None
        if address is not None:
            yield from self._by_address(address)
            carried = embedded(address)
            if carried is not None:
                yield from self._by_address(carried)
        if self._names:
            for name in _trusted_names(seen):
                for suffix in domains.suffixes(name):
                    yield from self._names.get(suffix, ())
        yield from self._anywhere

    def _by_address(self, address: IPv4Address | IPv6Address) -> Iterator[_Ready]:
        number, bits = int(address), address.max_prefixlen
        for (version, length), networks in self._networks.items():
            if version == address.version:
                yield from networks.get(number >> (bits - length), ())

    def _add(self, entry: Entry) -> tuple[str, str, str] | None:
        """Put an entry into the index; give key, value and reason if it can't be used."""
        problem = _mistake(entry)
        if problem is not None:
            return problem
        ready = _Ready(entry, *(_ports(entry.port) or (0, _LAST_PORT)), self._detection(entry))
        if entry.destination is None:
            self._anywhere.append(ready)
            return None
        network = parse_network(entry.destination)
        if network is not None:
            self._add_network(network, ready)
            return None
        name = domains.canonical(entry.destination.removeprefix("*."))
        if name is None or any(c in "/: \t" for c in name) or name.replace(".", "").isdigit():
            return "destination", entry.destination, f"{printable(entry.destination)!r} is no address, network or domain"
        self._names.setdefault(name, []).append(ready)
        return None

    def _add_network(self, network: Network, ready: _Ready) -> None:
        length = network.prefixlen
        key = int(network.network_address) >> (network.max_prefixlen - length)
        self._networks.setdefault((network.version, length), {}).setdefault(key, []).append(ready)

    def _detection(self, entry: Entry) -> Detection:
        shown = [f"{key} {value}" for key in ("destination", "port", "transport", "program", "user") if (value := getattr(entry, key))]
        if entry.sha256:
            shown.append(f"sha256 {entry.sha256[:12]}…")
        reason = f"allowed by an entry for {', '.join(shown)}" + (f" ({entry.comment})" if entry.comment else "")
        return Detection(
            detector=self.name,
            family=self.family,
            points=-self._points,
            reason=reason,
            evidence={"entry": ", ".join(shown)},
            source="configuration",
        )


def mistakes(entries: Iterable[Mapping[str, object]]) -> dict[int, str]:
    """Check entries before they are written anywhere: position and reason of each that the detector could not use."""
    found: dict[int, str] = {}
    for at, entry in enumerate(entries):
        try:
            ready = msgspec.convert(entry, Entry)
        except msgspec.ValidationError as error:
            found[at] = printable(str(error))
            continue
        problems = AllowList(AllowListConfig(entries=(ready,)), place=RuleError.at_key).problems
        if problems:
            found[at] = problems[0].reason
    return found


def plain_list(data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a plain list that say something; ``#`` begins a comment."""
    for number, line in enumerate(cleaned(data, len(data) + 1).splitlines(), 1):
        text = line.partition("#")[0].strip(" \t\ufeff\0")
        if text:
            yield number, text


def _mistake(entry: Entry) -> tuple[str, str, str] | None:  # noqa: PLR0911 - one return for each mistake
    """Give key, value and reason if an entry can't be used, whatever its destination."""
    limits = [entry.destination, entry.port, entry.transport, entry.program, entry.sha256, entry.user]
    if not any(limit is not None for limit in limits):
        return "", "", "an entry needs at least one of destination, port, transport, program, sha256, user"
    if _ports(entry.port) is None:
        return "port", str(entry.port), f"{printable(str(entry.port))!r} is no port (0 to 65535) or range such as 8000-8100"
    empty = next((key for key in ("transport", "program", "user") if getattr(entry, key) == ""), None)
    if empty is not None:
        return empty, "", f"{empty} is empty"
    if entry.transport is not None and not _TRANSPORT.match(entry.transport):
        return "transport", entry.transport, f"{printable(entry.transport)!r} is no transport such as tcp, udp, icmp, sctp or raw:253"
    if entry.sha256 is not None and not _SHA256.match(entry.sha256):
        return "sha256", entry.sha256, "a SHA-256 has 64 hexadecimal digits"
    if entry.program and not entry.destination and runs_anything(entry.program):
        return "program", entry.program, "an interpreter runs any script; name a destination too, or its script as outwatch.subject does"
    return None


def _ports(port: int | str | None) -> tuple[int, int] | None:
    """Read a port or a range of ports; all of them where none is given."""
    if port is None:
        return 0, _LAST_PORT
    if isinstance(port, str):
        match = _PORTS.match(port.strip())
        one = _PORT.match(port.strip())
        low, high = (int(match[1]), int(match[2])) if match else (int(one[0]), int(one[0])) if one else (1, 0)
    else:
        low = high = port
    return (low, high) if 0 <= low <= high <= _LAST_PORT else None


def _trusted_names(seen: Judged) -> Iterator[str]:
    """Yield the names that may allow something: those confirmed.

    A name that somebody only claims (a PTR record, an SNI) must not (THREATS: spoofed names). A record that says nothing about
    where its name comes from was made by somebody who vouches for it.
    """
    names = seen.outwatch.names
    claimed = [asked_name(seen)] if names is None else [one.name for one in names if one.confirmed]
    for claim in claimed:
        name = domains.canonical(claim) if claim else None
        if name is not None:
            yield name


PART = Part(name="allow_list", config=AllowListConfig, build=AllowList)
