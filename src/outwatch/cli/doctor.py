"""``doctor``: what outwatch can see here, what it can't, and how to change that."""

import platform
import sys
from pathlib import Path

import rich_click as click

from outwatch import __version__
from outwatch.app import SENSORS, App
from outwatch.cli.options import config_option
from outwatch.engine import config as configuration
from outwatch.engine import registry
from outwatch.engine.health import Health
from outwatch.errors import OutwatchError
from outwatch.guard.files import private_folder
from outwatch.guard.rights import capabilities, is_root, sees_other_users
from outwatch.guard.text import printable
from outwatch.lookups.reverse_names.asking import system_servers
from outwatch.model.interfaces import Detailed, NoProcesses
from outwatch.reputation.quota import words

_SWITCHED: tuple[registry.Room, ...] = ("enrichers", "lookups", "detectors", "sinks")


@click.command()
@config_option
def doctor(extra: Path | None) -> None:
    """Say what outwatch can see on this machine, what it can't see, and how to change that."""
    loaded = configuration.load(extra)
    health = Health()
    app = App(loaded, health)
    _line("outwatch", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}")
    _line("configuration", ", ".join(map(str, loaded.files)) or "no file, defaults only")
    _folders(app)
    _rights()
    _sensors(app)
    detectors = app.detectors()
    _line("detectors", ", ".join(sorted(detector.name for detector in detectors)) or "none: nothing will be judged")
    off = [part.name for room in _SWITCHED for part, table in app.every_part(room) if not table.enabled]
    if off:
        _line("switched off", ", ".join(off))
    _places(app)
    asked = _services(app)
    for line in [*_to_name_servers(app), *asked] or ["nothing"]:
        _line("leaves this machine", line)
    for problem in health.problems:
        _line("problem", problem)


def _places(app: App) -> None:
    """Say where countries and networks come from, and whom to thank for that."""
    for part, table in app.parts("enrichers"):
        if part.name == "geo":
            places: Detailed = registry.build(part, table, {"health": Health(), "state_dir": app.config.state_dir})
            for line in places.details():
                _line("countries, networks", line)


def _line(label: str, text: str) -> None:
    click.echo(f"{label + ':':<22}{printable(text, 2000)}")


def _to_name_servers(app: App) -> list[str]:
    """Say what name servers are asked."""
    if "reverse_names" not in {part.name for part, _ in app.parts("lookups")}:
        return []
    servers = ", ".join(system_servers()) or "none configured"
    return [f"questions for the names of public addresses, to the name servers of this system ({servers}); --no-dns asks nothing"]


def _services(app: App) -> list[str]:
    """Say of each reputation service whether it is asked, with whose key, and what is left of its quota; gives what is sent to whom."""
    services = app.services()
    try:
        services.tell()
        standings = services.standings()
    finally:
        services.close()
    sent: list[str] = []
    for one in standings:
        if one.why_not is not None:
            way = f"; put one into {one.key_places}" if one.lacks_key else ""
            _line(f"service {one.name}", f"not asked: {one.why_not}{way}")
            continue
        key = f"key from {one.key_origin}" if one.key_origin else "without a key"
        used = ", ".join(f"{count:,} of {words(limit)} used" for count, limit in one.used) or "no limit known"
        _line(f"service {one.name}", f"is asked, {key}; {used}")
        sent.append(f"public addresses that this machine connects to, to {one.title} ({one.base}); --lookups off sends nothing")
    return sent


def _folders(app: App) -> None:
    try:
        _line("state folder", str(private_folder(app.config.state_dir)))
    except OutwatchError as error:
        _line("state folder", f"not usable: {error}")


def _rights() -> None:
    held = ", ".join(sorted(capabilities())) or "none that matter here"
    if sys.platform == "linux":
        _line("rights", f"{'root' if is_root() else 'ordinary user'}; capabilities: {held}")
    else:
        _line("rights", "root" if is_root() else "ordinary user")
    if sees_other_users():
        _line("processes", "those of all users can be seen")
    else:
        _line("processes", "only your own can be seen; others' connections stay unattributed (run it as root to see them)")


def _sensors(app: App) -> None:
    there = {part.name: (part, table) for part, table in app.parts("sensors")}
    offers = {"host": app.host, "boot": app.boot, "processes": NoProcesses(), "health": app.health}
    for name in SENSORS:
        if name not in there:
            _line(f"sensor {name}", "not part of this version")
            continue
        sensor = registry.build(*there[name], offers)
        try:
            sensor.check()
        except OutwatchError as error:
            _line(f"sensor {name}", f"can't run: {error}")
            continue
        _line(f"sensor {name}", "can run; what it does not see: " + "; ".join(sensor.blind()))
        for detail in sensor.details() if isinstance(sensor, Detailed) else ():
            click.echo(" " * 22 + printable(detail, 2000))
