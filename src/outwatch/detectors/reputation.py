"""What services say of a destination, weighed: how bad each calls it, how much its word is worth, and how old that is.

A reason's points are risk (0 to 100, by the service's own numbers) times the service's weight times freshness. The strongest reason
carries the others: each source that agrees removes a share of the doubt that is left, and a third of it only, because services copy from
each other. All of it together stays below ``high``. An answer that is ``clean``, ``no_data`` or ``not_checked`` gives no points and takes
none away. The reasoning behind the numbers: ``docs/explanation/reputation.md``.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from outwatch.errors import RuleError
from outwatch.guard.text import printable
from outwatch.model.interfaces import Field, Part, PartConfig
from outwatch.model.records import Detection, Fact, Family, Judged, Reputation

MOST = 59.0
"""Points that services can give together: reputation alone is never ``high``."""

_Curve = tuple[tuple[float, float], ...]
_ENGINES: _Curve = ((0, 0), (1, 25), (3, 37), (4, 44), (8, 50), (16, 56))  # of VirusTotal's engines; one is low, four are medium
_PULSES: _Curve = ((0, 0), (1, 35), (5, 60), (20, 100))
_HALF, _MOST_HALVES = 0.5, 2.0  # an engine that says "suspicious" is half a one that says "malicious"; all of them are two at most
_FULL, _SOME = 100.0, 40.0  # risk where a service gives no number
_DAY = 86_400.0
_FRESH = 1.0  # days: as long as an answer is kept before the service is asked again
_MOST_SHOWN = 1_000_000
_LONGEST = 60  # characters of a text from elsewhere

Weight = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ReputationConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much each service's word is worth (0: context without points), ``others`` for services that are not named here.

    ``agreement``: how much of the doubt another source removes. ``vouched``: what is left of all points when a service vouches for the
    destination. ``half_life_days``: the time in which an answer older than a day loses half its weight.
    """

    virustotal: Weight = 1.0
    abuseipdb: Weight = 0.35
    greynoise: Weight = 0.25
    otx: Weight = 0.3
    internetdb: Weight = 0.0
    ipinfo: Weight = 0.0
    others: Weight = 0.25
    agreement: Weight = 0.3
    vouched: Weight = 0.5
    half_life_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = 14.0


class _Witness(NamedTuple):
    points: float
    risk: float
    weight: float
    freshness: float
    title: str
    words: str
    said: Reputation


class ReputationDetector:
    """Judges a destination by what reputation services say of it."""

    name: ClassVar[str] = "reputation"
    family: ClassVar[Family] = "intelligence"
    needs: ClassVar[frozenset[Field]] = frozenset()

    def __init__(self, config: ReputationConfig) -> None:
        """Take the weights."""
        self.problems: list[RuleError] = []
        self._config = config

    def inspect(self, seen: Judged) -> Iterable[Detection]:
        """Yield a reason for each service that calls the destination malicious or suspicious."""
        known = seen.outwatch.reputation
        heard = [said for said in known or () if said.state in {"malicious", "suspicious"}]
        if not known or not heard:
            return []
        vouching = sorted({_title(said.provider) for said in known if said.allow_listed and said.state != "not_checked"})
        witnesses = self._witnesses(heard, seen.timestamp, self._config.vouched if vouching else 1.0)
        first, *others = witnesses
        agreeing = [other.title for other in others if other.points] if first.points else []
        points = min(MOST, round(self._together(witnesses), 1))
        reasons = [self._detection(first, points, vouching, agreeing)]
        return [*reasons, *(self._detection(other, round(other.points, 1), vouching, ()) for other in others)]

    def _witnesses(self, heard: Sequence[Reputation], at: datetime, factor: float) -> list[_Witness]:
        """Weigh what was said, the strongest first; of what one service says of several indicators only the strongest."""
        strongest: dict[str, _Witness] = {}
        for said in heard:
            risk, words = _SOURCES.get(said.provider, (said.provider, _anyone))[1](said)
            weight: float = getattr(self._config, said.provider) if said.provider in _SOURCES else self._config.others
            freshness = self._freshness(said, at)
            points = min(MOST, risk * weight * freshness * factor)
            found = _Witness(points, risk, weight, freshness, _title(said.provider), words, said)
            known = strongest.get(said.provider)
            if known is None or (points, said.link or "") > (known.points, known.said.link or ""):
                strongest[said.provider] = found
        return sorted(strongest.values(), key=lambda one: (-one.points, one.title))

    def _together(self, witnesses: Sequence[_Witness]) -> float:
        """Combine by noisy-OR, in which all but the strongest count by the share of ``agreement``."""
        first, *others = witnesses
        doubt = 1 - first.points / 100
        for other in others:
            doubt *= 1 - self._config.agreement * other.points / 100
        return 100 * (1 - doubt)

    def _freshness(self, said: Reputation, at: datetime) -> float:
        """Give 1 for an answer not much older than the connection, and half for each half-life beyond; a later answer is no worse."""
        if said.checked_at is None:
            return 1.0
        age = (at - said.checked_at).total_seconds() / _DAY - _FRESH
        return 1.0 if age <= 0 else 0.5 ** (age / self._config.half_life_days)

    def _detection(self, witness: _Witness, points: float, vouching: Sequence[str], agreeing: Sequence[str]) -> Detection:
        said = witness.said
        reason = f"{witness.title}: {witness.words}"
        if said.checked_at is not None and witness.freshness < 1:
            reason += f", as of {said.checked_at.date()}"
        if not witness.weight:
            reason += " (context, no points)"
        elif vouching:
            reason += f"; it counts less because {_listed(vouching)} {'vouches' if len(vouching) == 1 else 'vouch'} for it"
        if agreeing:
            reason += f"; {_listed(agreeing)} {'agrees' if len(agreeing) == 1 else 'agree'}"
        evidence: dict[str, Fact | None] = {
            "state": said.state,
            "risk": round(witness.risk, 1),
            "weight": witness.weight,
            "freshness": round(witness.freshness, 2),
            "score": said.score,
            "malicious": said.malicious,
            "suspicious": said.suspicious,
            "engines": said.engines,
            "reports": said.reports,
            "checked_at": said.checked_at.isoformat(timespec="seconds").replace("+00:00", "Z") if said.checked_at else None,
            "link": said.link,
            "agreeing": tuple(agreeing) or None,
            "vouched_for_by": tuple(vouching) or None,
        }
        return Detection(
            detector=self.name,
            family=self.family,
            points=points,
            reason=reason,
            evidence={key: value for key, value in evidence.items() if value is not None},
            source=witness.title,
        )


def _virustotal(said: Reputation) -> tuple[float, str]:
    malicious = _bounded(said.malicious if said.malicious is not None else said.score)
    suspicious = _bounded(said.suspicious) or 0
    if malicious is None:
        malicious = 4 if said.state == "malicious" else 1
    witnesses = malicious + min(_MOST_HALVES, suspicious * _HALF)
    of = f" of {_bounded(said.engines)}" if said.engines else ""
    if not malicious:
        return _on(_ENGINES, witnesses), f"{suspicious}{of} engines {'calls' if suspicious == 1 else 'call'} it suspicious"
    if malicious == 1:
        return _on(_ENGINES, witnesses), f"1{of} engines calls it malicious, and one alone is often wrong"
    return _on(_ENGINES, witnesses), f"{malicious}{of} engines call it malicious"


def _abuseipdb(said: Reputation) -> tuple[float, str]:
    confidence = _bounded(said.score)
    reports = _bounded(said.reports)
    times = "" if reports is None else " once" if reports == 1 else f" {reports} times"
    if confidence is None:
        return _by_state(said), f"reported{times} for attacking others"
    return min(_FULL, confidence), f"reported{times} for attacking others, confidence {min(100, confidence)} %"


def _greynoise(said: Reputation) -> tuple[float, str]:
    return _by_state(
        said
    ), "it attacks others across the internet" if said.state == "malicious" else "it scans the internet, nobody knows why"


def _otx(said: Reputation) -> tuple[float, str]:
    pulses = _bounded(said.reports if said.reports is not None else said.score)
    if pulses is None:
        return _by_state(said), "named in reports of its members"
    return _on(_PULSES, pulses), f"named in {pulses} {'report' if pulses == 1 else 'reports'} of its members"


def _internetdb(said: Reputation) -> tuple[float, str]:
    tag = printable(said.tags[0], _LONGEST) if said.tags else "under somebody's control"
    return _by_state(said), f"tagged {tag}"


def _anyone(said: Reputation) -> tuple[float, str]:
    return _by_state(said), f"calls it {said.state}"


_SOURCES: dict[str, tuple[str, Callable[[Reputation], tuple[float, str]]]] = {
    "virustotal": ("VirusTotal", _virustotal),
    "abuseipdb": ("AbuseIPDB", _abuseipdb),
    "greynoise": ("GreyNoise", _greynoise),
    "otx": ("AlienVault OTX", _otx),
    "internetdb": ("Shodan InternetDB", _internetdb),
    "ipinfo": ("IPinfo", _anyone),
}


def _title(provider: str) -> str:
    return _SOURCES[provider][0] if provider in _SOURCES else printable(provider, _LONGEST) or "a service"


def _by_state(said: Reputation) -> float:
    return _FULL if said.state == "malicious" else _SOME


def _bounded(number: float | None) -> int | None:
    """Give a service's number as it may be shown and reckoned with; records may come from anywhere."""
    if number is None or (number.__class__ is float and math.isnan(number)):
        return None
    return int(max(0, min(_MOST_SHOWN, number)))


def _on(curve: _Curve, at: float) -> float:
    """Read a curve: straight lines between its points, level after the last."""
    for (left, low), (right, high) in pairwise(curve):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return curve[-1][1]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


PART = Part(name="reputation", config=ReputationConfig, build=ReputationDetector)
