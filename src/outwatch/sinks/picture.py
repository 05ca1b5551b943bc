"""The picture of a watch: the latest revision of everything seen, for tables and explanations."""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

from outwatch.engine.health import Health
from outwatch.engine.verdict import ORDER
from outwatch.model.records import Connection, Judged, Question, Record

_OVER = frozenset({"close", "failed"})
LAYER = "picture"
"""The name under which losses are counted here."""


class Picture:
    """Keeps records by id; when it is full, what is new is counted and not kept."""

    name: ClassVar[str] = "picture"
    settled: ClassVar[bool] = False

    def __init__(self, *, health: Health, capacity: int = 500_000, most_ended: int | None = None) -> None:
        """Hold at most ``capacity`` records; with ``most_ended``, of connections that ended only the latest so many."""
        self._records: dict[str, Judged] = {}
        self._ended: deque[str] = deque()
        self._health = health
        self._capacity = capacity
        self._most_ended = most_ended

    async def write(self, records: Sequence[Record]) -> None:
        """Take what is newer than what is known."""
        for record in records:
            if not isinstance(record, Connection | Question):
                continue
            known = self._records.get(record.id)
            if known is None and len(self._records) >= self._capacity:
                self._health.lose(LAYER, 1)
            elif known is None or known.revision <= record.revision:
                self._records[record.id] = record
                ended_now = _is_over(record) and (known is None or not _is_over(known))
                if self._most_ended is not None and ended_now:
                    self._forget_old(record.id, self._most_ended)

    def _forget_old(self, ended: str, most: int) -> None:
        self._ended.append(ended)
        while len(self._ended) > most:
            self._records.pop(self._ended.popleft(), None)

    async def close(self) -> None:
        """Keep everything: the picture is looked at after the watch."""

    def worst_first(self) -> list[Judged]:
        """Give the records, the worst verdict first, then the highest score, then the newest."""
        return sorted(self._records.values(), key=_badness, reverse=True)


def _is_over(record: Judged) -> bool:
    return record.event.action in _OVER or isinstance(record, Question)


def _badness(record: Judged) -> tuple[int, int, float, str]:
    findings = record.outwatch
    band = ORDER[findings.verdict] if findings.verdict else -1
    return band, findings.score or 0, record.timestamp.timestamp(), record.id
