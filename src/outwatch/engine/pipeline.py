"""One event's way: enrich, inspect, judge.

The fences around parts stand here, in ``drive.py``, ``outlet.py``, ``slow_lane.py`` and ``registry.py``, and nowhere else (``beside.py``
and ``patience.py`` hand what is raised in a thread to whoever waits for it). A part that raises loses its own word on that one record:
it is counted, told once, and everything else goes on.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.engine.latest import Latest
from outwatch.engine.tally import Tally, has_facts
from outwatch.engine.verdict import Judge, Verdict
from outwatch.model.interfaces import Detector, Enricher, Learner, Marker
from outwatch.model.records import Connection, Detection, EventsLost, Judged, Observation, Question, Record

_LATER = frozenset({"traffic", "close"})  # what is said of a connection that was spoken of before


class Pipeline:
    """Judges observations; keeps the last word on each connection, so that a later fact can issue it again."""

    def __init__(
        self,
        *,
        enrichers: Sequence[Enricher],
        detectors: Sequence[Detector],
        judge: Judge,
        health: Health,
    ) -> None:
        """Take the parts in the order in which they work."""
        self._enrichers = [(enricher.enrich, type(enricher).__name__) for enricher in enrichers]
        self._markers = [enricher for enricher in enrichers if isinstance(enricher, Marker)]
        self._learners = [enricher for enricher in enrichers if isinstance(enricher, Learner)]
        self._detectors = [(detector.inspect, detector.name, has_facts(detector.needs)) for detector in detectors]
        self.tally = Tally({name: ready for _, name, ready in self._detectors})
        self._judge = judge
        self._health = health
        self._latest = Latest()

    def process(self, batch: Iterable[Observation]) -> list[Record]:
        """Give the records that a batch of observations comes to."""
        records: list[Record] = []
        for seen in batch:
            if isinstance(seen, EventsLost):
                records.append(self._lost(seen))
                continue
            records.append(self._issue(seen))
            if isinstance(seen, Question) and self._learners:
                records += self.reissue(self._learned(seen))
        return records

    def reissue(self, ids: Iterable[str]) -> list[Record]:
        """Enrich and judge connections again because something came to light; those that did not change are left out."""
        issued: list[Record] = []
        for known in [known for identity in ids if (known := self._latest.get(identity))]:
            again = self._judged(known)
            if again != known:
                issued.append(self._keep(replace(again, revision=known.revision + 1), known))
        return issued

    def _issue(self, seen: Judged) -> Judged:
        known = self._latest.get(seen.id)
        if known is None and self._latest.forgotten and (seen.revision > 1 or seen.event.action in _LATER):
            self._health.problem("too many connections at once to remember: some that changed later are counted twice")
        judged = self._judged(seen)
        if not judged.revision:
            judged = replace(judged, revision=known.revision + 1 if known else 1)
        elif known is not None and judged.revision < known.revision:
            return judged  # a recording may hold revisions out of order; the later word stands
        return self._keep(judged, known)

    def _keep(self, judged: Judged, known: Judged | None) -> Judged:
        self.tally.count(judged, known)
        self._latest.keep(judged)
        return judged

    def _lost(self, loss: EventsLost) -> EventsLost:
        self._health.observed_loss(loss)
        return loss

    def _judged(self, seen: Judged) -> Judged:
        seen = self._enriched(seen) if isinstance(seen, Connection) else self._marked(seen)
        if seen.network.direction == "ingress":
            findings = seen.outwatch
            if findings.verdict is None and findings.score is None and findings.reasons is None:
                return seen
            return replace(seen, outwatch=replace(findings, verdict=None, score=None, reasons=None))
        return _with_verdict(seen, self._judge.judge(self._detections(seen)))

    def _enriched(self, connection: Connection) -> Connection:
        for enrich, name in self._enrichers:
            try:
                connection = enrich(connection)
            except Exception as error:  # noqa: BLE001 - the fence: a part's fault costs its own word only
                self._health.part_failed(name, error)
        return connection

    def _marked(self, question: Question) -> Judged:
        seen: Judged = question
        for marker in self._markers:
            try:
                seen = marker.mark(seen)
            except Exception as error:  # noqa: BLE001 - the fence
                self._health.part_failed(type(marker).__name__, error)
        return seen

    def _learned(self, question: Question) -> list[str]:
        """Let those learn who do; gives the ids of connections that they know more about now."""
        ids: list[str] = []
        for learner in self._learners:
            try:
                ids += learner.learn(question)
            except Exception as error:  # noqa: BLE001 - the fence
                self._health.part_failed(type(learner).__name__, error)
        return ids

    def _detections(self, seen: Judged) -> list[Detection]:
        found: list[Detection] = []
        for inspect, name, ready in self._detectors:
            try:
                if ready is None or ready(seen):
                    for detection in inspect(seen):
                        found.append(_checked(detection))  # noqa: PERF401 - most yield nothing
            except Exception as error:  # noqa: BLE001 - the fence
                self._health.part_failed(name, error)
        return found


def _checked(detection: object) -> Detection:
    """Let nothing pass but what the judge can reckon with."""
    if not isinstance(detection, Detection) or not isinstance(detection.points, float | int):
        raise TypeError(f"a detector yielded {type(detection).__name__}, not a Detection with points")
    return detection


def _with_verdict(seen: Judged, verdict: Verdict) -> Judged:
    findings = replace(seen.outwatch, verdict=verdict.band, score=verdict.score, reasons=verdict.detections or None)
    return replace(seen, outwatch=findings)
