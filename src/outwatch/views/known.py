"""What services and lists say of a destination, in words that screens and reports share.

Nothing here is made safe to show: names, tags and notes are others' text.
"""

from collections.abc import Container, Iterable
from datetime import UTC
from functools import lru_cache
from typing import Literal, TypeVar

from msgspec.structs import replace

from outwatch.model.records import AutonomousSystem, Findings, Judged, Listed, Reputation
from outwatch.net.addresses import parse

Shade = Literal["malicious", "suspicious", "hint", "clean", "unknown"]
"""How an opinion is coloured. ``hint``: the service is not worried, and yet has more than nothing; ``unknown`` is never green."""

TITLES = {
    "virustotal": "VirusTotal",
    "abuseipdb": "AbuseIPDB",
    "greynoise": "GreyNoise",
    "otx": "AlienVault OTX",
    "internetdb": "Shodan InternetDB",
    "ipinfo": "IPinfo",
}
"""Services by the ids of their providers, in the order in which they are shown; others come behind them."""

_PAGES = {
    "virustotal": "https://www.virustotal.com/gui/ip-address/{}",
    "abuseipdb": "https://www.abuseipdb.com/check/{}",
    "ipinfo": "https://ipinfo.io/{}",
    "greynoise": "https://viz.greynoise.io/ip/{}",
    "otx": "https://otx.alienvault.com/indicator/ip/{}",
    "internetdb": "https://www.shodan.io/host/{}",
}
_ALWAYS = frozenset({"virustotal", "abuseipdb", "ipinfo"})  # reports have a link to each
_NOT_FOR = {"greynoise": (6,)}  # versions of IP that a service knows nothing of
_RANK = {"not_checked": 0, "no_data": 1, "clean": 2, "suspicious": 3, "malicious": 4}
_ORDER = {provider: at for at, provider in enumerate(TITLES)}
_MOST_TAGS = 8
_MOST_LISTS = 12
_MOST_KEPT = 50  # services, and entries of lists, of one destination
_Item = TypeVar("_Item")


def far_ip(record: Judged) -> str | None:
    """Give the address of the other end."""
    return record.source.ip if record.network.direction == "ingress" else record.destination.ip


def pages(record: Judged) -> dict[str, str]:
    """Give the pages of reputation services about a public address, by service; an address can't lead elsewhere.

    Those of the services that every report speaks of, and of the others that have something to say about it. What a record calls a link
    is none.
    """
    if record.network.scope != "public":
        return {}
    more = {one.provider for one in record.outwatch.reputation or () if one.state != "not_checked"}
    return {provider: page for provider, page in _pages(far_ip(record) or "").items() if provider in _ALWAYS or provider in more}


@lru_cache(maxsize=4096)
def _pages(ip: str) -> dict[str, str]:
    address = parse(ip)
    if address is None:
        return {}
    return {provider: page.format(address) for provider, page in _PAGES.items() if address.version not in _NOT_FOR.get(provider, ())}


def title(provider: str) -> str:
    """Name a service."""
    return TITLES.get(provider, provider)


def opinions(record: Judged) -> list[Reputation]:
    """Give what each service said, in the order of ``TITLES``; of several answers of one the worst."""
    said = record.outwatch.reputation
    if not said:
        return []
    return sorted(_worst(said).values(), key=lambda one: (_ORDER.get(one.provider, len(_ORDER)), one.provider))


def opinion(record: Judged, provider: str) -> Reputation | None:
    """Give what a service said, or that it was not asked; ``None`` if there is no word of it."""
    said = record.outwatch.reputation
    return _worst(one for one in said if one.provider == provider).get(provider) if said else None


def most_worried(record: Judged, but: Container[str]) -> str | None:
    """Name the service that thinks worst of the destination, of those that answered."""
    said = [one for one in record.outwatch.reputation or () if one.provider not in but and one.state != "not_checked"]
    return max(said, key=_weight).provider if said else None


def shade(said: Reputation) -> Shade:
    """Say how an opinion is to be coloured. Green is only what a service knows and has nothing at all against."""
    if said.state == "clean":
        return "hint" if (said.score or 0) > 0 or said.malicious or said.suspicious else "clean"
    return "malicious" if said.state == "malicious" else "suspicious" if said.state == "suspicious" else "unknown"


def number(said: Reputation) -> float | None:
    """Give a service's number, a whole one without its point; ``None`` if it has none or nobody asked."""
    score = said.score
    if score is None or said.state == "not_checked":
        return None
    return int(score) if score % 1 == 0 else score


def spelled(said: Reputation) -> str:
    """Tell an opinion: what the service thinks, on what grounds, and what else it knows."""
    if said.state == "not_checked":
        return f"not checked: {said.why or 'no reason given'}"
    grounds = _grounds(said)
    if said.state == "no_data":
        return "; ".join(["no opinion", *grounds]) if grounds else "no data"
    return "; ".join([said.state, *grounds])


def _grounds(said: Reputation) -> list[str]:
    """List what an answer says, in words."""
    grounds = []
    if said.engines is not None or said.malicious is not None:
        among = f" of {said.engines}" if said.engines is not None else ""
        grounds.append(f"{said.malicious or 0}{among} engines call it malicious")
        if said.suspicious:
            grounds.append(f"{said.suspicious} suspicious")
    elif (score := number(said)) is not None:
        grounds.append(f"score {score}")
    if said.reports:
        grounds.append(f"{said.reports:,} report{'' if said.reports == 1 else 's'}")
    if said.allow_listed:
        grounds.append("it vouches for the address")
    where = place(said.geo.country_iso_code if said.geo else None, *_network(said.as_))
    return [*grounds, *([where] if where else []), *(said.tags or ())[:_MOST_TAGS]]


def place(country: str | None, number: int | None, organization: str | None) -> str:
    """Spell where an address is: ``DE, AS64500 Example Net``."""
    network = " ".join(text for text in (f"AS{number}" if number is not None else None, organization) if text)
    return ", ".join(text for text in (country, network) if text)


def country(record: Judged) -> str | None:
    """Give the country of the destination: of the record, else as a service says."""
    geo = record.destination.geo
    if geo is not None and geo.country_iso_code:
        return geo.country_iso_code
    return next((one.geo.country_iso_code for one in record.outwatch.reputation or () if one.geo and one.geo.country_iso_code), None)


def network(record: Judged) -> tuple[int | None, str | None]:
    """Give number and name of the destination's network: of the record, else as a service says."""
    for of in (record.destination.as_, *(one.as_ for one in record.outwatch.reputation or ())):
        number, name = _network(of)
        if number is not None or name:
            return number, name
    return None, None


def _network(of: AutonomousSystem | None) -> tuple[int | None, str | None]:
    return (of.number, of.organization.name if of.organization else None) if of is not None else (None, None)


def where(record: Judged) -> str:
    """Spell where the destination is; empty if that is not known."""
    return place(country(record), *network(record))


def listing(entries: Iterable[Listed] | None) -> list[str]:
    """Tell entries of lists: which list, its words, how sure it is, and since when."""
    return [_listed(one) for one in entries or ()]


def short(texts: list[str]) -> str:
    """Bring a list of entries into one text that is not too long."""
    more = len(texts) - _MOST_LISTS
    return "; ".join(texts[:_MOST_LISTS]) + (f"; and {more} more" if more > 0 else "")


def _listed(one: Listed) -> str:
    facts = [
        f"confidence {one.confidence}" if one.confidence is not None else None,
        f"first seen {one.first_seen.astimezone(UTC):%Y-%m-%d}" if one.first_seen else None,
        f"last seen {one.last_seen.astimezone(UTC):%Y-%m-%d}" if one.last_seen else None,
        one.note,
    ]
    known = ", ".join(fact for fact in facts if fact)
    return f"{one.list_}: {one.entry}" + (f" ({known})" if known else "")


def joined(one: Findings, other: Findings) -> Findings:
    """Add to what is known of a destination what another record of it knows; of each service the worst answer, then the latest."""
    changes: dict[str, object] = {}
    if other.reputation and other.reputation != one.reputation:
        changes["reputation"] = tuple(_worst((*(one.reputation or ()), *other.reputation)).values())[:_MOST_KEPT]
    if other.indicators and other.indicators != one.indicators:
        changes["indicators"] = _all(one.indicators, other.indicators)
    if other.warnings and other.warnings != one.warnings:
        changes["warnings"] = _all(one.warnings, other.warnings)
    return replace(one, **changes) if changes else one


def _worst(said: Iterable[Reputation]) -> dict[str, Reputation]:
    found: dict[str, Reputation] = {}
    for one in said:
        known = found.get(one.provider)
        if known is None or _weight(one) > _weight(known):
            found[one.provider] = one
    return found


def _weight(said: Reputation) -> tuple[int, float, float]:
    return _RANK[said.state], said.checked_at.timestamp() if said.checked_at else 0.0, said.score or 0.0


def _all(one: tuple[_Item, ...] | None, other: tuple[_Item, ...]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys((*(one or ()), *other)))[:_MOST_KEPT]
