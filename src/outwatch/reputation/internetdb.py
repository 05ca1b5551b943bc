"""Shodan InternetDB: what stands open at an address. Needs no key; for non-commercial use.

https://internetdb.shodan.io/docs. It is context, not an opinion: open ports and old software make a victim, seldom a culprit. The state is
``no_data`` but for the few tags that Shodan gives to hosts that are under somebody's control, which are ``suspicious``.
"""

from typing import Annotated, ClassVar

import msgspec

from outwatch.model.interfaces import Part
from outwatch.model.records import Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.reputation.reading import MINUTE, about, decoded, no_data, step, tags
from outwatch.reputation.settings import ProviderConfig

CONTROLLED = frozenset({"c2", "compromised", "doublepulsar", "malware"})
"""Tags of hosts that answer as malware does, or carry a back door."""

_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_MOST_PORTS, _MOST_HOLES = 10, 6


class _Found(msgspec.Struct, frozen=True):
    ip: str
    ports: tuple[_Port, ...] = ()
    tags: tuple[str, ...] = ()
    vulns: tuple[str, ...] = ()


class InternetDb:
    """Asks InternetDB about addresses."""

    name: ClassVar[str] = "internetdb"
    title: ClassVar[str] = "Shodan InternetDB"
    home: ClassVar[str] = "https://internetdb.shodan.io"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip"})
    limits: ClassVar[tuple[Limit, ...]] = (Limit(60, MINUTE),)  # none is documented; one a second is polite
    needs_key: ClassVar[bool] = False
    key_header: ClassVar[str | None] = None
    key_form: ClassVar[str] = "{}"

    def __init__(self, config: ProviderConfig) -> None:
        """Take the settings; nothing in them changes what is asked."""

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Ask for what is known of an address."""
        return LookupRequest(path=f"/{step(indicator.value)}") if indicator.kind == "ip" else None

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read tags, then the open ports and known holes, as tags of the answer."""
        link = self.link(indicator)
        if no_data(reply):
            return Reputation(provider=self.name, state="no_data", link=link)
        found = decoded(reply.body, _Found)
        about(indicator, found.ip)
        bad = [tag for tag in found.tags if tag in CONTROLLED]
        ports = f"ports {' '.join(map(str, found.ports[:_MOST_PORTS]))}" if found.ports else None
        return Reputation(
            provider=self.name,
            state="suspicious" if bad else "no_data",
            tags=tags((*bad, ports, *found.vulns[:_MOST_HOLES], *found.tags)),
            link=link,
        )

    def link(self, indicator: Indicator) -> str | None:
        """Give Shodan's page about an address."""
        return f"https://www.shodan.io/host/{step(indicator.value)}" if indicator.kind == "ip" else None


PART = Part(name="internetdb", config=ProviderConfig, build=InternetDb)
