"""``intel``: indicator lists from the command line. Lists that it sets up go to a file of their own, ``conf.d/intel.toml``."""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from outwatch.cli.group import DONE, FAILED, INCOMPLETE
from outwatch.cli.indicators import as_columns, as_document, as_lines, catalogue_rows, described, found_words, looked_up, shipped_rows
from outwatch.cli.options import Duration, config_option, say
from outwatch.engine import config as configuration
from outwatch.engine.config import Config
from outwatch.engine.indicator_settings import ListConfig
from outwatch.engine.managed_file import ManagedFile
from outwatch.errors import ConfigError, OutwatchError, RuleError
from outwatch.guard.text import printable
from outwatch.intel.catalogue import catalogue
from outwatch.intel.lists import is_url, known_list, lists_in_force
from outwatch.intel.stored import Shelf
from outwatch.intel.updating import Outcome, Updating, make_index
from outwatch.net.addresses import Scopes

_DAY, _HOUR = 86_400.0, 3600.0
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_-]+")
_ENDING = re.compile(r"\.(?:txt|csv|json|list|lst|netset|ipset|hosts|conf|gz|zip)\Z", re.IGNORECASE)
_LONGEST_NAME = 64

strict_option = click.option("--strict", is_flag=True, help="Exit with 4 if a line can't be understood.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
plain_option = click.option("--plain", "as_plain", is_flag=True, help="Tab-separated lines.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def intel() -> None:
    """Keep lists of addresses and names that are known to be bad, or to be harmless."""


@intel.command("list")
@config_option
@click.option("--catalogue", "offered", is_flag=True, help="Also the well-known public lists that can be enabled.")
@json_option
@plain_option
def list_lists(extra: Path | None, *, offered: bool, as_json: bool, as_plain: bool) -> None:
    """List the lists in force: how many entries, how old, and what went wrong."""
    loaded = configuration.load(extra)
    shelf = Shelf(loaded.state_dir)
    rows = [described(known, shelf) for known in lists_in_force(loaded)]
    names = {row["name"] for row in rows}
    came = shipped_rows(names, say) if loaded.settings.intel.shipped else []
    more = catalogue_rows(names) if offered else []
    if as_json:
        click.echo(as_document(rows, came, more))
    elif as_plain:
        _print(as_lines(rows, came, more))
    else:
        _print(as_columns(rows, came, more))
        if not rows:
            say("no list of indicators is set up; outwatch intel list --catalogue shows some, outwatch intel add takes your own")


@intel.command()
@config_option
@click.argument("source", metavar="URL|FILE")
@click.option("--name", help="What it is called; without it, after its file.")
@click.option(
    "--as", "kind", type=click.Choice(["indicator", "warning"]), help="What its entries are: bad, or well known and often harmless."
)
@click.option(
    "--confidence", type=click.IntRange(0, 100), help="How much an entry says that brings no confidence of its own; 50 if not given."
)
@click.option(
    "--expires", type=Duration(), help="How long an entry counts after the list last had it, such as 30d; without it, as long as it has it."
)
@click.option("--every", type=Duration(), help="How often its source is asked at most; 1h if not given.")
@strict_option
def add(extra: Path | None, source: str, name: str | None, *, strict: bool, **given: Any) -> int:
    """Read a list and keep it: a file, or what is at a URL. Its form is recognised.

    Nothing is added if it can't be read.
    """
    loaded = configuration.load(extra)
    source = source if is_url(source) else os.path.abspath(source)
    entry: dict[str, Any] = {"name": name or _name_for(source), "source": source}
    for key, setting, unit in (
        ("kind", "kind", None),
        ("confidence", "confidence", None),
        ("expires", "expires_days", _DAY),
        ("every", "every_hours", _HOUR),
    ):
        if given[key] is not None:
            entry[setting] = given[key] / unit if unit else given[key]
    return _set_up(loaded, entry, strict=strict)


@intel.command()
@config_option
@click.argument("name")
@strict_option
def enable(extra: Path | None, name: str, *, strict: bool) -> int:
    """Fetch a list of the catalogue and keep it; intel list --catalogue names them."""
    if name not in catalogue():
        raise click.UsageError(f"the catalogue has no {printable(name, 80)!r}; outwatch intel list --catalogue shows what it has")
    return _set_up(configuration.load(extra), {"name": name}, strict=strict)


@intel.command()
@config_option
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--accept-smaller", is_flag=True, help="Take a list also if it has lost nearly all of its entries.")
@click.option(
    "--geo", is_flag=True, help="Fetch files of countries and networks instead, from the URLs given or those of enrichers.geo.update."
)
@strict_option
def update(extra: Path | None, names: tuple[str, ...], *, accept_smaller: bool, geo: bool, strict: bool) -> int:
    """Ask for the lists, or those named, again: each no more often than its publisher allows, and only for what has changed."""
    loaded = configuration.load(extra)
    if geo:
        return _update_places(loaded, names)
    known = {one.name: one for one in lists_in_force(loaded)}
    for name in names:
        if name not in known:
            raise click.UsageError(f"there is no list {printable(name, 80)!r}; outwatch intel list shows those that there are")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    if not chosen:
        say("no list is set up, so nothing is fetched; outwatch intel list --catalogue shows some")
    shelf = Shelf(loaded.state_dir)
    with shelf.locked():
        outcomes = asyncio.run(_updating(loaded, shelf).renew(chosen, accept_smaller=accept_smaller))
        make_index(shelf, list(known.values()), say)
    return _told(outcomes, strict=strict)


@intel.command()
@config_option
@click.argument("name")
def remove(extra: Path | None, name: str) -> None:
    """Forget a list that intel add or intel enable has set up, and its entries."""
    file = _file()
    entries = file.read()
    if name not in {entry.get("name") for entry in entries}:
        known = {one.name: one for one in lists_in_force(configuration.load(extra))}
        where = f"; it stands in {known[name].origin}" if name in known else ""
        raise OutwatchError(f"{file.path} has no list {printable(name, 80)!r}{where}")
    shelf = Shelf(configuration.load(extra).state_dir)
    with shelf.locked():
        file.write([entry for entry in entries if entry.get("name") != name])
        shelf.remove(name)
        make_index(shelf, lists_in_force(configuration.load(extra)), say)
    click.echo(f"removed from {file.path}: {printable(name)}")


@intel.command()
@config_option
@click.argument("value")
@json_option
def check(extra: Path | None, value: str, *, as_json: bool) -> None:
    """Say which lists have an address, a name, or the host of a URL; also written as hxxp or with [.]."""
    loaded = configuration.load(extra)
    found = looked_up(value, loaded, say)
    if found is None:
        raise click.UsageError(f"{printable(value, 80)!r} is no address, name or URL")
    if as_json:
        click.echo(msgspec.json.encode(found))
    else:
        _print(found_words(found))


def _set_up(loaded: Config, entry: dict[str, Any], *, strict: bool) -> int:
    """Read a list for the first time; only if that goes well it is written to the configuration."""
    file = _file()
    there = {one.name: one for one in loaded.settings.intel.lists}
    if entry["name"] in there:
        if there[entry["name"]].source == entry.get("source"):
            click.echo(f"already there: {entry['name']}")
            return DONE
        raise click.UsageError(f"there is a list named {entry['name']} already; choose another --name")
    try:
        known = known_list(msgspec.convert(entry, ListConfig), str(file.path))
    except (msgspec.ValidationError, ConfigError) as error:
        raise click.UsageError(error.hint if isinstance(error, ConfigError) else printable(str(error))) from error
    shelf = Shelf(loaded.state_dir)
    with shelf.locked():
        outcomes = asyncio.run(_updating(loaded, shelf).renew([known], at_once=True))
        if outcomes[0].result == "failed":
            shelf.remove(known.name)
            raise OutwatchError(f"{known.name} is not added: {known.shown}: {outcomes[0].words}")
        file.write([*file.read(), entry])
        make_index(shelf, [*lists_in_force(loaded), known], say)
    click.echo(f"added to {file.path}: {known.name}")
    return _told(outcomes, strict=strict)


def _updating(loaded: Config, shelf: Shelf) -> Updating:
    scopes = Scopes(loaded.networks("public"), loaded.networks("private"))
    return Updating(shelf, loaded.settings.intel, scopes, tell=_tell)


def _tell(problem: RuleError) -> None:
    say(str(problem))


def _told(outcomes: Sequence[Outcome], *, strict: bool) -> int:
    """Say what became of lists, and give the exit code."""
    for outcome in outcomes:
        click.echo(f"{outcome.name}: {printable(outcome.words, 1000)}", err=outcome.result == "failed")
    if any(outcome.result == "failed" for outcome in outcomes):
        return FAILED
    return INCOMPLETE if strict and any(outcome.broken for outcome in outcomes) else DONE


def _update_places(loaded: Config, addresses: Sequence[str]) -> int:
    from outwatch.enrichers.geo import PART  # noqa: PLC0415 - nobody else needs it
    from outwatch.intel.places import update as fetch_places  # noqa: PLC0415
    from outwatch.net.http import Http, host_of  # noqa: PLC0415

    addresses = addresses or loaded.of("enrichers", PART).update
    if not addresses:
        raise click.UsageError("nothing to fetch from: set enrichers.geo.update, or name an address")
    hosts = [host_of(address) for address in addresses]
    if None in hosts:
        raise click.UsageError("files of countries and networks are fetched from URLs such as https://example.org/country.mmdb")

    async def fetch() -> Any:
        async with Http(permitted=[host for host in hosts if host]) as http:
            return await fetch_places(addresses, loaded.state_dir, http)

    fetched = asyncio.run(fetch())
    for one in fetched:
        click.echo(f"{printable(one.address)}: {printable(one.said)}", err=one.path is None)
    return DONE if all(one.path is not None for one in fetched) else FAILED


def _name_for(source: str) -> str:
    """Name a list after its file, or its host if it has none."""
    path = source.partition("://")[2].partition("?")[0].partition("#")[0] if is_url(source) else source
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    last = parts[-1] if parts else ""
    while len(shorter := _ENDING.sub("", last)) < len(last):
        last = shorter
    name = _NOT_IN_NAMES.sub("-", last.lower()).strip("-_")[:_LONGEST_NAME]
    if not name:
        raise click.UsageError("give the list a --name")
    return name


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _file() -> ManagedFile:
    return ManagedFile("intel.toml", ("intel", "lists"))
