"""From reasons to a verdict.

Reasons of one family speak of the same thing, so only the strongest of a family counts; families are independent
witnesses and are combined by noisy-OR (J. Pearl, *Probabilistic Reasoning in Intelligent Systems*, 1988, section 4.3.2):
``risk = 1 - product over families of (1 - points / 100)``. The strongest allow entry is then taken off. Bands of the score begin at
20, 40, 60 and 80. The reasoning behind the points: ``docs/explanation/verdicts.md``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec.structs import replace

from outwatch.model.records import Band, Detection
from outwatch.model.remembered import Remembered

BANDS: tuple[tuple[int, Band], ...] = ((80, "critical"), (60, "high"), (40, "medium"), (20, "low"), (0, "normal"))
"""The lowest score of each band, highest first."""

ORDER: dict[Band, int] = {"allowed": 0, "normal": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
"""How bad a band is, for sorting and for ``--fail-on``."""

POINTS: dict[str, float] = {"normal": 0, "low": 30, "medium": 50, "high": 70, "critical": 90}
"""Points of a reason for which only a level is given (Sigma's levels): the middle of its band."""


_REMEMBERED = 1_000


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer for one connection; ``detections`` are sorted, the strongest first."""

    band: Band
    score: int
    detections: tuple[Detection, ...]


NOTHING_FOUND = Verdict(band="normal", score=0, detections=())


Weight = Annotated[float, msgspec.Meta(ge=0, le=100)]


class VerdictConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``weights`` multiplies the points of a detector, by its name; 0 silences it."""

    weights: dict[str, Weight] = {}


class Judge:
    """Turns the reasons of one connection into its verdict."""

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """Take the factor for each detector's points; 1 where nothing is said."""
        self._weights = dict(weights or {})
        self._alone: Remembered[Detection, Verdict] = Remembered(_REMEMBERED)

    def judge(self, detections: Sequence[Detection]) -> Verdict:
        """Weigh and combine; no detections give ``normal`` with score 0."""
        if not detections:
            return NOTHING_FOUND
        if len(detections) == 1:  # detectors give the same reason for one program or name again and again
            known = self._alone.get(detections[0])
            return known if known is not None else self._alone.put(detections[0], combine([self._weighed(detections[0])]))
        return combine([self._weighed(detection) for detection in detections])

    def _weighed(self, detection: Detection) -> Detection:
        weight = self._weights.get(detection.detector, 1.0)
        points = detection.points * weight
        points = 0.0 if math.isnan(points) else max(-100.0, min(100.0, points))
        return detection if points == detection.points else replace(detection, points=points)


def combine(detections: Sequence[Detection]) -> Verdict:
    """Combine reasons whose points are final."""
    strongest: dict[str, float] = {}
    lowered = 0.0
    for detection in detections:
        if detection.points < 0:
            lowered = min(lowered, detection.points)
        else:
            family = detection.family or detection.detector
            strongest[family] = max(strongest.get(family, 0.0), detection.points)
    doubt = 1.0
    for points in sorted(strongest.values()):  # sorted and rounded, so that no order of reasons changes the last digit
        doubt *= 1.0 - points / 100.0
    score = max(0, min(100, round(round(100.0 * (1.0 - doubt) + lowered, 9))))
    band = band_of(score)
    if band == "normal" and lowered:
        band = "allowed"
    ordered = tuple(sorted(detections, key=lambda one: (-abs(one.points), one.detector, one.reason)))
    return Verdict(band=band, score=score, detections=ordered)


def band_of(score: float) -> Band:
    """Give the band of a score from 0 to 100."""
    return next(band for lowest, band in BANDS if score >= lowest)


def without_each(detections: Sequence[Detection]) -> list[tuple[Detection, Verdict]]:
    """Give, for each reason, the verdict that would stand if that reason were not there."""
    return [
        (left_out, combine([other for at, other in enumerate(detections) if at != position]))
        for position, left_out in enumerate(detections)
    ]
