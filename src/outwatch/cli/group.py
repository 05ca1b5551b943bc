"""The command tree, and how every command ends: its exit code, and one clear line when something is wrong."""

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click
from rich_click import RichGroup

from outwatch import __version__
from outwatch.errors import ConfigError, OutwatchError
from outwatch.guard.text import printable

DONE, FAILED, USAGE, FINDINGS, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""The exit codes of the contract."""

COMMANDS = {
    "scan": "live",
    "watch": "live",
    "report": "report",
    "replay": "live",
    "capture": "capture",
    "lookup": "lookup",
    "explain": "explain",
    "allow": "allow",
    "intel": "intel",
    "config": "config",
    "doctor": "doctor",
    "completion": "completion",
}
"""Each command and the module that holds it; modules are imported when their command is wanted."""

DEFAULT = "scan"


class LazyGroup(RichGroup):
    """A group whose commands are imported on demand; without a command it is ``scan``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands in the order of the manual."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"outwatch.cli.{module}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``scan`` in front of options that are none of the group's own."""
        of_scan = not args or (args[0].startswith("-") and args[0] not in {"--help", "-h", "--version"})
        if of_scan and not ctx.resilient_parsing:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 findings (--fail-on), 4 incomplete (--strict), 130 interrupted.",
)
@click.version_option(__version__, prog_name="outwatch", message="%(prog)s %(version)s")
def outwatch() -> None:
    """Show what on this machine talks to the outside, who does it, and whether to worry.

    Without a command it is the same as outwatch scan.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line and give its exit code."""
    _stand_in_for_closed_streams()
    code: object = DONE
    try:
        code = outwatch.main(list(arguments), prog_name="outwatch", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up_stdout()
    except SystemExit as end:  # click and rich turn a broken pipe into this
        cause = end.__context__
        if not (isinstance(cause, OSError) and cause.errno == errno.EPIPE):
            raise
        _give_up_stdout()
    except OSError as error:
        _give_up_stdout()
        if code != FAILED:  # else it was told when it happened, and this is only what was left in the buffer
            code = _say(f"can't write standard output: {error.strerror or error}", FAILED)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = USAGE
    except OutwatchError as error:
        code = _say(str(error), USAGE if isinstance(error, ConfigError) else FAILED)
    return code if isinstance(code, int) else DONE


def _stand_in_for_closed_streams() -> None:
    """Open something in the place of standard streams that are closed, before a file of ours gets their number.

    What is written to a closed standard output then fails as it should; talk goes nowhere.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if name != "stderr" else os.O_WRONLY)  # gets the lowest free number: this one
            if name != "stdin":
                setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 - lives as long as we do


def _say(text: str, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"outwatch: {printable(text, 2000)}", file=sys.stderr)  # noqa: T201 - what a command line says
    return code


def _give_up_stdout() -> None:
    """Let the rest of our output go nowhere: its reader has gone or its disk is full, and flushing it would fail again."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
