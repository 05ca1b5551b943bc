"""Reads a list from octets, as an update does from a file."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from outwatch.errors import RuleError
from outwatch.intel import formats
from outwatch.intel.entries import Entry
from outwatch.intel.formats import Bounds, Ledger
from outwatch.net.addresses import Scopes

NOW = datetime(2025, 7, 10, tzinfo=UTC).timestamp()


class Read:
    """What came of a list: its entries, the ledger, and what was told."""

    def __init__(
        self, data: str | bytes, *, warns: bool | None = None, now: float = NOW, public: Sequence[str] = (), **limits: Any
    ) -> None:
        self.told: list[RuleError] = []
        scopes = Scopes([ip_network(one) for one in public])
        self.ledger = Ledger("list", Bounds(**limits), scopes, now, warns, self.told.append)
        self.refused: str | None = None
        self.entries: list[Entry] = []
        try:
            for entry in formats.read(io.BytesIO(data.encode() if isinstance(data, str) else data), self.ledger):
                self.entries.append(entry)
        except RuleError as error:
            self.refused = error.reason

    @property
    def values(self) -> list[str]:
        return [entry.value for entry in self.entries]

    @property
    def lines(self) -> list[str]:
        return [str(one) for one in self.told]


def seconds(text: str) -> int:
    """Give a time as lists spell it in seconds since the epoch, by another way than the code's own."""
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())
