"""What comes of reading a list: how many entries, which lines can't be used and why, and when the whole list must be refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network

from outwatch.errors import RuleError
from outwatch.guard.text import printable
from outwatch.intel.entries import Entry
from outwatch.intel.formats.coverage import Coverage
from outwatch.net.addresses import Scopes

_TOLD = 20  # lines of each kind that are told one by one
_SHOWN = 80  # characters of a line that are repeated
_MANY, _TIMES = 20, 4  # so many broken lines, and so many times those that are understood, are no list
_MOST_KINDS = 50  # of things that are no addresses and names


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a list may be.

    Prefix lengths are the shortest that an entry may have; ``share`` is that of all addresses that a list of indicators may cover,
    ``warning_share`` of one that says what is well known.

    ``most_octets`` counts after decompression, by which a file may grow ``ratio``-fold; ``most_document`` are octets of one JSON document,
    which is read whole.
    """

    widest_v4: int = 8
    widest_v6: int = 16
    share: float = 0.05
    warning_share: float = 0.25
    most_lines: int = 10_000_000
    most_octets: int = 256 << 20
    most_document: int = 64 << 20
    ratio: float = 100.0


@dataclass
class Ledger:
    """Counts of one reading. ``source`` names the file or address; ``tell`` gets the first lines that can't be used or are left out.

    A list of what is well known (``warns``; ``None``: as its form says) may name what belongs to many, such as ``duckdns.org``.
    ``items`` says that what counts as lines are items of a document.
    ``left_out`` counts entries by the reason, ``others`` what is neither address nor name by its kind, ``expired`` what counts no more
    at ``now`` (seconds since the epoch).
    """

    source: str
    bounds: Bounds
    scopes: Scopes
    now: float
    warns: bool | None = None
    tell: Callable[[RuleError], None] = lambda _problem: None
    form: str = ""
    items: bool = False
    entries: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    expired: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    _told: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry) -> Entry:
        """Count an entry."""
        self.entries[entry.kind] += 1
        return entry

    def keep(self, entry: Entry) -> Entry:
        """Count an entry that was read another time."""
        if entry.kind == "network":
            self.coverage.add(ip_network(entry.value))
        return self.take(entry)

    def break_(self, line: int | None, text: str, reason: str = "no address, network or name") -> None:
        """Count a line that can't be understood."""
        self.broken += 1
        self._tell("broken", line, f"{printable(text, _SHOWN)!r}: {reason}")

    def leave_out(self, line: int | None, text: str, why: str, reason: str) -> None:
        """Count an entry that must not be used; ``why`` is its heading in the counts."""
        self.left_out[why] += 1
        self._tell(why, line, f"{printable(text, _SHOWN)} is left out: {reason}")

    def pass_over(self, kind: str) -> None:
        """Count something that connections don't show."""
        self.others[kind if kind in self.others or len(self.others) < _MOST_KINDS else "other things"] += 1

    def refused(self, reason: str) -> RuleError:
        """Give the error that refuses the whole list."""
        return RuleError(self.source, None, reason)

    def check(self) -> None:
        """Refuse, at the end, a list that says nothing or that can't be what it should be (``RuleError``)."""
        usable = self.entries.total()
        understood = usable + self.left_out.total() + self.others.total() + self.expired
        if self.broken and (not understood or self.broken >= max(_MANY, _TIMES * understood)):
            raise self.refused(f"is no list of a known form: {self.broken:,} of {self.broken + understood:,} lines can't be understood")
        if not understood:
            raise self.refused("is empty")
        if not usable:
            raise self.refused("has no entry that counts: " + ", ".join(f"{what} ({count:,})" for what, count in self.unused().items()))
        reason = self.coverage.too_much(self.bounds.warning_share if self.warns else self.bounds.share)
        if reason:
            raise self.refused(reason)

    def unused(self) -> dict[str, int]:
        """Give the counts of what did not become an entry, by what it was."""
        counts = {**dict(sorted(self.left_out.items())), "expired": self.expired, **dict(sorted(self.others.items()))}
        counts["lines not understood"] = self.broken
        return {what: count for what, count in counts.items() if count}

    def _tell(self, heading: str, line: int | None, text: str) -> None:
        self._told[heading] += 1
        if self._told[heading] <= _TOLD:
            self.tell(RuleError(self.source, None, f"item {line}: {text}") if self.items and line else RuleError(self.source, line, text))
        elif self._told[heading] == _TOLD + 1:
            self.tell(RuleError(self.source, None, f"more such lines ({heading}) are counted, not listed"))
