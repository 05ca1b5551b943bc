"""Lists of indicators in the forms that are in use: what a file is, is told by what stands in it, never by its name."""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from outwatch.intel.entries import Entry
from outwatch.intel.formats import documents, lines
from outwatch.intel.formats.documents import WARNINGLIST
from outwatch.intel.formats.ledger import Bounds, Ledger
from outwatch.intel.formats.sieve import Said, entries
from outwatch.intel.formats.unpacking import unpacked

__all__ = ["WARNINGLIST", "Bounds", "Ledger", "events", "read", "read_event"]

_HEAD = 1 << 16
_BLANK = b"\xef\xbb\xbf \t\r\n\0"
_PAGE = re.compile(rb"<(?:!doctype|!--|\?xml|html|head|body|script|title|meta|div|p\b|h1)", re.IGNORECASE)
_ARRAY = re.compile(rb"\[\s*(?:[\[{\"\]]|\Z)")
_NEXT_OBJECT = re.compile(rb"[^\n]*\}\s*\n\s*\{")


def read(file: BinaryIO, ledger: Ledger) -> Iterator[Entry]:
    """Yield the entries of a seekable file, canonical and counted in the ledger, while it is read.

    ``RuleError`` as soon as the whole list must be refused: a web page, too large, broken compression, and at the end if it is empty,
    can't be understood for the most part, or covers too much. What came before must then not be used.
    """
    yield from read_event(file, ledger)
    ledger.check()


def read_event(file: BinaryIO, ledger: Ledger) -> Iterator[Entry]:
    """Yield what one file of many says, as ``read`` does; whether the list as a whole will do is for the caller to ``check``."""
    yield from entries(_said(unpacked(file, ledger), ledger), ledger)


def events(file: BinaryIO, ledger: Ledger) -> dict[str, int] | None:
    """Give the events that a file lists if it is the manifest of a MISP feed: ``UUID.json`` beside it, by time of change; else ``None``."""
    content = unpacked(file, ledger)
    if not content.peek(_HEAD)[:_HEAD].lstrip(_BLANK).startswith(b"{"):
        return None
    body = content.read(ledger.bounds.most_document + 1)
    if len(body) > ledger.bounds.most_document or _NEXT_OBJECT.match(body.lstrip(_BLANK)):
        return None
    return documents.feed(documents.top(body.strip(_BLANK), ledger))


def _said(content: io.BufferedReader, ledger: Ledger) -> Iterator[Said]:
    head = content.peek(_HEAD)[:_HEAD].lstrip(_BLANK)
    if _PAGE.match(head):
        raise ledger.refused("is a web page, no list")
    if head.startswith(b"{") and _NEXT_OBJECT.match(head):
        return documents.lines(lines.numbered(content, ledger), ledger)
    if head.startswith(b"{") or _ARRAY.match(head):
        body = content.read(ledger.bounds.most_document + 1)
        if len(body) > ledger.bounds.most_document:
            raise ledger.refused(f"is a JSON document of more than {ledger.bounds.most_document >> 20:,} MiB")
        return documents.said(body.strip(_BLANK), ledger)
    ledger.form = "text"
    return lines.said(lines.numbered(content, ledger), ledger)
