"""Finds parts: by module name in the rooms of this package, by entry point for parts of others.

A part is a module with ``PART = Part(name=…, config=…, build=…)`` (``model/interfaces.py``). A package elsewhere offers the
same object under the entry point group ``outwatch.detectors``, ``outwatch.enrichers`` and so on.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from inspect import signature
from typing import Any, Literal, TypeVar

from outwatch.model.interfaces import Part

Room = Literal["sensors", "enrichers", "lookups", "reputation", "detectors", "sinks"]
_Settings = TypeVar("_Settings")


def names(room: Room) -> list[str]:
    """List the modules and packages of a room, without importing any of them."""
    home = importlib.import_module(f"outwatch.{room}")
    return sorted(module.name for module in pkgutil.iter_modules(home.__path__))


def part(room: Room, module: str) -> Part | None:
    """Import one module of a room and give its part; ``None`` if it offers none and is built by hand."""
    found = getattr(importlib.import_module(f"outwatch.{room}.{module}"), "PART", None)
    return found if isinstance(found, Part) else None


def parts(room: Room, failed: Callable[[str, BaseException], None]) -> list[Part]:
    """Import all parts of a room, then those that other packages offer; one that can't be imported is told to ``failed``."""
    found = {one.name: one for name in names(room) if (one := part(room, name)) is not None}
    for point in offered(f"outwatch.{room}"):
        try:
            theirs = point.load()
        except Exception as error:  # noqa: BLE001 - the fence around other people's packages
            failed(point.name, error)
            continue
        if isinstance(theirs, Part):
            found.setdefault(theirs.name, theirs)
        else:
            failed(point.name, TypeError("its entry point is no outwatch Part"))
    return list(found.values())


def offered(group: str) -> EntryPoints:
    """List what installed packages offer in a group of entry points."""
    found: EntryPoints = _all_offered().select(group=group)
    return found


@cache
def _all_offered() -> Any:  # of another type in Python 3.11 than later
    return entry_points()  # reads a file of every package


def in_order(found: Iterable[tuple[Part, _Settings]]) -> list[tuple[Part, _Settings]]:
    """Put each part behind those that it builds on (``Part.after``), else leave them as they are; a circle stays one."""
    left, ordered = list(found), list[tuple[Part, _Settings]]()
    while left:
        names = {part.name for part, _ in left}
        at = next((at for at, (part, _) in enumerate(left) if names.isdisjoint(part.after)), 0)
        ordered.append(left.pop(at))
    return ordered


def build(part: Part, config: object, offers: Mapping[str, object]) -> Any:
    """Make a part, handing it those of the ``offers`` that it names as keyword arguments."""
    wanted = signature(part.build).parameters
    return part.build(config, **{name: offer for name, offer in offers.items() if name in wanted})
