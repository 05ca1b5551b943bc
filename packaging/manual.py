"""Writes the manual page, outwatch(1), from the command tree: ``python packaging/manual.py FOLDER``.

Format: man(7). A test holds the page in the repository to what this gives.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from outwatch import __version__
from outwatch.cli.group import outwatch

_EXIT_CODES = (
    ("0", "Done."),
    ("1", "Failed: a file can't be read or written, or no sensor can run."),
    ("2", "Usage or configuration."),
    ("3", "Findings at or above --fail-on."),
    ("4", "Incomplete, under --strict."),
    ("130", "Interrupted."),
)
_FILES = (
    ("/etc/outwatch/config.toml, /etc/outwatch/conf.d/*.toml", "Configuration of the machine."),
    ("~/.config/outwatch/config.toml, ~/.config/outwatch/conf.d/*.toml", "Configuration of the user, read after it."),
    ("/var/lib/outwatch, ~/.local/state/outwatch", "What is remembered between runs, as root and otherwise."),
)
_ENVIRONMENT = (
    ("OUTWATCH_KEY, OUTWATCH_TABLE__KEY", "Any setting, for instance OUTWATCH_LOG_LEVEL=high."),
    ("NO_COLOR, FORCE_COLOR, TERM=dumb", "No colours, or colours also where there is no terminal."),
)


def page() -> str:
    """Give the manual page."""
    top = click.Context(outwatch, info_name="outwatch")
    lines = [
        f'.TH OUTWATCH 1 "" "outwatch {__version__}" "User Commands"',
        ".SH NAME",
        r"outwatch \- what on this machine talks to the outside",
    ]
    lines += [".SH SYNOPSIS", r".B outwatch", r"[COMMAND] [OPTIONS]", ".SH DESCRIPTION", *_paragraphs(outwatch.help)]
    lines.append(".SH COMMANDS")
    for path, command, context in _commands(outwatch, top):
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f".SS {_plain(path)} {_plain(usage)}", *_paragraphs(command.help)]
        for parameter in command.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and parameter.name != "help":
                lines += [".TP", rf"\fB{_plain(record[0])}\fR", _plain(record[1]) or "\\&"]
    for title, rows in (("EXIT STATUS", _EXIT_CODES), ("FILES", _FILES), ("ENVIRONMENT", _ENVIRONMENT)):
        lines.append(f".SH {title}")
        for term, text in rows:
            lines += [".TP", rf"\fB{_plain(term)}\fR", _plain(text)]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, parent: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Walk the tree: every command that does something, with its whole name."""
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is None:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
        else:
            yield context.command_path, command, context


def _paragraphs(text: str | None) -> list[str]:
    lines: list[str] = []
    for paragraph in (text or "").split("\n\n"):
        lines += [".PP", _plain(" ".join(paragraph.split()))]
    return lines


def _plain(text: str) -> str:
    r"""Escape what roff acts on: backslashes, hyphens that are part of an option, and a leading dot or quote."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("\b", "")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    Path(sys.argv[1], "outwatch.1").write_text(page(), "utf-8")
