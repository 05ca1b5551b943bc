"""``allow``: the allow list from the command line. Entries go to a file of their own, ``conf.d/allow.toml``."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from outwatch.app import App
from outwatch.cli.group import DONE, INCOMPLETE
from outwatch.cli.options import config_option, say
from outwatch.detectors.allow_list import PART, AllowListConfig, mistakes, plain_list
from outwatch.engine import config as configuration
from outwatch.engine.health import Health
from outwatch.engine.managed_file import ManagedFile
from outwatch.errors import OutwatchError
from outwatch.guard.text import printable
from outwatch.lookups.hashing import sha256_of


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def allow() -> None:
    """Keep the list of what is expected; what it covers is lowered and, by default, not shown."""


@allow.command()
@click.argument("destination", required=False)
@click.option("--port", help="A port, or a range such as 8000-8100.")
@click.option("--transport", type=click.Choice(["tcp", "udp", "icmp", "sctp"]), help="The transport.")
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
    if program and os.path.exists(program):  # what runs is the file itself, never the link to it
        program = entry["program"] = os.path.realpath(program)
    if program and not no_hash and "sha256" not in entry:
        digest = sha256_of(program)
        if digest is None:
            raise OutwatchError(f"{program}: can't be read to take its checksum; give --sha256, or --no-hash")
        entry["sha256"] = digest
    for reason in mistakes([entry]).values():
        raise click.UsageError(reason)
    file = _file()
    entries = file.read()
    if entry in entries:
        click.echo(f"already there: {_spelled(entry)}")
        return
    file.write([*entries, entry])
    click.echo(f"added to {file.path}: {_spelled(entry)}")


@allow.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON list of the entries.")
def list_entries(extra: Path | None, *, as_json: bool) -> None:
    """List the entries in force, and where each comes from."""
    loaded = configuration.load(extra)
    settings: AllowListConfig = loaded.of("detectors", PART)
    rows = [{key: value for key, value in msgspec.to_builtins(entry).items() if value is not None} for entry in settings.entries]
    origins = [loaded.origin(f"detectors.allow_list.entries[{at}]") for at in range(len(rows))]
    if as_json:
        click.echo(msgspec.json.encode([{**row, "origin": origin} for row, origin in zip(rows, origins, strict=True)]))
        return
    for row, origin in zip(rows, origins, strict=True):
        click.echo(f"{_spelled(row)}  # {printable(origin)}")
    App(loaded, Health(tell=say)).detectors()  # names the entries that can't be used


@allow.command()
@click.argument("value")
def remove(value: str) -> None:
    """Remove the entries whose destination, program, sha256 or user is VALUE."""
    file = _file()
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
    numbered = list(plain_list(sys.stdin.buffer.read() if str(source) == "-" else source.read_bytes()))
    found = [{"destination": text, **({"comment": comment} if comment else {})} for _, text in numbered]
    unusable = mistakes(found)
    file = _file()
    entries = file.read()
    before = len(entries)
    there = {entry.get("destination") for entry in entries if set(entry) <= {"destination", "comment"}}
    for at, ((number, _), entry) in enumerate(zip(numbered, found, strict=True)):
        if at in unusable:
            say(f"{source}:{number}: {unusable[at]}")
        elif entry["destination"] not in there:
            there.add(entry["destination"])
            entries.append(entry)
    added = len(entries) - before
    if added:
        file.write(entries)
    click.echo(
        f"{added} entries added to {file.path}, {len(unusable)} lines not usable, {len(found) - added - len(unusable)} already there"
    )
    return INCOMPLETE if unusable and strict else DONE


def _file() -> ManagedFile:
    return ManagedFile("allow.toml", ("detectors", "allow_list", "entries"))


def _spelled(entry: dict[str, Any]) -> str:
    return printable(", ".join(f"{key} = {value}" for key, value in entry.items()), 1000)
