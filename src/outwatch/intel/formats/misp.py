"""Events and warninglists of MISP (its core format: draft-dulaunoy-misp-core-format)."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from outwatch.intel.formats.branches import array, branches, decoded
from outwatch.intel.formats.facts import moment, note
from outwatch.intel.formats.ledger import Ledger
from outwatch.intel.formats.sieve import Said

_ADDRESSES = frozenset(["ip-src", "ip-dst", "domain", "hostname", "url", "uri", "link"])
_PAIRS = frozenset(["ip-src|port", "ip-dst|port", "hostname|port", "domain|ip"])  # of these the first half says it


def event(document: Mapping[str, msgspec.Raw], ledger: Ledger) -> Iterator[Said]:
    """Yield the attributes of an event and its objects that are meant for detection (``to_ids``)."""
    info = decoded(document.get("info"))
    number = 0
    for holder in (document, *map(branches, array(document.get("Object")))):
        for raw in array(holder.get("Attribute")):
            number += 1
            attribute = decoded(raw)
            if isinstance(attribute, dict):
                yield from _attribute(attribute, number, info, ledger)
            else:
                ledger.break_(number, f"attribute {number}", "no object")


def _attribute(attribute: Mapping[str, Any], number: int, info: object, ledger: Ledger) -> Iterator[Said]:
    kind, value = attribute.get("type"), attribute.get("value")
    if not isinstance(kind, str) or kind not in _ADDRESSES | _PAIRS or not isinstance(value, str):
        ledger.pass_over("attributes that are no addresses and names")
        return
    if attribute.get("to_ids") is not True or attribute.get("deleted") is True:
        ledger.pass_over("attributes that are not meant for detection")
        return
    yield Said(
        number,
        value.partition("|")[0] if kind in _PAIRS else value,
        first_seen=moment(attribute.get("first_seen")),
        last_seen=moment(attribute.get("last_seen")) or moment(attribute.get("timestamp")),
        note=note(info, attribute.get("comment")),
    )


def warninglist(document: Mapping[str, msgspec.Raw], ledger: Ledger) -> Iterator[Said]:
    """Yield the entries of a warninglist; those of type ``regex`` are patterns, which name nothing."""
    if decoded(document.get("type")) == "regex":
        raise ledger.refused("is a warninglist of patterns, which outwatch does not use")
    for number, raw in enumerate(array(document.get("list")), 1):
        value = decoded(raw)
        if isinstance(value, str):
            yield Said(number, value)
        else:
            ledger.break_(number, f"item {number}", "no text")
