"""The one way from hostile text to a screen, a log or a cell.

Names, command lines and domains are chosen by whoever is being watched. ``cleaned`` makes any text valid Unicode once,
at the edge where it comes in; ``printable`` makes it harmless where people or terminals read it.
"""

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
# Letters and symbols, says Unicode, and yet nothing is seen of them: Hangul fillers, the empty Braille pattern, the joiner.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_FIRST_RAW_BYTE = 0xDC80  # PEP 383: an undecodable byte b is carried as U+DC00 + b
_LAST_RAW_BYTE = 0xDCFF


def cleaned(text: str | bytes, limit: int = 4096) -> str:
    r"""Make ``text`` valid Unicode of at most ``limit`` characters, losing nothing silently.

    Undecodable bytes become ``\xNN``, lone surrogates ``\uNNNN``; what is too long ends in ``…``. Control characters stay:
    a record is data, and its encoder escapes them.
    """
    if isinstance(text, bytes):
        text = text[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() or not _SURROGATE.search(text):
        return text
    escaped = _SURROGATE.sub(_escape_surrogate, text)
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def printable(text: str, limit: int = 300) -> str:
    r"""Make ``text`` safe to show: one line, no control, format, bidirectional or invisible characters.

    Everything that Python does not call printable (Unicode categories C* and Z* but the space) is shown escaped, as ``\x1b`` or
    ``\u202e``; a text of more than ``limit`` characters ends in ``…``.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character.isprintable() and character not in _BLANK else _escape(character) for character in text)


def _escape_surrogate(match: re.Match[str]) -> str:
    code = ord(match.group())
    if _FIRST_RAW_BYTE <= code <= _LAST_RAW_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}"


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:  # noqa: PLR2004 - the widths of Python's own escapes
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004
