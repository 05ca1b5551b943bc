"""What an interpreter or a wrapper runs, read from its arguments: the script, module, jar or inline code behind ``python3``.

The arguments belong to whoever runs the process, who may write anything there, also later: what is found here says what a process
claims to do. Which file really runs, ``executable`` says.
"""

import hashlib
import posixpath
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from outwatch.enrichers.identity.options import FAMILIES, Does, Options
from outwatch.model.programs import family
from outwatch.model.records import Script, ScriptKind

_MOST_WRAPPERS = 8  # inside of each other
_DIGITS = 16  # of the checksum that names inline code
_BOXES = frozenset({"busybox", "toybox"})
_NO_ARGUMENTS = frozenset({"task", "eval"})
_RUNS_SCRIPT = frozenset({"run", "serve", "test", "bench", "watch"})  # subcommands of deno and bun
_NAMES: dict[Does, ScriptKind] = {Does.FILE: "script", Does.MODULE: "module", Does.JAR: "jar"}


@dataclass
class _Found:
    """What options have said so far."""

    kind: ScriptKind | None = None
    name: str = ""
    late_code: bool = False
    stdin: bool = False
    class_path: str = ""
    maybe: str | None = None
    code: str | None = None
    loads: list[str] = field(default_factory=list)
    split: list[str] | None = None
    at: int = 0  # where the first word stands that is no option


def script_of(executable: str, args: Sequence[str], directory: str | None = None) -> Script | None:
    """Say what the program at ``executable`` was told to run; ``None`` if it is no interpreter, or works by itself (a prompt).

    ``args`` begin with the program's own name; a relative path is joined with the working ``directory``, if that is known.
    """
    if not args:
        return None
    kind = family(executable)
    if kind in _BOXES:
        return _of_box(args, directory, 0)
    if kind is not None and kind.startswith("wine"):
        return _of_wine(args)
    return _read(kind, args[1:], directory, 0) if kind else None


def _read(kind: str, args: Sequence[str], directory: str | None, depth: int) -> Script | None:
    """Read the arguments behind the name of an interpreter or a wrapper."""
    options = FAMILIES.get(kind)
    if options is None:
        return None
    found = _options(options, args)
    rest = args[found.at :]
    if found.split is not None:
        script = _command(options, [*found.split, *rest], directory, depth)
    elif found.kind is not None or found.code is not None or found.late_code or found.stdin:
        script = _decided(found, rest, directory)
    elif rest and options.first != "script":
        script = _positional(options, found, rest, directory, depth)
    elif rest:
        script = _script("script", rest[0], directory)
    else:
        script = _code(found.maybe) if found.maybe is not None else None
    return replace(script, loads=(*found.loads, *(script.loads or ()))) if script is not None and found.loads else script


def _decided(found: _Found, rest: Sequence[str], directory: str | None) -> Script | None:
    """Give what the options alone say is run."""
    if found.kind is not None:
        return _script(found.kind, found.name, directory)
    if found.code is not None:
        return _code(found.code)
    if found.late_code:
        return _code(rest[0]) if rest else None
    return Script(kind="stdin", name="-")


def _options(options: Options, args: Sequence[str]) -> _Found:
    """Go through the options until one decides, or the first other word comes."""
    found = _Found()
    while found.at < len(args) and found.kind is None:
        word = args[found.at]
        if word == "--" or (word == "-" and options.plus and found.at + 1 < len(args)):
            found.at += 1
            break
        if len(word) < 2 or not (word[0] == "-" or (options.plus and word[0] == "+")):  # noqa: PLR2004 - a lonely dash is a word
            break
        found.at += 1
        if options.loads and word.startswith(options.loads):
            found.loads.append(word)
        elif not _whole_word(options, word, args, found) and not word.startswith("--") and (options.joined or options.whole):
            _letters(options, word[1:], args, found)
    return found


def _whole_word(options: Options, word: str, args: Sequence[str], found: _Found) -> bool:
    """Take an option that is spelled out; tell whether it was one."""
    name, sign, value = word.partition("=")
    does = options.words.get(name.lower() if options.folded else name)
    if does is None:
        return False
    _do(does, value if sign else None, args, found)
    return True


def _letters(options: Options, letters: str, args: Sequence[str], found: _Found) -> None:
    """Take the letters of a word that begins with one dash."""
    at = 0
    while at < len(letters):
        does = options.letters.get(letters[at])
        at += 1
        if does is Does.DIGITS:
            while at < len(letters) and (letters[at].isdigit() or letters[at] in "xX"):
                at += 1
        elif does is Does.REST or does is Does.LOADS_REST:
            found.loads += [letters[at - 1 :]] if does is Does.LOADS_REST else []
            return
        elif does is Does.LATE_CODE:
            found.late_code = True
        elif does is Does.STDIN:
            found.stdin = True
        elif does is Does.NEXT:
            found.at += 1
        elif does is not None:
            _do(does, letters[at:] or None, args, found)
            return
        elif options.whole:
            return


def _do(does: Does, value: str | None, args: Sequence[str], found: _Found) -> None:
    """Do what an option says, with its ``value`` or the next word."""
    if value is None:
        if does is Does.DASHLESS_CODE and args[found.at : found.at + 1] and args[found.at].startswith("-"):
            return
        value = args[found.at] if found.at < len(args) else ""
        found.at += 1
    match does:
        case Does.CLASS_PATH:
            found.class_path = value
        case Does.LOADS:
            found.loads.append(value)
        case Does.SPLIT:
            found.split = _split(value)
            found.kind = "program"
        case Does.MAYBE_CODE:
            found.maybe = _joined(found.maybe, value)
        case Does.JOINED_CODE | Does.DASHLESS_CODE:
            found.code = _joined(found.code, value)
        case Does.CODE | Does.ALL_CODE:
            behind = args[found.at :] if does is Does.ALL_CODE else ()
            found.kind, found.name = "code", " ".join([value, *behind])
        case Does.FILE | Does.MODULE | Does.JAR:
            found.kind, found.name = _NAMES[does], value


def _joined(before: str | None, more: str) -> str:
    return more if before is None else f"{before}\n{more}"


def _positional(options: Options, found: _Found, rest: Sequence[str], directory: str | None, depth: int) -> Script | None:
    """Say what the first word means that is no option."""
    match options.first:
        case "code":
            return _code(rest[0])
        case "class":
            return _class(rest[0], found.class_path, directory)
        case "assembly":
            return _assembly(options, rest, directory)
        case "subcommand":
            return _subcommand(options, rest, directory)
        case _:
            return _command(options, rest[1:] if options.first == "command_after_one" else rest, directory, depth)


def _command(options: Options, words: Sequence[str], directory: str | None, depth: int) -> Script | None:
    """Look through a wrapper to what it runs."""
    at = 0
    while options.assigns and at < len(words) and ("=" in words[at] or words[at] == "-"):
        at += 1
    if at >= len(words):
        return None
    words = words[at:]
    kind = family(words[0])
    if kind is None or depth >= _MOST_WRAPPERS:
        return Script(kind="program", name=_placed(words[0], directory if "/" in words[0] else None))
    if kind in _BOXES:
        return _of_box(words, directory, depth + 1)
    return _read(kind, words[1:], directory, depth + 1) or Script(kind="program", name=words[0])


def _of_box(args: Sequence[str], directory: str | None, depth: int) -> Script | None:
    """Name the applet of busybox or toybox: they go by the name they are called by, or by their first argument."""
    name = posixpath.basename(args[0]).removeprefix("-")
    if family(name) in _BOXES:
        args = args[1:]
        if not args or args[0].startswith("-"):
            return None
        name = posixpath.basename(args[0])
    kind = family(name)
    inner = _read(kind, args[1:], directory, depth + 1) if kind in FAMILIES and depth < _MOST_WRAPPERS else None
    return inner or Script(kind="applet", name=name)


def _of_wine(args: Sequence[str]) -> Script | None:
    """Name the program that wine runs; its loader puts that program's own name in place of its own."""
    for word in args:
        if not word.startswith("-") and not (family(posixpath.basename(word)) or "").startswith("wine"):
            return Script(kind="program", name=word)
    return None


def _class(name: str, class_path: str, directory: str | None) -> Script | None:
    """Name a class of Java with the first place where it is looked for, or a source file."""
    if name.endswith(".java"):
        return _script("script", name, directory)
    first = class_path.partition(";" if "\\" in class_path else ":")[0]
    return Script(kind="class", name=f"{_placed(first, directory)}!{name}" if first else name)


def _assembly(options: Options, rest: Sequence[str], directory: str | None) -> Script | None:
    """Name what ``dotnet`` runs: an assembly, or one of its own commands."""
    if rest[0] == "exec":
        inner = rest[1:]
        rest = inner[_options(options, inner).at :] or rest
    if rest[0].lower().endswith((".dll", ".exe")):
        return _script("script", rest[0], directory)
    return Script(kind="program", name=rest[0])


def _subcommand(options: Options, rest: Sequence[str], directory: str | None) -> Script | None:
    """Name what ``deno`` and ``bun`` run: they take a subcommand, or a script at once."""
    if rest[0] not in _RUNS_SCRIPT | _NO_ARGUMENTS:
        return _script("script", rest[0], directory) if "." in rest[0] or "/" in rest[0] else Script(kind="program", name=rest[0])
    inner = _options(options, rest[1:])
    words = rest[1 + inner.at :]
    if inner.kind is not None:  # no subcommand of these has code among its options
        return _script(inner.kind, inner.name, directory)
    if not words:
        return None
    if rest[0] == "eval":
        return _code(words[0])
    return Script(kind="program", name=words[0]) if rest[0] == "task" else _script("script", words[0], directory)


def _script(kind: ScriptKind, name: str, directory: str | None) -> Script | None:
    if kind == "code":
        return _code(name)
    if not name:  # a process that has put a title in place of its arguments leaves empty ones behind
        return None
    if kind == "script" and name in {"-", "/dev/stdin"}:
        return Script(kind="stdin", name="-")
    return Script(kind=kind, name=name if kind == "module" else _placed(name, directory))


def _code(text: str) -> Script:
    return Script(kind="code", name=hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGITS])


def _placed(path: str, directory: str | None) -> str:
    """Give a path from the root on, if the working directory is known; addresses and paths of Windows stay."""
    if not path or "://" in path or path[1:2] == ":" or path.startswith("\\"):
        return path
    if not path.startswith("/"):
        if not directory or not directory.startswith("/"):
            return path
        path = f"{directory}/{path}"
    return "/" + posixpath.normpath(path).lstrip("/")


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
