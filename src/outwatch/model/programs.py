"""Programs: by path and checksum, and those that run what they are given, whose own path says nothing about what they do."""

import os
import re
from functools import lru_cache
from typing import NamedTuple

from outwatch.model.records import Connection

# Families that also come with a "w" behind their name, for Windows: without a console.
_WINDOWED = "python|pypy|perl|ruby|node|nodejs|php|lua|luajit|java|dotnet|mono|wine|rscript|julia|guile|racket|groovy|scala|kotlin"
_OTHERS = (
    "wscript|cscript|mshta|rundll32|powershell|pwsh|cmd|osascript|deno|bun|tclsh|wish|expect|jshell|jruby|jython"
    "|[abcdkrtz]{0,2}sh|bash|rbash|dash|fish|mksh|lksh|pdksh|posh|yash|busybox|toybox|env|sudo|doas|nohup|setsid|nice|timeout|xargs"
    "|awk|gawk|mawk|nawk|php-(?:cgi|fpm)|python-config|mono-sgen|wine(?:64)?(?:-preloader)?"
)
# Behind the name: a version, what it was built for ("perl5.36-x86_64-linux-gnu"), Windows' own ending.
_BEHIND = r"[\d._tm-]*(?:-[\w-]*(?:linux|gnu|darwin|musl)[\w-]*)?(?:\.exe)?\Z"
_LOADER = r"(?P<loader>ld(?:-[\w.-]*)?\.so[\d.]*\Z)"
_INTERPRETER = re.compile(rf"(?:(?:(?P<windowed>{_WINDOWED})w?|(?P<other>{_OTHERS})){_BEHIND}|{_LOADER})", re.IGNORECASE)
_R = re.compile(r"R(?:term|gui)?(?:\.exe)?\Z")  # Rscript runs it; in lower case it is another program

_KINDS = "script|module|jar|class|code|program|applet|stdin"  # as ``model/records.py`` has them
_RUNS = re.compile(rf" ({_KINDS}):")
_NAMED = re.compile(r"(?:(?:script|jar|class):/|code:[0-9a-f]{16}\Z)")
_PLACELESS = ("memfd:", "deleted:", "replaced:", "other_namespace:")  # how a subject begins that has no path of its own
_DIGITS = 16  # of a checksum
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_REMEMBERED = 4_000


class Program(NamedTuple):
    """A path, and the SHA-256 of what runs under it."""

    path: str
    sha256: str


def program_of(connection: Connection) -> Program | None:
    """Give a connection's program, if its path leads to the very file that runs.

    ``None`` if something is odd about that (``outwatch.executable``), or the checksum is not known.
    """
    process = connection.process
    if process is None or process.hash is None or connection.outwatch.executable is not None:
        return None
    return _program(process.executable or "", process.hash.sha256 or "")


@lru_cache(maxsize=_REMEMBERED)
def _program(path: str, digest: str) -> Program | None:
    return Program(path, digest) if os.path.isabs(path) and _SHA256.match(digest) else None


def family(program: str) -> str | None:
    """Name the interpreter or wrapper that a path or a name belongs to, without version and in lower case; ``None`` for other programs.

    ``/usr/bin/python3.11`` is ``python``, ``perl5.36-x86_64-linux-gnu`` is ``perl``, ``/lib64/ld-linux-x86-64.so.2`` is ``ld``.
    """
    name = re.split(r"[\\/]", program)[-1]
    if _R.match(name):
        return "r"
    found = _INTERPRETER.match(name)
    if found is None:
        return None
    return "ld" if found["loader"] else (found["windowed"] or found["other"]).lower()


def runs_anything(subject: str) -> bool:
    """Tell whether a path or an ``outwatch.subject`` stands for whatever somebody gives to an interpreter.

    It does not if it names the script by its whole path, or code by its checksum; a module, a relative path or a command would be
    searched where the one who starts it likes.
    """
    found = _RUNS.search(subject)
    program = subject[: found.start()] if found else subject
    return family(program.replace("*", "")) is not None and not (found and _NAMED.match(subject, found.start() + 1))


def marked(subject: str, sha256: str) -> str:
    """End a subject that has no path of its own in the beginning of its executable's checksum: its path could be anybody's.

    Others are given back as they are, and so are those that end so already.
    """
    ends = bool(sha256) and subject.startswith(_PLACELESS) and "#" not in subject
    return f"{subject}#{sha256[:_DIGITS]}" if ends else subject
