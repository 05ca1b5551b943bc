"""IPinfo: country and network of an address. It knows nothing of good or bad, so its state is always ``no_data``.

Two services, chosen by ``api``: ``lite`` (https://ipinfo.io/developers/lite-api: country and network, no limit, needs a token) and ``json``
(https://ipinfo.io/developers/data-types, the older ``/{ip}/json``: also without a token, 50,000 a month with a free one).
"""

from typing import ClassVar, Literal

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.reputation.reading import DAY, about, as_and_name, below, decoded, geo, network, no_data, step
from outwatch.reputation.settings import ProviderConfig


class IpinfoConfig(ProviderConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``api``: which of IPinfo's services the key and the base URL belong to, ``lite`` or the older ``json``."""

    api: Literal["lite", "json"] = "lite"


class _Found(msgspec.Struct, frozen=True):
    """Both shapes: Lite has ``asn``, ``as_name`` and ``country_code``; the older one ``org`` and the code in ``country``."""

    ip: str
    asn: str | None = None
    as_name: str | None = None
    country_code: str | None = None
    country: str | None = None
    org: str | None = None
    bogon: bool = False


class IpinfoLite:
    """Asks IPinfo Lite about addresses."""

    name: ClassVar[str] = "ipinfo"
    title: ClassVar[str] = "IPinfo"
    home: ClassVar[str] = "https://api.ipinfo.io"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip"})
    limits: ClassVar[tuple[Limit, ...]] = ()
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[str | None] = "Authorization"
    key_form: ClassVar[str] = "Bearer {}"

    def __init__(self, config: IpinfoConfig) -> None:
        """Take the settings, for the base URL that may already hold ``/lite``."""
        self._version = below(config.base_url, "/lite")

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for the facts of an address."""
        if indicator.kind != "ip":
            return None
        return LookupRequest(path=f"{self._version}/{step(indicator.value)}", headers=(("Accept", "application/json"),))

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read country and network; the state is ``no_data`` whatever it says."""
        link = self.link(indicator)
        if no_data(reply):
            return Reputation(provider=self.name, state="no_data", link=link)
        found = decoded(reply.body, _Found)
        about(indicator, found.ip)
        number, runs = as_and_name(found.asn or found.org)
        organization = found.as_name or (runs if found.asn is None else None)
        return Reputation(
            provider=self.name,
            state="no_data",
            as_=None if found.bogon else network(number, organization),
            geo=None if found.bogon else geo(found.country_code or found.country),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give the page about an address."""
        return f"https://ipinfo.io/{step(indicator.value)}" if indicator.kind == "ip" else None


class IpinfoJson(IpinfoLite):
    """Asks the older service, which also answers without a token."""

    home: ClassVar[str] = "https://ipinfo.io"
    limits: ClassVar[tuple[Limit, ...]] = (Limit(50_000, 30 * DAY), Limit(1000, DAY))
    needs_key: ClassVar[bool] = False

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for the facts of an address."""
        if indicator.kind != "ip":
            return None
        return LookupRequest(path=f"/{step(indicator.value)}/json", headers=(("Accept", "application/json"),))


def ipinfo(config: IpinfoConfig) -> IpinfoLite:
    """Make the provider for the service that is configured."""
    return IpinfoJson(config) if config.api == "json" else IpinfoLite(config)


PART = Part(name="ipinfo", config=IpinfoConfig, build=ipinfo)
