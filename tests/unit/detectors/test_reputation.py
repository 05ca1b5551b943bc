"""What the words of reputation services are worth, alone and together."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from outwatch.detectors.reputation import ReputationConfig, ReputationDetector
from outwatch.engine.verdict import combine
from outwatch.model.records import Connection, Detection, Findings, Question, Reputation

ROOT = Path(__file__).parents[3]
WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)
NOW = WHEN + timedelta(minutes=1)
PLAIN = ReputationDetector(ReputationConfig())
RECORD = Connection(id="c1", timestamp=WHEN)


def judged(*said: Reputation, at: datetime = WHEN, **config: Any) -> list[Detection]:
    detector = ReputationDetector(ReputationConfig(**config)) if config else PLAIN
    return list(detector.inspect(replace(RECORD, timestamp=at, outwatch=Findings(reputation=said))))


def points(*said: Reputation, **config: Any) -> float:
    """Give the points of what was said, all together: the verdict counts the strongest of a family."""
    return max((one.points for one in judged(*said, **config)), default=0.0)


def engines(malicious: int, suspicious: int = 0, total: int = 92, **facts: Any) -> Reputation:
    state: Any = "malicious" if malicious >= 4 else "suspicious" if malicious or suspicious else "clean"
    facts = {"checked_at": NOW, "state": state, **facts}
    return Reputation(provider="virustotal", score=malicious, malicious=malicious, suspicious=suspicious, engines=total, **facts)


def abuse(confidence: int, **facts: Any) -> Reputation:
    state: Any = "malicious" if confidence >= 75 else "suspicious" if confidence >= 25 else "clean"
    return Reputation(**{"provider": "abuseipdb", "state": state, "score": confidence, "reports": 12, "checked_at": NOW, **facts})


def noise(state: Any = "malicious", **facts: Any) -> Reputation:
    return Reputation(**{"provider": "greynoise", "state": state, "checked_at": NOW, **facts})


RIOT = noise("clean", allow_listed=True)


def pulses(count: int) -> Reputation:
    return Reputation(provider="otx", state="suspicious" if count else "no_data", score=count, reports=count, checked_at=NOW)


def test_four_engines_are_a_readable_reason_with_its_evidence() -> None:
    (found,) = judged(engines(6, 0, link="https://www.virustotal.com/gui/ip-address/203.0.113.9"))
    assert found.reason == "VirusTotal: 6 of 92 engines call it malicious"
    assert (found.detector, found.family, found.source) == ("reputation", "intelligence", "VirusTotal")
    assert found.evidence == {
        "state": "malicious",
        "risk": 47,
        "weight": 1,
        "freshness": 1,
        "score": 6,
        "malicious": 6,
        "suspicious": 0,
        "engines": 92,
        "checked_at": "2025-07-10T17:43:01Z",
        "link": "https://www.virustotal.com/gui/ip-address/203.0.113.9",
    }


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (engines(1), "VirusTotal: 1 of 92 engines calls it malicious, and one alone is often wrong"),
        (engines(0, 1), "VirusTotal: 1 of 92 engines calls it suspicious"),
        (engines(0, 3), "VirusTotal: 3 of 92 engines call it suspicious"),
        (engines(2, total=0), "VirusTotal: 2 engines call it malicious"),
        (abuse(100), "AbuseIPDB: reported 12 times for attacking others, confidence 100 %"),
        (abuse(30, reports=1), "AbuseIPDB: reported once for attacking others, confidence 30 %"),
        (abuse(80, score=None, reports=None), "AbuseIPDB: reported for attacking others"),
        (noise(), "GreyNoise: it attacks others across the internet"),
        (noise("suspicious"), "GreyNoise: it scans the internet, nobody knows why"),
        (pulses(1), "AlienVault OTX: named in 1 report of its members"),
        (pulses(7), "AlienVault OTX: named in 7 reports of its members"),
        (
            Reputation(provider="internetdb", state="suspicious", tags=("malware", "x")),
            "Shodan InternetDB: tagged malware (context, no points)",
        ),
        (Reputation(provider="internetdb", state="suspicious"), "Shodan InternetDB: tagged under somebody's control (context, no points)"),
        (Reputation(provider="urlhaus", state="malicious"), "urlhaus: calls it malicious"),
    ],
)
def test_every_source_says_what_it_found(said: Reputation, reason: str) -> None:
    (found,) = judged(said)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("malicious", "least", "most"), [(1, 20, 39), (2, 20, 39), (3, 20, 39), (4, 40, 59), (5, 40, 59), (20, 50, 59), (95, 55, 59)]
)
def test_one_to_three_engines_are_low_and_four_or_more_medium(malicious: int, least: float, most: float) -> None:
    assert least <= points(engines(malicious)) <= most


@pytest.mark.parametrize("suspicious", [1, 5, 90])
def test_a_lone_engine_stays_low_however_many_only_suspect(suspicious: int) -> None:
    assert points(engines(0, suspicious)) < 40
    assert points(engines(1)) <= points(engines(1, suspicious)) < 40


def test_an_engine_that_suspects_counts_half() -> None:
    assert points(engines(0, 1)) == 12.5
    assert points(engines(0, 2)) == points(engines(1)) == 25
    assert points(engines(2, 2)) == points(engines(3))
    assert points(engines(0, 4)) == points(engines(0, 90)) == points(engines(2))


def test_engines_of_which_none_warns_give_no_reason() -> None:
    assert judged(engines(0)) == []


@pytest.mark.parametrize(("count", "expected"), [(1, 10.5), (3, 14.2), (5, 18), (20, 30), (21, 30), (10**6, 30)])
def test_more_pulses_are_worth_more_up_to_twenty(count: int, expected: float) -> None:
    assert points(pulses(count)) == pytest.approx(expected, abs=0.06)


def test_what_is_counted_goes_before_the_score_and_the_score_stands_in_for_it() -> None:
    assert points(engines(2), virustotal=1.0) == points(replace(engines(2), score=60))
    assert points(replace(engines(8), malicious=None)) == points(engines(8))
    assert points(replace(engines(8), malicious=None, score=None)) == points(engines(4))
    assert points(replace(engines(1), malicious=None, score=None)) == points(engines(1))
    assert points(replace(pulses(5), score=200)) == points(replace(pulses(5), reports=None)) == points(pulses(5))
    (found,) = judged(replace(pulses(5), score=None, reports=None))
    assert (found.points, found.reason) == (12, "AlienVault OTX: named in reports of its members")


def test_a_confidence_of_more_than_a_hundred_is_a_hundred() -> None:
    (found,) = judged(abuse(250))
    assert (found.points, found.reason[-5:]) == (35, "100 %")


def test_a_service_that_measures_attacks_on_others_weighs_less_than_engines() -> None:
    assert 20 <= points(abuse(100)) < 40 <= points(engines(4))
    assert points(abuse(25)) < 20
    assert points(noise()) < points(abuse(100))
    assert points(pulses(5000)) < 40


def test_context_gives_a_reason_without_points() -> None:
    said = Reputation(provider="internetdb", state="suspicious", tags=("compromised",))
    (found,) = judged(said)
    assert found.points == 0
    assert judged(said, RIOT)[0].reason == found.reason  # nobody need vouch against what does not count
    assert judged(engines(8), said)[0] == judged(engines(8))[0]
    assert judged(Reputation(provider="ipinfo", state="no_data"), Reputation(provider="internetdb", state="no_data", tags=("vpn",))) == []


@pytest.mark.security
@pytest.mark.parametrize("state", ["clean", "no_data", "not_checked"])
@pytest.mark.parametrize("provider", ["virustotal", "abuseipdb", "greynoise", "otx", "internetdb", "ipinfo", "another"])
def test_what_is_clean_unknown_or_not_checked_gives_no_points_whatever_the_numbers(provider: str, state: Any) -> None:
    said = Reputation(provider=provider, state=state, why="timeout", score=100, malicious=90, suspicious=9, engines=92, reports=10_000)
    assert judged(said) == []
    assert judged(said, engines(5)) == judged(engines(5))


def test_several_weak_witnesses_are_worth_a_little_more_than_the_strongest() -> None:
    alone, together = points(abuse(100)), points(abuse(100), pulses(20), noise())
    assert alone < together < alone + points(pulses(20))
    first, *others = judged(abuse(100), pulses(20), noise())
    assert first.reason == "AbuseIPDB: reported 12 times for attacking others, confidence 100 %; AlienVault OTX and GreyNoise agree"
    assert first.evidence["agreeing"] == ("AlienVault OTX", "GreyNoise")
    assert [other.points for other in others] == [points(pulses(20)), points(noise())]
    assert not any("agree" in other.reason for other in others)


def test_a_third_of_what_others_say_is_believed() -> None:
    # 35 of AbuseIPDB and 25 of GreyNoise: 100 * (1 - 0.65 * (1 - 0.3 * 0.25)), to a decimal
    assert points(abuse(100), noise()) == 39.9
    assert points(abuse(100), noise(), agreement=0.0) == 35
    assert points(abuse(100), noise(), agreement=1.0) == 51.2


def test_all_of_them_together_are_never_high() -> None:
    everything = [engines(95, 5), abuse(100), noise(), pulses(10**6)]
    assert points(*everything) == 59
    assert combine(judged(*everything)).band == "medium"
    assert combine(judged(*everything, agreement=1.0, abuseipdb=1.0, otx=1.0, greynoise=1.0)).band == "medium"


@pytest.mark.parametrize(
    ("vouching", "words"),
    [
        ([RIOT], "GreyNoise vouches"),
        ([abuse(0, allow_listed=True)], "AbuseIPDB vouches"),
        ([RIOT, abuse(0, allow_listed=True)], "AbuseIPDB and GreyNoise vouch"),
    ],
)
def test_who_vouches_for_it_lowers_what_others_say_and_is_named(vouching: list[Reputation], words: str) -> None:
    (found,) = judged(engines(8), *vouching)
    assert found.points == points(engines(8)) / 2
    assert found.reason == f"VirusTotal: 8 of 92 engines call it malicious; it counts less because {words} for it"
    assert points(engines(8), *vouching, vouched=0.0) == 0
    assert points(engines(8), *vouching, vouched=1.0) == points(engines(8))


def test_who_vouches_does_not_excuse_anything_else() -> None:
    other = Detection(detector="executable_path", family="process", points=50, reason="runs from a temporary folder")
    assert judged(RIOT) == []
    assert combine([other, *judged(RIOT)]).score == combine([other]).score == 50


@pytest.mark.security
def test_a_service_that_was_not_checked_vouches_for_nothing() -> None:
    said = noise("not_checked", why="quota", allow_listed=True)
    assert judged(engines(8), said) == judged(engines(8))


@pytest.mark.parametrize(("days", "expected"), [(0, 50), (1, 50), (15, 25), (29, 12.5), (365, 0)])
def test_an_answer_older_than_a_day_loses_half_its_weight_in_two_weeks(days: int, expected: float) -> None:
    (found,) = judged(engines(8, checked_at=WHEN - timedelta(days=days)))
    assert found.points == expected
    assert found.evidence["freshness"] == expected / 50
    assert (", as of 2025-" in found.reason or ", as of 2024-" in found.reason) == (days > 1)


def test_how_fast_answers_age_is_a_setting() -> None:
    assert points(engines(8, checked_at=WHEN - timedelta(days=3)), half_life_days=1) == 12.5


def test_an_answer_later_than_the_connection_is_worth_no_less() -> None:
    assert points(engines(8, checked_at=WHEN + timedelta(days=900))) == points(engines(8))


def test_an_answer_of_unknown_age_counts_as_fresh() -> None:
    assert points(engines(8, checked_at=None)) == points(engines(8))


def test_of_two_answers_of_one_service_the_stronger_counts_once() -> None:
    address, name = engines(1, link="https://x.test/a"), engines(9, link="https://x.test/b")
    assert judged(address, name) == judged(name, address) == judged(name)


def test_weights_are_settings_and_zero_makes_context() -> None:
    (found,) = judged(engines(8), virustotal=0.0)
    assert found.points == 0
    assert points(engines(8), virustotal=0.5) == 25
    assert points(Reputation(provider="another", state="malicious"), others=0.5) == 50
    assert points(Reputation(provider="another", state="suspicious"), others=0.5) == 20


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_weight_may_be_nothing_or_all(weight: float) -> None:
    assert msgspec.convert({"otx": weight}, ReputationConfig).otx == weight


@pytest.mark.parametrize("setting", [{"virustotal": 1.1}, {"abuseipdb": -0.1}, {"half_life_days": 0}, {"vouched": 2}, {"virustotl": 1.0}])
def test_settings_that_can_not_be_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(setting, ReputationConfig)


def test_the_explanation_shows_the_curve_as_it_is() -> None:
    text = (ROOT / "docs" / "explanation" / "reputation.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|$", text, re.MULTILINE)
    assert len(rows) >= 6
    shown = [(int(count), float(risk), band) for count, risk, band in rows]
    assert shown == [(count, points(engines(count)), combine(judged(engines(count))).band) for count, _, _ in shown]


def test_the_weights_are_documented_as_they_are() -> None:
    text = (ROOT / "docs" / "reference" / "detectors.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `detectors\.reputation\.(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    defaults = {field.name: field.default for field in msgspec.structs.fields(ReputationConfig)}
    assert {name: json.loads(value) for name, value in documented.items()} == defaults
    explained = (ROOT / "docs" / "explanation" / "reputation.md").read_text("utf-8")
    titles = {"VirusTotal": "virustotal", "AbuseIPDB": "abuseipdb", "AlienVault OTX": "otx", "GreyNoise": "greynoise"}
    for title, name in {**titles, "other services": "others", "InternetDB, IPinfo": "internetdb"}.items():
        assert f"| {title} | {defaults[name]:g} |" in explained


def test_records_without_reputation_give_no_reason(connection: Callable[..., Connection]) -> None:
    assert list(PLAIN.inspect(connection())) == []
    assert list(PLAIN.inspect(Question(id="q", timestamp=WHEN))) == []
    assert judged() == []


@pytest.mark.security
@pytest.mark.parametrize("text", ["", "\x1b[31m", "\ud800", "x\ny", "\u202e", "__class__", "enabled", "agreement", "x" * 10_000])
def test_a_provider_of_any_name_is_shown_harmlessly(text: str) -> None:
    (found,) = judged(Reputation(provider=text, state="malicious"))
    assert found.points == 25
    assert found.reason.isprintable()
    assert len(found.reason) < 100
    assert found.source is not None
    assert found.source.isprintable()


@pytest.mark.security
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), -1e308, 1e308, 10**5000, -1], ids=range(7))
@pytest.mark.parametrize("provider", ["virustotal", "abuseipdb", "otx", "greynoise"])
def test_numbers_that_can_not_be_do_no_harm(provider: str, number: Any) -> None:
    said = Reputation(
        provider=provider, state="malicious", score=number, reports=number, malicious=number, suspicious=number, engines=number
    )
    (found,) = judged(said)
    assert 0 <= found.points < 60
    assert len(found.reason) < 200


@pytest.mark.security
@pytest.mark.parametrize(
    "when",
    [datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))],
)
def test_times_at_the_ends_of_the_calendar_do_no_harm(when: datetime) -> None:
    assert len(judged(engines(8, checked_at=when))) == 1
    assert len(judged(engines(8), at=when)) == 1


@pytest.mark.security
def test_a_thousand_answers_give_one_reason_a_service() -> None:
    many = [replace(engines(at % 90 + 1), link=f"https://x.test/{at}") for at in range(1000)]
    assert len(judged(*many, *[abuse(100)] * 1000)) == 2


providers = st.sampled_from(["virustotal", "abuseipdb", "greynoise", "otx", "internetdb", "ipinfo", "another"])
any_number = st.integers(0, 200)
said_of = st.builds(
    Reputation,
    provider=providers,
    state=st.sampled_from(["malicious", "suspicious", "clean", "no_data", "not_checked"]),
    score=st.none() | any_number,
    malicious=st.none() | any_number,
    suspicious=st.none() | any_number,
    engines=st.none() | any_number,
    reports=st.none() | any_number,
    allow_listed=st.none() | st.booleans(),
    checked_at=st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
weights = st.fixed_dictionaries(
    {},
    optional={
        name: st.floats(0, 1) for name in ("virustotal", "abuseipdb", "greynoise", "otx", "internetdb", "others", "agreement", "vouched")
    }
    | {"half_life_days": st.floats(0.001, 3650)},
)
some = st.lists(said_of, max_size=8)
modest = settings(max_examples=300, deadline=None)


@modest
@given(some, weights)
def test_whatever_is_said_and_configured_reputation_alone_is_at_most_medium(said: list[Reputation], config: dict[str, Any]) -> None:
    found = judged(*said, **config)
    assert all(0 <= one.points <= 59 for one in found)
    assert combine(found).band in {"normal", "low", "medium"}
    assert {one.family for one in found} <= {"intelligence"}


@modest
@given(some, st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(said: list[Reputation], chance: Any) -> None:
    shuffled = list(said)
    chance.shuffle(shuffled)
    assert [one.points for one in judged(*said)] == [one.points for one in judged(*shuffled)]


@modest
@given(some, st.integers(0, 94), st.integers(0, 94), st.integers(1, 50))
def test_more_engines_never_give_fewer_points(others: list[Reputation], malicious: int, suspicious: int, more: int) -> None:
    others = [one for one in others if one.provider != "virustotal"]
    before = points(engines(malicious, suspicious), *others)
    assert points(engines(malicious + more, suspicious), *others) >= before
    assert points(engines(malicious, suspicious + more), *others) >= before


@modest
@given(some, said_of)
def test_one_more_service_that_warns_never_lowers_the_points(said: list[Reputation], more: Reputation) -> None:
    warns = replace(more, state="malicious", allow_listed=None)
    assert points(*said, warns) >= points(*said)


@modest
@given(some, said_of)
def test_answers_that_do_not_warn_change_nothing_unless_they_vouch(said: list[Reputation], more: Reputation) -> None:
    for state in ("clean", "no_data", "not_checked"):
        assert judged(*said, replace(more, state=state, allow_listed=None)) == judged(*said)
    assert points(*said, replace(more, state="clean", allow_listed=True)) <= points(*said)
