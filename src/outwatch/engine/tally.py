"""What a run has seen, in numbers: the counts of its summary."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from outwatch.model.interfaces import Field
from outwatch.model.records import Connection, Judged, Unknown, asked_name, stands_for

Reader = Callable[[Judged], object]


class Tally:
    """Counts connections and questions by their latest revision.

    ``without_fact`` says of each detector on how many judged records it had nothing to look at.
    """

    def __init__(self, needs: Mapping[str, Reader | None] | None = None) -> None:
        """Start at zero; ``needs`` gives for each detector what tells whether the facts it can't do without are there."""
        self._needs = [(name, has_facts) for name, has_facts in (needs or {}).items() if has_facts]
        self.seen = 0
        self.not_judged = 0
        self.verdicts: Counter[str] = Counter()
        self.unattributed: Counter[str] = Counter()
        self.scopes: Counter[str] = Counter()
        self.without_fact: Counter[str] = Counter()

    def count(self, now: Judged, before: Judged | None) -> None:
        """Count a record, and take back what an earlier revision of it was counted as."""
        if before is not None:
            self._add(before, -stands_for(before))
        self._add(now, stands_for(now))

    def _add(self, record: Judged, step: int) -> None:
        findings = record.outwatch
        if findings.verdict is None:
            self.not_judged += step
        else:
            self.verdicts[findings.verdict] += step
            for name, has_facts in self._needs:
                if not has_facts(record):
                    self.without_fact[name] += step
        if isinstance(record, Connection):
            self.seen += step
            self.scopes[record.network.scope or "unclassified"] += step
            if isinstance(findings.attribution, Unknown):
                self.unattributed[findings.attribution.unknown] += step


def has_facts(fields: Iterable[Field]) -> Reader | None:
    """Make a function that is true for records with all these facts; ``None`` if there is nothing to ask for."""
    readers = [_READERS[field] for field in sorted(fields)]
    if len(readers) < 2:  # noqa: PLR2004 - the usual cases, without a loop around them
        return readers[0] if readers else None
    return lambda seen: all(reader(seen) for reader in readers)


_READERS: dict[Field, Reader] = {
    "destination.ip": lambda seen: seen.destination.ip,
    "destination.domain": asked_name,
    "process.executable": lambda seen: seen.process.executable if seen.process else None,
    "process.name": lambda seen: seen.process.name if seen.process else None,
}
