"""Well-known public lists: where they are, on what terms, and how often they may be asked for. Nothing is fetched unless asked."""

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from outwatch.intel.layout import Meaning


class Offered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One list of the catalogue; ``home`` is its page for people, ``holds`` says what stands in it.

    ``meaning`` is what entries of a list of well-known things are.
    """

    title: str
    source: str
    home: str
    licence: str
    holds: str
    every_hours: float
    confidence: int | None = None
    kind: Literal["indicator", "warning"] = "indicator"
    meaning: Meaning | None = None


@cache
def catalogue() -> dict[str, Offered]:
    """Give the lists of the catalogue by their names, in its order."""
    text = resources.files(__package__).joinpath("catalogue.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Offered])
