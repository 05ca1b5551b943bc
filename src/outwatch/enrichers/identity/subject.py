"""The name of a program across runs (``outwatch.subject``): the same after a restart and an update, and different for different programs.

It is made of what a record says itself, so the same facts always give the same name (``docs/decisions/0015-identity.md``).
"""

import re

from outwatch.enrichers.identity.paths import normalised
from outwatch.enrichers.identity.units import Place
from outwatch.model.programs import marked
from outwatch.model.records import FileState, Script

_FLATPAK_UNIT = re.compile(r"app-flatpak-(.+?)(?:-\d+)?\.scope\Z")
_ODD = re.compile(r"[*#]|\\(?=x[0-9a-f]{2})| (?=\w+:)")  # what has a meaning of its own in a subject


def subject_of(executable: str, state: FileState | None, script: Script | None, place: Place, sha256: str | None = None) -> str:
    """Name a program by the ``executable``'s path, what is odd about its file, what it was told to run and where it is kept.

    Where the path is not the file that runs, the name says so and ends in the beginning of its checksum, once that is known: such a
    path could be anybody's.
    """
    path = _escaped(executable)
    if state in {None, "other_namespace"}:
        path = normalised(path)
    name = path if state is None else _elsewhere(path, state, place)
    if script is not None and script.kind is not None:
        name += f" {script.kind}:{_named(script)}"
        name += "".join(f" with:{normalised(_escaped(one))}" for one in script.loads or ())
    return marked(name, sha256) if sha256 else name


def _elsewhere(path: str, state: FileState, place: Place) -> str:
    """Name a program whose path does not lead to its file."""
    if state == "other_namespace" and (place.container is not None or place.pod is not None):
        return f"container{_whose(place)}:{path}"
    flatpak = _FLATPAK_UNIT.match(place.user_unit or "") if state == "other_namespace" else None
    if flatpak is not None:
        return f"flatpak{_whose(place)}:{flatpak[1]}{path}"
    return path.removeprefix("/") if state == "memfd" else f"{state}:{path}"


def _whose(place: Place) -> str:
    """Say which user's own word a container is, if not the system's."""
    return f"@{place.user}" if place.user is not None else ""


def _named(script: Script) -> str:
    name = _escaped(script.name or "")
    return normalised(name) if script.kind in {"script", "jar", "class", "program"} else name


def _escaped(text: str) -> str:
    r"""Escape what could be taken for a part of a subject that we write (``\x2a``)."""
    return _ODD.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
