"""VirusTotal, API v3: how many of its engines call an address, a domain or a file malicious.

https://docs.virustotal.com/reference/ip-object, ``/domains-object``, ``/files`` and ``/errors``. The score is the number of engines that
say "malicious", as its page shows it; the engines counted are those that gave an opinion (a timeout is none). Four and more are
``malicious``; fewer, or any that says "suspicious", are ``suspicious``: single engines are wrong too often.
"""

from typing import ClassVar, Literal

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.reputation.reading import DAY, MINUTE, AsNumber, Engines, about, below, decoded, geo, network, no_data, one_line, step, tags
from outwatch.reputation.settings import ProviderConfig

MALICIOUS_FROM = 4
"""So many engines don't err together: from here on the state is ``malicious``."""

_PATHS: dict[IndicatorKind, str] = {"ip": "ip_addresses", "domain": "domains", "sha256": "files"}
_PAGES: dict[IndicatorKind, str] = {"ip": "ip-address", "domain": "domain", "sha256": "file"}


class _Stats(msgspec.Struct, frozen=True):
    malicious: Engines
    suspicious: Engines = 0
    harmless: Engines = 0
    undetected: Engines = 0


class _Trusted(msgspec.Struct, frozen=True):
    verdict: str | None = None


class _Attributes(msgspec.Struct, frozen=True):
    last_analysis_stats: _Stats
    as_owner: str | None = None
    asn: AsNumber | None = None
    country: str | None = None
    tags: tuple[str, ...] | None = None
    meaningful_name: str | None = None
    trusted_verdict: _Trusted | None = None


class _Data(msgspec.Struct, frozen=True):
    attributes: _Attributes
    id: str | None = None


class _Found(msgspec.Struct, frozen=True):
    data: _Data


class _Error(msgspec.Struct, frozen=True):
    code: Literal["NotFoundError"]


class _NotFound(msgspec.Struct, frozen=True):
    error: _Error


class VirusTotal:
    """Asks VirusTotal about addresses, domains and files."""

    name: ClassVar[str] = "virustotal"
    title: ClassVar[str] = "VirusTotal"
    home: ClassVar[str] = "https://www.virustotal.com"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip", "domain", "sha256"})
    limits: ClassVar[tuple[Limit, ...]] = (Limit(4, MINUTE), Limit(500, DAY))
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[str | None] = "x-apikey"
    key_form: ClassVar[str] = "{}"

    def __init__(self, config: ProviderConfig) -> None:
        """Take the settings, for the base URL that may already hold the API's version."""
        self._version = below(config.base_url, "/api/v3")

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for the object of an address, a domain or a file."""
        return LookupRequest(path=f"{self._version}/{_PATHS[indicator.kind]}/{step(indicator.value)}")

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read the last analysis; an indicator that no engine has an opinion of is ``no_data``."""
        link = self.link(indicator)
        if no_data(reply, _NotFound):
            return Reputation(provider=self.name, state="no_data", link=link)
        data = decoded(reply.body, _Found).data
        about(indicator, data.id)
        found, stats = data.attributes, data.attributes.last_analysis_stats
        engines = stats.malicious + stats.suspicious + stats.harmless + stats.undetected
        return Reputation(
            provider=self.name,
            state=_state(stats) if engines else "no_data",
            score=stats.malicious if engines else None,
            malicious=stats.malicious if engines else None,
            suspicious=stats.suspicious if engines else None,
            engines=engines or None,
            allow_listed=True if found.trusted_verdict and found.trusted_verdict.verdict == "goodware" else None,
            tags=tags((one_line(found.meaningful_name), *(found.tags or ()))),
            as_=network(found.asn, found.as_owner),
            geo=geo(found.country),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give the page of VirusTotal's web interface."""
        return f"https://www.virustotal.com/gui/{_PAGES[indicator.kind]}/{step(indicator.value)}"


def _state(stats: _Stats) -> Literal["malicious", "suspicious", "clean"]:
    if stats.malicious >= MALICIOUS_FROM:
        return "malicious"
    return "suspicious" if stats.malicious or stats.suspicious else "clean"


PART = Part(name="virustotal", config=ProviderConfig, build=VirusTotal)
