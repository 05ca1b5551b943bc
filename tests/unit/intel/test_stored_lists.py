"""What is kept of lists is whole or not there, and damage is told, not believed."""

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from outwatch.errors import FileRefused, OutwatchError, StoreError
from outwatch.intel.entries import Entry
from outwatch.intel.stored import Asked, Contents, Event, Shelf

ENTRIES = [Entry("ip", "203.0.113.7", 80, 1, 2, 3, "C2 „x“"), Entry("domain", "evil.example"), Entry("network", "2001:db8::/32")]
CONTENTS = Contents(
    name="bad", source="/x", kind="indicator", form="text", read_at=5, counts={"ip": 1, "domain": 1, "network": 1}, etag='"e"'
)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "state")


def written(shelf: Shelf, contents: Contents = CONTENTS, entries: Iterable[Entry | Event] = ENTRIES) -> Path:
    with shelf.writing("bad") as writing:
        for one in entries:
            if isinstance(one, Event):
                writing.begin(one)
            else:
                writing.add(one)
        writing.finish(contents)
    return shelf.folder / "lists" / "bad.entries"


def test_what_is_written_is_read(shelf: Shelf) -> None:
    events: list[Entry | Event] = [Event("a", 1), ENTRIES[0], Event("b", 2), *ENTRIES[1:]]
    path = written(shelf, entries=events)
    assert shelf.contents("bad") == CONTENTS
    assert list(shelf.entries("bad")) == events
    assert CONTENTS.entries == 3
    assert path.stat().st_mode & 0o777 == 0o600 or os.name == "nt"


def test_there_is_nothing_of_a_list_that_was_never_read(shelf: Shelf) -> None:
    assert (shelf.contents("bad"), list(shelf.entries("bad")), shelf.asked("bad")) == (None, [], None)
    assert not shelf.folder.exists(), "looking makes no folders"


def test_what_fails_on_the_way_leaves_what_was_there(shelf: Shelf) -> None:
    path = written(shelf)

    def broken() -> Iterator[Entry]:
        yield Entry("ip", "203.0.113.99")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        written(shelf, entries=broken())
    assert list(shelf.entries("bad")) == ENTRIES
    assert [one.name for one in path.parent.iterdir()] == ["bad.entries"]


def test_a_reader_goes_on_reading_what_is_replaced_meanwhile(shelf: Shelf) -> None:
    written(shelf)
    reading = shelf.entries("bad")
    first = next(reading)
    written(
        shelf, Contents(name="bad", source="/x", kind="warning", form="text", read_at=6, counts={"ip": 1}), [Entry("ip", "203.0.113.99")]
    )
    assert [first, *reading] == ENTRIES
    assert list(shelf.entries("bad")) == [Entry("ip", "203.0.113.99")]


@pytest.mark.parametrize("keep", [0, 1, 100, 8191, 8192, 8200, -2, -20])
def test_a_file_that_is_cut_off_is_damaged(shelf: Shelf, keep: int) -> None:
    path = written(shelf)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match="damaged"):
        list(shelf.entries("bad"))


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"\xff\n", b'["ip"]\n', b'["file","x"]\n', b'["ip",7]\n', b"{}\n", b"[" * 70_000 + b"\n", b'["ip","203.0.113.7"]\n'],
)
def test_a_line_that_does_not_belong_there_is_damage(shelf: Shelf, line: bytes) -> None:
    path = written(shelf)
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(StoreError, match="damaged"):
        list(shelf.entries("bad"))


def test_a_file_of_another_version_is_refused(shelf: Shelf) -> None:
    written(shelf, Contents(version=2, name="bad", source="/x", kind="indicator", form="text", read_at=5))
    with pytest.raises(StoreError, match="another version"):
        shelf.contents("bad")


def test_a_list_whose_first_line_has_no_room_is_not_kept(shelf: Shelf) -> None:
    with pytest.raises(OutwatchError, match="too long"):
        written(shelf, Contents(name="bad", source="/x" * 8000, kind="indicator", form="text", read_at=5))
    assert shelf.contents("bad") is None


def test_how_an_attempt_went_is_kept_and_nonsense_in_its_place_is_nothing(shelf: Shelf) -> None:
    asked = Asked(source="/x", at=5, confirmed=4, problem="timeout")
    shelf.note("bad", asked)
    assert shelf.asked("bad") == asked
    (shelf.folder / "lists" / "bad.asked").write_bytes(b"\xff{")
    assert shelf.asked("bad") is None


def test_a_list_is_forgotten_with_all_that_is_known_of_it(shelf: Shelf) -> None:
    written(shelf)
    shelf.note("bad", Asked(source="/x", at=5))
    shelf.remove("bad")
    shelf.remove("bad")
    assert list((shelf.folder / "lists").iterdir()) == []


@pytest.mark.security
def test_a_link_in_the_place_of_a_list_is_not_followed(shelf: Shelf, tmp_path: Path) -> None:
    path = written(shelf)
    path.unlink()
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    path.symlink_to(victim)
    with pytest.raises(FileRefused):
        written(shelf)
    assert victim.read_text() == "untouched"


def test_only_one_at_a_time_changes_lists(shelf: Shelf) -> None:
    entered, order = threading.Event(), []

    def other() -> None:
        entered.set()
        with shelf.locked():
            order.append("second")

    with shelf.locked():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(30)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
