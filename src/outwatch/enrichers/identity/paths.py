"""Paths whose name changes with every update, told by their shape: so that a new version is not a new program.

A part that changes becomes ``*``: ``/snap/firefox/*/usr/lib/firefox/firefox``, ``/nix/store/*-curl-*/bin/curl``. Anybody may give own
folders such names; that is why nothing is shortened where everybody may write, but the mount points of AppImages.
"""

import re

from outwatch.model.programs import family

_EVERYBODYS = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/private/tmp/", "/private/var/tmp/")  # noqa: S108 - not written to
_INSTALLED = ("/usr/", "/opt/", "/snap/", "/var/lib/", "/Applications/", "/Library/")  # where only root installs

_SNAP = re.compile(r"(/snap|/var/lib/snapd/snap)/([^/]+)/(?:x?\d+|current)/")
_STORE = re.compile(r"(/nix/store|/gnu/store)/[0-9a-z]{32}-([^/]+)")
_STORE_VERSION = re.compile(r"-\d[^/]*\Z")
_CELLAR = re.compile(r"(/(?:Cellar|Caskroom)/[^/]+)/[^/]+/")
_FLATPAK = re.compile(r"(/flatpak/(?:app|runtime)/[^/]+/[^/]+/[^/]+)/[0-9a-f]{64}/")
_APPIMAGE = re.compile(r"((?:/tmp|/var/tmp|/run/user/\d+)/\.mount_[^/]*?)[A-Za-z0-9]{6}(?=/)")
_CHECKSUM = re.compile(r"(?<![0-9A-Za-z])[0-9a-f]{40}(?:[0-9a-f]{24})?(?![0-9A-Za-z])")
_AFTER = r"(?:[-+~_.]?(?:alpha|beta|rc|pre|dev|post|build|insiders?|stable|nightly|a|b|p|r|u)[.-]?\d*)*"
_VERSION = re.compile(rf"(?<![A-Za-z0-9.])v?\d+(?:\.\d+)+{_AFTER}(?:\+\d+)?(?![A-Za-z0-9])|(?<![A-Za-z0-9.])v\d+(?![A-Za-z0-9.])")
_OF_LANGUAGE = re.compile(r"\b(python|pypy|perl|ruby|php|lua|node|tcl|R)-?\d+(?:\.\d+)*t?(?![A-Za-z0-9])")
_NUMBER = re.compile(r"(?:(?<=[-_])(?!(?:32|64)(?:[-_]|\Z))|\A)\d+(?=[-_]|\Z)")  # but "x86_64"
_BEHIND = re.compile(r"\d[\d.]*[tm]?")


def normalised(path: str) -> str:
    """Give a path without versions, checksums and revisions; as it is if there are none. Relative paths stay."""
    if not path.startswith("/"):
        return path
    if path.startswith((*_EVERYBODYS, "/run/user/")):
        return _APPIMAGE.sub(r"\1*", path, count=1)
    for shape, instead in ((_SNAP, r"\1/\2/*/"), (_CELLAR, r"\1/*/"), (_FLATPAK, r"\1/*/")):
        path = shape.sub(instead, path, count=1)
    path = _STORE.sub(lambda found: f"{found[1]}/*-{_STORE_VERSION.sub('-*', found[2])}", path, count=1)
    folder, _, name = path.rpartition("/")
    installed = path.startswith(_INSTALLED)
    steps = [_step(step, installed=installed) for step in folder.split("/")]
    return "/".join((*steps, _name(name)))


def _step(step: str, *, installed: bool) -> str:
    """Shorten the name of a folder; bare numbers only where root installs: ``/usr/lib/postgresql/15``."""
    if not any(character.isdigit() for character in step):
        return step
    step = _OF_LANGUAGE.sub(r"\1*", _VERSION.sub("*", _CHECKSUM.sub("*", step)))
    return _NUMBER.sub("*", step) if installed else step


def _name(name: str) -> str:
    """Shorten the name of a file: an interpreter's version (``python3.11``), and versions with dots behind a dash."""
    kind = family(name)
    if kind is not None and kind != "ld":
        return _BEHIND.sub("*", name, count=1) if name.lower().startswith(kind) and name[len(kind) : len(kind) + 1].isdigit() else name
    return _VERSION.sub("*", name)
