"""Patterns of STIX 2.1 (its part 9): the addresses, names and URLs each of which, seen by itself, fulfils one.

``[ipv4-addr:value = '198.51.100.7'] OR [domain-name:value IN ('a.example', 'b.example')]``. Where something else must be seen too (``AND``,
``FOLLOWEDBY``), nothing is given, with the exception of ports and protocols: an indicator of an address and its port is one of the address.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_LONGEST = 100_000  # characters
_DEEPEST = 20  # brackets within brackets
_MOST_TOKENS = 20_000
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<path>[a-z0-9-]+:[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+|\.'[^'\\]*'|\[(?:\*|\d+)\])*)
      | (?P<text>[thb]?'(?:[^'\\]|\\.)*')
      | (?P<sign>!=|<=|>=|[][()=<>,])
      | (?P<word>[A-Za-z0-9_.+:-]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_VALUES = re.compile(r"(?:ipv4-addr:value|ipv6-addr:value|domain-name:value|url:value|network-traffic:(?:dst|src)_ref\.value)\Z")
_DETAILS = re.compile(r"network-traffic:(?:(?:dst|src)_ref\.type|(?:dst|src)_port|protocols(?:\[(?:\*|\d+)\])?|is_active)\Z")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_QUALIFIERS = {"WITHIN": 2, "REPEATS": 2, "START": 1, "STOP": 1}  # how many tokens follow


class PatternUnusable(Exception):
    """A pattern that can't be read, or is too large."""


class _Part(NamedTuple):
    """What a part of a pattern comes to: ``values`` each of which suffices. A ``detail`` limits another part; else none suffices alone."""

    values: tuple[str, ...] = ()
    detail: bool = False


_UNUSABLE = _Part()


def indicators(pattern: str) -> tuple[str, ...]:
    """Give what suffices by itself to fulfil a pattern, in its order; ``PatternUnusable`` if it is no pattern."""
    if len(pattern) > _LONGEST:
        raise PatternUnusable("its pattern is too long")
    return _Reader(list(_tokens(pattern))).whole().values


def _tokens(pattern: str) -> Iterator[tuple[str, str]]:
    at = 0
    end = len(pattern.rstrip())
    for _ in range(_MOST_TOKENS):
        if at >= end:
            return
        found = _TOKEN.match(pattern, at)
        if found is None:
            raise PatternUnusable("its pattern can't be read")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        at = found.end()
    raise PatternUnusable("its pattern is too long")


class _Reader:
    """Reads tokens by the rules of the grammar: ``OR`` binds less than ``AND``, ``FOLLOWEDBY`` least; they differ only in what suffices."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    def whole(self) -> _Part:
        part = self._expression(0, observed=False)
        if self._at < len(self._tokens):
            raise PatternUnusable("its pattern can't be read")
        return part

    def _expression(self, depth: int, *, observed: bool) -> _Part:
        """Read parts joined by operators: comparisons within brackets (``observed``), or the brackets themselves."""
        if depth > _DEEPEST:
            raise PatternUnusable("its pattern is nested too deeply")
        followed = False
        alternatives = [[self._operand(depth, observed=observed)]]
        while (word := self._word()) in {"AND", "OR", "FOLLOWEDBY"}:
            self._at += 1
            followed = followed or word == "FOLLOWEDBY"
            part = self._operand(depth, observed=observed)
            if word == "OR":
                alternatives.append([part])
            else:
                alternatives[-1].append(part)
        return _UNUSABLE if followed else _either([_together(parts) for parts in alternatives])

    def _operand(self, depth: int, *, observed: bool) -> _Part:
        if self._sign("("):
            part = self._expression(depth + 1, observed=observed)
            self._require(")")
        elif observed:
            return self._comparison()
        else:
            self._require("[")
            part = self._expression(depth + 1, observed=True)
            self._require("]")
        while not observed and (word := self._word()) in _QUALIFIERS:
            self._at += 1 + _QUALIFIERS[str(word)]
            if word == "REPEATS":
                part = _UNUSABLE
        return part

    def _comparison(self) -> _Part:
        denied = self._skip("NOT")
        if self._skip("EXISTS"):
            self._next("path")
            return _UNUSABLE
        path = self._next("path")
        denied = self._skip("NOT") or denied
        _, operator = self._any()
        values = self._values()
        if _DETAILS.match(path):
            return _Part(detail=True)
        usable = _VALUES.match(path) and operator in {"=", "==", "IN", "ISSUBSET"} and not denied
        return _Part(tuple(values)) if usable else _UNUSABLE

    def _values(self) -> list[str]:
        if not self._sign("("):
            return [_unquoted(self._any()[1])]
        values = [_unquoted(self._any()[1])]
        while self._sign(","):
            values.append(_unquoted(self._any()[1]))
        self._require(")")
        return values

    def _any(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise PatternUnusable("its pattern breaks off")
        self._at += 1
        return self._tokens[self._at - 1]

    def _next(self, kind: str) -> str:
        found, text = self._any()
        if found != kind:
            raise PatternUnusable("its pattern can't be read")
        return text

    def _word(self) -> str | None:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return text.upper() if kind == "word" else None

    def _skip(self, word: str) -> bool:
        found = self._word() == word
        self._at += found
        return found

    def _sign(self, sign: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign)
        self._at += found
        return found

    def _require(self, sign: str) -> None:
        if not self._sign(sign):
            raise PatternUnusable("its pattern can't be read")


def _together(parts: list[_Part]) -> _Part:
    """Join parts that must all be seen: details limit what one of them says, and nothing more."""
    said = [part for part in parts if not part.detail]
    if not said:
        return _Part(detail=True)
    return said[0] if len(said) == 1 else _UNUSABLE


def _either(parts: list[_Part]) -> _Part:
    """Join parts of which each suffices."""
    return parts[0] if len(parts) == 1 else _Part(tuple(value for part in parts for value in part.values))


def _unquoted(text: str) -> str:
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith("'") else text
