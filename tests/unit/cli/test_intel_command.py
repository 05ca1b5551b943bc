"""``outwatch intel``: lists set up, looked up and forgotten from the command line; files only, nothing is asked."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.cli.group import run
from outwatch.cli.intel import _name_for
from outwatch.engine.managed_file import ManagedFile

Said = tuple[int, str, str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run a command; gives exit code, output and talk."""

    def command(*words: object) -> Said:
        code = run(["intel", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad-ips.txt"
    file.write_text("203.0.113.7\nevil[.]example  # C2\nwhat is this\n0.0.0.0/0\n198.51.100.0/24\n")
    return file


def lists() -> list[dict[str, Any]]:
    return ManagedFile("intel.toml", ("intel", "lists")).read()


def test_a_file_is_added_with_what_it_holds_and_what_it_does_not(said: Callable[..., Said], bad: Path) -> None:
    code, out, err = said("add", bad, "--confidence", "70", "--expires", "30d")
    assert code == 0
    assert "bad-ips: 3 entries; not used: too broad (1), lines not understood (1)" in out
    assert f"outwatch: {bad}:3: 'what is this': no address, network or name" in err
    assert f"outwatch: {bad}:4: 0.0.0.0/0 is left out: wider than a /8" in err
    assert lists() == [{"name": "bad-ips", "source": str(bad), "confidence": 70, "expires_days": 30.0}]


def test_what_is_written_to_the_configuration_is_taken_by_it(said: Callable[..., Said], bad: Path) -> None:
    said("add", bad, "--name", "mine", "--as", "warning", "--every", "2h")
    path = ManagedFile("intel.toml", ("intel", "lists")).path
    assert tomllib.loads(path.read_text())["intel"]["lists"][0] == {
        "name": "mine",
        "source": str(bad),
        "kind": "warning",
        "every_hours": 2.0,
    }
    assert run(["config", "check"]) == 0


@pytest.mark.parametrize(
    ("value", "spelled", "entry"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("203.0.113[.]7:443", "203.0.113.7", "203.0.113.7"),
        ("198.51.100.77", "198.51.100.77", "198.51.100.0/24"),
        ("evil.example", "evil.example", "evil.example"),
        ("hxxps://www.Evil[.]example/path", "www.evil.example", "evil.example"),
    ],
)
def test_a_value_in_any_spelling_is_found(said: Callable[..., Said], bad: Path, value: str, spelled: str, entry: str) -> None:
    said("add", bad, "--confidence", "70")
    code, out, _ = said("check", value, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["value"] == spelled
    (match,) = found["matches"]
    assert {key: match[key] for key in ("list", "entry", "confidence", "first_seen", "last_seen")} == {
        "list": "bad-ips",
        "entry": entry,
        "confidence": 70,
        "first_seen": None,
        "last_seen": None,
    }
    assert not [one for one in found["warnings"] if one["list"] == "bad-ips"]


def test_times_and_notes_of_a_match_are_told(said: Callable[..., Said], tmp_path: Path) -> None:
    file = tmp_path / "seen.csv"
    file.write_text("ip,first_seen,last_seen,confidence,malware\n203.0.113.7,2025-01-02 03:04:05,2025-02-03,80,Emotet\n")
    said("add", file)
    (match,) = json.loads(said("check", "203.0.113.7", "--json")[1])["matches"]
    assert match == {
        "list": "seen", "entry": "203.0.113.7", "confidence": 80, "first_seen": "2025-01-02T03:04:05Z", "last_seen": "2025-02-03T00:00:00Z",
        "note": "Emotet",
    }  # fmt: skip
    assert said("check", "203.0.113.7")[1].startswith(
        "seen: 203.0.113.7 (confidence 80, first seen 2025-01-02, last seen 2025-02-03, Emotet)\n"
    )


def test_what_is_on_no_list_is_no_failure(said: Callable[..., Said], bad: Path) -> None:
    said("add", bad)
    code, out, _ = said("check", "203.0.113.99", "--json")
    assert (code, json.loads(out)["matches"]) == (0, [])
    code, out, _ = said("check", "203.0.113.99")
    assert (code, "203.0.113.99 is on no list of indicators" in out) == (0, True)


def test_without_lists_nothing_is_found_and_it_is_said_why(said: Callable[..., Said]) -> None:
    code, out, err = said("check", "203.0.113.7", "--json")
    assert (code, json.loads(out)) == (0, {"value": "203.0.113.7", "matches": [], "warnings": []})
    assert "no list of indicators is set up" in err


@pytest.mark.parametrize("value", ["nonsense!", "", "203.0.113.0/24", "10.0.0.1-10.0.0.2", "a" * 64, "\x1b[31m"])
def test_what_is_no_address_or_name_is_a_mistake_of_usage(said: Callable[..., Said], value: str) -> None:
    code, out, err = said("check", value)
    assert (code, out) == (2, "")
    assert "is no address, name or URL" in err
    assert "\x1b" not in err


def test_a_warning_is_told_as_such(said: Callable[..., Said], bad: Path) -> None:
    said("add", bad, "--as", "warning")
    found = json.loads(said("check", "198.51.100.1", "--json")[1])
    assert found["matches"] == []
    assert {"list": "bad-ips", "entry": "198.51.100.0/24"} in found["warnings"]
    out = said("check", "198.51.100.1")[1]
    assert "well known, bad-ips: 198.51.100.0/24" in out
    assert "198.51.100.1 is on no list of indicators" in out


def test_a_list_that_can_t_be_read_is_not_added(said: Callable[..., Said], tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text("<html>")
    for source, reason in (
        (page, "is a web page, no list"),
        (tmp_path / "gone.txt", "there is no such file"),
        (tmp_path, "it is no plain file"),
    ):
        code, out, err = said("add", source, "--name", "x")
        assert (code, out) == (1, "")
        assert f"x is not added: {source}: {reason}" in err
    assert lists() == []
    assert json.loads(said("list", "--json")[1])["lists"] == []


def test_a_name_is_taken_from_the_file_and_used_once(said: Callable[..., Said], bad: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "Bad IPs.TXT.gz"
    other.parent.mkdir()
    other.write_text("203.0.113.8")
    assert said("add", bad)[0] == 0
    assert said("add", bad)[:2] == (0, "already there: bad-ips\n")
    assert said("add", other)[0] == 2
    assert said("add", other, "--name", "others")[0] == 0
    assert [one["name"] for one in lists()] == ["bad-ips", "others"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://lists.example/feeds/Bad%20IPs.csv.gz?key=canary", "bad-20ips"),
        ("https://lists.example/manifest.json", "manifest"),
        ("https://lists.example/", "lists-example"),
        ("https://lists.example", "lists-example"),
        ("/srv/lists/ips.netset", "ips"),
        ("/srv/lists/" + "x" * 99, "x" * 64),
        ("/srv/lists/Été.txt", "t"),
    ],
)
def test_a_list_is_named_after_its_file(source: str, name: str) -> None:
    assert _name_for(source) == name


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "../../etc/passwd"),
        ("--name", "Upper"),
        ("--confidence", "101"),
        ("--as", "good"),
        ("--expires", "soon"),
    ],
)
def test_a_mistake_of_usage_is_told_before_anything_is_done(said: Callable[..., Said], bad: Path, words: tuple[str, str]) -> None:
    code, out, err = said("add", bad, *words)
    assert (code, out, lists()) == (2, "", [])
    assert err


def test_strict_tells_of_broken_lines_by_the_exit_code(said: Callable[..., Said], bad: Path) -> None:
    assert said("add", bad, "--strict")[0] == 4
    assert said("list", "--plain")[1].startswith("bad-ips\tset up\t")
    bad.write_text("203.0.113.7\n203.0.113.8\nagain what is this\n")
    assert said("update", "--strict")[0] == 4
    bad.write_text("203.0.113.7\n203.0.113.8\n")
    assert said("update", "--strict")[0] == 0


def test_an_update_that_fails_exits_with_1_and_keeps_what_was_there(said: Callable[..., Said], bad: Path) -> None:
    said("add", bad)
    bad.write_text("<html>")
    code, out, err = said("update")
    assert (code, out) == (1, "")
    assert "bad-ips: is a web page, no list; what was read " in err
    assert json.loads(said("check", "203.0.113.7", "--json")[1])["matches"]
    code, out, _ = said("list")
    assert "  is a web page, no list\n" in out
    assert json.loads(said("list", "--json")[1])["lists"][0]["problem"] == "is a web page, no list"


def test_an_update_takes_what_has_changed_and_makes_a_lost_index_anew(said: Callable[..., Said], bad: Path, own_folders: Path) -> None:
    said("add", bad)
    (own_folders / "state" / "intel" / "index").write_bytes(b"nonsense")
    assert said("check", "203.0.113.7")[0] == 1
    assert said("update")[0] == 0
    assert json.loads(said("check", "203.0.113.7", "--json")[1])["matches"]


def test_only_the_lists_that_are_named_are_updated(said: Callable[..., Said], bad: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("203.0.113.8")
    said("add", bad)
    said("add", other)
    assert said("update", "other")[1] == "other: unchanged: 1 entry\n"
    code, out, err = said("update", "nothing")
    assert (code, out) == (2, "")
    assert "there is no list 'nothing'" in err


def test_a_list_that_lost_nearly_all_is_taken_with_leave(said: Callable[..., Said], tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_text("\n".join(f"203.0.113.{number}" for number in range(30)))
    said("add", file)
    file.write_text("203.0.113.1")
    assert said("update")[0] == 1
    assert said("update", "--accept-smaller")[:2] == (0, "long: 1 entry\n")


def test_a_removed_list_is_found_no_more(said: Callable[..., Said], bad: Path, own_folders: Path) -> None:
    said("add", bad)
    assert said("remove", "bad-ips")[0] == 0
    assert lists() == []
    assert json.loads(said("check", "203.0.113.7", "--json")[1])["matches"] == []
    assert list((own_folders / "state" / "intel" / "lists").iterdir()) == []
    code, _, err = said("remove", "bad-ips")
    assert code == 1
    assert "has no list 'bad-ips'" in err


def test_a_list_of_another_file_is_not_removed_but_said_where_it_stands(said: Callable[..., Said], bad: Path, own_folders: Path) -> None:
    config = own_folders / "etc" / "config.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f'[[intel.lists]]\nname = "mine"\nsource = "{bad}"\n')
    assert said("update")[0] == 0
    code, _, err = said("remove", "mine")
    assert code == 1
    assert f"it stands in {config}" in err
    assert said("add", bad, "--name", "mine")[:2] == (0, "already there: mine\n")


def test_lists_are_listed_for_people_scripts_and_programs(said: Callable[..., Said], bad: Path) -> None:
    said("add", bad, "--confidence", "70")
    out = said("list")[1]
    assert out.splitlines()[0].split() == ["NAME", "KIND", "ENTRIES", "CONFIDENCE", "CURRENT", "LICENCE", "SOURCE"]
    assert out.splitlines()[1].split()[:4] == ["bad-ips", "indicator", "3", "70"]
    lines = [line.split("\t") for line in said("list", "--plain")[1].splitlines()]
    assert (lines[0][:5], lines[0][6:]) == (["bad-ips", "set up", "indicator", "3", "70"], ["-", str(bad), "-"])
    assert {len(line) for line in lines} == {9}
    (row,) = json.loads(said("list", "--json")[1])["lists"]
    assert row["counts"] == {"ip": 1, "domain": 1, "network": 1}
    assert row["not_used"] == {"too broad": 1, "lines not understood": 1}
    assert row["set_up_in"].endswith("intel.toml")


def test_the_catalogue_is_listed_on_demand_and_asks_nobody(said: Callable[..., Said]) -> None:
    assert "feodo" not in said("list")[1]
    out = said("list", "--catalogue")[1]
    assert any(line.split()[:3] == ["feodo", "indicator", "CC0"] for line in out.splitlines())
    document = json.loads(said("list", "--catalogue", "--json")[1])
    assert {"name", "source", "licence", "every_hours", "holds", "home", "title"} <= document["catalogue"][0].keys()
    assert document["lists"] == []
    assert "\nfeodo\toffered\tindicator\t-\t90\t" in said("list", "--catalogue", "--plain")[1]


def test_lists_that_came_with_outwatch_are_looked_in_unless_they_are_switched_off(
    said: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "dynamic-dns" in {one["name"] for one in json.loads(said("list", "--json")[1])["shipped"]}
    (warning,) = json.loads(said("check", "evil.duckdns.org", "--json")[1])["warnings"]
    assert (warning["list"], warning["entry"]) == ("dynamic-dns", "duckdns.org")
    monkeypatch.setenv("OUTWATCH_INTEL__SHIPPED", "false")
    assert json.loads(said("list", "--json")[1])["shipped"] == []
    assert json.loads(said("check", "evil.duckdns.org", "--json")[1])["warnings"] == []


def test_a_list_of_ones_own_takes_the_place_of_the_shipped_one_of_its_name(said: Callable[..., Said], tmp_path: Path) -> None:
    mine = tmp_path / "dynamic-dns.txt"
    mine.write_text("mine.example")
    said("add", mine, "--as", "warning")
    assert json.loads(said("check", "evil.duckdns.org", "--json")[1])["warnings"] == []
    assert json.loads(said("check", "mine.example", "--json")[1])["warnings"] == [{"list": "dynamic-dns", "entry": "mine.example"}]
    assert "dynamic-dns" not in {one["name"] for one in json.loads(said("list", "--json")[1])["shipped"]}


def test_a_list_that_the_catalogue_does_not_have_can_t_be_enabled(said: Callable[..., Said]) -> None:
    code, out, err = said("enable", "nonsense")
    assert (code, out) == (2, "")
    assert "the catalogue has no 'nonsense'" in err


def test_without_lists_an_update_does_nothing_and_says_so(said: Callable[..., Said]) -> None:
    code, out, err = said("update")
    assert (code, out) == (0, "")
    assert "nothing is fetched" in err


def test_files_of_places_need_an_address_to_come_from(said: Callable[..., Said]) -> None:
    code, _, err = said("update", "--geo")
    assert code == 2
    assert "nothing to fetch from" in err
    assert said("update", "--geo", "/etc/passwd")[0] == 2


@pytest.mark.security
def test_hostile_lists_reach_the_terminal_harmlessly(said: Callable[..., Said], tmp_path: Path) -> None:
    file = tmp_path / "hostile.txt"
    file.write_bytes(b"203.0.113.7 # \x1b]0;owned\x07 \xe2\x80\xae evil\n\x1b[2Jbroken line\n")
    told = said("add", file)
    found = said("check", "203.0.113.7")
    for text in (told[1], told[2], found[1]):
        assert all(line.isprintable() for line in text.splitlines())
