"""Lists whose facts have headings: CSV with a header line, and JSON objects.

The headings are those of abuse.ch (URLhaus, ThreatFox, Feodo Tracker, SSLBL), of Spamhaus DROP, and what others call the same things.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self

from outwatch.intel.formats.facts import moment, note, percent
from outwatch.intel.formats.ledger import Ledger
from outwatch.intel.formats.sieve import Said

_VALUES = frozenset([
    "address", "cidr", "dest_ip", "destination_ip", "domain", "domain_name", "dst_ip", "dstip", "fqdn", "host", "hostname", "indicator",
    "ioc", "ioc_value", "ip", "ip_address", "ip_dst", "ip_prefix", "ip_range", "ip_src", "ipaddr", "ipaddress", "ipv4", "ipv4prefix",
    "ipv6", "ipv6_prefix", "ipv6prefix", "netblock", "network", "prefix", "range", "src_ip", "srcip", "subnet", "url", "urls", "value",
])  # fmt: skip
_FIRST = ("first_seen", "first_seen_utc", "firstseen", "first_seen_at", "dateadded", "date_added", "listingdate", "created", "created_at")
_LAST = ("last_seen", "last_seen_utc", "lastseen", "last_online", "last_seen_at", "updated", "updated_at", "modified")
_EXPIRES = ("expires", "expiration", "expiry", "expires_at", "valid_until")
_CONFIDENCE = ("confidence", "confidence_level")
_NOTES = (
    "malware_printable", "malware", "malware_family", "threat", "threat_type", "listingreason", "reason", "description", "comment", "sblid",
    "tags",
)  # fmt: skip
_DELIMITERS = ",;\t|"
_NOT_WORDS = re.compile(r"[^a-z0-9]+")
_UNSAID = frozenset({"", "none", "null", "n/a", "-"})
_LONGEST_HEADING = 40
_MOST_NOTES = 2
_BESIDE = frozenset([
    *_FIRST, *_LAST, *_EXPIRES, *_CONFIDENCE, *_NOTES, "asn", "country", "date", "dst_port", "dstport", "id", "ioc_type", "port", "type",
])  # fmt: skip
"""Headings one of which a header has beside that of its indicators: else a sentence with a comma would be one."""


def heading(text: str) -> str:
    """Give a heading in one spelling: ``DstIP`` is ``dstip``, ``"First Seen"`` is ``first_seen``."""
    return _NOT_WORDS.sub("_", text.strip().lower()).strip("_") if len(text) <= _LONGEST_HEADING else ""


def said_of(row: Mapping[str, object], line: int | None) -> Said | None:
    """Read facts by their headings; ``None`` if none of them is an indicator. The first that is one counts."""
    return _Layout(tuple(row)).said(tuple(row.values()), line)


class _Layout:
    """Which of many facts say what."""

    def __init__(self, headings: tuple[str, ...]) -> None:
        at = {name: place for place, name in reversed([*enumerate(headings)])}
        self._values = sorted(at[name] for name in at.keys() & _VALUES)
        self._first, self._last, self._expires, self._confidence, self._notes = (
            tuple(at[name] for name in names if name in at) for names in (_FIRST, _LAST, _EXPIRES, _CONFIDENCE, _NOTES)
        )
        self.known = bool(self._values) and bool({*headings} & _BESIDE)

    def said(self, row: Sequence[object], line: int | None) -> Said | None:
        """Read a row; one that is too short says nothing of what it lacks."""
        if (text := _first_text(row, self._values)) is None:
            return None
        notes = [value for at in self._notes if (value := _first_text(row, (at,))) is not None]
        return Said(
            line,
            text,
            _first_of(percent, row, self._confidence),
            _first_of(moment, row, self._first),
            _first_of(moment, row, self._last),
            _first_of(moment, row, self._expires),
            note(*notes[:_MOST_NOTES]) if notes else None,
        )


def _first_text(row: Sequence[object], places: Iterable[int]) -> str | None:
    for at in places:
        value = row[at] if at < len(row) else None
        if isinstance(value, str) and value.strip().lower() not in _UNSAID:
            return value
    return None


def _first_of(read: Callable[[object], int | None], row: Sequence[object], places: Iterable[int]) -> int | None:
    for at in places:
        if at < len(row) and (found := read(row[at])) is not None:
            return found
    return None


class Columns:
    """The header of a CSV list."""

    def __init__(self, header: list[str], layout: _Layout, delimiter: str) -> None:
        """Take the fields of the header and what they mean."""
        self._header, self._layout, self._delimiter = header, layout, delimiter

    @classmethod
    def of(cls, line: str) -> Self | None:
        """Understand a header, which may stand in a comment (``# "id","dateadded","url"``); ``None`` if the line is none."""
        text = line.lstrip("#;!/ ").strip()
        delimiter = max(_DELIMITERS, key=text.count)
        if delimiter not in text:
            return None
        header = _fields(text, delimiter)
        layout = _Layout(tuple(heading(field) for field in header))
        return cls(header, layout, delimiter) if layout.known else None

    def fields(self, line: str) -> list[str] | None:
        """Cut a line below the header; ``None`` if it is no row."""
        fields = _fields(line, self._delimiter) if self._delimiter in line else []
        return fields if len(fields) > 1 else None

    def row(self, fields: list[str], number: int, line: str, ledger: Ledger) -> Iterator[Said]:
        """Read a row: the header again says nothing, and one without an indicator is counted as broken."""
        said = self._layout.said(fields, number)
        if said is None:
            ledger.break_(number, line, "no column of it holds an address, network or name")
        elif fields != self._header:
            yield said


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader((line,), delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []
