"""GreyNoise, community API: whether an address scans the internet, or belongs to a common business service (RIOT).

https://docs.greynoise.io/reference/get_v3-community-ip. A RIOT address, or a scanner of known good intent, is ``clean``; only a RIOT one is
allow-listed. Scanners are ``malicious`` if GreyNoise says so, else ``suspicious``. It knows IPv4 alone.
"""

from typing import ClassVar, Literal

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.reputation.reading import DAY, WEEK, about, below, decoded, no_data, step, tags
from outwatch.reputation.settings import ProviderConfig


class _Found(msgspec.Struct, frozen=True):
    noise: bool
    riot: bool
    ip: str | None = None
    classification: str | None = None
    name: str | None = None


class GreyNoise:
    """Asks GreyNoise about IPv4 addresses."""

    name: ClassVar[str] = "greynoise"
    title: ClassVar[str] = "GreyNoise"
    home: ClassVar[str] = "https://api.greynoise.io"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip"})
    limits: ClassVar[tuple[Limit, ...]] = (Limit(10, DAY), Limit(50, WEEK))
    needs_key: ClassVar[bool] = False
    key_header: ClassVar[str | None] = "key"
    key_form: ClassVar[str] = "{}"

    def __init__(self, config: ProviderConfig) -> None:
        """Take the settings, for the base URL that may already hold the API's version."""
        self._version = below(config.base_url, "/v3/community")

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for what is known of an IPv4 address."""
        if indicator.kind != "ip" or ":" in indicator.value:
            return None
        return LookupRequest(path=f"{self._version}/{step(indicator.value)}")

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read what the address does; one that was not observed is ``no_data``."""
        link = self.link(indicator)
        if no_data(reply):
            return Reputation(provider=self.name, state="no_data", link=link)
        found = decoded(reply.body, _Found)
        about(indicator, found.ip)
        return Reputation(
            provider=self.name,
            state=_state(found),
            allow_listed=True if found.riot else None,
            tags=tags((None if found.name == "unknown" else found.name,)),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give the page about an address."""
        return f"https://viz.greynoise.io/ip/{step(indicator.value)}" if indicator.kind == "ip" and ":" not in indicator.value else None


def _state(found: _Found) -> Literal["malicious", "suspicious", "clean", "no_data"]:
    if found.riot or (found.noise and found.classification == "benign"):
        return "clean"
    if not found.noise:
        return "no_data"
    return "malicious" if found.classification == "malicious" else "suspicious"


PART = Part(name="greynoise", config=ProviderConfig, build=GreyNoise)
