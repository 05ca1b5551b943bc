"""AbuseIPDB, API v2: how sure its members are that an address attacks others.

https://docs.abuseipdb.com/#check-endpoint. The score is its confidence in per cent. From 75 on, where AbuseIPDB itself advises to block,
the state is ``malicious``; from 25, the least that its block list can be asked for, ``suspicious``. Nobody's complaint is ``clean``.
"""

from typing import ClassVar, Literal

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.reputation.reading import DAY, Percent, Reports, about, below, decoded, geo, no_data, step, tags
from outwatch.reputation.settings import ProviderConfig

MALICIOUS_FROM, SUSPICIOUS_FROM = 75, 25
"""The lowest confidence of these states."""

_MAX_AGE_DAYS = "90"  # older complaints say little: addresses change hands


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    abuse_confidence_score: Percent
    total_reports: Reports
    ip_address: str | None = None
    is_public: bool | None = None
    is_whitelisted: bool | None = None
    is_tor: bool | None = None
    country_code: str | None = None
    usage_type: str | None = None
    isp: str | None = None
    domain: str | None = None


class _Found(msgspec.Struct, frozen=True):
    data: _Data


class AbuseIpdb:
    """Asks AbuseIPDB about addresses."""

    name: ClassVar[str] = "abuseipdb"
    title: ClassVar[str] = "AbuseIPDB"
    home: ClassVar[str] = "https://api.abuseipdb.com"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip"})
    limits: ClassVar[tuple[Limit, ...]] = (Limit(1000, DAY),)
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[str | None] = "Key"
    key_form: ClassVar[str] = "{}"

    def __init__(self, config: ProviderConfig) -> None:
        """Take the settings, for the base URL that may already hold the API's version."""
        self._version = below(config.base_url, "/api/v2")

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for the reports on an address of the last 90 days."""
        if indicator.kind != "ip":
            return None
        params = (("ipAddress", indicator.value), ("maxAgeInDays", _MAX_AGE_DAYS))
        return LookupRequest(path=f"{self._version}/check", params=params, headers=(("Accept", "application/json"),))

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read the confidence; an address that AbuseIPDB takes for a private one is ``no_data``."""
        link = self.link(indicator)
        if no_data(reply):
            return Reputation(provider=self.name, state="no_data", link=link)
        found = decoded(reply.body, _Found).data
        about(indicator, found.ip_address)
        if found.is_public is False:
            return Reputation(provider=self.name, state="no_data", link=link)
        return Reputation(
            provider=self.name,
            state=_state(found.abuse_confidence_score),
            score=found.abuse_confidence_score,
            reports=found.total_reports,
            allow_listed=True if found.is_whitelisted else None,
            tags=tags(("Tor exit" if found.is_tor else None, found.usage_type, found.isp, found.domain)),
            geo=geo(found.country_code),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give the page with the reports on an address."""
        return f"https://www.abuseipdb.com/check/{step(indicator.value)}" if indicator.kind == "ip" else None


def _state(confidence: int) -> Literal["malicious", "suspicious", "clean"]:
    if confidence >= MALICIOUS_FROM:
        return "malicious"
    return "suspicious" if confidence >= SUSPICIOUS_FROM else "clean"


PART = Part(name="abuseipdb", config=ProviderConfig, build=AbuseIpdb)
