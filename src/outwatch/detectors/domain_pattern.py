"""Names that deserve a look: top-level domains, dynamic DNS, Tor gateways, and the user's own patterns.

Everything is matched on labels: a pattern ``tor`` says nothing about ``store``. The shipped list: ``domain_pattern.toml``.
"""

import re
import tomllib
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar, Literal

import msgspec

from outwatch.engine.verdict import POINTS
from outwatch.errors import RuleError
from outwatch.guard.text import cleaned, printable
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.records import Detection, Family, Judged, asked_name
from outwatch.net import domains

_LONGEST = 300  # characters; a name of the DNS has at most 253
_REMEMBERED = 16_384
_RE2_MEMORY = 8 << 20
_Texts = str | tuple[str, ...]
_CLAIMED = frozenset({"ptr"})  # names that whoever runs an address writes as they like: they count when confirmed


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pattern: exactly one of ``tld``, ``suffix``, ``label``, ``glob``, ``regex``, each a text or a list.

    ``suffix`` covers a name and all below it; ``label`` one part of a name, exactly. A ``glob`` without a dot is held against each
    label, with one against the whole name. A ``regex`` (RE2) must cover whole labels.
    """

    tld: _Texts = ()
    suffix: _Texts = ()
    label: _Texts = ()
    glob: _Texts = ()
    regex: _Texts = ()
    level: Literal["low", "medium", "high", "critical"] = "medium"
    reason: str = "the name matches a pattern of yours"
    source: str = "configuration"
    techniques: tuple[str, ...] = ()


class DomainPatternConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``defaults``: use the shipped list; ``patterns``: your own; ``ignore``: names, with all below them, to leave alone."""

    defaults: bool = True
    patterns: tuple[Pattern, ...] = ()
    ignore: tuple[str, ...] = ()


class _Index:
    """All patterns, found by what they are about rather than tried one after another."""

    def __init__(self) -> None:
        self.suffixes: dict[str, list[Pattern]] = {}
        self.labels: dict[str, list[Pattern]] = {}
        self.expressions: list[tuple[Callable[[str], Any], str, Pattern]] = []

    def find(self, name: str) -> list[tuple[str, Pattern]]:
        found: list[tuple[str, Pattern]] = []
        rest, dot = name, 0
        while dot >= 0:
            dot = rest.find(".")
            if rest in self.suffixes:
                found += [(f"suffix {rest}" if dot >= 0 else f"tld {rest}", pattern) for pattern in self.suffixes[rest]]
            rest = rest[dot + 1 :]
        if self.labels:
            found += [(f"label {label}", pattern) for label in domains.labels(name) for pattern in self.labels.get(label, ())]
        if self.expressions:
            found += [(text, pattern) for matches, text, pattern in self.expressions if matches(name)]
        return found


class DomainPattern:
    """Judges the names of a destination, or the one that a DNS question asks for."""

    name: ClassVar[str] = "domain_pattern"
    family: ClassVar[Family] = "name"
    needs: ClassVar[frozenset[Field]] = frozenset({"destination.domain"})

    def __init__(self, config: DomainPatternConfig, *, place: Callable[[str, str, str], RuleError]) -> None:
        """Compile the patterns; ``place(key, value, reason)`` makes the error for one that can't be used, kept in ``problems``."""
        self.problems: list[RuleError] = []
        self._index = _Index()
        self._ignored: set[str] = set()
        for at, text in enumerate(config.ignore):
            ignored = domains.canonical(text.removeprefix("*").removeprefix("."))
            if ignored is None:
                self.problems.append(place(f"detectors.domain_pattern.ignore[{at}]", text, f"{printable(text)!r} is no name"))
            else:
                self._ignored.add(ignored)
        if config.defaults:
            for pattern in _shipped():
                self._add(pattern, "", place)
        for at, pattern in enumerate(config.patterns):
            self._add(pattern, f"detectors.domain_pattern.patterns[{at}]", place)
        self._judge = lru_cache(maxsize=_REMEMBERED)(self._judge_name)

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield a reason for each pattern that a name of this record matches."""
        best = asked_name(seen)
        found = self._reasons(best) if best else ()
        for other in seen.outwatch.names or ():
            if other.name != best and (other.confirmed or other.origin not in _CLAIMED):
                found += self._reasons(other.name)
        return found

    def _reasons(self, text: str) -> tuple[Detection, ...]:
        """Judge a name; those no longer than a name can be are remembered."""
        return self._judge(text) if len(text) <= _LONGEST else self._judge_name(text)

    def _judge_name(self, text: str) -> tuple[Detection, ...]:
        text = text if text.isascii() else cleaned(text, 2 * _LONGEST)
        name = domains.canonical(text) or domains.canonical("_".join(text.split()))  # a blank hides nothing
        if name is None or (self._ignored and any(suffix in self._ignored for suffix in domains.suffixes(name))):
            return ()
        found = self._index.find(name)
        if not found:
            return ()
        return tuple(
            Detection(
                detector=self.name,
                family=self.family,
                points=POINTS[pattern.level],
                reason=pattern.reason,
                evidence={"name": name, "pattern": matched},
                techniques=pattern.techniques,
                source=pattern.source,
            )
            for matched, pattern in found
        )

    def _add(self, pattern: Pattern, key: str, place: Callable[[str, str, str], RuleError]) -> None:
        kinds = [kind for kind in ("tld", "suffix", "label", "glob", "regex") if getattr(pattern, kind)]
        if len(kinds) != 1:
            what = "has none" if not kinds else f"has {' and '.join(kinds)}"
            self.problems.append(place(key, "", f"a pattern needs exactly one of tld, suffix, label, glob, regex; this one {what}"))
            return
        kind = kinds[0]
        texts = getattr(pattern, kind)
        for text in [texts] if isinstance(texts, str) else texts:
            problem = self._add_one(kind, text, pattern)
            if problem:
                self.problems.append(place(f"{key}.{kind}", text, problem))

    def _add_one(self, kind: str, text: str, pattern: Pattern) -> str | None:
        """Add one text of a pattern to the index; give the reason if that can't be done."""
        if kind in {"glob", "regex"}:
            if not text.strip():
                return f"a {kind} must not be empty"
            try:
                expression = _glob(text) if kind == "glob" else _on_labels(text)
                self._index.expressions.append((_re2(expression), f"{kind} {text}", pattern))
            except ValueError as error:
                return str(error)
            return None
        name = domains.canonical(text.removeprefix("*").strip("."))
        if name is None or (kind != "suffix" and "." in name):
            return f"{printable(text)!r} is no {kind}"
        (self._index.labels if kind == "label" else self._index.suffixes).setdefault(name, []).append(pattern)
        return None


def _shipped() -> list[Pattern]:
    tree = tomllib.loads(files("outwatch.detectors").joinpath("domain_pattern.toml").read_text("utf-8"))
    return msgspec.convert(tree["patterns"], list[Pattern])


def _on_labels(pattern: str) -> str:
    """Make a user's expression cover whole labels; ``ValueError`` if it is none by itself."""
    _re2(pattern)
    return rf"(?:^|\.)(?:{pattern})(?:\.|$)"


def _glob(text: str) -> str:
    """Turn a glob into an RE2 expression: ``*`` any characters, ``?`` one, ``[abc]`` one of these."""
    any_character = "." if "." in text else r"[^.]"
    body, at = "", 0
    text = text.lower()
    while at < len(text):
        character = text[at]
        end = text.find("]", at + 2) if character == "[" else -1
        if end > 0:
            inside = text[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            dot = "." if "." not in text else ""  # a label has none
            body += "[" + (f"^{dot}{inside[1:]}" if inside.startswith("!") else inside.replace("^", "\\^")) + "]"
            at = end
        else:
            body += {"*": f"{any_character}*", "?": any_character}.get(character) or re.escape(character)
        at += 1
    return rf"\A(?:{body})\z" if "." in text else rf"(?:^|\.)(?:{body})(?:\.|$)"


def _re2(expression: str) -> Callable[[str], Any]:
    """Compile with RE2, whose running time is linear whatever the pattern; ``ValueError`` with its reason if it refuses."""
    import re2  # noqa: PLC0415 - 10 ms that only users of patterns need

    options = re2.Options()
    options.max_mem = _RE2_MEMORY
    options.log_errors = False
    options.case_sensitive = False
    try:
        search: Callable[[str], Any] = re2.compile(expression, options).search
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"RE2 refuses it: {text}") from error
    return search


PART = Part(name="domain_pattern", config=DomainPatternConfig, build=DomainPattern)
