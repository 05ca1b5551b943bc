"""The last word on each connection: all that are open, and those that ended not long ago."""

from collections import OrderedDict

from outwatch.model.records import Judged, Question

_OVER = frozenset({"close", "failed"})


class Latest:
    """Remembers records by id within fixed bounds; ``forgotten`` counts the open ones that had to go."""

    def __init__(self, *, most_open: int = 200_000, most_ended: int = 2_000) -> None:
        """Bound both kinds; the oldest goes first."""
        self.forgotten = 0
        self._most_open = most_open
        self._most_ended = most_ended
        self._open: OrderedDict[str, Judged] = OrderedDict()
        self._ended: OrderedDict[str, Judged] = OrderedDict()

    def get(self, identity: str) -> Judged | None:
        """Give the latest revision that is remembered."""
        return self._open.get(identity) or self._ended.get(identity)

    def keep(self, record: Judged) -> None:
        """Remember a record in the place of what was known of it."""
        if record.event.action in _OVER or isinstance(record, Question):
            self._open.pop(record.id, None)
            self._ended[record.id] = record
            if len(self._ended) > self._most_ended:
                self._ended.popitem(last=False)
            return
        self._open[record.id] = record
        self._open.move_to_end(record.id)
        if len(self._open) > self._most_open:
            self._open.popitem(last=False)
            self.forgotten += 1
