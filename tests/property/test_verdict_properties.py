"""What must hold for every sum of reasons."""

from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.engine.verdict import BANDS, ORDER, Judge, combine, without_each
from outwatch.model.records import Detection, Family

FAMILIES: list[Family | None] = ["intelligence", "process", "name", "timing", "rarity", "tls", None]


def reasons(points: st.SearchStrategy[float]) -> st.SearchStrategy[Detection]:
    return st.builds(
        Detection, detector=st.sampled_from("abcd"), points=points, reason=st.sampled_from("xyz"), family=st.sampled_from(FAMILIES)
    )


some = st.lists(reasons(st.integers(-100, 100).map(float) | st.floats(-100, 100)), max_size=8)
worrying = reasons(st.floats(0, 100))
lowering = reasons(st.floats(-100, -1))
modest = settings(max_examples=400, deadline=None)


@modest
@given(some)
def test_the_score_is_between_0_and_100_and_the_band_is_the_scores(detections: list[Detection]) -> None:
    verdict = combine(detections)
    assert 0 <= verdict.score <= 100
    expected = next(band for lowest, band in BANDS if verdict.score >= lowest)
    assert verdict.band == expected or (verdict.band == "allowed" and verdict.score < 20 and min(one.points for one in detections) < 0)
    assert sorted(map(id, verdict.detections)) == sorted(map(id, detections))


@modest
@given(some, worrying)
def test_one_more_reason_to_worry_never_lowers_the_score(detections: list[Detection], more: Detection) -> None:
    assert combine([*detections, more]).score >= combine(detections).score


@modest
@given(some, lowering)
def test_one_more_allow_entry_never_raises_the_score(detections: list[Detection], more: Detection) -> None:
    assert combine([*detections, more]).score <= combine(detections).score


@modest
@given(some, st.randoms(use_true_random=False))
def test_the_order_of_reasons_does_not_matter(detections: list[Detection], random: st.DataObject) -> None:
    shuffled = list(detections)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = combine(detections), combine(shuffled)
    assert (first.score, first.band) == (second.score, second.band)


@modest
@given(st.lists(reasons(st.sampled_from([10.0, 30.0, 50.0, 70.0, 90.0, 95.0, 5.0])), min_size=3, max_size=6))
def test_turning_the_reasons_round_gives_the_same_score_also_on_a_half_point(detections: list[Detection]) -> None:
    assert combine(detections).score == combine(detections[::-1]).score


@modest
@given(some)
def test_leaving_out_a_reason_to_worry_never_makes_it_worse_and_each_is_left_out_once(detections: list[Detection]) -> None:
    whole = combine(detections)
    answers = without_each(detections)
    assert [left_out for left_out, _ in answers] == detections
    for left_out, verdict in answers:
        assert len(verdict.detections) == len(detections) - 1
        if left_out.points >= 0:
            assert verdict.score <= whole.score
            assert ORDER[verdict.band] <= ORDER[whole.band]
        else:
            assert verdict.score >= whole.score


@modest
@given(some, st.dictionaries(st.sampled_from("abcd"), st.floats(0, 3), max_size=4))
def test_weights_keep_points_in_range_and_a_weight_of_one_changes_nothing(detections: list[Detection], weights: dict[str, float]) -> None:
    verdict = Judge(weights).judge(detections)
    assert all(-100 <= one.points <= 100 for one in verdict.detections)
    assert Judge(dict.fromkeys("abcd", 1.0)).judge(detections).score == combine(detections).score
