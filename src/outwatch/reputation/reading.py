"""What all providers need to read a reply: typed JSON or ``ReplyUnusable``, and texts cleaned and bounded.

A service passes on what others wrote: names of networks, tags, reverse names. It may also be broken, or not be the service at all.
"""

import re
from collections.abc import Iterable
from typing import Annotated, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from outwatch.errors import ReplyUnusable
from outwatch.guard.text import cleaned
from outwatch.model.records import AutonomousSystem, Geo, Organization
from outwatch.model.reputation import Indicator, LookupReply
from outwatch.net.addresses import parse

NO_CONTENT, NOT_FOUND = 204, 404
MINUTE, DAY, WEEK = 60.0, 86_400.0, 604_800.0

Engines = Annotated[int, msgspec.Meta(ge=0, le=10_000)]
"""How many engines say something; there are about a hundred."""
Reports = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
AsNumber = Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]  # RFC 6793

_Kind = TypeVar("_Kind")
_HIGHEST_AS, _AS_DIGITS = 0xFFFFFFFF, 10
_MOST_TAGS, _LONGEST_TAG, _LONGEST_NAME = 16, 64, 120
_COUNTRY = re.compile(r"[A-Z]{2}\Z")
_AS = re.compile(r"AS([0-9]+)(?:\s+(.+))?\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f]+")


class AnyObject(msgspec.Struct, frozen=True):
    """Any JSON object."""


def decoded(body: bytes, kind: type[_Kind]) -> _Kind:
    """Read JSON as ``kind``, which names the keys that matter; ``ReplyUnusable`` if it is anything else."""
    text = body.lstrip()
    if not text:
        raise ReplyUnusable("empty reply")
    if text.startswith(b"<"):
        raise ReplyUnusable("HTML instead of JSON")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        raise ReplyUnusable("the reply is not what the service documents") from None
    except (ValueError, RecursionError):  # broken, truncated, no UTF-8; nested beyond reason
        raise ReplyUnusable("broken JSON") from None


def no_data(reply: LookupReply, not_found: type[msgspec.Struct] = AnyObject) -> bool:
    """Tell whether the status says that the service knows nothing; ``ReplyUnusable`` for a 404 that is neither bare nor ``not_found``."""
    if reply.status == NOT_FOUND and reply.body.strip():
        decoded(reply.body, not_found)
    return reply.status in {NO_CONTENT, NOT_FOUND}


def about(indicator: Indicator, told: str | None) -> None:
    """Raise ``ReplyUnusable`` if a reply names another indicator than the one asked for; one that names none is taken."""
    if told is None:
        return
    if indicator.kind == "ip":
        address = parse(told)
        same = address is not None and address == parse(indicator.value)
    else:
        same = told.rstrip(".").lower() == indicator.value
    if not same:
        raise ReplyUnusable("the reply speaks of something else")


def one_line(text: str | None, longest: int = _LONGEST_NAME) -> str | None:
    """Clean a name that somebody chose: one line, bounded; ``None`` if nothing is left."""
    if text is None:
        return None
    return cleaned(_CONTROL.sub(" ", text[: 4 * longest]).strip(), longest) or None


def tags(texts: Iterable[str | None]) -> tuple[str, ...] | None:
    """Clean tags: each once, the first of them; ``None`` for none."""
    found: dict[str, None] = {}
    for text in texts:
        tag = one_line(text, _LONGEST_TAG)
        if tag is not None:
            found[tag] = None
        if len(found) == _MOST_TAGS:
            break
    return tuple(found) or None


def geo(country: str | None) -> Geo | None:
    """Give the place for a country's two letters; ``None`` for anything else."""
    code = (country or "").upper()
    return Geo(country_iso_code=code) if _COUNTRY.match(code) else None


def network(number: int | None, organization: str | None) -> AutonomousSystem | None:
    """Give the network of an address as far as it is known."""
    runs = one_line(organization)
    if not number and runs is None:
        return None
    return AutonomousSystem(number=number or None, organization=Organization(name=runs) if runs else None)


def as_and_name(text: str | None) -> tuple[int | None, str | None]:
    """Read ``AS64500 Example Networks``, or the number alone; ``ReplyUnusable`` for a number that no network has."""
    found = _AS.match((text or "").strip())
    if found is None:
        return None, text or None
    digits = found[1].lstrip("0")
    if len(digits) > _AS_DIGITS or int(digits or "0") > _HIGHEST_AS:
        raise ReplyUnusable("the reply is not what the service documents")
    return int(found[1]), found[2]


def below(base_url: str | None, version: str) -> str:
    """Give the path that comes before all others: ``version`` (``/api/v3``), or nothing if the configured base URL ends with it."""
    return "" if base_url is not None and urlsplit(base_url).path.rstrip("/").endswith(version) else version


def step(value: str) -> str:
    """Spell an indicator as one step of a path."""
    return quote(value, safe=":", errors="backslashreplace")
