"""From reasons to a verdict: worked by hand, from the rules in docs/decisions/0005-verdicts.md."""

from itertools import permutations
from math import isnan

import pytest

from outwatch.engine.verdict import BANDS, NOTHING_FOUND, ORDER, POINTS, Judge, VerdictConfig, band_of, combine, without_each
from outwatch.model.records import Band, Detection, Family


def reason(points: float, family: Family | None = None, detector: str = "d", text: str = "r") -> Detection:
    return Detection(detector=detector, points=points, reason=text, family=family)


def families(points: tuple[float, ...]) -> list[Detection]:
    """Give each reason a family of its own."""
    return [reason(one, detector=f"d{at}") for at, one in enumerate(points)]


@pytest.mark.parametrize(
    ("score", "band"),
    [
        (0, "normal"), (19, "normal"), (20, "low"), (39, "low"), (40, "medium"), (59, "medium"), (60, "high"), (79, "high"),
        (80, "critical"), (100, "critical"),
    ],
)  # fmt: skip
def test_bands_begin_at_20_40_60_and_80(score: int, band: Band) -> None:
    assert band_of(score) == band
    assert combine([reason(score)]).band == band
    assert combine([reason(score)]).score == score


def test_every_band_has_its_place_from_allowed_to_critical() -> None:
    assert sorted(ORDER, key=lambda band: ORDER[band]) == ["allowed", "normal", "low", "medium", "high", "critical"]
    assert {band for _, band in BANDS} | {"allowed"} == set(ORDER)


@pytest.mark.parametrize("level", ["normal", "low", "medium", "high", "critical"])
def test_a_level_alone_gives_its_own_band(level: Band) -> None:
    assert combine([reason(POINTS[level])]).band == level


@pytest.mark.parametrize(
    ("points", "score"),
    [
        ((), 0),
        ((50,), 50),
        ((50, 50), 75),  # 1 - 0.5 * 0.5
        ((50, 50, 50), 88),  # 87.5, to the even neighbour
        ((30, 20), 44),
        ((100, 30), 100),
        ((0, 0), 0),
        ((0, 40), 40),
    ],
)
def test_families_are_independent_witnesses(points: tuple[float, ...], score: int) -> None:
    assert combine(families(points)).score == score


def test_within_a_family_only_the_strongest_counts() -> None:
    verdict = combine([reason(30, "process", "a"), reason(65, "process", "b"), reason(50, "process", "c")])
    assert verdict.score == 65
    assert len(verdict.detections) == 3


def test_without_a_family_a_detector_is_its_own() -> None:
    assert combine([reason(50, None, "a"), reason(50, None, "a", "other")]).score == 50
    assert combine([reason(50, None, "a"), reason(50, None, "b")]).score == 75


@pytest.mark.parametrize(
    ("points", "lowered", "score", "band"),
    [
        ((), (-50,), 0, "allowed"),
        ((50,), (-50,), 0, "allowed"),
        ((69,), (-50,), 19, "allowed"),
        ((70,), (-50,), 20, "low"),
        ((90,), (-50,), 40, "medium"),
        ((100,), (-100,), 0, "allowed"),
        ((90,), (-20, -50, -30), 40, "medium"),  # the strongest entry, not their sum
        ((90,), (-20, -20, -20), 70, "high"),
        ((65, 50), (-50,), 32, "low"),  # 82.5 - 50 = 32.5, to the even neighbour
    ],
)
def test_the_strongest_allow_entry_is_taken_off(points: tuple[float, ...], lowered: tuple[float, ...], score: int, band: Band) -> None:
    verdict = combine([*families(points), *[reason(one, "rarity", "allow_list") for one in lowered]])
    assert (verdict.score, verdict.band) == (score, band)


def test_an_allow_entry_does_not_hide_a_worry_of_its_own_family() -> None:
    assert combine([reason(-50, "rarity", "allow_list"), reason(90, "rarity", "first_seen")]).score == 40


@pytest.mark.parametrize("points", [(10.0, 20.0, 25.0, 25.0), (25.0, 25.0, 60.0), (20.0, 25.0, 25.0, 50.0), (50.0, 30.0)])
def test_the_order_of_the_reasons_decides_nothing_also_on_a_half_point(points: tuple[float, ...]) -> None:
    assert len({combine(families(order)).score for order in permutations(points)}) == 1


def test_reasons_are_sorted_strongest_first_and_then_by_name() -> None:
    found = [
        reason(10, None, "c"),
        reason(-50, None, "allow_list"),
        reason(30, None, "b", "y"),
        reason(30, None, "b", "x"),
        reason(30, None, "a"),
    ]
    order = [(one.points, one.detector, one.reason) for one in combine(found).detections]
    assert order == [(-50, "allow_list", "r"), (30, "a", "r"), (30, "b", "x"), (30, "b", "y"), (10, "c", "r")]


def test_nothing_found_is_normal() -> None:
    assert Judge().judge([]) is NOTHING_FOUND
    assert (NOTHING_FOUND.band, NOTHING_FOUND.score) == ("normal", 0)


@pytest.mark.parametrize(("weight", "points", "score"), [(1, 30, 30), (2, 30, 60), (0.5, 30, 15), (10, 30, 100), (0, 90, 0)])
def test_a_weight_multiplies_the_points_of_its_detector_and_no_others(weight: float, points: float, score: int) -> None:
    judge = Judge({"heavy": weight})
    verdict = judge.judge([reason(points, detector="heavy")])
    assert verdict.score == score
    assert verdict.detections[0].points == score
    assert judge.judge([reason(points, detector="other")]).score == points


def test_a_weight_also_multiplies_what_an_allow_entry_takes_off() -> None:
    found = [reason(90, "process", "path"), reason(-50, "rarity", "allow_list")]
    assert [Judge({"allow_list": weight}).judge(found).score for weight in (0, 0.5, 1, 2)] == [90, 65, 40, 0]


def test_an_allow_list_that_is_silenced_allows_nothing() -> None:
    assert Judge({"allow_list": 0}).judge([reason(-50, "rarity", "allow_list")]).band == "normal"


@pytest.mark.security
def test_points_that_are_no_number_neither_end_the_judging_nor_reach_the_records() -> None:
    verdict = Judge().judge([reason(float("nan"), "name", "broken"), reason(30, "process", "sound")])
    assert verdict.score == 30
    assert not any(isnan(one.points) for one in verdict.detections)


def test_leaving_out_each_reason_says_what_would_stand_without_it() -> None:
    found = [reason(50, "process", "a"), reason(50, "name", "b"), reason(-50, "rarity", "allow_list")]
    assert [(one.detector, verdict.score, verdict.band) for one, verdict in without_each(found)] == [
        ("a", 0, "allowed"),
        ("b", 0, "allowed"),
        ("allow_list", 75, "high"),
    ]
    assert without_each([]) == []


def test_equal_reasons_are_left_out_one_at_a_time() -> None:
    twin = reason(50, "process")
    assert [verdict.score for _, verdict in without_each([twin, twin])] == [50, 50]


def test_no_weight_is_set_by_default_and_two_judges_share_none() -> None:
    assert VerdictConfig().weights == {}
    weights = {"d": 2.0}
    judge = Judge(weights)
    weights["d"] = 0.0
    assert judge.judge([reason(30)]).score == 60
