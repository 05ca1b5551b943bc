"""``allow``: the allow list from the command line. Entries go to a file of their own, ``conf.d/allow.toml``."""

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from outwatch.app import App
from outwatch.cli.group import DONE, INCOMPLETE
from outwatch.detectors.allow_list import PART, AllowList, AllowListConfig
from outwatch.engine import config as configuration
from outwatch.engine.health import Health
from outwatch.engine.managed_file import ManagedFile
from outwatch.errors import ConfigError, OutwatchError, RuleError
from outwatch.guard.text import printable
from outwatch.lookups.hashing import sha256_of

_CONFIG = click.option("--config", "extra", type=click.Path(path_type=Path, dir_okay=False), help="Another configuration file, read last.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def allow() -> None:
    """Keep the list of what is expected; what it covers is lowered and, by default, not shown."""


@allow.command()
@click.argument("destination", required=False)
@click.option("--port", help="A port, or a range such as 8000-8100.")
@click.option("--transport", type=click.Choice(["tcp", "udp", "icmp", "sctp"]))
@click.option("--program", help="Path of the executable; its SHA-256 becomes part of the entry.")
@click.option("--no-hash", is_flag=True, help="Allow the program by its path alone, so that an update of it stays allowed.")
@click.option("--sha256", help="Checksum of the executable.")
@click.option("--user", help="Name or id of the user.")
@click.option("--comment", help="Why it is allowed; shown with every verdict it lowers.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="First day on which the entry is void.")
def add(*, no_hash: bool, expires: datetime | None, **given: str | None) -> None:
    """Allow a DESTINATION (address, network, or domain with all below it), a program, a user, or a combination.

    All that is given must fit.
    """
    entry: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if entry.get("port", "").isdecimal():
        entry["port"] = int(entry["port"])
    if expires is not None:
        entry["expires"] = expires.date()
    program = entry.get("program")
    if program and not no_hash and "sha256" not in entry:
        digest = sha256_of(program)
        if digest is None:
            raise OutwatchError(f"{program}: can't be read to take its checksum; give --sha256, or --no-hash")
        entry["sha256"] = digest
    problem = next(iter(_problems([entry])), None)
    if problem is not None:
        raise click.UsageError(problem.reason)
    file = ManagedFile("allow.toml", ("detectors", "allow_list", "entries"))
    entries = file.read()
    if entry in entries:
        click.echo(f"already there: {_spelled(entry)}")
        return
    file.write([*entries, entry])
    click.echo(f"added to {file.path}: {_spelled(entry)}")


@allow.command("list")
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="A JSON list of the entries.")
def list_entries(extra: Path | None, *, as_json: bool) -> None:
    """List the entries in force, and where each comes from."""
    loaded = configuration.load(extra)
    settings: AllowListConfig = loaded.of("detectors", PART)
    rows = [msgspec.to_builtins(entry) for entry in settings.entries]
    origins = [loaded.origin(f"detectors.allow_list.entries[{at}]") for at in range(len(rows))]
    if as_json:
        found = [{**_known(row), "origin": origin} for row, origin in zip(rows, origins, strict=True)]
        click.echo(msgspec.json.encode(found))
        return
    for row, origin in zip(rows, origins, strict=True):
        click.echo(f"{_spelled(_known(row))}  # {printable(origin)}")
    App(loaded, Health(tell=_tell)).detectors()  # names the entries that can't be used


@allow.command()
@click.argument("value")
def remove(value: str) -> None:
    """Remove the entries whose destination, program, sha256 or user is VALUE."""
    file = ManagedFile("allow.toml", ("detectors", "allow_list", "entries"))
    entries = file.read()
    gone = [entry for entry in entries if value in {entry.get(key) for key in ("destination", "program", "sha256", "user")}]
    if not gone:
        raise OutwatchError(f"{file.path} has no entry for {printable(value)}; outwatch allow list shows where entries come from")
    file.write([entry for entry in entries if entry not in gone])
    for entry in gone:
        click.echo(f"removed from {file.path}: {_spelled(entry)}")


@allow.command("import")
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--comment", help="Why these are allowed.")
@click.option("--strict", is_flag=True, help="Exit with 4 if a line can't be used.")
def import_list(source: Path, comment: str | None, *, strict: bool) -> int:
    """Add a plain list of addresses, networks and names, one a line; # begins a comment."""
    numbered = list(_lines(source))
    found = [{"destination": text, **({"comment": comment} if comment else {})} for _, text in numbered]
    problems = {problem.path: problem for problem in _problems(found)}
    file = ManagedFile("allow.toml", ("detectors", "allow_list", "entries"))
    entries = file.read()
    there = {entry.get("destination") for entry in entries if set(entry) <= {"destination", "comment"}}
    added = 0
    for at, ((number, _), entry) in enumerate(zip(numbered, found, strict=True)):
        problem = problems.get(str(at))
        if problem is not None:
            _tell(f"{source}:{number}: {problem.reason}")
        elif entry["destination"] not in there:
            there.add(entry["destination"])
            entries.append(entry)
            added += 1
    if added:
        file.write(entries)
    click.echo(
        f"{added} entries added to {file.path}, {len(problems)} lines not usable, {len(found) - added - len(problems)} already there"
    )
    return INCOMPLETE if problems and strict else DONE


def _problems(entries: list[dict[str, Any]]) -> list[RuleError]:
    """Check entries as the detector will; the ``path`` of a problem is the entry's position."""
    try:
        table = msgspec.convert({"entries": entries}, AllowListConfig)
    except msgspec.ValidationError as error:
        raise ConfigError("allow", "", str(error)) from error
    return AllowList(table, place=lambda key, _value, reason: RuleError(key.partition("[")[2].partition("]")[0], None, reason)).problems


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that say something."""
    data = sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()
    for number, raw in enumerate(data.decode("utf-8", "backslashreplace").splitlines(), 1):
        text = raw.partition("#")[0].strip().strip("\ufeff")
        if text:
            yield number, text


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


def _spelled(entry: dict[str, Any]) -> str:
    return printable(", ".join(f"{key} = {value}" for key, value in entry.items()), 1000)


def _tell(line: str) -> None:
    click.echo(f"outwatch: {printable(line, 2000)}", err=True)
