"""What lists say of a destination, weighed: how sure each is, how old its entry, how much that covers, and what speaks for a mistake.

A hit's points are ``points`` times confidence, freshness and precision, and less where a list of well-known things explains it: at an
address of a CDN live thousands of sites, and resolvers of everybody's are on many lists by mistake. Of each list the strongest hit counts;
lists that agree remove a share of the doubt that is left, for they copy from each other. Sinkholes and dynamic-DNS names are reasons by
themselves.
The reasoning behind the numbers: ``docs/explanation/indicators.md``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec

from outwatch.errors import RuleError
from outwatch.guard.text import printable
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.records import Detection, Fact, Family, Judged, Listed, Question, asked_name
from outwatch.net import domains
from outwatch.net.addresses import parse, parse_network

MOST = 79.0
"""Points that lists can give together: by themselves they are never ``critical``."""

_DAY = 86_400.0
_FRESH = 7.0  # days in which an entry is as good as new
_V4_BITS, _WIDE_V4, _SUBSCRIBER_V6, _WIDE_V6 = 32, 8, 64, 16  # prefix lengths between which a network counts less and less
_LONGEST, _LONGEST_NOTE = 80, 120  # characters of a text from elsewhere
_MOST_READ = 64  # entries of a record, of each kind: marking puts no more there
_MOST_NAMED = 5  # lists and entries in one sentence

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Points = Annotated[float, msgspec.Meta(ge=0, le=100)]
Days = Annotated[float, msgspec.Meta(gt=0, le=36_500)]
_Kind = Literal["address", "network", "name"]


class Lowered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left of a hit's points if a list of well-known things has the destination too, by what that list means."""

    cdn: Share = 0.4
    cloud: Share = 0.8
    hosting: Share = 0.5
    vpn: Share = 0.9
    parking: Share = 0.5
    public_resolver: Share = 0.1
    well_known: Share = 0.3
    shared_platform: Share = 0.5
    security_vendor: Share = 0.3
    other: Share = 0.5


class IndicatorConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What hits are worth.

    ``points`` for an exact and fresh entry of full confidence, ``confidence`` for entries that have none. An entry loses half of its points
    in ``address_half_life_days`` or ``name_half_life_days``, down to the share ``stale``. ``widest`` is what is left for a network of /8
    (IPv6: /16), ``shared`` for an entry that covers names of many owners, ``reverse`` for one that only an unconfirmed reverse name leads
    to. ``agreement``: how much of the doubt another list removes. ``sinkhole`` and ``dynamic_dns`` are points of those.
    """

    points: Points = 70.0
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)] = 50
    address_half_life_days: Days = 60.0
    name_half_life_days: Days = 180.0
    stale: Share = 0.3
    widest: Share = 0.5
    shared: Share = 0.3
    reverse: Share = 0.5
    agreement: Share = 0.5
    sinkhole: Points = 35.0
    dynamic_dns: Points = 30.0
    lowered: Lowered = Lowered()


class _Called(NamedTuple):
    """A name of the destination in canonical form; ``reverse``: only its address says so; ``doubt``: why it may not be its name."""

    name: str
    confirmed: bool = True
    reverse: bool = False
    doubt: str | None = None


class _Entry(NamedTuple):
    """An entry of a list and what it is; ``names`` are those of the record that it covers, the surest first."""

    listed: Listed
    kind: _Kind
    names: tuple[_Called, ...] = ()
    length: int = 0
    bits: int = 0


class _Hit(NamedTuple):
    """An entry of a list of bad things, its points, what it covers in words, and what makes it count less."""

    points: float
    entry: _Entry
    words: str
    lowered: str | None


class Indicator:
    """Judges a destination by the lists that have it."""

    name: ClassVar[str] = "indicator"
    family: ClassVar[Family] = "intelligence"
    needs: ClassVar[frozenset[Field]] = frozenset()

    def __init__(self, config: IndicatorConfig, *, quiet: Iterable[str] = ()) -> None:
        """Take the weights, and the names of ``domain_pattern.ignore``: they and all below them are no dynamic DNS to the user."""
        self.problems: list[RuleError] = []
        self._config = config
        self._quiet = frozenset(filter(None, (_canonical(text.removeprefix("*").removeprefix(".")) for text in quiet)))

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield a reason for each list of bad things that has the destination, and for sinkholes and dynamic DNS."""
        indicators, warnings = seen.outwatch.indicators or (), seen.outwatch.warnings or ()
        if not indicators and not any(one.note in _RAISING for one in warnings):
            return []
        names = _names(seen)
        known = [_entry(one, names) for one in warnings[:_MOST_READ]]
        found = list(self._raising(known))
        if indicators:
            found += self._listed([_entry(one, names) for one in indicators[:_MOST_READ]], known, seen)
        return found

    def _listed(self, entries: Sequence[_Entry], known: Sequence[_Entry], seen: Judged) -> Iterator[Detection]:
        """Give a reason for each list, the strongest first; that one carries the others."""
        of_list: dict[str, list[_Hit]] = {}
        for entry in entries:
            of_list.setdefault(entry.listed.list_, []).append(self._weighed(entry, known, seen))
        hits = [sorted(some, key=lambda one: (-one.points, one.entry.listed.entry)) for some in of_list.values()]
        hits.sort(key=lambda some: (-some[0].points, some[0].entry.listed.list_))
        strongest = hits[0][0].points
        doubt = 1 - strongest / 100
        for some in hits[1:]:
            doubt *= 1 - self._config.agreement * some[0].points / 100
        agreeing = [some[0].entry.listed.list_ for some in hits[1:] if some[0].points and strongest]
        yield _detection(hits[0], min(MOST, 100 * (1 - doubt)), agreeing)
        yield from (_detection(some, some[0].points, ()) for some in hits[1:])

    def _weighed(self, entry: _Entry, known: Sequence[_Entry], seen: Judged) -> _Hit:
        listed, config = entry.listed, self._config
        sure = config.confidence if listed.confidence is None else max(0, min(100, listed.confidence))
        factor, lowered = self._lowering(entry, known)
        precision, words = self._precision(entry, seen)
        if entry.names and entry.names[0].reverse:
            factor *= config.reverse
        points = config.points * sure / 100 * self._freshness(entry, seen.timestamp) * precision * factor
        return _Hit(min(MOST, points), entry, words, lowered)

    def _freshness(self, entry: _Entry, at: datetime) -> float:
        """Give 1 for an entry that was seen lately, or of which nobody says when; less the older it is."""
        seen = entry.listed.last_seen or entry.listed.first_seen
        if seen is None:
            return 1.0
        age = (at - seen).total_seconds() / _DAY - _FRESH
        half_life = self._config.name_half_life_days if entry.kind == "name" else self._config.address_half_life_days
        return 1.0 if age <= 0 else max(self._config.stale, 0.5 ** min(64.0, age / half_life))

    def _precision(self, entry: _Entry, seen: Judged) -> tuple[float, str]:
        """Say how exactly an entry means the destination, and in words what it covers."""
        text, config = printable(entry.listed.entry, _LONGEST), self._config
        if entry.kind == "address":
            return 1.0, f"{text} is"
        if entry.kind == "network":
            narrow, wide = (_V4_BITS, _WIDE_V4) if entry.bits == _V4_BITS else (_SUBSCRIBER_V6, _WIDE_V6)
            width = max(0.0, min(1.0, (narrow - entry.length) / (narrow - wide)))
            return 1 - (1 - config.widest) * width, f"{printable(seen.destination.ip or 'the address', _LONGEST)} lies in {text}, which is"
        name = entry.names[0].name if entry.names else entry.listed.entry
        words = f"{text} is" if name == entry.listed.entry else f"{printable(name, _LONGEST)} lies below {text}, which is"
        return (config.shared, f"{words} a name of many owners and") if _rented(name, entry.listed.entry) else (1.0, words)

    def _lowering(self, hit: _Entry, known: Sequence[_Entry]) -> tuple[float, str | None]:
        """Give what is left of a hit because of the well-known thing that says most against it, and say which that is."""
        factor, lowered = 1.0, None
        for one in known:
            share, why = self._share(hit, one)
            if share < factor:
                listed = one.listed
                factor, lowered = share, f"{why} ({printable(listed.list_, _LONGEST)}: {printable(listed.entry, _LONGEST)})"
        return factor, lowered

    def _share(self, hit: _Entry, known: _Entry) -> tuple[float, str]:
        """Give what one well-known thing leaves of a hit, and why."""
        meaning = known.listed.note or ""
        if meaning in _RAISING or not _explains(known, hit):
            return 1.0, ""
        setting, why = _WHY.get(meaning, _OTHER)
        share: float = getattr(self._config.lowered, setting)
        return share * (_NEIGHBOURS if hit.kind == "network" and setting in _SHARED else 1.0), why

    def _raising(self, known: Sequence[_Entry]) -> Iterator[Detection]:
        """Give a reason for each sinkhole and each dynamic-DNS name."""
        for one in known:
            text, of = printable(one.listed.entry, _LONGEST), printable(one.listed.list_, _LONGEST)
            names = [called.name for called in one.names if not called.reverse]
            if one.listed.note == _SINKHOLE and (one.kind != "name" or names):
                left = min((self._share(one, other)[0] for other in known if other.listed.note in _CROWDED), default=1.0)
                reason = (
                    f"{text} is a sinkhole (list {of}): names of malware that were taken over lead there, so the program may be infected"
                )
                yield _raised(one, self._config.sinkhole * left, reason, self.family)
            below = next((name for name in names if name != one.listed.entry and self._quiet.isdisjoint(domains.suffixes(name))), None)
            if one.listed.note == _DYNAMIC and below:
                reason = f"{printable(below, _LONGEST)} is a dynamic-DNS name (list {of}: {text}): it can lead anywhere within minutes"
                # domain_pattern's fact, which must not count twice
                yield _raised(one, self._config.dynamic_dns, reason, "name", "T1568")


_SINKHOLE, _DYNAMIC = "sinkhole", "dynamic DNS"
_RAISING = frozenset({_SINKHOLE, _DYNAMIC})
_CROWDED = frozenset({"CDN", "hosting"})  # where many share one address at the same time
_SHARED = frozenset({"cdn", "cloud", "hosting", "vpn"})
_NEIGHBOURS = 0.5  # what is left there of an entry for a whole network: it means somebody else in it
# By a list's meaning: the setting, and why a hit says less then.
_WHY: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "CDN": ("cdn", "the address belongs to a CDN, where thousands of sites share one"),
        "cloud": ("cloud", "the address belongs to a cloud, which hands it to somebody else tomorrow"),
        "hosting": ("hosting", "thousands of sites share the address"),
        "VPN": ("vpn", "the address belongs to a VPN provider or a data centre"),
        "parking": ("parking", "unused names lead to this address"),
        "public resolver": ("public_resolver", "it is a resolver that everybody may ask"),
        "well known": ("well_known", "it is well known, and such things come onto lists by mistake"),
        "shared platform": ("shared_platform", "everybody may put something there"),
        "security vendor": ("security_vendor", "reports about malware cite it, and lists are made from reports"),
    }
)
_OTHER = ("other", "a list of well-known things has it")
_DOUBTS: Mapping[str | None, str] = MappingProxyType(
    {
        "ptr": "the name is a reverse name that nothing confirms",
        "dns": "the name comes from a name server that is not this system's",
        **dict.fromkeys(
            ("sni", "http", "quic"), "the name is what the program said, and no answer is known that led from it to this address"
        ),
    }
)


def _names(seen: Judged) -> list[_Called]:
    """Give the names of a record, the surest first; one that a record just states is taken at its word."""
    best, names = asked_name(seen), seen.outwatch.names
    canon = _canonical(best) if best else None
    if isinstance(seen, Question) or not names:
        return [_Called(canon)] if canon else []
    called = [
        _Called(name) if one.confirmed else _Called(name, confirmed=False, reverse=one.origin == "ptr", doubt=_DOUBTS.get(one.origin))
        for one in names
        if (name := _canonical(one.name)) is not None
    ]
    if canon and canon not in {one.name for one in called}:
        called.append(_Called(canon, confirmed=False))
    return sorted(called, key=lambda one: (not one.confirmed, one.reverse))


def _canonical(name: str) -> str | None:
    return domains.canonical(name if name.isascii() else domains.a_labels(name) or name)


def _entry(listed: Listed, names: Sequence[_Called]) -> _Entry:
    """Tell what an entry is: an address, a network, or a name."""
    text = listed.entry
    if parse(text) is not None:
        return _Entry(listed, "address")
    network = parse_network(text) if "/" in text else None
    if network is not None:
        return _Entry(listed, "network", length=network.prefixlen, bits=network.max_prefixlen)
    return _Entry(listed, "name", tuple(one for one in names if f".{one.name}".endswith(f".{text}")))


def _explains(known: _Entry, hit: _Entry) -> bool:
    """Tell whether a well-known thing is what a hit is about: an address says nothing of a name, and whoever rents a name is somebody else.

    A name explains an address only if it is confirmed: anybody can say that they call google.com.
    """
    if known.kind != "name":
        return hit.kind != "name" or known.listed.note == "parking"
    owned = [one for one in known.names if not _rented(one.name, known.listed.entry)]
    return any(one in hit.names for one in owned) if hit.kind == "name" else any(one.confirmed for one in owned)


def _rented(name: str, entry: str) -> bool:
    """Tell whether a name below ``entry`` is somebody else's, as those below ``github.io`` are."""
    return domains.registered(entry) is None or len(domains.registered(name) or "") > len(entry)


def _detection(hits: Sequence[_Hit], points: float, agreeing: Sequence[str]) -> Detection:
    """Tell what one list has, in the words of its strongest hit."""
    best = hits[0]
    listed, called = best.entry.listed, best.entry.names[0] if best.entry.names else None
    also = [hit.entry.listed.entry for hit in hits[1:]]
    reason = f"{best.words} on the list {printable(listed.list_, _LONGEST)}{_details(listed)}"
    if also:
        reason += f"; it has {_some(also)} too"
    if called is not None and called.doubt:
        reason += f"; {called.doubt}"
    if best.lowered:
        reason += f"; it counts less because {best.lowered}"
    if agreeing:
        reason += f"; {len(agreeing)} more {'list agrees' if len(agreeing) == 1 else 'lists agree'}: {_some(agreeing)}"
    evidence: dict[str, Fact | None] = {
        "list": listed.list_,
        "entry": listed.entry,
        "name": called.name if called is not None else None,
        "confidence": listed.confidence,
        "first_seen": _spelled(listed.first_seen),
        "last_seen": _spelled(listed.last_seen),
        "note": listed.note,
        "also": tuple(also) or None,
        "lowered_by": best.lowered,
        "agreeing": tuple(agreeing) or None,
    }
    return Detection(
        detector=Indicator.name,
        family=Indicator.family,
        points=round(points, 1),
        reason=reason,
        evidence={key: value for key, value in evidence.items() if value is not None},
        source=listed.list_,
    )


def _raised(entry: _Entry, points: float, reason: str, family: Family, *techniques: str) -> Detection:
    listed = entry.listed
    return Detection(
        detector=Indicator.name,
        family=family,
        points=round(points, 1),
        reason=reason,
        evidence={"list": listed.list_, "entry": listed.entry},
        techniques=techniques,
        source=listed.list_,
    )


def _details(listed: Listed) -> str:
    """Say how sure a list is of an entry, how old that is, and what the list says of it."""
    known = [
        f"confidence {listed.confidence} %" if listed.confidence is not None else None,
        f"last seen {listed.last_seen.date()}" if listed.last_seen else f"since {listed.first_seen.date()}" if listed.first_seen else None,
    ]
    details = ", ".join(one for one in known if one)
    note = printable(listed.note, _LONGEST_NOTE) if listed.note else ""
    return (f" ({details})" if details else "") + (f", which says: {note}" if note else "")


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - _MOST_NAMED
    return ", ".join(printable(one, _LONGEST) for one in texts[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _spelled(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if time else None


PART = Part(name="indicator", config=IndicatorConfig, build=Indicator)
