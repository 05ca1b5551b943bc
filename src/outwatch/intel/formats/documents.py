"""Lists that are JSON: one object a line (Spamhaus DROP), or one document.

Documents are events of MISP, its warninglists, bundles of STIX 2.1, and arrays of texts or of objects, wherever one of their keys is known
(``columns``). They are read whole, item by item; of a document of unknown form every array at its top is tried.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from outwatch.intel.formats.branches import UNUSABLE, array, branches, decoded
from outwatch.intel.formats.columns import heading, said_of
from outwatch.intel.formats.facts import moment, note, percent
from outwatch.intel.formats.ledger import Ledger
from outwatch.intel.formats.misp import event, warninglist
from outwatch.intel.formats.sieve import Said
from outwatch.intel.formats.stix_pattern import PatternUnusable, indicators

WARNINGLIST = "MISP warninglist"

Top = dict[str, msgspec.Raw] | list[msgspec.Raw]
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_MOST_EVENTS = 100_000


class _Kind(msgspec.Struct):
    type: Any = None


def top(body: bytes, ledger: Ledger) -> Top:
    """Decode the outermost level of a document; ``RuleError`` if it is no JSON."""
    try:
        found: Top = msgspec.json.decode(body, type=Top)
    except UNUSABLE as error:
        raise ledger.refused(f"is no whole JSON document ({error})") from error
    return found


def said(body: bytes, ledger: Ledger) -> Iterator[Said]:
    """Yield what a document says."""
    document = top(body, ledger)
    ledger.items = True
    if isinstance(document, list):
        ledger.form = "JSON"
        yield from _items(document, ledger)
    elif "Event" in document or "response" in document:
        ledger.form = "MISP event"
        for one in _events(document, ledger):
            yield from event(one, ledger)
    elif "list" in document and {"name", "matching_attributes", "type", "description"} & document.keys():
        ledger.form = WARNINGLIST
        ledger.warns = True if ledger.warns is None else ledger.warns
        yield from warninglist(document, ledger)
    elif "objects" in document:
        ledger.form = "STIX"
        yield from _items(array(document["objects"]), ledger, others=False)
    else:
        ledger.form = "JSON"
        yield from _unknown(document, ledger)


def lines(numbered: Iterable[tuple[int, str]], ledger: Ledger) -> Iterator[Said]:
    """Yield what JSON lines say; a line of ``"type": "metadata"`` is about the list."""
    ledger.form = "JSON lines"
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            item = msgspec.json.decode(line)
        except UNUSABLE:
            ledger.break_(number, line.strip(), "no JSON")
            continue
        if not (isinstance(item, dict) and item.get("type") == "metadata"):
            yield from _item(item, number, ledger)


def feed(document: Top) -> dict[str, int] | None:
    """Give the events of a MISP feed, with the time of each one's last change, if a document is its manifest."""
    if not isinstance(document, dict) or not document or len(document) > _MOST_EVENTS:
        return None
    found: dict[str, int] = {}
    for name, raw in document.items():
        about = decoded(raw)
        if not _UUID.match(name) or not isinstance(about, dict) or "info" not in about:
            return None
        found[name.lower()] = moment(about.get("timestamp")) or 0
    return found


def _events(document: Mapping[str, msgspec.Raw], ledger: Ledger) -> Iterator[Mapping[str, msgspec.Raw]]:
    """Yield the events of a document: its own, or those of an export."""
    if "Event" in document:
        wrapped = [document["Event"]]
    else:
        wrapped = [inner for raw in array(document["response"]) if (inner := branches(raw).get("Event")) is not None]
    for raw in wrapped:
        inside = branches(raw)
        if inside:
            yield inside
        else:
            ledger.break_(None, "an event", "no object")


def _unknown(document: Mapping[str, msgspec.Raw], ledger: Ledger) -> Iterator[Said]:
    whole = _plain_values(document)
    itself = said_of(whole, 1)
    if itself is not None:
        yield itself
        return
    if whole.get("type") == "indicator":
        yield from _item(whole, 1, ledger)
        return
    arrays = [items for raw in document.values() if (items := array(raw))]
    if not arrays:
        raise ledger.refused("is a JSON document of a form that outwatch does not know")
    for items in arrays:
        yield from _items(items, ledger)


def _items(items: Iterable[msgspec.Raw], ledger: Ledger, *, others: bool = True) -> Iterator[Said]:
    """Yield what the items of an array say; without ``others`` only STIX indicators are looked at."""
    for number, raw in enumerate(items, 1):
        try:
            if not others and msgspec.json.decode(raw, type=_Kind).type != "indicator":
                continue
            item = msgspec.json.decode(raw)
        except UNUSABLE:
            ledger.break_(None, f"item {number}", "no object that can be read")
            continue
        yield from _item(item, number, ledger)


def _item(item: object, number: int, ledger: Ledger) -> Iterator[Said]:
    if isinstance(item, str):
        yield Said(number, item)
    elif isinstance(item, dict) and item.get("type") == "indicator" and isinstance(item.get("pattern"), str):
        yield from _indicator(item, number, ledger)
    elif isinstance(item, dict) and (found := said_of({heading(key): value for key, value in item.items()}, number)) is not None:
        yield found
    else:
        ledger.break_(number, f"item {number}", "no key of it holds an address, network or name")


def _indicator(item: Mapping[str, Any], number: int, ledger: Ledger) -> Iterator[Said]:
    """Read an indicator of STIX 2.1, 4.7."""
    labels = [item[key] for key in ("indicator_types", "labels") if isinstance(item.get(key), list)]
    words = [word for words in labels for word in words if isinstance(word, str)]
    if item.get("revoked") is True or "benign" in words:
        ledger.pass_over("indicators that are revoked or of something harmless")
        return
    if item.get("pattern_type", "stix") != "stix":
        ledger.pass_over("patterns of other languages than STIX")
        return
    try:
        values = indicators(item["pattern"])
    except PatternUnusable as error:
        ledger.break_(number, item["pattern"], str(error))
        return
    if not values:
        ledger.pass_over("patterns about more than an address or a name")
    for value in values:
        yield Said(
            number,
            value,
            confidence=percent(item.get("confidence")),
            first_seen=moment(item.get("valid_from")),
            last_seen=moment(item.get("modified")),
            expires=moment(item.get("valid_until")),
            note=note(item.get("name"), *words[:1]),
        )


def _plain_values(document: Mapping[str, msgspec.Raw]) -> dict[str, object]:
    """Decode the values of an object that are texts or numbers."""
    return {heading(key): decoded(raw) for key, raw in document.items() if memoryview(raw)[:1].tobytes() not in {b"{", b"["}}
