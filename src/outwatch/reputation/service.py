"""All reputation services together: which of them are asked, with whose keys, and what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from outwatch.engine.health import Health
from outwatch.errors import OutwatchError
from outwatch.model.records import Connection
from outwatch.model.reputation import Indicator, Limit, ReputationProvider
from outwatch.net.addresses import Scopes
from outwatch.net.http import Http, host_of
from outwatch.reputation import keys
from outwatch.reputation.desk import Desk, Mode, Office
from outwatch.reputation.keys import Key
from outwatch.reputation.memory import Memory
from outwatch.reputation.settings import ProviderConfig
from outwatch.reputation.subjects import indicator_of

Offered = tuple[ReputationProvider, ProviderConfig]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether a service is asked: ``why_not`` if it is not, else where its key comes from, and where it lives.

    ``key_places`` says where a key can be put, ``used`` how much of each limit is used.
    """

    name: str
    title: str
    base: str
    key_origin: str | None = None
    why_not: str | None = None
    lacks_key: bool = False
    key_places: str = ""
    used: Sequence[tuple[int, Limit]] = ()


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What one service would be asked, and the seconds that its quota alone makes that take."""

    name: str
    title: str
    base: str
    indicators: Sequence[Indicator]
    known: int
    seconds: float


class Services:
    """The desks of those services that are asked. ``async with`` closes connections and database."""

    def __init__(
        self,
        offered: Sequence[Offered],
        folder: Path,
        health: Health,
        scopes: Scopes,
        *,
        mode: Mode = "auto",
        keeps: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Look for the keys of all that are offered, and open a desk for each that is to be asked. The database lies in ``folder``."""
        keyring = keys.Keyring([provider.name for provider, _ in offered], environ) if mode != "off" else None
        chosen = [(provider, config, _key_or_reason(provider, config, environ, keyring)) for provider, config in offered]
        active = [(provider, config, found) for provider, config, found in chosen if not isinstance(found, _Reason)]
        self._chosen = chosen
        self._health = health
        self._http = Http(permitted=[host for _, config in offered if config.base_url and (host := host_of(config.base_url))])
        self._memory = Memory(folder, health.problem) if active else None
        self.desks: list[Desk] = []
        if self._memory is not None:
            office = Office(memory=self._memory, http=self._http, health=health, scopes=scopes, mode=mode, keeps=keeps)
            self.desks = [Desk(provider, config, key, office) for provider, config, key in active]

    async def __aenter__(self) -> Self:
        """Open nothing: that is done when something is asked."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        await self._http.__aexit__()
        self.close()

    def close(self) -> None:
        """Close the database."""
        if self._memory is not None:
            self._memory.close()

    def tell(self) -> None:
        """Say once which services are not asked although they could be: for want of a key, or because theirs can't be used."""
        without = [provider.name for provider, _, found in self._chosen if isinstance(found, _Reason) and found.lacks_key]
        if without:
            self._health.blind.append(f"what {_and(without)} know{'s' if len(without) == 1 else ''} of destinations (no key)")
        for provider, _, found in self._chosen:
            if isinstance(found, _Reason) and found.wrong:
                self._health.problem(f"{provider.title} is not asked: {found.text}")

    def unanswered(self) -> tuple[dict[str, int], float]:
        """Count the indicators, by the titles of services, about which these could still be asked, and say from when on."""
        counts = {desk.title: len(desk.unanswered) for desk in self.desks if desk.unanswered}
        times = [desk.resumes() for desk in self.desks if desk.unanswered]
        return counts, min(times, default=0.0)

    def unasked(self) -> dict[str, str]:
        """Say of services, by their providers' names, why nothing is asked there."""
        found = [(provider.name, reason) for provider, _, reason in self._chosen if isinstance(reason, _Reason)]
        return {name: "no usable key" if reason.wrong else reason.text for name, reason in found}  # reports are sent to others

    def standings(self) -> list[Standing]:
        """Say of every service whether it is asked, why not, and how much of its quota is used."""
        by_name = {desk.name: desk for desk in self.desks}
        told: list[Standing] = []
        for provider, config, found in self._chosen:
            name, title, base = provider.name, provider.title, config.base_url or provider.home
            if isinstance(found, _Reason):
                places = f"reputation.{name}.api_key_file or the variable {keys.variables(name)[0]}"
                told.append(Standing(name=name, title=title, base=base, why_not=found.text, lacks_key=found.lacks_key, key_places=places))
            else:
                used = by_name[name].quota.used()
                told.append(Standing(name=name, title=title, base=base, key_origin=found.origin if found else None, used=used))
        return told

    def errands(self, connections: Sequence[Connection]) -> list[Errand]:
        """Say what would be asked about connections, and how long the quotas make that take; nothing is sent."""
        indicators = dict.fromkeys(indicator for one in connections if (indicator := indicator_of(one)) is not None)
        told: list[Errand] = []
        for desk in self.desks:
            wanted = [indicator for indicator in indicators if desk.wants(indicator)]
            told.append(
                Errand(
                    name=desk.name,
                    title=desk.title,
                    base=desk.base,
                    indicators=wanted,
                    known=sum(desk.answers(indicator) for indicator in indicators),
                    seconds=desk.quota.seconds_for(len(wanted)),
                )
            )
        return told


@dataclass(frozen=True)
class _Reason:
    """Why a service is not asked; ``wrong`` if the user meant it to be."""

    text: str
    wrong: bool = False
    lacks_key: bool = False


def _key_or_reason(
    provider: ReputationProvider, config: ProviderConfig, environ: Mapping[str, str] | None, keyring: keys.Keyring | None
) -> Key | _Reason | None:
    """Give a service's key (``None``: it needs none), or the reason for which it is not asked.

    The keyring is opened only for services that are switched on: it takes time, and may ask its owner for a password.
    """
    if config.enabled is False:
        return _Reason("switched off")
    try:
        key = keys.find(provider.name, config, environ, keyring if config.enabled else None)
    except OutwatchError as error:
        return _Reason(str(error), wrong=True)
    if key is not None:
        return key
    if provider.needs_key:
        return _Reason("no key", wrong=config.enabled is True, lacks_key=config.enabled is None)
    return None if config.enabled else _Reason("not switched on")


def usable(base_url: str) -> bool:
    """Tell whether a base URL can be used: HTTP or HTTPS, without user, password, query and fragment."""
    return host_of(base_url) is not None and not {"?", "#"} & set(base_url)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
