"""Country and network of public addresses, from files: the user's own first, then those that were fetched, then what came with outwatch.

Several files complete each other, field by field. A file that can't be used is told once and passed over; one that is exchanged is taken
up within a second. What a record says already, such as one of a recording, stays.
"""

import os
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import StoreError
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import AutonomousSystem, Connection, Geo, Organization
from outwatch.net.addresses import embedded, parse
from outwatch.net.places import FOLDER, NOWHERE, completed
from outwatch.net.places.mmdb import Mmdb
from outwatch.net.places.shipped import HERE, Shipped

_EVERY = 1.0  # seconds between looks whether a file was exchanged
_REMEMBERED = 16_384  # addresses
_MOST_FILES = 32
_Mark = tuple[int, int, int] | None
_Found = tuple[Geo | None, AutonomousSystem | None]


class GeoConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``files`` are MMDB files, the first that knows something has the word; ``shipped``: use what came with outwatch too.

    ``update`` are the addresses that ``intel update --geo`` fetches files from.
    """

    files: tuple[str, ...] = ()
    shipped: bool = True
    update: tuple[str, ...] = ()


class _File:
    """A file, open if it can be used, and what it looked like when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database: Mmdb | None = None
        self.problem: str | None = None
        self._mark: _Mark = (-1, -1, -1)

    def changed(self) -> bool:
        """Open it anew if another file is there than before."""
        mark = _mark(self.path)
        if mark == self._mark:
            return False
        self._mark = mark
        self.drop(None)
        try:
            self.database = Mmdb(self.path)
        except StoreError as error:
            self.problem = str(error)
        return True

    def drop(self, problem: str | None) -> None:
        """Use it no more until it changes."""
        if self.database is not None:
            self.database.close()
        self.database, self.problem = None, problem


class Places:
    """Adds ``destination.geo`` and ``destination.as`` to connections that this host opened to public addresses."""

    def __init__(self, config: GeoConfig, *, health: Health, state_dir: Path | None = None) -> None:
        """Take where to tell of files that can't be used, and the folder of the state, below which files lie that were fetched."""
        self._own = [Path(os.path.expanduser(text)) for text in config.files]  # unlike pathlib it takes a user that is not there
        self._folder = state_dir / FOLDER if state_dir is not None else None
        self._shipped: Shipped | None = None
        self._not_shipped = None if config.shipped else "switched off"
        self._tell = health.problem
        self._files: dict[Path, _File] = {}
        self._next_look = 0.0
        self._find = lru_cache(maxsize=_REMEMBERED)(self._looked_up)

    def enrich(self, connection: Connection) -> Connection:
        """Say where the destination is, as far as that is known and not said yet."""
        destination, network = connection.destination, connection.network
        if network.scope != "public" or network.direction == "ingress" or destination.ip is None:
            return connection
        if destination.geo is not None and destination.as_ is not None:
            return connection
        if time.monotonic() >= self._next_look:
            self._look()
        geo, network_of = self._find(destination.ip)
        geo, network_of = destination.geo or geo, destination.as_ or network_of
        if geo is destination.geo and network_of is destination.as_:
            return connection
        return replace(connection, destination=replace(destination, geo=geo, as_=network_of))

    def details(self) -> Sequence[str]:
        """Say of each file what it gives, or why it can't be used."""
        self._look()
        lines = []
        for file in self._files.values():
            known = file.database
            lines.append(f"{file.path}: {' and '.join(known.gives)}, {known.type} of {known.made}" if known else str(file.problem))
        if self._shipped is None:
            return [*lines, f"what came with outwatch: {self._not_shipped}"]
        origins = self._shipped.facts.origins
        return [*lines, *(f"came with outwatch: {one.gives} of {one.date}; thanks to {one.credit}; {one.licence}" for one in origins)]

    def _look(self) -> None:
        """See which files there are, and forget what was found if they are not those of before."""
        self._next_look = time.monotonic() + _EVERY
        wanted = list(dict.fromkeys([*self._own, *_fetched(self._folder)]))[:_MOST_FILES]
        gone = [self._files[path] for path in self._files.keys() - set(wanted)]
        for file in gone:
            file.drop(None)
        before = list(self._files)
        self._files = {path: self._files.get(path) or _File(path) for path in wanted}
        changed = [file for file in self._files.values() if file.changed()]
        for file in changed:
            if file.problem is not None:
                self._tell(f"{file.problem}; countries and networks come from elsewhere (enrichers.geo.files)")
        if self._shipped is None and self._not_shipped is None:
            self._take_shipped()
        if changed or before != wanted:
            self._find.cache_clear()

    def _take_shipped(self) -> None:
        try:
            self._shipped = Shipped(HERE)
        except StoreError as error:
            self._not_shipped = "can't be used"
            self._tell(f"{error}; countries and networks come from your own files alone")

    def _looked_up(self, ip: str) -> _Found:
        address = parse(ip)
        if address is None:
            return None, None
        address = embedded(address) or address
        place = NOWHERE
        for file in self._files.values():
            if file.database is None or (place.country and place.number and place.organization):
                continue
            try:
                place = completed(place, file.database.find(address))
            except StoreError as error:
                file.drop(str(error))
                self._tell(f"{error}; it is used no more until it changes")
        if self._shipped is not None:
            place = completed(place, self._shipped.find(address))
        organization = Organization(name=place.organization) if place.organization else None
        return (
            Geo(country_iso_code=place.country) if place.country else None,
            AutonomousSystem(number=place.number, organization=organization) if place.number else None,
        )


def _mark(path: Path) -> _Mark:
    """Give what tells a file from the one that was there before; ``None`` if there is none."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _fetched(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    try:
        return sorted(folder / name for name in os.listdir(folder) if name.endswith(".mmdb"))
    except OSError:  # nothing was fetched yet
        return []


PART = Part(name="geo", config=GeoConfig, build=Places)
