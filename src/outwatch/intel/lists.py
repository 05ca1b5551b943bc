"""Which lists there are: those that the user names, in ``[[intel.lists]]``, with what the catalogue knows of them."""

import os
from pathlib import Path
from typing import Literal, cast, get_args

import msgspec

from outwatch.engine.config import Config
from outwatch.engine.indicator_settings import IntelConfig, ListConfig
from outwatch.engine.mistakes import nearest
from outwatch.errors import ConfigError
from outwatch.guard.text import printable
from outwatch.intel.catalogue import catalogue
from outwatch.intel.formats import Bounds
from outwatch.intel.layout import Meaning
from outwatch.net.http import host_of

_CONFIDENCE = 50  # of a list that nobody has said anything of
_EVERY_HOURS = 1.0  # the same for how often it is asked for
_SCHEMES = ("http://", "https://")


class KnownList(msgspec.Struct, frozen=True, kw_only=True):
    """A list that is in force.

    ``source`` is a URL or a file's path, which the catalogue has given if the list is ``offered``; ``origin`` says where it was set up. The
    rest is as in ``ListConfig``.
    """

    name: str
    source: str
    origin: str
    offered: bool = False
    kind: Literal["indicator", "warning"] | None = None
    confidence: int | None = None
    expires_days: float | None = None
    every_hours: float = 0.0
    meaning: Meaning | None = None
    title: str | None = None
    licence: str | None = None

    @property
    def shown(self) -> str:
        """The source as it may be shown: what stands behind ``?`` could be a key."""
        return self.source.partition("?")[0] if is_url(self.source) else self.source


def is_url(source: str) -> bool:
    """Tell a URL from a file's path."""
    return source.lower().startswith(_SCHEMES)


def lists_in_force(config: Config) -> list[KnownList]:
    """Give the lists that are set up and enabled; ``ConfigError`` for one that is named twice or can't be found."""
    found: dict[str, KnownList] = {}
    named: set[str] = set()
    for at, entry in enumerate(config.settings.intel.lists):
        key = f"intel.lists[{at}]"
        origin = config.origin(key)
        if entry.name in named:
            raise ConfigError(origin, f"{key}.name", f"there is a list named {entry.name} already")
        named.add(entry.name)
        known = known_list(entry, origin, key)
        if entry.enabled:
            found[entry.name] = known
    return list(found.values())


def known_list(entry: ListConfig, origin: str, key: str = "intel.lists") -> KnownList:
    """Fill in what the catalogue knows of a list; ``ConfigError`` if it has no source or one that can't be used."""
    offered = catalogue().get(entry.name) if entry.source is None else None
    if offered is None and entry.source is None:
        raise ConfigError(origin, f"{key}.name", f"{entry.name!r} is not in the catalogue{nearest(entry.name, list(catalogue()))}")
    source = entry.source or (offered.source if offered else "")
    if is_url(source):
        if host_of(source) is None:
            raise ConfigError(origin, f"{key}.source", f"{printable(source)!r} is no address that can be asked (no user or password in it)")
    else:
        source = str(Path(source).expanduser())
        if not os.path.isabs(source):
            raise ConfigError(origin, f"{key}.source", f"{printable(source)!r} is no URL and no whole path of a file")
    if entry.meaning is not None and entry.meaning not in get_args(Meaning):
        raise ConfigError(
            origin, f"{key}.meaning", f"{printable(entry.meaning)!r} is no meaning{nearest(entry.meaning, [*get_args(Meaning)])}"
        )
    warns = (entry.kind or (offered.kind if offered else None)) == "warning"
    confidence = entry.confidence if entry.confidence is not None else offered.confidence if offered else None
    default = offered.every_hours if offered else _EVERY_HOURS if is_url(source) else 0.0
    return KnownList(
        name=entry.name,
        source=source,
        origin=origin,
        offered=offered is not None,
        kind=entry.kind or (offered.kind if offered else None),
        confidence=confidence if confidence is not None or warns else _CONFIDENCE,
        expires_days=entry.expires_days,
        every_hours=default if entry.every_hours is None else max(entry.every_hours, offered.every_hours if offered else 0.0),
        meaning=cast("Meaning | None", entry.meaning) or (offered.meaning if offered and warns else None),
        title=offered.title if offered else None,
        licence=offered.licence if offered else None,
    )


def bounds(settings: IntelConfig) -> Bounds:
    """Give what a list may be, as the settings say."""
    most = settings.most_mib << 20
    return Bounds(
        widest_v4=settings.widest_v4,
        widest_v6=settings.widest_v6,
        share=settings.share,
        warning_share=settings.warning_share,
        most_lines=settings.most_lines,
        most_octets=most,
        most_document=min(most, Bounds.most_document),
        ratio=settings.ratio,
    )
