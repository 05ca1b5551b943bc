"""What is wrong with a configuration, told so that it can be mended: the key, the nearest right name, the line."""

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec

from outwatch.guard.text import printable

_HEAVIEST = 100  # weight of a detector
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_NO_CHOICE = re.compile(r"Invalid enum value '(?P<value>.*)'", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


def explained(message: str, table: object, kind: type) -> tuple[str, str]:
    """Turn a validation error into the key it is about and a hint."""
    at = _AT.search(message)
    text = message[: at.start()] if at else message
    keys = _steps(at["path"] if at else "", table, kind)
    unknown = _UNKNOWN.match(text)
    if unknown:
        known = _fields_at(kind, keys)
        return _joined([*keys, unknown["name"]]), f"no such key{nearest(unknown['name'], known)}"
    wrong = _NO_CHOICE.match(text)
    choices = _info_at(kind, keys)
    if wrong and isinstance(choices, msgspec.inspect.LiteralType):
        return _joined(keys), f"{printable(wrong['value'])!r} is no choice{nearest(wrong['value'], [str(one) for one in choices.values])}"
    return _joined(keys), printable(text)


def _steps(path: str, table: object, kind: type) -> list[str | int]:
    """Read a path such as ``.a[...].b[1]``; ``[...]`` hides the key of a free table, so the first that does not fit is taken."""
    steps: list[str | int] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path):
        if index == "...":
            info = _info_at(kind, steps)
            value_type = info.value_type if isinstance(info, msgspec.inspect.DictType) else None
            inside = table if isinstance(table, dict) else {}
            found = next((key for key, value in inside.items() if not _fits(value, value_type)), None)
            if found is None:
                break
            steps.append(found)
        else:
            steps.append(int(index) if index else name)
        try:
            table = table[steps[-1]]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            table = None
    return steps


def _fits(value: object, info: object) -> bool:
    """Tell whether a value of a free table is of the kind that the table holds: tables, or numbers."""
    if isinstance(info, msgspec.inspect.DictType):
        return isinstance(value, dict)
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _HEAVIEST


def _info_at(kind: Any, steps: list[str | int]) -> Any:
    """Give the type at a place inside ``kind``, as msgspec describes it."""
    info: Any = msgspec.inspect.type_info(kind)
    for step in steps:
        if isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            info = info.item_type
        elif isinstance(info, msgspec.inspect.DictType):
            info = info.value_type
        elif isinstance(info, msgspec.inspect.StructType):
            info = next((one.type for one in info.fields if one.encode_name == step), None)
        if isinstance(info, msgspec.inspect.UnionType):
            info = next((one for one in info.types if isinstance(one, msgspec.inspect.StructType)), None)
    return info


def _fields_at(kind: Any, steps: list[str | int]) -> list[str]:
    """List the keys that are right at a place inside ``kind``."""
    info = _info_at(kind, steps)
    return [one.encode_name for one in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


def _joined(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def nearest(name: str, known: list[str]) -> str:
    """Name the right key that is most like a wrong one, or all right ones."""
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; right ones: {', '.join(sorted(known))}" if known else ""


def text_of(origin: str) -> str:
    """Read a configuration file for ``line_of``, without its comments; empty if ``origin`` is no file."""
    try:
        return _COMMENT.sub("", Path(origin).read_text("utf-8", "replace"))
    except (OSError, ValueError):
        return ""


def line_of(value: str, text: str) -> int | None:
    """Find the line of a TOML text that holds a value in quotes, in either of TOML's spellings; failing that, anywhere."""
    doubled = value.replace("\\", "\\\\").replace('"', '\\"')
    for spelled in (f'"{doubled}"', f"'{value}'", doubled, value):
        at = text.find(spelled) if value else -1
        if at >= 0:
            return text.count("\n", 0, at) + 1
    return None
