"""``config``: the configuration in force, whether it is right, and where it lies."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from outwatch.app import ROOMS, App
from outwatch.cli.group import DONE, USAGE
from outwatch.cli.options import config_option, say
from outwatch.engine import config as configuration
from outwatch.engine.health import Health
from outwatch.guard.text import printable
from outwatch.intel.lists import lists_in_force

_DATES = (date, datetime)  # TOML has them itself
_NEVER_SHOWN = ("api_key",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Show, check or locate the configuration."""


@config.command()
@config_option
@click.option("--origin", is_flag=True, help="Say of each setting where it comes from.")
def show(extra: Path | None, *, origin: bool) -> None:
    """Print all settings in force, defaults included."""
    loaded = configuration.load(extra)
    tree = _whole(App(loaded, Health(tell=say)))
    if origin:
        for key, value in _leaves(tree):
            click.echo(f"{printable(key)} = {printable(_spelled(value), 2000)}  # {printable(loaded.origin(key))}")
        return
    import tomli_w  # noqa: PLC0415 - needed here alone

    click.echo(tomli_w.dumps(tree), nl=False)


@config.command()
@config_option
def check(extra: Path | None) -> int:
    """Find every mistake in the configuration: unknown keys, wrong types, patterns and entries that can't be used."""
    loaded = configuration.load(extra)
    health = Health(tell=say)
    App(loaded, health).check()
    lists_in_force(loaded)
    files = ", ".join(map(str, loaded.files)) or "no file, defaults only"
    if health.problems:
        return USAGE
    click.echo(f"right: {files}")
    return DONE


@config.command()
@config_option
def path(extra: Path | None) -> None:
    """List the files that are read, in their order, and which of them exist."""
    for file in configuration.sources(extra):
        click.echo(f"{printable(str(file))}{'' if file.exists() else '  (not there)'}")


def _whole(app: App) -> dict[str, Any]:
    """Give the settings with the defaults of every part."""
    settings = app.config.settings
    tree: dict[str, Any] = msgspec.to_builtins(settings, builtin_types=_DATES)
    for key, value in (("state_dir", app.config.state_dir), ("log_dir", app.config.log_dir)):
        tree[key] = str(value)
    for room in ROOMS:
        tree[room] = {part.name: _without_none(msgspec.to_builtins(table, builtin_types=_DATES)) for part, table in app.every_part(room)}
    for table in tree["reputation"].values():
        table.update((key, "(set; not shown)") for key in _NEVER_SHOWN if key in table)
    return tree


def _leaves(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, f"{prefix}.{key}" if prefix else key)]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [leaf for at, item in enumerate(value) for leaf in _leaves(item, f"{prefix}[{at}]")]
    return [(prefix, value)]


def _spelled(value: Any) -> str:
    import tomli_w  # noqa: PLC0415

    return tomli_w.dumps({"v": value}).removeprefix("v = ").strip().replace("\n", " ")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
