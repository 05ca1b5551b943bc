"""``explain``: why a connection got its verdict."""

from threading import Event

import rich_click as click

from outwatch.app import last_scan
from outwatch.cli.options import Common, common
from outwatch.errors import OutwatchError
from outwatch.guard.text import printable
from outwatch.model import wire
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Judged, Question
from outwatch.sensors.replay import Replay
from outwatch.views.terminal.explain import explanation


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--from", "recordings", multiple=True, metavar="FILE", help="A recording, instead of the last scan.")
@common
def explain(common: Common, identity: str, recordings: tuple[str, ...]) -> None:
    """Say why a connection got its verdict, point by point, and what would change it.

    ID is what a scan shows; its beginning is enough where it is the only one.
    """
    app = common.app()
    paths = recordings or (str(last_scan(app.config)),)
    sensor = Replay(PartConfig(), paths=paths, broken=app.health.broken_line)
    record = _find(sensor, identity, ", ".join(paths))
    if common.mode in {"json", "jsonl"}:
        click.echo(wire.encode(record))
    else:
        click.echo(explanation(record))


def _find(sensor: Replay, identity: str, where: str) -> Judged:
    """Give the latest revision of the one record whose id is, or begins with, ``identity``."""
    sensor.check()
    found: dict[str, Judged] = {}
    for batch in sensor.observe(Event()):
        for record in batch:
            if isinstance(record, Connection | Question) and record.id.startswith(identity):
                known = found.get(record.id)
                if known is None or known.revision <= record.revision:
                    found[record.id] = record
    if identity in found:
        return found[identity]
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        some = ", ".join(printable(one, 40) for one in list(found)[:5])
        raise OutwatchError(f"{printable(identity, 60)} begins the ids of {len(found)} records: {some}; write more of it")
    raise OutwatchError(f"no record with the id {printable(identity, 60)} in {where}")
