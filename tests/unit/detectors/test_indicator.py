"""What hits on lists are worth: by confidence, age and precision; more if lists agree, and less if something innocent explains them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.detectors import indicator
from outwatch.detectors.domain_pattern import DomainPattern, DomainPatternConfig
from outwatch.detectors.indicator import MOST, Indicator, IndicatorConfig, Lowered
from outwatch.engine.verdict import combine
from outwatch.errors import RuleError
from outwatch.intel.layout import Meaning
from outwatch.model.records import Connection, Destination, Detection, Dns, DnsQuestion, Findings, Listed, Name, Question

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)
IP, EVIL, FULL = "203.0.113.9", "evil.test", IndicatorConfig(points=70)


def judge(record: Connection | Question, config: IndicatorConfig = FULL) -> list[Detection]:
    return list(Indicator(config).inspect(record))


def listed(entry: str = IP, of: str = "bad", confidence: int | None = 100, **said: Any) -> Listed:
    return Listed(list_=of, entry=entry, confidence=confidence, **said)


def known(entry: str, meaning: str | None, of: str = "known") -> Listed:
    return Listed(list_=of, entry=entry, note=meaning)


@pytest.fixture
def hit(connection: Make) -> Make:
    """Make a connection whose destination lists have."""

    def make(*indicators: Listed, warnings: tuple[Listed, ...] = (), names: tuple[Name, ...] | None = None, **changes: Any) -> Connection:
        findings = Findings(indicators=indicators or None, warnings=warnings or None, names=names)
        return connection(timestamp=WHEN, outwatch=findings, **changes)

    return make


def ago(days: float) -> datetime:
    return WHEN - timedelta(days=days)


def test_a_destination_on_no_list_gives_no_reason(hit: Make) -> None:
    assert judge(hit()) == []


def test_a_hit_is_told_with_its_list_entry_and_what_is_known_of_it(hit: Make) -> None:
    (found,) = judge(hit(listed(confidence=90, first_seen=ago(30), last_seen=ago(2), note="Emotet C2")))
    assert (found.detector, found.family, found.source, found.points) == ("indicator", "intelligence", "bad", 63.0)
    assert found.reason == "203.0.113.9 is on the list bad (confidence 90 %, last seen 2025-07-08), which says: Emotet C2"
    assert found.evidence == {
        "list": "bad", "entry": IP, "confidence": 90, "note": "Emotet C2",
        "first_seen": "2025-06-10T17:42:01Z", "last_seen": "2025-07-08T17:42:01Z",
    }  # fmt: skip


@pytest.mark.parametrize(("confidence", "points"), [(100, 70.0), (50, 35.0), (0, 0.0), (None, 35.0)])
def test_points_follow_the_confidence_of_the_list(hit: Make, confidence: int | None, points: float) -> None:
    assert judge(hit(listed(confidence=confidence)))[0].points == points


@pytest.mark.parametrize(
    ("said", "points"),
    [
        ({}, 70.0),  # the list has it now, and that is all it says
        ({"last_seen": ago(0)}, 70.0),
        ({"last_seen": ago(7)}, 70.0),
        ({"last_seen": ago(7 + 60)}, 35.0),  # a half-life after the first week
        ({"last_seen": ago(3650)}, 21.0),  # three tenths stay
        ({"first_seen": ago(7 + 60)}, 35.0),
        ({"first_seen": ago(3650), "last_seen": ago(1)}, 70.0),
        ({"last_seen": ago(-30)}, 70.0),  # a recording from before the entry
    ],
)
def test_an_address_loses_points_with_its_age(hit: Make, said: dict[str, Any], points: float) -> None:
    assert judge(hit(listed(**said)))[0].points == points


def test_a_name_ages_more_slowly_than_an_address(hit: Make) -> None:
    record = hit(listed(EVIL, last_seen=ago(7 + 180)), domain=EVIL)
    assert judge(record)[0].points == 35.0


@pytest.mark.parametrize(
    ("entry", "points"),
    [
        ("203.0.113.9", 70.0),
        ("203.0.113.8/30", 67.1),  # 1 - 0.5 * 2/24
        ("203.0.113.0/24", 58.3),  # 1 - 0.5 * 8/24
        ("203.0.0.0/16", 46.7),
        ("203.0.0.0/8", 35.0),
        ("192.0.0.0/2", 35.0),
        ("2001:db8:0:5::/64", 70.0),  # what one subscriber has
        ("2001:db8:5::/48", 58.3),
        ("2001:db8::/32", 46.7),
        ("2001::/16", 35.0),
    ],
)
def test_the_wider_a_network_the_less_it_says_of_one_address(hit: Make, entry: str, points: float) -> None:
    assert judge(hit(listed(entry)))[0].points == points


def test_the_reason_for_a_network_says_that_it_is_one(hit: Make) -> None:
    assert (
        judge(hit(listed("203.0.113.0/24")))[0].reason == "203.0.113.9 lies in 203.0.113.0/24, which is on the list bad (confidence 100 %)"
    )


def test_the_reason_for_a_name_below_an_entry_names_both(hit: Make) -> None:
    (found,) = judge(hit(listed(EVIL, confidence=80), domain="www.evil.test"))
    assert (found.reason, found.points) == ("www.evil.test lies below evil.test, which is on the list bad (confidence 80 %)", 56.0)
    assert found.evidence["name"] == "www.evil.test"


@pytest.mark.parametrize(
    ("entry", "name", "points"),
    [
        ("somebody.github.io", "somebody.github.io", 70.0),
        ("somebody.github.io", "x.somebody.github.io", 70.0),
        ("github.io", "somebody.github.io", 21.0),
        ("github.io", "github.io", 21.0),
        ("amazonaws.com", "bucket.s3.amazonaws.com", 21.0),
        ("example.co.uk", "www.example.co.uk", 70.0),
    ],
)
def test_an_entry_for_names_of_many_owners_says_little_of_one(hit: Make, entry: str, name: str, points: float) -> None:
    (found,) = judge(hit(listed(entry), domain=name))
    assert found.points == points
    assert ("a name of many owners" in found.reason) is (points < 70)


def test_lists_that_agree_are_worth_more_than_the_surest_of_them(hit: Make) -> None:
    record = hit(listed(of="a", confidence=60), listed(of="b", confidence=60), listed(of="c", confidence=40))
    found = judge(record)
    # 42, 42 and 28 points: 100 (1 - 0.58 * (1 - 0.5 * 0.42) * (1 - 0.5 * 0.28))
    assert [(one.source, one.points) for one in found] == [("a", 60.6), ("b", 42.0), ("c", 28.0)]
    assert found[0].reason.endswith("; 2 more lists agree: b, c")
    assert found[0].evidence["agreeing"] == ("b", "c")
    assert combine(found).score == 61


def test_one_list_agrees_with_itself_once(hit: Make) -> None:
    record = hit(listed(IP), listed("203.0.113.0/24"), listed(EVIL, confidence=30), domain=EVIL)
    (found,) = judge(record)
    assert found.points == 70.0
    assert found.evidence["also"] == ("203.0.113.0/24", EVIL)
    assert found.reason.endswith("; it has 203.0.113.0/24, evil.test too")


def test_lists_by_themselves_are_never_critical(hit: Make) -> None:
    record = hit(*(listed(of=f"list {number}") for number in range(40)))
    assert judge(record, IndicatorConfig(points=100))[0].points == MOST
    assert combine(judge(record, IndicatorConfig(points=100))).band == "high"


def test_a_list_without_confidence_neither_agrees_nor_is_kept_back(hit: Make) -> None:
    found = judge(hit(listed(of="sure"), listed(of="unsure", confidence=0)))
    assert [(one.source, one.points) for one in found] == [("sure", 70.0), ("unsure", 0.0)]
    assert "agree" not in found[0].reason


@pytest.mark.parametrize(
    ("meaning", "points"),
    [("CDN", 28.0), ("cloud", 56.0), ("hosting", 35.0), ("VPN", 63.0), ("parking", 35.0), ("public resolver", 7.0), ("well known", 21.0),
     ("somebody's own words", 35.0), (None, 35.0)],
)  # fmt: skip
def test_a_well_known_thing_at_the_address_takes_points_and_is_named(hit: Make, meaning: str | None, points: float) -> None:
    (found,) = judge(hit(listed(), warnings=(known("203.0.113.0/24", meaning),)))
    assert found.points == points
    assert "it counts less because" in found.reason
    assert "(known: 203.0.113.0/24)" in found.reason
    assert "203.0.113.0/24" in str(found.evidence["lowered_by"])


def test_a_listed_network_of_a_cloud_is_worth_less_than_an_address_in_it(hit: Make) -> None:
    cloud = (known("203.0.0.0/16", "cloud"),)
    exact, whole = (judge(hit(listed(entry), warnings=cloud))[0].points for entry in (IP, "203.0.113.0/24"))
    assert (exact, whole) == (56.0, 23.3)


def test_of_several_explanations_the_strongest_counts_alone(hit: Make) -> None:
    (found,) = judge(hit(listed(), warnings=(known("203.0.113.0/24", "cloud"), known("203.0.113.0/25", "CDN"), known(IP, "VPN"))))
    assert found.points == 28.0


def test_the_address_says_nothing_against_a_name(hit: Make) -> None:
    record = hit(listed(EVIL), warnings=(known("203.0.113.0/24", "CDN"),), domain=EVIL)
    assert judge(record)[0].points == 70.0  # malware's names live in CDNs too


def test_a_parked_name_is_less_of_a_threat(hit: Make) -> None:
    assert judge(hit(listed(EVIL), warnings=(known(IP, "parking"),), domain=EVIL))[0].points == 35.0


@pytest.mark.security
@pytest.mark.parametrize(
    ("origin", "confirmed", "points"), [("dns", True, 21.0), ("ptr", True, 21.0), ("sni", None, 70.0), ("ptr", None, 70.0)]
)
def test_a_well_known_name_excuses_an_address_only_if_it_is_confirmed(
    hit: Make, origin: Any, points: float, *, confirmed: bool | None
) -> None:
    names = (Name(name="www.google.com", origin=origin, confirmed=confirmed),)
    record = hit(listed(), warnings=(known("google.com", "well known"),), names=names, domain="www.google.com")
    assert judge(record)[0].points == points


@pytest.mark.security
def test_another_name_excuses_no_name(hit: Make) -> None:
    names = (Name(name="www.google.com", origin="dns", confirmed=True), Name(name=EVIL, origin="sni"))
    record = hit(listed(EVIL), warnings=(known("google.com", "well known"),), names=names, domain="www.google.com")
    assert judge(record)[0].points == 70.0


@pytest.mark.security
def test_whoever_rents_a_name_is_not_excused_by_the_landlord(hit: Make) -> None:
    evil = "evil.blogspot.com"
    assert judge(hit(listed(evil), warnings=(known("blogspot.com", "well known"),), domain=evil))[0].points == 70.0


def test_a_well_known_name_that_is_listed_itself_counts_less(hit: Make) -> None:
    record = hit(listed("docs.google.com"), warnings=(known("google.com", "well known"),), domain="docs.google.com")
    assert judge(record)[0].points == 21.0


@pytest.mark.parametrize(
    ("origin", "confirmed", "points", "words"),
    [
        ("dns", True, 70.0, None),
        ("sni", True, 70.0, None),
        ("sni", None, 70.0, "the name is what the program said"),
        ("quic", False, 70.0, "the name is what the program said"),
        ("dns", None, 70.0, "a name server that is not this system's"),
        ("ptr", True, 70.0, None),
        ("ptr", None, 35.0, "a reverse name that nothing confirms"),
    ],
)
def test_a_name_that_nothing_confirms_counts_and_says_so(
    hit: Make, origin: Any, points: float, words: str | None, *, confirmed: bool | None
) -> None:
    (found,) = judge(hit(listed(EVIL), names=(Name(name=EVIL, origin=origin, confirmed=confirmed),), domain=EVIL))
    assert found.points == points
    assert (words or "; ") in found.reason or (words is None and ";" not in found.reason)


def test_the_surest_of_the_names_that_an_entry_covers_speaks(hit: Make) -> None:
    names = (Name(name="a.evil.test", origin="ptr"), Name(name="b.evil.test", origin="dns", confirmed=True), Name(name=EVIL, origin="sni"))
    (found,) = judge(hit(listed(EVIL), names=names, domain="a.evil.test"))
    assert (found.points, found.evidence["name"]) == (70.0, "b.evil.test")


def test_a_record_that_says_nothing_of_where_its_name_comes_from_is_taken_at_its_word(hit: Make) -> None:
    (found,) = judge(hit(listed(EVIL), domain="EVIL.test."))
    assert (found.points, found.reason) == (70.0, "evil.test is on the list bad (confidence 100 %)")


def test_a_name_in_other_letters_is_the_name_that_lists_have(hit: Make) -> None:
    (found,) = judge(hit(listed("xn--bcher-kva.test"), domain="www.bücher.test"))
    assert found.evidence["name"] == "www.xn--bcher-kva.test"


def test_a_sinkhole_is_a_reason_by_itself(hit: Make) -> None:
    (found,) = judge(hit(warnings=(known(IP, "sinkhole", "sinkholes"),)))
    assert (found.points, found.family, found.source) == (35.0, "intelligence", "sinkholes")
    assert found.reason.startswith("203.0.113.9 is a sinkhole (list sinkholes)")
    assert combine([found]).band == "low"


@pytest.mark.parametrize(("meaning", "points"), [("CDN", 14.0), ("hosting", 17.5), ("cloud", 35.0), ("VPN", 35.0)])
def test_a_sinkhole_that_shares_its_address_with_thousands_counts_less(hit: Make, meaning: str, points: float) -> None:
    found = judge(hit(warnings=(known(IP, "sinkhole"), known("203.0.113.0/24", meaning))))
    assert [one.points for one in found] == [points]


def test_a_sinkhole_takes_no_points_from_a_hit(hit: Make) -> None:
    found = judge(hit(listed(), warnings=(known(IP, "sinkhole"),)))
    assert sorted(one.points for one in found) == [35.0, 70.0]
    assert combine(found).score == 70


def test_a_dynamic_dns_name_is_a_reason_by_itself(hit: Make) -> None:
    (found,) = judge(hit(warnings=(known("duckdns.org", "dynamic DNS"),), domain="home.duckdns.org"))
    assert (found.points, found.family) == (30.0, "name")
    assert found.reason == "home.duckdns.org is a dynamic-DNS name (list known: duckdns.org): it can lead anywhere within minutes"


def test_a_dynamic_dns_name_counts_once_with_the_detector_of_names(hit: Make) -> None:
    record = hit(warnings=(known("duckdns.org", "dynamic DNS"),), domain="home.duckdns.org")
    both = [*judge(record), *DomainPattern(DomainPatternConfig(), place=RuleError.at_key).inspect(record)]
    assert len(both) == 2
    assert combine(both).score == 30


@pytest.mark.parametrize(
    ("quiet", "found"),
    [
        ("home.duckdns.org", 0),
        ("duckdns.org", 0),
        ("*.duckdns.org", 0),
        ("HOME.duckdns.org.", 0),
        ("other.duckdns.org", 1),
        ("", 1),
        ("..", 1),
    ],
)
def test_a_name_that_the_user_has_silenced_is_no_dynamic_one(hit: Make, quiet: str, found: int) -> None:
    record = hit(warnings=(known("duckdns.org", "dynamic DNS"),), domain="home.duckdns.org")
    assert len(list(Indicator(FULL, quiet=[quiet]).inspect(record))) == found


def test_the_providers_own_site_is_no_dynamic_name(hit: Make) -> None:
    assert judge(hit(warnings=(known("duckdns.org", "dynamic DNS"),), domain="duckdns.org")) == []


@pytest.mark.security
@pytest.mark.parametrize(("confirmed", "found"), [(True, 1), (None, 0)])
def test_a_reverse_name_makes_no_dynamic_name_unless_it_is_confirmed(hit: Make, found: int, *, confirmed: bool | None) -> None:
    names = (Name(name="x.duckdns.org", origin="ptr", confirmed=confirmed),)
    assert len(judge(hit(warnings=(known("duckdns.org", "dynamic DNS"),), names=names, domain=None))) == found


def test_well_known_things_alone_are_no_reason(hit: Make) -> None:
    assert judge(hit(warnings=tuple(known("203.0.113.0/24", meaning) for meaning in ("CDN", "well known", "VPN", None)))) == []


def test_a_question_is_judged_by_the_name_it_asks_for() -> None:
    asked, marks = Dns(question=DnsQuestion(name="www.evil.test", type="A")), Findings(indicators=(listed(EVIL),))
    question = Question(id="q", timestamp=WHEN, destination=Destination(ip="198.51.100.53", domain="fine.test"), dns=asked, outwatch=marks)
    (found,) = judge(question)
    assert (found.points, found.evidence["name"]) == (70.0, "www.evil.test")


def test_every_meaning_of_the_shipped_lists_has_its_words_and_setting() -> None:
    settled = {setting for setting, _ in indicator._WHY.values()} | {"other"}
    assert set(get_args(Meaning)) == {*indicator._WHY, *indicator._RAISING}
    assert settled == {field.name for field in msgspec.structs.fields(Lowered)}


def test_points_of_what_raises_can_be_set(hit: Make) -> None:
    record = hit(warnings=(known(IP, "sinkhole"), known("duckdns.org", "dynamic DNS")), domain="x.duckdns.org")
    assert [one.points for one in judge(record, IndicatorConfig(sinkhole=5, dynamic_dns=7))] == [5.0, 7.0]


@pytest.mark.security
@pytest.mark.parametrize("text", ["", ".", "a..b", "\0", "\udcff.test", "x" * 5_000, "::", "1.2.3/99", "/", "\x1b[31m\n", "🦜", "\u202e"])
def test_hostile_texts_raise_nothing_and_stay_out_of_sentences(hit: Make, text: str) -> None:
    names = (Name(name=text, origin="ptr"), Name(name=f"x.{text}", origin="sni"))
    some = [listed(text, of=text, note=text), listed(EVIL, of=text), listed(f"{text}/24")]
    warnings = tuple(known(text, meaning, of=text) for meaning in (*get_args(Meaning), text, None))
    record = hit(*some, warnings=warnings, names=names, domain=text, ip=text)
    for found in judge(record):
        assert found.reason.isprintable()
        assert len(found.reason) < 1_500
        assert 0 <= found.points <= 100


@pytest.mark.security
def test_a_record_with_thousands_of_entries_is_judged_by_some_of_them(hit: Make) -> None:
    record = hit(*(listed(of=f"list {number}") for number in range(5_000)), warnings=tuple(known(IP, "sinkhole") for _ in range(5_000)))
    assert len(judge(record)) <= 2 * indicator._MOST_READ


_HITS = st.builds(
    listed,
    st.sampled_from([IP, "203.0.113.0/24", "203.0.0.0/16", EVIL, "www.evil.test"]),
    st.sampled_from("abcd"),
    st.none() | st.integers(0, 100),
    last_seen=st.none() | st.integers(0, 3_000).map(ago),
)
_EXPLAIN = st.builds(known, st.sampled_from([IP, "203.0.113.0/24", EVIL]), st.sampled_from(["CDN", "cloud", "well known", "VPN", None]))


def _score(connection: Connection, hits: list[Listed], warnings: list[Listed]) -> int:
    findings = Findings(indicators=tuple(hits), warnings=tuple(warnings))
    return combine(judge(msgspec.structs.replace(connection, outwatch=findings))).score


@given(hits=st.lists(_HITS, min_size=1, max_size=6), more=_HITS, warnings=st.lists(_EXPLAIN, max_size=4), why=_EXPLAIN)
@settings(max_examples=200, deadline=None)
def test_another_hit_never_excuses_and_another_explanation_never_accuses(
    hits: list[Listed], more: Listed, warnings: list[Listed], why: Listed
) -> None:
    record = Connection(id="c", timestamp=WHEN, destination=Destination(ip=IP, port=443, domain="www.evil.test"))
    score = _score(record, hits, warnings)
    assert _score(record, [*hits, more], warnings) >= score
    assert _score(record, hits, [*warnings, why]) <= score
    assert score <= MOST
    assert _score(record, hits[::-1], warnings[::-1]) == score
