"""AlienVault OTX: how many reports of its members ("pulses") name an address, a domain or a file.

https://otx.alienvault.com/api, ``/api/v1/indicators/{type}/{indicator}/general``. The score is the number of pulses. Anyone may publish
a pulse, and many copy block lists, so pulses make an indicator ``suspicious``, never more. No pulse is ``no_data``, unless OTX vouches
for it.
"""

from typing import Annotated, ClassVar

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.net.domains import registered
from outwatch.reputation.reading import Reports, about, as_and_name, below, decoded, geo, network, no_data, step, tags
from outwatch.reputation.settings import ProviderConfig

_HOUR = 3600.0
_GOOD = frozenset({"whitelist", "majestic", "false_positive"})  # popularity ("alexa", "akamai") is no virtue
_MOST_PULSES = 5


class _Pulse(msgspec.Struct, frozen=True):
    name: str | None = None


class _Pulses(msgspec.Struct, frozen=True):
    count: Reports
    pulses: Annotated[tuple[_Pulse, ...], msgspec.Meta(max_length=10_000)] = ()


class _Vouched(msgspec.Struct, frozen=True):
    source: str | None = None


class _Found(msgspec.Struct, frozen=True):
    pulse_info: _Pulses
    indicator: str | None = None
    validation: tuple[_Vouched, ...] | None = None
    asn: str | None = None
    country_code: str | None = None


class Otx:
    """Asks OTX about addresses, domains and files."""

    name: ClassVar[str] = "otx"
    title: ClassVar[str] = "AlienVault OTX"
    home: ClassVar[str] = "https://otx.alienvault.com"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip", "domain", "sha256"})
    limits: ClassVar[tuple[Limit, ...]] = (Limit(10_000, _HOUR),)
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[str | None] = "X-OTX-API-KEY"
    key_form: ClassVar[str] = "{}"

    def __init__(self, config: ProviderConfig) -> None:
        """Take the settings, for the base URL that may already hold the API's version."""
        self._version = below(config.base_url, "/api/v1")

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for the general section of an indicator."""
        return LookupRequest(path=f"{self._version}/indicators/{_type(indicator)}/{step(indicator.value)}/general")

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read how many pulses name it and whether OTX vouches for it."""
        link = self.link(indicator)
        if no_data(reply):
            return Reputation(provider=self.name, state="no_data", link=link)
        found = decoded(reply.body, _Found)
        about(indicator, found.indicator)
        count = found.pulse_info.count
        good = any(one.source in _GOOD for one in found.validation or ())
        number, runs = as_and_name(found.asn)
        return Reputation(
            provider=self.name,
            state="clean" if good else "suspicious" if count else "no_data",
            score=count,
            reports=count,
            allow_listed=True if good else None,
            tags=tags(pulse.name for pulse in found.pulse_info.pulses[:_MOST_PULSES]),
            as_=network(number, runs),
            geo=geo(found.country_code),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give OTX's page about an indicator."""
        kind = "ip" if indicator.kind == "ip" else _type(indicator)
        return f"https://otx.alienvault.com/indicator/{kind}/{step(indicator.value)}"


def _type(indicator: Indicator) -> str:
    if indicator.kind == "ip":
        return "IPv6" if ":" in indicator.value else "IPv4"
    if indicator.kind == "domain":  # what somebody registered; names below it are another type
        return "domain" if registered(indicator.value) == indicator.value else "hostname"
    return "file"


PART = Part(name="otx", config=ProviderConfig, build=Otx)
