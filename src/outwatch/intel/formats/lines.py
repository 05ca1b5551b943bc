"""Lists that are text: one indicator a line, in any of the forms that are in use, also mixed.

Addresses, networks, ranges and names; ``hosts(5)`` files; rules of ad blockers (``||name^``) and dnsmasq (``address=/name/``); addresses
with a count (ipsum); URLs; CSV below a header. ``#``, ``;``, ``!`` and ``//`` begin comments.
"""

import io
import re
from collections.abc import Iterable, Iterator

from outwatch.intel.formats.columns import Columns
from outwatch.intel.formats.facts import note
from outwatch.intel.formats.ledger import Ledger
from outwatch.intel.formats.sieve import Said
from outwatch.intel.formats.values import meaning
from outwatch.net.addresses import parse, parse_network

_LONGEST_LINE = 1 << 16
_COMMENT = ("#", "!", ";", "//")
_REMARK = re.compile(r"\s[#;]")
_DNSMASQ = re.compile(r"(?:address|server|local)=/(?P<names>.+)/[^/]*\Z", re.IGNORECASE)
_RULE = re.compile(r"\|\|(?P<host>[^/^$|:]+)(?::\d+)?\^?\|?(?:\$(?P<options>.*))?\Z")
_WHOLE = frozenset(
    ["all", "document", "doc", "important", "popup", "third-party", "3p"]
)  # options of rules that still mean all connections
_OTHER_RULE = re.compile(r"\|\|?|@@|(?:[\w.*~,-]+)?(?:#[@?$%]*#|\$@?\$)|/.*/(?:\$.*)?\Z")
_TITLE = re.compile(r"\[(?:adblock|adguard|ublock)[^]]*\]\Z", re.IGNORECASE)
_RANGE = re.compile(r"([0-9a-fA-F.:]+)\s+-\s+([0-9a-fA-F.:]+)(\s.*)?\Z")
_COUNT = re.compile(r"\S+\t\s*([0-9]{1,3})\Z")
_SEPARATED = re.compile(r"[,;|\t]")
_ODD = re.compile(r"[\s,;|#$^@=]|\A/")  # what a line has if it is more than an address, a name or a URL
_NOWHERE = frozenset(["0.0.0.0", "::", "::0", "::1", "0"])  # noqa: S104 - where hosts files send names; and 127.*
_ALWAYS_THERE = re.compile(r"(?:localhost(?:\.localdomain|4|6)?|local|broadcasthost|ip6-\w+|0\.0\.0\.0)\Z", re.IGNORECASE)
_RULES = "rules of ad blockers about more than a name"
_SURE, _FIRST, _EACH = 95, 5, 15  # per cent: of an address that so many lists have (ipsum)


def numbered(file: io.BufferedReader, ledger: Ledger) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers; UTF-8, or UTF-16 with its mark. Lines that are too long are counted as broken."""
    text = io.TextIOWrapper(file, _encoding(file.peek(4)[:4]), errors="backslashreplace")
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if number > ledger.bounds.most_lines:
            raise ledger.refused(f"has more than {ledger.bounds.most_lines:,} lines")
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            ledger.break_(number, line[:100], f"longer than {_LONGEST_LINE:,} characters")
            while (rest := text.readline(_LONGEST_LINE)) and not rest.endswith("\n"):
                pass
            continue
        yield number, line


def _encoding(head: bytes) -> str:
    return "utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"


def said(lines: Iterable[tuple[int, str]], ledger: Ledger) -> Iterator[Said]:
    """Yield what the lines say; those that say nothing understandable are counted in the ledger."""
    columns: Columns | None = None
    for number, line in lines:
        text = line.strip().strip("\0")
        if not text:
            continue
        if text.startswith(_COMMENT):
            columns = Columns.of(text) or columns
            continue
        if columns is not None and (fields := columns.fields(text)):
            yield from columns.row(fields, number, text, ledger)
            continue
        if not _ODD.search(text):
            yield Said(number, text)
            continue
        found = _plain(number, text)
        if found is not None:
            yield from found
        elif (header := Columns.of(text)) is not None:
            columns = header
        elif _OTHER_RULE.match(text):
            ledger.pass_over(_RULES)
        elif not _TITLE.match(text):
            ledger.break_(number, text)


def _plain(number: int, text: str) -> list[Said] | None:
    """Read a line that is more than one word; ``None`` if it can't be understood."""
    text, remark = _without_remark(text)
    hosts = _rule(text)
    if hosts is not None:
        return [Said(number, host, note=remark) for host in hosts]
    if _OTHER_RULE.match(text):
        return None
    between = _RANGE.match(text)
    if between:
        return [Said(number, f"{between[1]}-{between[2]}", note=note(between[3], remark))]
    first, _, rest = text.partition(" ") if "\t" not in text else text.partition("\t")
    names = [name for name in rest.split() if not _ALWAYS_THERE.match(name)]
    if rest and (first in _NOWHERE or first.startswith("127.") or not names):
        return [Said(number, name, note=remark) for name in names]
    return _noted(number, text, remark)


def _noted(number: int, text: str, remark: str | None) -> list[Said] | None:
    """Read an indicator that more is said about."""
    count = _COUNT.match(text)
    words = text.split(None, 1)
    if count and parse(words[0]) is not None:
        return [Said(number, words[0], confidence=min(_SURE, _FIRST + _EACH * int(count[1])), note=remark)]
    if len(words) == 1 and meaning(text) is not None:
        return [Said(number, text, note=remark)]
    if len(words) > 1 and (parse_network(words[0]) is not None or "://" in words[0]):
        return [Said(number, words[0], note=note(words[1], remark))]
    fields = _SEPARATED.split(text, maxsplit=1)
    if len(fields) > 1 and meaning(fields[0]) is not None:
        return [Said(number, fields[0].strip(), note=note(fields[1], remark))]
    return None


def _without_remark(text: str) -> tuple[str, str | None]:
    """Cut off what stands behind ``#`` or ``;`` and a blank."""
    at = _REMARK.search(text)
    return (text[: at.start()].rstrip(), note(text[at.end() :])) if at else (text, None)


def _rule(text: str) -> list[str] | None:
    """Give the names of a rule for an ad blocker or dnsmasq that means all connections to them; ``None`` if it is no such rule."""
    rule = _RULE.match(text)
    if rule:
        return [rule["host"]] if rule["options"] is None or {*rule["options"].lower().split(",")} <= _WHOLE else None
    rule = _DNSMASQ.match(text)
    return [name for name in rule["names"].split("/") if name] if rule else None
