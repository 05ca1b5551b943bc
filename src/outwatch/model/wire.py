r"""Records to and from JSON lines (``docs/reference/records.md``).

A line is one JSON object (RFC 8259) in UTF-8 without raw control, bidirectional or line-breaking characters: those
are written as ``\uNNNN``. Times carry microseconds always.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, cast

import msgspec

from outwatch.guard.text import cleaned, printable
from outwatch.model.records import EventsLost, Judged, Process, Record, Summary

MOST = 1 << 20
"""Bytes that one line may have; a longer one is refused (THREATS: at most 1 MB an input)."""

MOST_PARENTS = 64
"""Processes that one record may name, from the one that holds the connection upwards."""

OTHER_KINDS = frozenset({"alert", "hunt"})
"""Kinds of the contract that are no observation and are passed over when a recording is read."""

# What msgspec leaves raw although a terminal or a line reader acts on it: DEL, C1, bidirectional and zero-width marks, separators.
_RAW_RANGES = (
    "\x7f\x9f\u061c\u061c\u180e\u180e\u200b\u200f\u2028\u202e\u2060\u2069\ufeff\ufeff\ufff9\ufffb\U000e0000\U000e007f"  # first, last
)
_RAW = re.compile(f"[{''.join(f'{first}-{last}' for first, last in zip(_RAW_RANGES[::2], _RAW_RANGES[1::2], strict=True))}]")
_PLAIN = bytes(range(0x7F))
_TEXT_LIMIT = MOST
_TOGETHER = 256  # records that are written in one go

_NOTHING, _MICROSECONDS, _UTC = 0, 1, 2  # what the times of a record need
_TIMES = frozenset({"@timestamp", "start", "end", "first_seen", "last_seen", "checked_at", "from", "until"})
# Such a key can't stand inside of a string, where its quotes would be escaped.
_WHOLE_SECOND = re.compile(rb'("(?:@timestamp|start|end|first_seen|last_seen|checked_at|from|until)":"[-0-9T:]{19})Z"')

# Lists of branches, and the keys that such a branch is nothing without.
_NEEDED: dict[str, frozenset[str]] = {
    "names": frozenset({"name"}),
    "reasons": frozenset({"detector", "points", "reason"}),
    "reputation": frozenset({"provider", "state"}),
    "indicators": frozenset({"list", "entry"}),
    "warnings": frozenset({"list", "entry"}),
}

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class WireError(ValueError):
    """A line that is no record; the text says what is wrong with it, ready to be shown."""


def encode(record: Record) -> bytes:
    """Write a record as one line, without the line break."""
    try:
        need = _need(record)
        if need == _UTC or (need and _has_own_times(record)):
            line = _encode_slowly(record)
        else:
            line = _encoder.encode(record)
            if need:
                line = _WHOLE_SECOND.sub(rb'\1.000000Z"', line)
    except UnicodeEncodeError:
        line = _encode_slowly(record)
    return line if _is_harmless(line) else line.decode("utf-8").translate(_escapes()).encode("utf-8")


def encode_lines(records: Sequence[Record]) -> bytes:
    """Write records as lines, each with its line break: what ``encode`` writes, in one go where nothing is special about them."""
    checked: set[int] = set()
    try:
        if not any(_need(record, checked) for record in records):
            lines = _encoder.encode_lines(records)
            if _is_harmless(lines):
                return lines
    except UnicodeEncodeError:
        pass
    return b"".join([encode(record) + b"\n" for record in records])


def _is_harmless(line: bytes) -> bool:
    """Tell whether nothing in valid UTF-8 must be escaped."""
    if line.isascii():
        return b"\x7f" not in line
    return not _RAW.search(line.translate(None, _PLAIN).decode("utf-8"))  # of what is not plain there is little


def document(records: Iterable[Record], summary: Summary) -> bytes:
    """Write one JSON document (``--json``): the records and the summary."""
    return b"".join(document_pieces(records, summary))


def document_pieces(records: Iterable[Record], summary: Summary) -> Iterator[bytes]:
    """Yield the same document piece by piece."""
    yield b'{"schema":"outwatch/1","records":[\n'
    between = b""
    for some in together(records):
        # No line break stands raw within a line.
        yield between + encode_lines(some)[:-1].replace(b"\n", b",\n")
        between = b",\n"
    yield b'\n],"summary":' + encode(summary) + b"}"


def together(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Yield records some at a time, for ``encode_lines``: a whole picture in one piece would take its size in memory again."""
    rest = iter(records)
    while some := list(islice(rest, _TOGETHER)):
        yield some


def decode(line: bytes) -> Record | None:
    """Read one line; ``None`` for a kind of the contract that is no observation. ``WireError`` if it is no record.

    Empty strings count as unknown, lone surrogates and undecodable bytes are escaped, times are turned to UTC; keys that
    the contract does not name are passed over.
    """
    if len(line) > MOST:
        raise WireError(f"longer than {MOST} bytes")
    try:
        record: Record = _decoder.decode(line)
        if _need(record) != _UTC:
            return record
    except (ValueError, RecursionError):
        pass  # mended below, or refused there with its reason
    try:
        return _decode_slowly(line)
    except RecursionError as error:
        raise WireError("nested too deeply") from error
    except ValueError as error:
        raise WireError(printable(str(error))) from error


def _decode_slowly(line: bytes) -> Record | None:
    """Read a line that needs mending; ``ValueError`` if it can't be."""
    try:
        tree = json.loads(line.decode("utf-8", "surrogateescape"), parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise WireError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    if not isinstance(tree, dict):
        raise WireError("not a JSON object")
    if isinstance(tree.get("kind"), str) and tree["kind"] in OTHER_KINDS:
        return None
    record: Record = msgspec.convert(_mended(tree), Record, strict=True)
    return _in_utc(record) if _need(record) == _UTC else record


def _no_number(text: str) -> None:
    raise WireError(f"{text} is no number of JSON")


def _mended(value: object) -> Any:
    """Give valid text everywhere and drop what is unknown: empty strings, null, and branches in lists that need them."""
    if isinstance(value, dict):
        mended = {cleaned(str(key)): _mended(item) for key, item in value.items() if item is not None and item != ""}
        for name, needed in _NEEDED.items():
            if isinstance(mended.get(name), list):
                mended[name] = [item for item in mended[name] if not isinstance(item, dict) or needed <= item.keys()]
        if mended.get("attribution") == {}:
            del mended["attribution"]
        return mended
    if isinstance(value, list):
        return [_mended(item) for item in value]
    return cleaned(value, 6 * _TEXT_LIMIT) if isinstance(value, str) else value


def _need(record: Record, checked: set[int] | None = None) -> int:
    """Say what the times of a record need before they stand on the wire as the contract has them.

    Processes ``checked`` before need nothing.
    ``_NOTHING``, ``_MICROSECONDS`` (one is a whole second) or ``_UTC`` (one is in another zone). ``WireError`` if the record has more
    parents than can be written again.
    """
    need = _NOTHING
    for time in _times(record, checked):
        if time is not None:
            if time.tzinfo is not UTC:
                return _UTC
            if not time.microsecond:
                need = _MICROSECONDS
    return need


def _times(record: Record, checked: set[int] | None) -> list[datetime | None]:
    if not isinstance(record, Judged):
        if isinstance(record, EventsLost):
            return [record.from_, record.until]
        return [record.event.start, record.event.end] if record.event else []
    event, process, findings = record.event, record.process, record.outwatch
    times = [record.timestamp, event.start, event.end, findings.last_seen]
    if process is not None and (checked is None or id(process) not in checked):
        _add_times_of(process, times)
        if checked is not None:
            checked.add(id(process))
    if findings.changed:
        times += [findings.changed.first_seen, findings.changed.last_seen]
    for user in findings.shared_with or ():
        _add_times_of(user, times)
    if findings.reputation:
        times += [one.checked_at for one in findings.reputation]
    for listed in (*(findings.indicators or ()), *(findings.warnings or ())):
        times += [listed.first_seen, listed.last_seen]
    return times


def _add_times_of(process: Process, times: list[datetime | None]) -> None:
    """Add the times of a process and of those that it descends from; ``WireError`` if they are too many."""
    one: Process | None = process
    depth = 0
    while one is not None:
        times.append(one.start)
        one, depth = one.parent, depth + 1
        if depth > MOST_PARENTS:
            raise WireError("nested too deeply")


def _in_utc(record: Record) -> Record:
    """Turn every time to UTC; ``WireError`` for one that lies outside of the calendar then."""
    tree = msgspec.to_builtins(record, builtin_types=(datetime,))
    again: Record = msgspec.convert(_times_in_utc(tree), Record, strict=True, builtin_types=(datetime,))
    return again


def _times_in_utc(value: object) -> Any:
    if isinstance(value, datetime):
        try:
            return value.astimezone(UTC)
        except OverflowError as error:
            raise WireError("a time lies outside of the calendar") from error
    if isinstance(value, dict):
        return {key: _times_in_utc(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_times_in_utc(item) for item in value]
    return value


def _has_own_times(record: Record) -> bool:
    """Tell whether evidence uses a key that holds times elsewhere, so that its text must not be taken for one."""
    reasons = record.outwatch.reasons if isinstance(record, Judged) else None
    return any(not _TIMES.isdisjoint(reason.evidence) for reason in reasons or ())


def _encode_slowly(record: Record) -> bytes:
    """Encode a record that has a time in another zone or text that is not valid Unicode somewhere."""
    tree = msgspec.to_builtins(record, builtin_types=(datetime,))
    return _encoder.encode(_spelled(tree))


def _spelled(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    if isinstance(value, dict):
        return {cleaned(key, 6 * len(key) + 6): _spelled(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_spelled(item) for item in value]
    return cleaned(value, 6 * len(value) + 6) if isinstance(value, str) else value


@cache
def _escapes() -> dict[int, str]:
    """Spell each character of ``_RAW`` as JSON's escapes (RFC 8259, 7); a table, for somebody may use nothing but these."""
    ranges = zip(_RAW_RANGES[::2], _RAW_RANGES[1::2], strict=True)
    return {code: _escape(chr(code)) for first, last in ranges for code in range(ord(first), ord(last) + 1)}


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
