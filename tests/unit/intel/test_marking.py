"""Marking: which entries of lists stand on a record, and how a new index takes the place of the old one."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import StoreError
from outwatch.intel import marking
from outwatch.intel.entries import Entry
from outwatch.intel.index import Index
from outwatch.intel.indexing import build
from outwatch.intel.layout import ListFacts
from outwatch.intel.marking import Marking
from outwatch.model.interfaces import Enricher
from outwatch.model.records import Connection, Destination, Dns, DnsQuestion, Findings, Listed, Name, Network, Question

Make = Callable[..., Connection]
BAD, KNOWN = ListFacts(name="bad"), ListFacts(name="known", kind="warning", meaning="CDN")
WHEN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the index of the user's lists."""
    (tmp_path / "intel").mkdir(mode=0o700)
    return tmp_path / "intel" / "index"


class Stage:
    """A clock that stands still and work that waits until it is told to go on."""

    def __init__(self, path: Path) -> None:
        self.seconds = 100.0
        self.waiting: list[Callable[[], None]] = []
        self.health = Health()
        self.path = path

    def marking(self, *, defaults: bool = False) -> Marking:
        return Marking(self.path, health=self.health, defaults=defaults, now=lambda: self.seconds, beside=self.waiting.append)

    def put(self, *entries: Entry, facts: ListFacts = BAD) -> None:
        build(self.path, [(facts, entries)])

    def later(self) -> None:
        self.seconds += marking._EVERY


@pytest.fixture
def stage(path: Path) -> Stage:
    return Stage(path)


def ip(value: str, **said: Any) -> Entry:
    return Entry("network" if "/" in value else "ip", value, **said)


def name(value: str, **said: Any) -> Entry:
    return Entry("domain", value, **said)


def indicators(record: Connection | Question) -> list[str]:
    return [one.entry for one in record.outwatch.indicators or ()]


def test_it_is_an_enricher(stage: Stage) -> None:
    assert isinstance(stage.marking(), Enricher)


def test_a_destination_is_marked_by_its_address_and_its_name(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9", confidence=80, note="C2"), name("evil.test"))
    marked = stage.marking().enrich(connection(domain="www.evil.test"))
    assert marked.outwatch.indicators == (
        Listed(list_="bad", entry="203.0.113.9", confidence=80, note="C2"),
        Listed(list_="bad", entry="evil.test"),
    )
    assert marked.outwatch.warnings is None


def test_what_no_list_has_stays_the_very_same_record(stage: Stage, connection: Make) -> None:
    stage.put(ip("198.51.100.1"))
    record = connection(domain="fine.test")
    assert stage.marking().enrich(record) is record


@pytest.mark.security
@pytest.mark.parametrize("origin", ["dns", "sni", "http", "quic", "ptr", "hosts"])
@pytest.mark.parametrize("confirmed", [True, None])
def test_every_name_of_a_destination_is_looked_up(stage: Stage, connection: Make, origin: Any, *, confirmed: bool | None) -> None:
    stage.put(name("evil.test"))
    names = (Name(name="fine.test", origin="dns", confirmed=True), Name(name="x.evil.test", origin=origin, confirmed=confirmed))
    marked = stage.marking().enrich(connection(ip=None, domain="fine.test", outwatch=Findings(names=names)))
    assert indicators(marked) == ["evil.test"]


def test_an_entry_that_covers_several_names_is_there_once(stage: Stage, connection: Make) -> None:
    stage.put(name("evil.test"), name("a.evil.test"))
    names = tuple(Name(name=f"{label}.evil.test", origin="dns") for label in "abc")
    marked = stage.marking().enrich(connection(domain="a.evil.test", outwatch=Findings(names=names)))
    assert indicators(marked) == ["a.evil.test", "evil.test"]


def test_connections_that_somebody_else_opened_are_left_alone(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9"), ip("192.0.2.10"))
    record = connection(network=Network(transport="tcp", direction="ingress"))
    assert stage.marking().enrich(record) is record


@pytest.mark.parametrize(
    ("scope", "marked"),
    [
        ("public", True),
        ("unclassified", True),
        (None, True),
        ("private", False),
        ("loopback", False),
        ("link_local", False),
        ("multicast", False),
    ],
)
def test_addresses_that_every_network_has_of_its_own_are_on_no_list(stage: Stage, connection: Make, scope: Any, *, marked: bool) -> None:
    stage.put(ip("172.0.0.0/8"), name("evil.test"))  # a list with a wide network in it
    record = connection(ip="172.16.0.1", domain="evil.test", network=Network(direction="egress", scope=scope))
    assert indicators(stage.marking().enrich(record)) == (["172.0.0.0/8", "evil.test"] if marked else ["evil.test"])


@pytest.mark.parametrize(("expires", "marked"), [(int(WHEN.timestamp()) + 60, True), (int(WHEN.timestamp()) - 60, False)])
def test_an_entry_counts_if_it_had_not_expired_by_the_time_of_the_record(
    stage: Stage, connection: Make, expires: int, *, marked: bool
) -> None:
    stage.put(ip("203.0.113.9", expires=expires))
    assert (indicators(stage.marking().enrich(connection(timestamp=WHEN))) == ["203.0.113.9"]) is marked


def test_well_known_things_stand_apart_with_what_they_are(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.0/24"), facts=KNOWN)
    marked = stage.marking().enrich(connection())
    assert (marked.outwatch.indicators, marked.outwatch.warnings) == (None, (Listed(list_="known", entry="203.0.113.0/24", note="CDN"),))


def test_marking_twice_changes_nothing(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9"), name("evil.test"))
    working = stage.marking()
    once = working.enrich(connection(domain="evil.test"))
    assert working.enrich(once) is once


def test_a_recording_keeps_the_words_of_lists_that_are_not_here(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9"))
    theirs = Listed(list_="theirs", entry="203.0.113.0/24", confidence=7)
    findings = Findings(
        indicators=(theirs, Listed(list_="bad", entry="203.0.113.0/28")), warnings=(Listed(list_="their cdn", entry="x.test"),)
    )
    marked = stage.marking().enrich(connection(outwatch=findings))
    assert marked.outwatch.indicators == (Listed(list_="bad", entry="203.0.113.9"), theirs)  # what "bad" says is known better here
    assert marked.outwatch.warnings == findings.warnings


def test_a_question_is_marked_by_the_name_it_asks_for(stage: Stage) -> None:
    stage.put(name("evil.test"), ip("198.51.100.53"))
    asked = Dns(question=DnsQuestion(name="www.evil.test", type="A"))
    question = Question(id="q", timestamp=WHEN, destination=Destination(ip="198.51.100.53", port=53), dns=asked)
    assert indicators(stage.marking().mark(question)) == ["evil.test"]


def test_without_lists_there_is_no_problem(stage: Stage, connection: Make) -> None:
    record = connection()
    assert stage.marking().enrich(record) is record
    assert stage.health.problems == []


def test_a_new_index_is_taken_without_waiting_for_it(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9"))
    working = stage.marking()
    stage.put(ip("203.0.113.0/24"))
    assert indicators(working.enrich(connection())) == ["203.0.113.9"]  # nobody looks each time
    stage.later()
    assert indicators(working.enrich(connection())) == ["203.0.113.9"]  # the new one is being opened
    stage.later()
    assert indicators(working.enrich(connection())) == ["203.0.113.9"]
    (opening,) = stage.waiting  # once only
    opening()
    assert indicators(working.enrich(connection())) == ["203.0.113.0/24"]


def test_the_first_list_of_all_is_noticed_and_so_is_the_end_of_the_last(stage: Stage, connection: Make) -> None:
    working = stage.marking()
    stage.put(ip("203.0.113.9"))
    stage.later()
    working.enrich(connection())
    stage.waiting.pop()()
    assert indicators(working.enrich(connection())) == ["203.0.113.9"]
    stage.path.unlink()
    stage.later()
    assert indicators(working.enrich(connection())) == []
    assert stage.health.problems == []


@pytest.mark.parametrize("at_the_start", [True, False])
def test_a_damaged_index_is_told_once_and_the_one_before_goes_on(stage: Stage, connection: Make, *, at_the_start: bool) -> None:
    if not at_the_start:
        stage.put(ip("203.0.113.9"))
    else:
        stage.path.write_bytes(b"outwidx\n")
    working = stage.marking()
    for _ in range(3):
        stage.path.write_bytes(b"outwidx\n damaged")
        stage.later()
        working.enrich(connection())
        while stage.waiting:
            stage.waiting.pop()()
    assert indicators(working.enrich(connection())) == ([] if at_the_start else ["203.0.113.9"])
    assert len(stage.health.problems) == 1
    assert str(stage.path) in stage.health.problems[0]


@pytest.mark.security
def test_an_index_in_a_folder_of_others_is_not_believed(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.9"))
    stage.path.parent.chmod(0o777)
    record = connection()
    assert stage.marking().enrich(record) is record
    assert "others may write" in stage.health.problems[0]


def test_an_index_that_fails_while_it_is_used_is_told_and_left(stage: Stage, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.put(ip("203.0.113.9"))
    working = stage.marking(defaults=True)

    def damaged(index: Index, _text: str) -> Any:
        if index is not working._came:
            raise StoreError(stage.path, "damaged")
        return ()

    monkeypatch.setattr(Index, "covering_address", damaged)
    records = [working.enrich(connection(domain="www.google.com")) for _ in range(3)]
    assert "google-names" in [one.list_ for one in records[2].outwatch.warnings or ()]  # the other goes on
    assert len(stage.health.problems) == 1


def test_the_lists_that_came_with_outwatch_work_without_any_of_the_users(stage: Stage, connection: Make) -> None:
    marked = stage.marking(defaults=True).enrich(connection(ip="104.16.1.1", domain="home.duckdns.org"))
    assert {(one.list_, one.note) for one in marked.outwatch.warnings or ()} >= {("cloudflare", "CDN"), ("dynamic-dns", "dynamic DNS")}


def test_a_list_of_the_user_takes_the_place_of_one_that_came_with_outwatch(stage: Stage, connection: Make) -> None:
    stage.put(ip("203.0.113.0/24"), facts=ListFacts(name="cloudflare", kind="warning", meaning="CDN"))
    working = stage.marking(defaults=True)
    assert [one.list_ for one in working.enrich(connection()).outwatch.warnings or ()] == ["cloudflare"]
    theirs = working.enrich(connection(ip="104.16.1.1")).outwatch.warnings or ()
    assert "cloudflare" not in {one.list_ for one in theirs}


@pytest.mark.security
def test_a_record_holds_only_so_many_entries(stage: Stage, connection: Make) -> None:
    build(stage.path, [(ListFacts(name=f"list {number}"), [ip("203.0.113.9")]) for number in range(200)])
    assert len(stage.marking().enrich(connection()).outwatch.indicators or ()) == marking._MOST


@pytest.mark.security
@pytest.mark.parametrize("text", ["", ".", "a..b", "\0", "\udcff", "x" * 5_000, "::", "1.2.3", "\x1b[m", "[", "🦜" * 80])
def test_hostile_texts_are_on_no_list_and_raise_nothing(stage: Stage, connection: Make, text: str) -> None:
    stage.put(ip("0.0.0.0/0"), name("evil.test"))
    names = (Name(name=text, origin="sni"), Name(name="evil.test", origin="sni"))
    marked = stage.marking(defaults=True).enrich(connection(ip=text, domain=text, outwatch=Findings(names=names)))
    assert indicators(marked) == ["evil.test"]


def test_a_real_thread_brings_a_new_index(path: Path, connection: Make) -> None:
    seconds = [0.0]
    working = Marking(path, health=Health(), defaults=False, now=lambda: seconds[0])
    build(path, [(BAD, [ip("203.0.113.9")])])
    seconds[0] += marking._EVERY
    working.enrich(connection())
    for thread in threading.enumerate():
        if thread.name == "indicator lists":
            thread.join(30)
    assert indicators(working.enrich(connection())) == ["203.0.113.9"]


def test_a_folder_that_may_not_be_searched_is_told(stage: Stage, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: object, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refused)
    record = connection()
    assert stage.marking().enrich(record) is record
    assert "Permission denied" in stage.health.problems[0]


def test_marks_survive_the_way_over_the_wire(stage: Stage, connection: Make) -> None:
    from outwatch.model import wire

    stage.put(ip("203.0.113.9", confidence=80, first_seen=1_700_000_000, note="C2"))
    marked = stage.marking().enrich(connection())
    assert wire.decode(wire.encode(marked)) == marked
    assert replace(marked, outwatch=Findings()) != marked
