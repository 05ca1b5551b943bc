"""Lists that are files: read when they have changed, taken as a whole or not at all, and looked up in the index that is made of them."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine.indicator_settings import IntelConfig
from outwatch.errors import RuleError
from outwatch.intel.index import Index
from outwatch.intel.lists import KnownList
from outwatch.intel.stored import Asked, Shelf
from outwatch.intel.updating import Outcome, Updating, make_index
from outwatch.net.addresses import Scopes

NOW = 1_750_000_000.0
DAY = 86_400.0


@dataclass
class Desk:
    """A shelf, a folder with list files, and a clock."""

    folder: Path
    now: float = NOW
    told: list[str] = field(default_factory=list)

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.folder / "state")

    def known(self, name: str = "bad", **more: Any) -> KnownList:
        return KnownList(name=name, source=str(self.folder / f"{name}.txt"), origin="test", **more)

    def file(self, text: str, name: str = "bad") -> None:
        (self.folder / f"{name}.txt").write_text(text)

    def renew(self, *lists: KnownList, settings: IntelConfig | None = None, **more: bool) -> list[Outcome]:
        def tell(problem: RuleError) -> None:
            self.told.append(str(problem))

        updating = Updating(self.shelf, settings or IntelConfig(), Scopes(), tell=tell, now=lambda: self.now)
        return asyncio.run(updating.renew(lists or [self.known()], **more))

    def values(self, name: str = "bad") -> list[str]:
        return [entry.value for entry in self.shelf.entries(name) if hasattr(entry, "value")]

    def index(self, *lists: KnownList) -> Index:
        make_index(self.shelf, lists or [self.known()], self.told.append)
        return Index.open(self.shelf.index_path)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_is_read_and_looked_up(desk: Desk) -> None:
    desk.file("203.0.113.7\nevil.example # C2\nnonsense here\n10.0.0.1\n")
    (outcome,) = desk.renew()
    assert outcome == Outcome("bad", "read", "2 entries; not used: not public (1), lines not understood (1)", 1)
    source = str(desk.folder / "bad.txt")
    assert desk.told == [
        f"{source}:3: 'nonsense here': no address, network or name",
        f"{source}:4: 10.0.0.1 is left out: no public address (private)",
    ]
    hits = desk.index(desk.known(confidence=70)).find("203.0.113.7", "www.evil.example", NOW)
    assert [(one.list_, one.entry, one.confidence, one.note) for one in hits.indicators] == [
        ("bad", "203.0.113.7", 70, None),
        ("bad", "evil.example", 70, "C2"),
    ]


def test_a_file_that_has_not_changed_is_not_read_again(desk: Desk) -> None:
    desk.file("203.0.113.7\nnonsense here\n")
    desk.renew()
    desk.told.clear()
    desk.now += DAY
    (outcome,) = desk.renew()
    assert (outcome.result, outcome.words, desk.told) == ("unchanged", "unchanged: 1 entry; not used: lines not understood (1)", [])
    asked = desk.shelf.asked("bad")
    assert asked == Asked(source=desk.known().source, at=int(NOW + DAY), confirmed=int(NOW + DAY))


def test_a_file_that_has_changed_replaces_all_that_was(desk: Desk) -> None:
    desk.file("203.0.113.7\n203.0.113.8\n")
    desk.renew()
    desk.file("203.0.113.9\n203.0.113.10\n203.0.113.11\n")
    assert desk.renew()[0].result == "read"
    assert desk.values() == ["203.0.113.9", "203.0.113.10", "203.0.113.11"]


@pytest.mark.security
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("<html>", "is a web page, no list"),
        ("what is this\n" * 30, "is no list of a known form: 30 of 30 lines can't be understood"),
        ("203.0.113.99\n", "has lost 19 of its 20 entries; --accept-smaller takes it all the same"),
        ("203.0.113.99\n203.0.113.98", "has lost 18 of its 20 entries; --accept-smaller takes it all the same"),
        (
            "\n".join(f"{first}.0.0.0/8" for first in range(11, 41)),
            "covers 11.7% of all IPv4 addresses, and 5.0% is the most that a list may",
        ),
    ],
)
def test_a_list_that_must_be_refused_leaves_the_last_good_one(desk: Desk, text: str, reason: str) -> None:
    good = [f"203.0.113.{number}" for number in range(20)]
    desk.file("\n".join(good))
    desk.renew()
    desk.file(text)
    desk.now += DAY
    (outcome,) = desk.renew()
    assert outcome.result == "failed"
    assert outcome.words.startswith(f"{reason}; what was read 2025-06-1")
    assert desk.values() == good
    assert desk.index().find("203.0.113.7", now=NOW).indicators
    asked = desk.shelf.asked("bad")
    assert asked is not None
    assert (asked.problem, asked.at, asked.confirmed) == (reason, int(NOW + DAY), int(NOW))


def test_a_list_that_shrinks_less_or_with_leave_is_taken(desk: Desk) -> None:
    desk.file("\n".join(f"203.0.113.{number}" for number in range(20)))
    desk.renew()
    desk.file("203.0.113.1\n203.0.113.2\n203.0.113.3\n")
    assert desk.renew()[0].result == "read"
    desk.file("203.0.113.1\n" * 100)
    desk.renew()
    desk.file("203.0.113.1\n")
    assert desk.renew(accept_smaller=True)[0].result == "read"
    assert desk.values() == ["203.0.113.1"]


def test_how_much_a_list_may_shrink_is_a_setting(desk: Desk) -> None:
    desk.file("203.0.113.1\n203.0.113.2\n")
    desk.renew()
    desk.file("203.0.113.1\n")
    assert desk.renew(settings=IntelConfig(shrunk=0.5))[0].result == "failed"
    assert desk.renew(settings=IntelConfig(shrunk=0.51))[0].result == "read"


def test_a_list_from_elsewhere_under_the_same_name_may_be_smaller(desk: Desk) -> None:
    desk.file("203.0.113.1\n" * 100)
    desk.renew()
    desk.file("203.0.113.9\n", "other")
    moved = KnownList(name="bad", source=str(desk.folder / "other.txt"), origin="test")
    assert desk.renew(moved)[0].result == "read"
    assert desk.values() == ["203.0.113.9"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _path: None, "there is no such file"),
        (lambda path: path.mkdir(), "it is no plain file"),
        pytest.param(
            getattr(os, "mkfifo", None), "it is no plain file", marks=pytest.mark.skipif(os.name == "nt", reason="needs named pipes")
        ),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_a_file_that_can_t_be_read_is_told_and_nothing_waits(desk: Desk, make: Callable[[Path], None], reason: str) -> None:
    make(desk.folder / "bad.txt")
    (outcome,) = desk.renew()
    assert (outcome.result, outcome.words) == ("failed", reason)
    assert desk.shelf.contents("bad") is None


def test_one_list_that_fails_keeps_no_other_from_being_read(desk: Desk) -> None:
    desk.file("203.0.113.7")
    outcomes = desk.renew(desk.known("gone"), desk.known())
    assert [(one.name, one.result) for one in outcomes] == [("gone", "failed"), ("bad", "read")]


def test_a_list_is_asked_no_more_often_than_it_may_be(desk: Desk) -> None:
    desk.file("203.0.113.7")
    hourly = desk.known(every_hours=1.0)
    assert desk.renew(hourly)[0].result == "read"
    desk.file("203.0.113.8")
    desk.now += 3500
    (outcome,) = desk.renew(hourly)
    assert outcome.result == "waits"
    assert "may be asked again after" in outcome.words
    assert desk.renew(hourly, at_once=True)[0].result == "read"
    desk.file("203.0.113.9")
    desk.now += 3590  # a timer that comes every hour is never exact
    assert desk.renew(hourly)[0].result == "read"


def test_a_list_that_was_refused_is_not_asked_again_at_once_either(desk: Desk) -> None:
    desk.file("")
    hourly = desk.known(every_hours=1.0)
    assert desk.renew(hourly)[0].result == "failed"
    assert desk.renew(hourly)[0].result == "waits"


def test_a_clock_that_was_set_back_keeps_no_list_from_being_asked(desk: Desk) -> None:
    desk.file("203.0.113.7")
    hourly = desk.known(every_hours=1.0)
    desk.renew(hourly)
    desk.now -= 365 * DAY
    assert desk.renew(hourly)[0].result == "unchanged"


def test_an_entry_without_an_end_gets_that_of_its_list(desk: Desk) -> None:
    old, own_end = int(NOW - 5 * DAY), int(NOW + 100 * DAY)
    desk.file(f"ip,last_seen,expires\n203.0.113.1,,\n203.0.113.2,{old},\n203.0.113.3,{old},{own_end}\n")
    known = desk.known(expires_days=10.0)
    desk.renew(known)

    def found(days: float) -> set[str]:
        index = desk.index(known)
        return {one.entry for number in (1, 2, 3) for one in index.find(f"203.0.113.{number}", now=NOW + days * DAY).indicators}

    assert found(4.9) == {"203.0.113.1", "203.0.113.2", "203.0.113.3"}
    assert found(5.1) == {"203.0.113.1", "203.0.113.3"}
    assert found(10.1) == {"203.0.113.3"}
    assert found(100.1) == set()
    desk.now += 9 * DAY  # the list was found to be unchanged, so it still has them
    assert desk.renew(known)[0].result == "unchanged"
    assert found(10.1) == {"203.0.113.1", "203.0.113.3"}


def test_a_list_warns_if_it_says_so_or_the_user_does(desk: Desk) -> None:
    desk.file(json.dumps({"name": "x", "type": "cidr", "list": ["203.0.113.0/24"]}), "clouds")
    desk.file("203.0.113.0/25", "mine")
    lists = [desk.known("clouds"), desk.known("mine", kind="warning")]
    desk.renew(*lists)
    hits = desk.index(*lists).find("203.0.113.7", now=NOW)
    assert (hits.indicators, {one.list_ for one in hits.warnings}) == ((), {"clouds", "mine"})
    accused = [desk.known("clouds", kind="indicator")]
    desk.renew(*accused, at_once=True)
    assert [one.list_ for one in desk.index(*accused).find("203.0.113.7", now=NOW).indicators] == ["clouds"]


def test_a_damaged_list_is_left_out_of_the_index_and_the_others_are_in_it(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.file("203.0.113.7", name)
    lists = [desk.known(name) for name in "abc"]
    desk.renew(*lists)
    damaged = desk.shelf.folder / "lists" / "b.entries"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    assert {one.list_ for one in desk.index(*lists).find("203.0.113.7", now=NOW).indicators} == {"a", "c"}
    assert desk.told == [f"b is left out: {damaged}: damaged; outwatch intel update fetches the list anew"]


def test_a_list_whose_first_line_is_damaged_is_read_anew(desk: Desk) -> None:
    desk.file("203.0.113.7")
    desk.renew()
    (desk.shelf.folder / "lists" / "bad.entries").write_bytes(b"nonsense")
    assert desk.renew()[0].result == "read"
    assert desk.values() == ["203.0.113.7"]


EVENTS = ["0b0e3a2c-0000-4000-8000-00000000000" + digit for digit in "123"]


class Feed:
    """A MISP feed in a folder."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.folder = desk, desk.folder / "feed"
        self.folder.mkdir()
        self.manifest: dict[str, Any] = {}

    def event(self, event: str, changed: int, *values: str) -> None:
        attributes = [{"type": "ip-dst", "value": value, "to_ids": True} for value in values]
        (self.folder / f"{event}.json").write_text(json.dumps({"Event": {"info": event[-1], "Attribute": attributes}}))
        self.manifest[event] = {"info": event[-1], "timestamp": str(changed)}

    def renew(self) -> Outcome:
        (self.folder / "manifest.json").write_text(json.dumps(self.manifest))
        return self.desk.renew(KnownList(name="feed", source=str(self.folder / "manifest.json"), origin="test"))[0]


def test_a_feed_is_all_of_its_events(desk: Desk) -> None:
    feed = Feed(desk)
    feed.event(EVENTS[0], 1_700_000_000, "203.0.113.1", "203.0.113.2")
    feed.event(EVENTS[1], 1_700_000_001, "203.0.113.3")
    assert feed.renew() == Outcome("feed", "read", "3 entries", 0)
    assert sorted(desk.values("feed")) == ["203.0.113.1", "203.0.113.2", "203.0.113.3"]


def test_of_a_feed_only_events_that_have_changed_are_fetched(desk: Desk) -> None:
    feed = Feed(desk)
    for at, event in enumerate(EVENTS):
        feed.event(event, 1_700_000_000 + at, f"203.0.113.{at}")
    feed.renew()
    feed.event(EVENTS[1], 1_700_000_100, "203.0.113.99")
    (feed.folder / f"{EVENTS[0]}.json").unlink()  # it has not changed, so nobody looks for it
    del feed.manifest[EVENTS[2]]
    assert feed.renew() == Outcome("feed", "read", "2 entries", 0)
    assert sorted(desk.values("feed")) == ["203.0.113.0", "203.0.113.99"]


def test_an_event_that_is_missing_or_broken_is_told_and_looked_for_again(desk: Desk) -> None:
    feed = Feed(desk)
    for at, event in enumerate(EVENTS):
        feed.event(event, 1_700_000_000 + at, f"203.0.113.{at}")
    (feed.folder / f"{EVENTS[0]}.json").unlink()
    (feed.folder / f"{EVENTS[1]}.json").write_text("<html>")
    outcome = feed.renew()
    assert (outcome.result, outcome.broken) == ("read", 2)
    assert any(f"'{EVENTS[0]}.json': there is no such file" in line for line in desk.told)
    assert any(f"'{EVENTS[1]}.json': is a web page, no list" in line for line in desk.told)
    feed.event(EVENTS[0], 1_700_000_000, "203.0.113.0")
    feed.event(EVENTS[1], 1_700_000_001, "203.0.113.1")
    feed.manifest["0b0e3a2c-0000-4000-8000-00000000000f"] = {"info": "f"}  # so that the manifest has changed
    assert feed.renew().broken == 1
    assert sorted(desk.values("feed")) == ["203.0.113.0", "203.0.113.1", "203.0.113.2"]


def test_a_damaged_feed_is_fetched_anew_after_it_was_told(desk: Desk) -> None:
    feed = Feed(desk)
    feed.event(EVENTS[0], 1_700_000_000, "203.0.113.1")
    feed.renew()
    kept = desk.shelf.folder / "lists" / "feed.entries"
    kept.write_bytes(kept.read_bytes() + b"nonsense\n")
    feed.event(EVENTS[1], 1_700_000_001, "203.0.113.2")
    assert feed.renew().words.startswith("damaged")
    assert feed.renew() == Outcome("feed", "read", "2 entries", 0)
