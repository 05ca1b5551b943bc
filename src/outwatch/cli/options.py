"""The options that commands share, and what they mean."""

import io
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import rich_click as click

from outwatch.app import SENSORS, App
from outwatch.engine import config as configuration
from outwatch.engine.drive import Drive
from outwatch.engine.health import Health
from outwatch.engine.request import Companion
from outwatch.guard.text import printable
from outwatch.model.records import Band

Mode = Literal["table", "plain", "json", "jsonl"]
_Command = TypeVar("_Command", bound=Callable[..., Any])
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(click.ParamType[float]):
    """A length of time: ``10s``, ``1h30m``, ``2d``, or plain seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Give seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds, at = 0.0, 0
        while at < len(value) and (match := _DURATION.match(value, at)):
            seconds += float(match[1]) * _SECONDS[match[2]]
            at = match.end()
        if at < len(value) or not value:
            self.fail(f"{value!r} is no duration; write 10s, 5m or 1h30m", param, ctx)
        return seconds


@dataclass(frozen=True, kw_only=True)
class Common:
    """The values of the common options."""

    mode: Mode
    sensor: str
    show_all: bool
    lookups: Literal["auto", "cached", "off"]
    no_dns: bool
    log: Path | None
    fail_on: Band | None
    strict: bool
    config: Path | None
    no_color: bool
    quiet: bool
    verbose: int

    def app(self) -> App:
        """Read the configuration and make ready to build parts; talk goes to stderr."""
        loaded = configuration.load(self.config)
        if self.verbose:
            self.tell(f"configuration: {', '.join(map(str, loaded.files)) or 'no file, defaults only'}")
        return App(loaded, Health(tell=self.tell))

    def tell(self, line: str) -> None:
        """Say something to the user, beside the data."""
        if not self.quiet:
            say(line)


config_option = click.option(
    "--config", "extra", type=click.Path(path_type=Path, dir_okay=False), help="Another configuration file, read last."
)
"""``--config`` for commands that don't watch."""

wait_option = click.option(
    "--wait",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for answers at the end, quotas of services included; what is missing then is said.",
)
"""``--wait`` for commands that ask services."""

resume_option = click.option(
    "--resume", is_flag=True, help="Go on with the last one that did not get all its answers; nothing is asked twice."
)
"""``--resume`` for commands that ask services."""


def data_output() -> BinaryIO:
    """Give standard output for data. Where Python was told not to buffer, its own stream may take a piece of a line only."""
    stream = sys.stdout.buffer
    return open(sys.stdout.fileno(), "wb", closefd=False) if isinstance(stream, io.RawIOBase) else stream


def say(line: str) -> None:
    """Say something to the user, beside the data."""
    click.echo(f"outwatch: {printable(line, 2000)}", err=True)


_MODES: tuple[Mode, ...] = ("json", "jsonl", "plain")
_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--json", "as_json"), {"is_flag": True, "help": "One JSON document at the end."}),
    (("--jsonl", "as_jsonl"), {"is_flag": True, "help": "One JSON record a line, the summary last."}),
    (
        ("--plain", "as_plain"),
        {
            "is_flag": True,
            "help": "Tab-separated lines: time, action, verdict, score, process, pid, user, direction, transport, source, "
            "destination, domain, reasons, id, count.",
        },
    ),
    (("--sensor",), {"type": click.Choice(["auto", *SENSORS]), "default": "auto", "show_default": True, "help": "How to look."}),
    (("--all", "show_all"), {"is_flag": True, "help": "Also loopback, private, link-local, accepted and allowed connections."}),
    (
        ("--lookups",),
        {
            "type": click.Choice(["auto", "cached", "off"]),
            "default": "auto",
            "show_default": True,
            "help": "Whether facts that take time (names of addresses, checksums of executables, reputation) are looked up; "
            "cached asks nobody, and takes of reputation what is remembered.",
        },
    ),
    (("--no-dns",), {"is_flag": True, "help": "Ask no name server; without it public addresses are looked up in reverse DNS."}),
    (("--log",), {"type": click.Path(path_type=Path, dir_okay=False), "help": "Append a line per suspicious connection."}),
    (
        ("--fail-on",),
        {"type": click.Choice(["low", "medium", "high", "critical"]), "help": "Exit with 3 if a verdict reaches this level."},
    ),
    (("--strict",), {"is_flag": True, "help": "Exit with 4 if the answer is incomplete (rights, losses, broken input)."}),
    (("--config",), {"type": click.Path(path_type=Path, dir_okay=False), "help": "Another configuration file, read last."}),
    (("--no-color",), {"is_flag": True, "help": "No colours."}),
    (("--quiet", "-q"), {"is_flag": True, "help": "Data only, no talk on stderr."}),
    (("-v", "--verbose"), {"count": True, "help": "Say more about what is used and why."}),
)


def common(command: _Command) -> _Command:
    """Give a command the common options; it gets them as one argument ``common``."""

    @wraps(command)
    def with_common(**given: Any) -> Any:
        chosen = [mode for mode in _MODES if given.pop(f"as_{mode}")]
        if len(chosen) > 1:
            raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
        taken = {one.name: given.pop(one.name) for one in fields(Common) if one.name != "mode"}
        return command(common=Common(mode=chosen[0] if chosen else "table", **taken), **given)

    decorated: Any = with_common
    for names, settings in reversed(_OPTIONS):
        decorated = click.option(*names, **settings)(decorated)
    return decorated  # type: ignore[no-any-return]


def progress(common_options: Common, seconds: float | None, *, doing: str, things: str, end: str) -> Companion | None:
    """Make the bars for people who wait in front of a terminal; nothing for others."""
    if common_options.quiet or not sys.stderr.isatty() or os.environ.get("TERM") in {"dumb", "unknown"}:
        return None
    from rich.console import Console  # noqa: PLC0415 - only for a terminal

    from outwatch.views.terminal.progress import Countdown  # noqa: PLC0415

    console = Console(**{**colours(common_options), "stderr": True, "width": None})
    countdown = Countdown(console, seconds, doing=doing, things=things, end=end)

    async def accompany(drive: Drive, _picture: Any) -> None:
        await countdown.run(drive.summary, drive.standing)

    return accompany


def colours(common_options: Common) -> dict[str, Any]:
    """Give rich's settings: ``--no-color``, ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM=dumb`` are honoured."""
    forced = bool(os.environ.get("FORCE_COLOR"))
    dumb = os.environ.get("TERM") == "dumb"
    plain = common_options.no_color or bool(os.environ.get("NO_COLOR")) or (dumb and not forced)
    settings: dict[str, Any] = {"no_color": plain, "highlight": False, "markup": False, "emoji": False}
    if plain:
        settings["color_system"] = None
    elif forced:
        settings["force_terminal"] = True
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        settings["width"] = 160  # no screen to fit: a file, a mail, a pipe
    return settings
