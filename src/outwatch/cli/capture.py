"""``capture``: the half that needs rights, for readers that have none."""

from pathlib import Path

import rich_click as click

from outwatch.app import CAPTURING, App
from outwatch.cli.group import DONE
from outwatch.cli.options import config_option, say
from outwatch.engine import config as configuration
from outwatch.engine.health import Health
from outwatch.guard.unprivileged import account, group_number
from outwatch.sensors.remote import SOCKET


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    default=SOCKET,
    show_default=True,
    help="Where readers connect; its folder is made with mode 0750.",
)
@click.option("--user", metavar="NAME", help="Run as this account once everything is attached (as root; default: outwatch, else nobody).")
@click.option("--group", metavar="NAME", help="Whose members may read; default: the group of the account, or of the folder if it exists.")
@click.option("--sensor", type=click.Choice(["auto", *CAPTURING]), default="auto", show_default=True, help="How to look.")
@config_option
def capture(path: Path, user: str | None, group: str | None, sensor: str, extra: Path | None) -> int:
    """See connections with the rights this takes, and hand them to outwatch run by others (--sensor remote).

    Nothing is judged or looked up here but checksums of executables, and the network is never used. Ctrl+C ends it.
    """
    whom = account(user)
    members = None if group is None else group_number(group)
    app = App(configuration.load(extra), Health(tell=say))
    app.capture(path.absolute(), whom, members, sensor)
    return DONE
