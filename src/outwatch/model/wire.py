r"""Records to and from JSON lines (``docs/reference/records.md``).

A line is one JSON object (RFC 8259) in UTF-8 without raw control, bidirectional or line-breaking characters: those
are written as ``\uNNNN``. Times carry microseconds always.
"""

import contextlib
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from outwatch.guard.text import cleaned, printable
from outwatch.model.records import Connection, EventsLost, Question, Record, Summary

MOST = 1 << 20
"""Bytes that one line may have; a longer one is refused (THREATS: at most 1 MB an input)."""

OTHER_KINDS = frozenset({"alert", "hunt"})
"""Kinds of the contract that are no observation and are passed over when a recording is read."""

# What msgspec leaves raw although a terminal or a line reader acts on it: DEL, C1, bidirectional and zero-width marks, separators.
_RAW = re.compile("[\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_TEXT_LIMIT = MOST

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class WireError(ValueError):
    """A line that is no record; the text says what is wrong with it, ready to be shown."""


def encode(record: Record) -> bytes:
    """Write a record as one line, without the line break."""
    try:
        line = _encoder.encode(record) if _has_microseconds(record) else _encode_slowly(record)
    except UnicodeEncodeError:
        line = _encode_slowly(record)
    if line.isascii() and b"\x7f" not in line:
        return line
    return _RAW.sub(_escape, line.decode("utf-8")).encode("utf-8")


def document(records: Iterable[Record], summary: Summary) -> bytes:
    """Write one JSON document (``--json``): the records and the summary."""
    body = b",\n".join(encode(record) for record in records)
    return b'{"schema":"outwatch/1","records":[\n' + body + b'\n],"summary":' + encode(summary) + b"}"


def decode(line: bytes) -> Record | None:
    """Read one line; ``None`` for a kind of the contract that is no observation. ``WireError`` if it is no record.

    Empty strings count as unknown, lone surrogates and undecodable bytes are escaped, times are turned to UTC; keys that
    the contract does not name are passed over.
    """
    if len(line) > MOST:
        raise WireError(f"longer than {MOST} bytes")
    if b'""' not in line:
        with contextlib.suppress(ValueError, RecursionError):
            record: Record = _decoder.decode(line)
            if _in_utc(record):
                return record
    try:
        return _decode_slowly(line)
    except RecursionError as error:
        raise WireError("nested too deeply") from error
    except ValueError as error:
        raise WireError(printable(str(error))) from error


def _decode_slowly(line: bytes) -> Record | None:
    """Read a line that needs mending; ``ValueError`` if it can't be."""
    tree = json.loads(line.decode("utf-8", "backslashreplace"))
    if not isinstance(tree, dict):
        raise WireError("not a JSON object")
    if tree.get("kind") in OTHER_KINDS:
        return None
    record: Record = msgspec.convert(_mended(tree), Record, strict=True)
    return record


def _mended(value: object) -> Any:
    """Give valid text everywhere, drop keys whose value is an empty string, and turn times to UTC."""
    if isinstance(value, dict):
        return {cleaned(str(key)): _mended(item) for key, item in value.items() if item != "" and item is not None}
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, str):
        return _utc(cleaned(value, _TEXT_LIMIT))
    return value


_LOOKS_LIKE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)\Z")


def _utc(text: str) -> str:
    if _LOOKS_LIKE_TIME.match(text) and text[-1] not in "Zz":
        try:
            return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
        except (ValueError, OverflowError):
            return text
    return text


def _rare_times(record: Record) -> list[datetime | None]:
    """Give the times of a record other than those that every connection has."""
    if isinstance(record, EventsLost):
        return [record.from_, record.until]
    if isinstance(record, Summary):
        return [record.event.start, record.event.end] if record.event else []
    found: list[datetime | None] = []
    process = record.process
    while process is not None:
        found.append(process.start)
        process = process.parent
    if record.outwatch.reputation:
        found += [one.checked_at for one in record.outwatch.reputation]
    return found


def _has_microseconds(record: Record) -> bool:
    if isinstance(record, Connection | Question):
        event = record.event
        if not (record.timestamp.microsecond and (event.start is None or event.start.microsecond)):
            return False
        if event.end is not None and not event.end.microsecond:
            return False
    for time in _rare_times(record):  # noqa: SIM110 - twice as fast as all() with a generator
        if time is not None and not time.microsecond:
            return False
    return True


def _in_utc(record: Record) -> bool:
    if isinstance(record, Connection | Question):
        event = record.event
        if record.timestamp.tzinfo is not UTC or (event.start is not None and event.start.tzinfo is not UTC):
            return False
        if event.end is not None and event.end.tzinfo is not UTC:
            return False
    for time in _rare_times(record):  # noqa: SIM110
        if time is not None and time.tzinfo is not UTC:
            return False
    return True


def _encode_slowly(record: Record) -> bytes:
    """Encode a record that has a whole second or text that is not valid Unicode somewhere."""
    tree = msgspec.to_builtins(record, builtin_types=(datetime,))
    return _encoder.encode(_spelled(tree))


def _spelled(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return cleaned(value, len(value) + 1) if isinstance(value, str) else value


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
