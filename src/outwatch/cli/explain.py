"""``explain``: why a connection got its verdict."""

import rich_click as click

from outwatch.cli.options import Common, common
from outwatch.model import wire
from outwatch.views.terminal.explain import explanation


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--from", "recordings", multiple=True, metavar="FILE", help="A recording, instead of the last scan.")
@common
def explain(common: Common, identity: str, recordings: tuple[str, ...]) -> None:
    """Say why a connection got its verdict, point by point, and what would change it.

    ID is what a scan shows; its beginning is enough where it is the only one.
    """
    record = common.app().find(identity, recordings)
    if common.mode in {"json", "jsonl"}:
        click.echo(wire.encode(record))
    else:
        click.echo(explanation(record))
