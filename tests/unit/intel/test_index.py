"""The index: which entries cover an address or a name, and what is said of them."""

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any
from zlib import crc32

import pytest

from outwatch.intel.entries import Entry
from outwatch.intel.index import Index
from outwatch.intel.indexing import Built, build
from outwatch.intel.layout import ListFacts

LIST = ListFacts(name="bad")
Make = Callable[..., Index]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name an index in a folder of the test's own."""
    return tmp_path / "index"


@pytest.fixture
def make(path: Path) -> Make:
    """Build the index of one list, or of several by their facts, and open it."""

    def of(*entries: Entry, facts: ListFacts = LIST, others: Iterable[tuple[ListFacts, Iterable[Entry]]] = ()) -> Index:
        build(path, [(facts, entries), *others])
        return Index.open(path)

    return of


def ip(value: str, **said: Any) -> Entry:
    return Entry("ip", value, **said)


def network(value: str, **said: Any) -> Entry:
    return Entry("network", value, **said)


def name(value: str, **said: Any) -> Entry:
    return Entry("domain", value, **said)


def found(index: Index, address: str | None, domain: str | None = None, now: float = 0.0) -> list[str]:
    return [one.entry for one in index.find(address, domain, now).indicators]


@pytest.mark.parametrize(
    ("entry", "address", "covered"),
    [
        (ip("203.0.113.9"), "203.0.113.9", True),
        (ip("203.0.113.9"), "203.0.113.8", False),
        (ip("203.0.113.9"), "203.0.113.10", False),
        (ip("0.0.0.0"), "0.0.0.0", True),
        (ip("255.255.255.255"), "255.255.255.255", True),
        (ip("255.255.255.255"), "255.255.255.254", False),
        (network("203.0.113.0/24"), "203.0.113.0", True),
        (network("203.0.113.0/24"), "203.0.113.255", True),
        (network("203.0.113.0/24"), "203.0.112.255", False),
        (network("203.0.113.0/24"), "203.0.114.0", False),
        (network("203.0.113.77/24"), "203.0.113.1", True),  # host bits say nothing
        (network("0.0.0.0/0"), "198.51.100.1", True),
        (network("128.0.0.0/1"), "127.255.255.255", False),
        (network("128.0.0.0/1"), "255.255.255.255", True),
        (network("203.0.113.9/32"), "203.0.113.9", True),
        (ip("2001:db8::9"), "2001:db8::9", True),
        (ip("2001:db8::9"), "2001:DB8:0::9", True),
        (ip("2001:db8::9"), "2001:db8::8", False),
        (ip("2001:db8:0:0:ffff:ffff:ffff:ffff"), "2001:db8:0:1::", False),  # the next half begins there
        (network("2001:db8::/32"), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True),
        (network("2001:db8::/32"), "2001:db9::", False),
        (network("2001:db8::/127"), "2001:db8::1", True),
        (network("2001:db8::/127"), "2001:db8::2", False),
        (network("2001:db8:0:1::/64"), "2001:db8:0:1:ffff::", True),
        (network("2001:db8:0:1::/64"), "2001:db8:0:2::", False),
        (network("::/0"), "2001:db8::1", True),
        (network("::/0"), "203.0.113.9", False),
        (network("0.0.0.0/0"), "2001:db8::1", False),
    ],
)
def test_an_entry_covers_its_addresses_and_no_other(make: Make, entry: Entry, address: str, *, covered: bool) -> None:
    # The neighbours are there so that no single row is its own answer.
    index = make(entry, ip("192.0.2.1"), ip("250.0.0.1"), ip("2001:db8:aaaa::1"), ip("2001:db8::bbbb"))
    assert (len(found(index, address)) == 1) is covered


@pytest.mark.security
@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("203.0.113.9", "::ffff:203.0.113.9"),
        ("203.0.113.9", "::ffff:cb00:7109"),
        ("203.0.113.9", "64:ff9b::203.0.113.9"),
        ("203.0.113.9", " 203.0.113.9 "),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("64:ff9b::203.0.113.9", "203.0.113.9"),
        ("2001:db8::9", "[2001:db8::9]"),
        ("2001:db8::9", "2001:db8::9%eth0"),
    ],
)
def test_an_address_in_disguise_is_found(make: Make, entry: str, address: str) -> None:
    assert len(found(make(ip(entry)), address)) == 1


@pytest.mark.security
def test_a_network_in_disguise_covers_what_it_means(make: Make) -> None:
    index = make(network("::ffff:203.0.113.0/120"))
    assert found(index, "203.0.113.77") == ["203.0.113.0/24"]
    assert found(index, "203.0.114.1") == []


def test_all_lists_that_cover_an_address_are_reported_the_longest_prefix_first(make: Make) -> None:
    index = make(
        network("203.0.0.0/8"),
        network("203.0.113.0/24"),
        ip("203.0.113.9"),
        network("203.0.113.0/28"),
        network("203.0.113.128/25"),  # beside it
        others=[(ListFacts(name="second"), [ip("203.0.113.9"), network("203.0.112.0/20")])],
    )
    hits = index.find("203.0.113.9", None, 0.0).indicators
    assert [one.entry for one in hits] == [
        "203.0.113.9", "203.0.113.9", "203.0.113.0/28", "203.0.113.0/24", "203.0.112.0/20", "203.0.0.0/8",
    ]  # fmt: skip
    assert {one.list_ for one in hits[:2]} == {"bad", "second"}
    assert [one.list_ for one in hits[2:]] == ["bad", "bad", "second", "bad"]


def test_nested_networks_of_ipv6_are_all_reported(make: Make) -> None:
    index = make(network("2001:db8::/32"), network("2001:db8:0:5::/64"), ip("2001:db8:0:5::7"), network("2001:db8:0:5::/120"))
    assert found(index, "2001:db8:0:5::7") == ["2001:db8:0:5::7", "2001:db8:0:5::/120", "2001:db8:0:5::/64", "2001:db8::/32"]
    assert found(index, "2001:db8:0:5::1:0") == ["2001:db8:0:5::/64", "2001:db8::/32"]
    assert found(index, "2001:db8:0:6::") == ["2001:db8::/32"]


def test_an_address_after_a_whole_inner_network_is_still_in_the_outer_one(make: Make) -> None:
    inner = [ip(f"203.0.113.{last}") for last in range(40, 60)]
    assert found(make(network("203.0.113.0/24"), *inner), "203.0.113.200") == ["203.0.113.0/24"]


@pytest.mark.parametrize(
    ("entry", "asked", "covered"),
    [
        ("evil.test", "evil.test", True),
        ("evil.test", "EVIL.Test.", True),
        ("evil.test", "www.evil.test", True),
        ("evil.test", "a.b.c.evil.test", True),
        ("evil.test", "notevil.test", False),
        ("evil.test", "evil.test.example.org", False),
        ("evil.test", "test", False),
        ("www.evil.test", "evil.test", False),
        ("www.evil.test", "ww.evil.test", False),
        ("xn--bcher-kva.test", "bücher.test", True),
        ("xn--bcher-kva.test", "www.BÜCHER.test", True),
        ("_dmarc.evil.test", "_dmarc.evil.test", True),
        ("a" * 63 + ".test", "a" * 63 + ".test", True),
    ],
)
def test_an_entry_covers_a_name_and_all_below_it_by_labels(make: Make, entry: str, asked: str, *, covered: bool) -> None:
    assert (found(make(name(entry), name("other.test")), None, asked) == [entry]) is covered


def test_a_name_and_its_parents_are_reported_the_name_itself_first(make: Make) -> None:
    index = make(name("example.org"), name("b.example.org"), name("a.b.example.org"), name("c.example.org"))
    assert found(index, None, "a.b.example.org") == ["a.b.example.org", "b.example.org", "example.org"]


@pytest.mark.security
@pytest.mark.parametrize(
    ("entry", "asked", "covered"),
    [
        ("com", "example.com", False),
        ("co.uk", "example.co.uk", False),
        ("co.uk", "a.example.co.uk", False),
        ("co.uk", "co.uk", True),
        ("no-such-top-level", "example.no-such-top-level", False),
        ("github.io", "somebody.github.io", True),  # theirs to answer for: the detector makes less of it
        ("somebody.github.io", "somebody.github.io", True),
        ("somebody.github.io", "else.github.io", False),
        ("example.co.uk", "www.example.co.uk", True),
    ],
)
def test_an_entry_for_what_a_registry_hands_out_covers_nobody_below(make: Make, entry: str, asked: str, *, covered: bool) -> None:
    assert bool(found(make(name(entry)), None, asked)) is covered


def test_a_list_of_well_known_things_may_cover_all_below_a_suffix(make: Make) -> None:
    warning = ListFacts(name="country", kind="warning")
    hits = make(name("gov.uk"), facts=warning).find(None, "www.service.gov.uk", 0.0)
    assert (len(hits.indicators), [one.entry for one in hits.warnings]) == (0, ["gov.uk"])


def test_a_hit_tells_what_the_list_says_of_the_entry(make: Make) -> None:
    index = make(ip("203.0.113.9", confidence=90, first_seen=1_700_000_000, last_seen=1_710_000_000, note="Emotet"))
    (hit,) = index.find("203.0.113.9", None, 0.0).indicators
    assert (hit.list_, hit.entry, hit.confidence, hit.note) == ("bad", "203.0.113.9", 90, "Emotet")
    assert hit.first_seen == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert hit.last_seen == datetime(2024, 3, 9, 16, 0, tzinfo=UTC)


def test_what_is_not_known_of_an_entry_is_absent(make: Make) -> None:
    (hit,) = make(name("evil.test")).find(None, "evil.test", 0.0).indicators
    assert (hit.confidence, hit.first_seen, hit.last_seen, hit.note) == (None, None, None, None)


@pytest.mark.parametrize(("own", "of_list", "told"), [(None, 70, 70), (20, 70, 20), (0, 70, 0), (100, None, 100), (500, None, 100)])
def test_the_confidence_of_the_list_counts_where_the_entry_has_none(make: Make, own: int | None, of_list: int | None, told: int) -> None:
    index = make(ip("203.0.113.9", confidence=own), facts=ListFacts(name="bad", confidence=of_list))
    assert index.find("203.0.113.9").indicators[0].confidence == told


@pytest.mark.parametrize(
    "entry", [ip("203.0.113.9", expires=1000), network("203.0.113.0/24", expires=1000), name("evil.test", expires=1000)]
)
def test_an_entry_counts_until_it_expires(make: Make, entry: Entry) -> None:
    index = make(entry)
    assert len(found(index, "203.0.113.9", "www.evil.test", now=999.5)) == 1
    assert found(index, "203.0.113.9", "www.evil.test", now=1000) == []
    assert index.find("203.0.113.9", "evil.test") == ((), ())  # at the present time


@pytest.mark.parametrize("long_ago", [0, -1])
def test_an_entry_that_expired_at_the_beginning_of_time_has_expired(make: Make, long_ago: int) -> None:
    assert found(make(ip("203.0.113.9", expires=long_ago)), "203.0.113.9", now=1_000) == []


def test_bad_and_well_known_things_are_told_apart_and_a_meaning_stands_for_the_note(make: Make) -> None:
    warning = ListFacts(name="clouds", kind="warning", meaning="cloud")
    index = make(ip("203.0.113.9", note="C2"), others=[(warning, [network("203.0.113.0/24", note="eu-west-1")])])
    hits = index.find("203.0.113.9")
    assert [(one.list_, one.note) for one in hits.indicators] == [("bad", "C2")]
    assert [(one.list_, one.note) for one in hits.warnings] == [("clouds", "cloud")]


def test_an_address_and_a_name_are_looked_up_together(make: Make) -> None:
    assert found(make(ip("203.0.113.9"), name("evil.test")), "203.0.113.9", "www.evil.test") == ["203.0.113.9", "evil.test"]


@pytest.mark.parametrize("address", [None, "", "1.2.3", "no address", "203.0.113.9.", "٢٠٣.0.113.9", "\0", "x" * 10_000, "\ud800", "::g"])
@pytest.mark.parametrize(
    "domain", [None, "", ".", "..", "a..b", ".evil.test", "evil.test..x", "a b", "\0", "x" * 10_000, "\udcff.test", "." * 300]
)
def test_what_is_neither_address_nor_name_is_on_no_list(make: Make, address: str | None, domain: str | None) -> None:
    index = make(ip("203.0.113.9"), name("evil.test"), network("0.0.0.0/0"), network("::/0"))
    assert index.find(address, domain) == ((), ())


def test_an_entry_that_a_list_has_twice_is_reported_once_with_the_best_of_both(make: Make) -> None:
    said: list[dict[str, Any]] = [
        {"confidence": 40, "first_seen": 2000, "last_seen": 5000, "expires": 50_000, "note": "older"},
        {"confidence": 80, "first_seen": 3000, "last_seen": 9000, "expires": 90_000, "note": "newer"},
        {"confidence": None, "last_seen": 7000, "expires": 60_000},
    ]
    for entry in (ip, name):
        value = "203.0.113.9" if entry is ip else "evil.test"
        (hit,) = make(*(entry(value, **one) for one in said)).find("203.0.113.9", "evil.test", 80_000).indicators
        seen = [time.timestamp() if time else None for time in (hit.first_seen, hit.last_seen)]
        assert (hit.confidence, seen, hit.note) == (80, [2000, 9000], "newer")


def test_an_entry_that_once_never_expires_never_does(make: Make) -> None:
    index = make(ip("203.0.113.9", expires=10), ip("203.0.113.9"))
    assert found(index, "203.0.113.9", now=1e10) == ["203.0.113.9"]


def test_what_is_no_entry_is_counted_and_the_others_are_there(path: Path) -> None:
    bad = [ip("1.2.3"), ip(""), network("203.0.113.0/33"), network("2001:db8::/129"), network("203.0.113.0/x"), network("1.2.3.4/٣"),
           name(""), name("a..b"), name("a b"), name("\0"), name("x" * 300), name("\ud800.test"), ip("evil.test")]  # fmt: skip
    built = build(path, [(LIST, [ip("203.0.113.9"), *bad]), (ListFacts(name="second"), [name("evil.test"), name("fine.test")])])
    assert built == Built(entries=(1, 2), refused=(len(bad), 0))
    assert [one.entries for one in Index.open(path).lists] == [1, 2]
    assert found(Index.open(path), "203.0.113.9", "evil.test") == ["203.0.113.9", "evil.test"]


def test_an_index_of_nothing_finds_nothing(path: Path) -> None:
    assert build(path, []) == Built((), ())
    index = Index.open(path)
    assert (index.lists, index.find("203.0.113.9", "evil.test"), index.find("2001:db8::1")) == ((), ((), ()), ((), ()))


def test_the_facts_of_the_lists_are_kept(make: Make) -> None:
    facts = ListFacts(name="feodo", confidence=90, licence="CC0-1.0", title="C2 servers", source="https://example.org/x", date="2025-07-01")
    (kept,) = make(ip("203.0.113.9"), ip("203.0.113.10"), facts=facts).lists
    assert (kept.name, kept.confidence, kept.licence, kept.title, kept.source, kept.date, kept.entries) == (
        "feodo", 90, "CC0-1.0", "C2 servers", "https://example.org/x", "2025-07-01", 2,
    )  # fmt: skip


def test_a_note_is_kept_whole_up_to_a_bound_and_as_text(make: Make) -> None:
    index = make(ip("203.0.113.1", note="x" * 5000), ip("203.0.113.2", note="\ud800 ä\n"), ip("203.0.113.3", note=""))
    notes = [index.find(f"203.0.113.{last}").indicators[0].note for last in (1, 2, 3)]
    assert notes == ["x" * 199 + "…", "\\ud800 ä\n", None]


@pytest.mark.parametrize("time", [-5, 0, 1 << 32, 1 << 70])
def test_times_beyond_what_is_possible_do_no_harm(make: Make, time: int) -> None:
    (hit,) = make(ip("203.0.113.9", first_seen=time, last_seen=time)).find("203.0.113.9").indicators
    assert (hit.first_seen is None) is (time <= 0)


def test_the_same_lists_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    lists = [(LIST, [ip(f"203.0.113.{last}", note=f"n{last}") for last in range(99)]), (ListFacts(name="b"), [name("evil.test")])]
    build(path, lists)
    build(tmp_path / "again", lists)
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.security
def test_names_with_one_checksum_are_told_apart(make: Make) -> None:
    alike = _with_one_checksum()
    assert len(set(alike)) == 256
    assert len({crc32(one.encode()) for one in alike}) == 1
    index = make(*(name(one) for one in alike[:200]), name("evil.test"))
    assert [found(index, None, one) for one in alike[:200]] == [[one] for one in alike[:200]]
    assert [found(index, None, one) for one in alike[200:]] == [[]] * 56


def _with_one_checksum() -> list[str]:
    """Make up names as anybody can: two labels with one CRC-32 may stand for each other in any place of a name."""
    chance, sums = random.Random(5), dict[int, str]()
    while True:
        label = "".join(chance.choices(ascii_lowercase, k=8))
        other = sums.setdefault(crc32(label.encode()), label)
        if other != label:
            return [".".join([*labels, "test"]) for labels in product((label, other), repeat=8)]
