"""The settings of indicator lists, ``[intel]``: which lists there are, and what a list may be."""

from typing import Annotated, Literal

import msgspec

Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class ListConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One list, ``[[intel.lists]]``: of the catalogue if only its ``name`` is given, else from ``source``, an address or a path.

    ``kind`` is ``indicator`` (bad) or ``warning`` (well known); if it is not set, as the list itself says. ``meaning`` is what the entries
    of a list of well-known things are, such as ``CDN`` or ``sinkhole``. ``confidence`` counts for
    entries that bring none. An entry without an end of its own counts for ``expires_days`` after it was last seen, or if the list does not
    say when that was, after the list was last found to have it. The list is asked for again after ``every_hours`` at the earliest.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    source: str | None = None
    enabled: bool = True
    kind: Literal["indicator", "warning"] | None = None
    meaning: str | None = None
    confidence: Percent | None = None
    expires_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] | None = None
    every_hours: Annotated[float, msgspec.Meta(ge=0, le=8_760)] | None = None


class IntelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The lists, whether those that came with outwatch are ``shipped`` beside them, and what protects from poisoned and broken ones.

    An entry wider than ``widest_v4`` or ``widest_v6`` (prefix lengths) is left out; a list that covers more than ``share`` of all addresses
    (``warning_share`` if it says what is well known), or that has lost ``shrunk`` of its entries since the last time, is refused, as is one
    larger than ``most_mib``, longer than ``most_lines``, or that grows more than ``ratio``-fold when it is decompressed.
    """

    lists: tuple[ListConfig, ...] = ()
    shipped: bool = True
    widest_v4: Annotated[int, msgspec.Meta(ge=0, le=32)] = 8
    widest_v6: Annotated[int, msgspec.Meta(ge=0, le=128)] = 16
    share: Share = 0.05
    warning_share: Share = 0.25
    shrunk: Share = 0.9
    most_mib: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    most_lines: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 10_000_000
    ratio: Annotated[float, msgspec.Meta(ge=2, le=10_000)] = 100.0
    seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 120.0
