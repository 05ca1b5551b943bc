"""One event's way: enrich, inspect, judge. The fences around parts stand here and in ``drive.py``, and nowhere else.

A part that raises loses its own word on that one record: it is counted, told once, and everything else goes on.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.engine.tally import Tally, has_facts
from outwatch.engine.verdict import Judge, Verdict
from outwatch.model.interfaces import Detector, Enricher
from outwatch.model.records import Connection, Detection, EventsLost, Judged, Observation, Record


class Pipeline:
    """Judges observations; keeps the last word on each connection, so that a later fact can issue it again."""

    def __init__(
        self,
        *,
        enrichers: Sequence[Enricher],
        detectors: Sequence[Detector],
        judge: Judge,
        health: Health,
        capacity: int = 100_000,
    ) -> None:
        """Take the parts in the order in which they work; the last word on ``capacity`` connections is remembered."""
        self._detectors = [(detector, has_facts(detector.needs)) for detector in detectors]
        self.tally = Tally({detector.name: ready for detector, ready in self._detectors})
        self._enrichers = enrichers
        self._judge = judge
        self._health = health
        self._capacity = capacity
        self._latest: OrderedDict[str, Judged] = OrderedDict()

    def process(self, batch: Iterable[Observation]) -> list[Record]:
        """Give the records that a batch of observations comes to."""
        return [self._lost(seen) if isinstance(seen, EventsLost) else self._issue(seen) for seen in batch]

    def reissue(self, ids: Iterable[str]) -> list[Record]:
        """Enrich and judge connections again because something came to light; those that did not change are left out."""
        issued: list[Record] = []
        for known in [self._latest[identity] for identity in ids if identity in self._latest]:
            again = self._judged(known)
            if again != known:
                issued.append(self._keep(replace(again, revision=known.revision + 1), known))
        return issued

    def _issue(self, seen: Judged) -> Judged:
        known = self._latest.get(seen.id)
        judged = self._judged(seen)
        if not judged.revision:
            judged = replace(judged, revision=known.revision + 1 if known else 1)
        elif known is not None and judged.revision < known.revision:
            return judged  # a recording may hold revisions out of order; the later word stands
        return self._keep(judged, known)

    def _keep(self, judged: Judged, known: Judged | None) -> Judged:
        self.tally.count(judged, known)
        self._latest[judged.id] = judged
        if known is None and len(self._latest) > self._capacity:
            self._latest.popitem(last=False)
        return judged

    def _lost(self, loss: EventsLost) -> EventsLost:
        self._health.observed_loss(loss)
        return loss

    def _judged(self, seen: Judged) -> Judged:
        if isinstance(seen, Connection):
            seen = self._enriched(seen)
        if seen.network.direction == "ingress":
            if seen.outwatch.verdict is None:
                return seen
            return replace(seen, outwatch=replace(seen.outwatch, verdict=None, score=None, reasons=None))
        return _with_verdict(seen, self._judge.judge(self._detections(seen)))

    def _enriched(self, connection: Connection) -> Connection:
        for enricher in self._enrichers:
            try:
                connection = enricher.enrich(connection)
            except Exception as error:  # noqa: BLE001 - the fence: a part's fault costs its own word only
                self._health.part_failed(type(enricher).__name__, error)
        return connection

    def _detections(self, seen: Judged) -> list[Detection]:
        found: list[Detection] = []
        for detector, ready in self._detectors:
            try:
                if ready is None or ready(seen):
                    found.extend(detector.inspect(seen))
            except Exception as error:  # noqa: BLE001 - the fence
                self._health.part_failed(detector.name, error)
        return found


def _with_verdict(seen: Judged, verdict: Verdict) -> Judged:
    findings = replace(seen.outwatch, verdict=verdict.band, score=verdict.score, reasons=verdict.detections or None)
    return replace(seen, outwatch=findings)
