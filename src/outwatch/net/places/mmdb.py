"""Country and network of addresses from MMDB files of anybody: GeoLite2, DB-IP Lite, IPinfo Lite and others with their fields.

The files are read by maxminddb (format: maxmind.github.io/MaxMind-DB), in Python alone. It is handed a file that reads itself page by page
instead of one in memory or mapped into it: a city database has 60 MB, and a mapped file that somebody cuts ends the whole program (SIGBUS).
What a file says is hostile text like any other.
"""

import os
import re
import stat
import struct
import weakref
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, Self, cast

from outwatch.errors import StoreError
from outwatch.guard.text import cleaned
from outwatch.net.places import NOWHERE, Place

Gives = Literal["country", "network"]

_PAGE = 4096  # bytes
_PAGES = 1024  # that are kept
_MOST_READS = 8_192  # of one answer; a record of a city with all its names takes about 700
_MOST_READS_TO_OPEN = 60_000
_SAMPLE = 64  # records that are looked at to learn what a file has
_LONGEST_NAME = 100
_LAST_NUMBER = 2**32 - 2
_COUNTRY = re.compile(r"[A-Za-z]{2}\Z")
_NO_COUNTRIES = frozenset({"XX", "ZZ", "AP"})  # as some spell "unknown", or a whole continent
_NUMBER = re.compile(r"(?:AS)?([0-9]{1,10})\Z")
_MEND = "fetch it again, or name another file"
# What maxminddb raises, beside its own error (a RuntimeError), for bytes that are no database or lie about themselves.
_BROKEN = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)


class Mmdb:
    """One file, held open; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open it and look at its first records; ``StoreError`` if it can't be used, with the remedy."""
        import maxminddb  # noqa: PLC0415 - only those who have such files need it

        self.path = path
        self._pages = _Pages(_opened(path))
        try:
            self._pages.allow(_MOST_READS_TO_OPEN)
            self._reader = maxminddb.open_database(cast("IO[bytes]", self._pages), maxminddb.MODE_FD)
            facts = self._reader.metadata()
            self.version: int = facts.ip_version
            self.type = cleaned(str(facts.database_type), _LONGEST_NAME)
            self.made = datetime.fromtimestamp(facts.build_epoch, UTC).date()
            self.gives = _fields([place_of(record) for _, record in islice(self._reader, _SAMPLE)])
        except (*_BROKEN, OSError) as error:
            self.close()
            raise StoreError(path, f"no MMDB file, or a damaged one; {_MEND}") from error
        if not self.gives:
            self.close()
            raise StoreError(path, f"neither countries nor networks are in it (it calls itself {self.type!r}); {_MEND}")

    def find(self, address: IPv4Address | IPv6Address) -> Place:
        """Give what it says of an address; ``StoreError`` where it is damaged."""
        if address.version == 6 and self.version != 6:  # noqa: PLR2004 - versions of IP
            return NOWHERE
        self._pages.allow(_MOST_READS)
        try:
            return place_of(self._reader.get(address))
        except (*_BROKEN, OSError) as error:
            raise StoreError(self.path, f"damaged, or changed while it was read; {_MEND}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._pages.close()


def place_of(record: object) -> Place:
    """Read a record in the forms of MaxMind and DB-IP, of IPinfo, and of ip-location-db; what is not as it should be counts as unknown."""
    if not isinstance(record, dict):
        return NOWHERE
    traits = record.get("traits")
    network = traits if isinstance(traits, dict) and "autonomous_system_number" in traits else record
    number = _number(network.get("autonomous_system_number", network.get("asn")))
    name = network.get("autonomous_system_organization", network.get("as_name"))
    organization = " ".join(cleaned(name, _LONGEST_NAME).split()) if isinstance(name, str) else ""
    return Place(_country(record), number, organization or None)


def _country(record: dict[Any, Any]) -> str | None:
    """Give the code of a country: plain, or of the country that the address is in, else of the one that it is registered in."""
    for key in ("country_code", "country", "registered_country"):
        value = record.get(key)
        code = value.get("iso_code") if isinstance(value, dict) else value
        if isinstance(code, str) and _COUNTRY.match(code) and code.upper() not in _NO_COUNTRIES:
            return code.upper()
    return None


def _number(value: object) -> int | None:
    if isinstance(value, str):
        digits = _NUMBER.match(value)
        value = int(digits[1]) if digits else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LAST_NUMBER else None


def _fields(places: list[Place]) -> tuple[Gives, ...]:
    fields: list[Gives] = []
    if any(place.country for place in places):
        fields.append("country")
    if any(place.number for place in places):
        fields.append("network")
    return tuple(fields)


def _opened(path: Path) -> int:
    """Open a plain file for reading, without waiting for anybody, and give its descriptor; ``StoreError`` for what is none."""
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise StoreError(path, getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(path, "it is not a plain file")
    return descriptor


class _Pages:
    """A file as maxminddb wants it: ``read`` gives what is then indexed like bytes. It reads pages, and only so many times."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)  # also for those who never say that they are done
        self._size = os.fstat(descriptor).st_size
        self._page = lru_cache(maxsize=_PAGES)(self._read_page)
        self._left = 0

    def allow(self, reads: int) -> None:
        """Set how often it may be read from now on: records that lead to each other would take forever."""
        self._left = reads

    def read(self) -> Self:
        return self

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, at: int | slice) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("more is read than a record can need")
        if isinstance(at, int):
            return self._page(at // _PAGE)[at % _PAGE]
        start, stop = at.start, at.stop
        page, begins = divmod(start, _PAGE)
        piece = self._page(page)[begins : begins + stop - start]
        if len(piece) < stop - start:
            piece = self._long(start, stop)
        return piece

    def rfind(self, wanted: bytes, start: int) -> int:
        found = self._long(start, self._size).rfind(wanted)
        return -1 if found < 0 else start + found

    def _long(self, start: int, stop: int) -> bytes:
        """Read what does not lie in one page; never less than was asked for."""
        if not 0 <= start <= stop <= self._size:
            raise IndexError("behind the end of the file")
        pages = [self._page(number) for number in range(start // _PAGE, -(-stop // _PAGE))]
        piece = b"".join(pages)[start % _PAGE :][: stop - start]
        if len(piece) < stop - start:
            raise IndexError("the file was cut")
        return piece

    def _read_page(self, number: int) -> bytes:
        os.lseek(self._descriptor, number * _PAGE, os.SEEK_SET)
        return os.read(self._descriptor, _PAGE)
