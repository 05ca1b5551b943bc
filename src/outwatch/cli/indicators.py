"""How lists, and what they have, are spelled: for people, as tab-separated lines, as JSON."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import msgspec

from outwatch.engine.config import Config
from outwatch.errors import StoreError
from outwatch.guard.text import printable
from outwatch.intel.catalogue import catalogue
from outwatch.intel.formats.values import Name, meaning
from outwatch.intel.index import Index
from outwatch.intel.lists import KnownList
from outwatch.intel.stored import Asked, Contents, Shelf
from outwatch.intel.warninglists import shipped
from outwatch.model.records import Listed

Row = dict[str, Any]
_HEADINGS = ("NAME", "KIND", "ENTRIES", "CONFIDENCE", "CURRENT", "LICENCE", "SOURCE")
_OFFERED_HEADINGS = ("NAME", "KIND", "LICENCE", "AT MOST EVERY", "WHAT IT HOLDS")
_MINUTE_LENGTH = 16  # characters of a time, up to its minute


def described(known: KnownList, shelf: Shelf) -> Row:
    """Say everything of a list that is in force; what is not known is left out."""
    problem = None
    try:
        contents = shelf.contents(known.name)
    except StoreError as error:
        contents, problem = None, error.reason
    asked = shelf.asked(known.name)
    if asked is not None and asked.source != known.source:
        asked = None
    problem = problem or (asked.problem if asked else None)
    row = {
        "name": known.name,
        "kind": known.kind or (contents.kind if contents else None),
        "title": known.title,
        "source": known.shown,
        "licence": known.licence,
        "confidence": known.confidence,
        "every_hours": known.every_hours,
        "expires_days": known.expires_days,
        "set_up_in": known.origin,
        "form": contents.form if contents else None,
        "entries": contents.entries if contents else 0,
        "counts": contents.counts if contents else None,
        "not_used": contents.unused if contents else None,
        "read_at": _rfc3339(contents.read_at) if contents else None,
        "current_at": _current(contents, asked),
        "problem": problem,
    }
    return {key: value for key, value in row.items() if value is not None}


def catalogue_rows(without: Collection[str]) -> list[Row]:
    """Describe the lists of the catalogue, but those that are in force."""
    rows = [{"name": name, **msgspec.to_builtins(offered)} for name, offered in catalogue().items() if name not in without]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def as_document(rows: Sequence[Row], came: Sequence[Row], offered: Sequence[Row]) -> bytes:
    """Spell lists as one JSON document: those set up, those that came with outwatch, and those of the catalogue if they are asked for."""
    return msgspec.json.encode({"lists": rows, "shipped": came, **({"catalogue": offered} if offered else {})})


def as_lines(rows: Sequence[Row], came: Sequence[Row], offered: Sequence[Row]) -> Iterator[str]:
    """Spell lists tab-separated: name, state, kind, entries, confidence, when it was current, licence, source, problem.

    The state is ``set up``, ``shipped`` (came with outwatch) or ``offered`` (of the catalogue); what is not known is ``-``.
    """
    keys = ("kind", "entries", "confidence", "current_at", "licence", "source", "problem")
    for state, some in (("set up", rows), ("shipped", came), ("offered", offered)):
        for row in some:
            yield "\t".join([row["name"], state, *(printable(str(row.get(key, "-")), 500) for key in keys)])


def as_columns(rows: Sequence[Row], came: Sequence[Row], offered: Sequence[Row]) -> Iterator[str]:
    """Spell lists for people, and below each what went wrong with it."""
    cells = [_cells(row) for row in rows]
    if cells:
        heading, *lines = _laid_out([_HEADINGS, *cells])
        yield heading
        for row, line in zip(rows, lines, strict=True):
            yield line
            if "problem" in row:
                yield f"  {printable(row['problem'], 500)}"
    if came:
        entries = sum(row["entries"] for row in came)
        yield from [""] if cells else []
        yield f"{len(came)} lists of well-known things came with outwatch ({entries:,} entries): {', '.join(row['name'] for row in came)}"
    if offered:
        texts = [
            (row["name"], row["kind"], printable(row["licence"]), f"{row['every_hours']:g} h", printable(row["holds"])) for row in offered
        ]
        yield from ["", "Of the catalogue, each one outwatch intel enable NAME away:"]
        yield from _laid_out([_OFFERED_HEADINGS, *texts])


def shipped_rows(without: Collection[str], tell: Callable[[str], None]) -> list[Row]:
    """Describe the lists that came with outwatch, but those that others have taken the place of."""
    index = _shipped(tell)
    rows = [
        {"name": one.name, "kind": one.kind, "title": one.title, "licence": one.licence, "entries": one.entries, "current_at": one.date}
        for one in (index.lists if index is not None else ())
        if one.name not in without
    ]
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def looked_up(value: str, config: Config, tell: Callable[[str], None]) -> Row | None:
    """Look a value up in all lists, as the contract spells it; ``None`` if it is no address, name or URL."""
    found = meaning(value)
    if isinstance(found, IPv4Address | IPv6Address):
        address, name = str(found), None
    elif isinstance(found, Name):
        address, name = None, found.text
    else:
        return None
    matches: list[Row] = []
    warnings: list[Row] = []
    named: set[str] = set()
    for index in _indexes(config, tell):
        hits = index.find(address, name)
        matches += [_match(one) for one in hits.indicators if one.list_ not in named]
        warnings += [_warning(one) for one in hits.warnings if one.list_ not in named]
        named.update(one.name for one in index.lists)
    return {"value": address or name, "matches": matches, "warnings": warnings}


def found_words(found: Row) -> Iterator[str]:
    """Say for people what was found."""
    for one in found["matches"]:
        details = [f"confidence {one['confidence']}"] if one["confidence"] is not None else []
        details += [f"{words} {one[key][:10]}" for key, words in (("first_seen", "first seen"), ("last_seen", "last seen")) if one[key]]
        details += [one["note"]] if "note" in one else []
        yield printable(f"{one['list']}: {one['entry']}" + (f" ({', '.join(details)})" if details else ""), 600)
    for one in found["warnings"]:
        yield printable(f"well known, {one['list']}: {one['entry']}" + (f" ({one['note']})" if "note" in one else ""), 600)
    if not found["matches"]:
        yield f"{printable(found['value'])} is on no list of indicators"


def _indexes(config: Config, tell: Callable[[str], None]) -> Iterator[Index]:
    """Yield the index of the lists that are set up, then those that came with outwatch; of two lists of one name the first counts."""
    path = Shelf(config.state_dir).index_path
    if path.exists():
        yield Index.open(path)
    else:
        tell("no list of indicators is set up; outwatch intel list --catalogue shows some")
    index = _shipped(tell) if config.settings.intel.shipped else None
    if index is not None:
        yield index


def _shipped(tell: Callable[[str], None]) -> Index | None:
    try:
        return shipped()
    except StoreError as error:
        tell(f"the lists that came with outwatch can't be used: {error}")
        return None


def _match(one: Listed) -> Row:
    row = {**_warning(one), "confidence": one.confidence}
    times = {"first_seen": one.first_seen, "last_seen": one.last_seen}
    return {**row, **{key: _rfc3339(when.timestamp()) if when else None for key, when in times.items()}}


def _warning(one: Listed) -> Row:
    row = {"list": one.list_, "entry": one.entry}
    return {**row, "note": one.note} if one.note else row


def _current(contents: Contents | None, asked: Asked | None) -> str | None:
    if contents is None:
        return None
    return _rfc3339(max(contents.read_at, asked.confirmed or 0) if asked else contents.read_at)


def _cells(row: Row) -> tuple[str, ...]:
    current = row.get("current_at")
    return (
        row["name"],
        row.get("kind", "-"),
        f"{row['entries']:,}",
        str(row.get("confidence", "-")),
        current[:_MINUTE_LENGTH].replace("T", " ") if current else "never read",
        printable(row.get("licence", "-")),
        printable(row["source"], 200),
    )


def _laid_out(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lay cells out below each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _rfc3339(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
