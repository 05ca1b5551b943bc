"""Which lists there are, by configuration and catalogue."""

import re
from pathlib import Path

import pytest

from outwatch.engine import config as configuration
from outwatch.engine.indicator_settings import IntelConfig, ListConfig
from outwatch.errors import ConfigError
from outwatch.intel.catalogue import catalogue
from outwatch.intel.lists import KnownList, bounds, known_list, lists_in_force
from outwatch.net.http import host_of


def in_force(tmp_path: Path, text: str) -> list[KnownList]:
    file = tmp_path / "lists.toml"
    file.write_text(text)
    return lists_in_force(configuration.load(file))


def test_without_configuration_there_is_no_list(tmp_path: Path) -> None:
    assert in_force(tmp_path, "") == []


def test_a_list_of_the_catalogue_needs_its_name_only(tmp_path: Path) -> None:
    (feodo,) = in_force(tmp_path, '[[intel.lists]]\nname = "feodo"')
    offered = catalogue()["feodo"]
    assert (feodo.source, feodo.licence, feodo.title) == (offered.source, offered.licence, offered.title)
    assert (feodo.confidence, feodo.every_hours, feodo.kind, feodo.offered) == (90, 1, "indicator", True)
    assert feodo.origin == str(tmp_path / "lists.toml")


def test_settings_go_before_the_catalogue_but_its_publisher_is_not_asked_more_often(tmp_path: Path) -> None:
    text = '[[intel.lists]]\nname = "spamhaus_drop"\nconfidence = 5\nkind = "warning"\nevery_hours = 1\nexpires_days = 2'
    (drop,) = in_force(tmp_path, text)
    assert (drop.confidence, drop.kind, drop.every_hours, drop.expires_days) == (5, "warning", 24, 2)
    (slower,) = in_force(tmp_path, '[[intel.lists]]\nname = "feodo"\nevery_hours = 48')
    assert slower.every_hours == 48


def test_a_list_of_ones_own_has_ordinary_settings(tmp_path: Path) -> None:
    fetched, local, warns = in_force(
        tmp_path,
        '[[intel.lists]]\nname = "a"\nsource = "https://lists.example/a.txt"\n[[intel.lists]]\nname = "b"\nsource = "/srv/b.txt"\n'
        '[[intel.lists]]\nname = "c"\nsource = "~/c.txt"\nkind = "warning"\nevery_hours = 3\n',
    )
    assert (fetched.confidence, fetched.every_hours, fetched.kind) == (50, 1, None)
    assert (local.confidence, local.every_hours) == (50, 0)
    assert (warns.confidence, warns.every_hours, warns.source) == (None, 3, str(Path("~/c.txt").expanduser()))


def test_what_entries_of_a_list_of_well_known_things_are_can_be_said(tmp_path: Path) -> None:
    (one,) = in_force(tmp_path, '[[intel.lists]]\nname = "a"\nsource = "/x"\nkind = "warning"\nmeaning = "sinkhole"')
    assert one.meaning == "sinkhole"


def test_a_list_that_is_switched_off_is_not_in_force(tmp_path: Path) -> None:
    assert in_force(tmp_path, '[[intel.lists]]\nname = "feodo"\nenabled = false') == []


def test_what_could_be_a_key_in_a_url_is_not_shown(tmp_path: Path) -> None:
    (one,) = in_force(tmp_path, '[[intel.lists]]\nname = "a"\nsource = "https://lists.example/a.txt?key=canary"')
    assert (one.source.endswith("canary"), one.shown) == (True, "https://lists.example/a.txt")


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ('name = "feodoo"', "intel.lists[0].name", "did you mean 'feodo'?"),
        ('name = "a"\nsource = "relative.txt"', "intel.lists[0].source", "no whole path"),
        ('name = "a"\nsource = "ftp://lists.example/a"', "intel.lists[0].source", "no whole path"),
        ('name = "a"\nsource = "https://user:pass@lists.example/a"', "intel.lists[0].source", "no user or password"),
        ('name = "a"\nsource = "https:///a"', "intel.lists[0].source", "no address that can be asked"),
        ('name = "feodo"\n[[intel.lists]]\nname = "feodo"', "intel.lists[1].name", "there is a list named feodo already"),
        ('name = "../x"\nsource = "/x"', "intel.lists[0].name", "matching regex"),
        ('name = "a"\nsource = "/x"\nconfidence = 101', "intel.lists[0].confidence", "<= 100"),
        ('name = "a"\nsource = "/x"\nkind = "bad"', "intel.lists[0].kind", "'bad'"),
        ('name = "a"\nsource = "/x"\nmeaning = "sinkholes"', "intel.lists[0].meaning", "did you mean 'sinkhole'?"),
        ('name = "a"\nsource = "/x"\nexpire = 3', "intel.lists[0].expire", "did you mean 'expires_days'?"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(tmp_path: Path, text: str, key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        in_force(tmp_path, f"[[intel.lists]]\n{text}")
    assert (caught.value.path, caught.value.key) == (str(tmp_path / "lists.toml"), key)
    assert hint in caught.value.hint


def test_a_switched_off_list_must_be_right_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not in the catalogue"):
        in_force(tmp_path, '[[intel.lists]]\nname = "nonsense"\nenabled = false')


def test_what_a_list_may_be_follows_from_the_settings() -> None:
    most = bounds(IntelConfig(widest_v4=9, widest_v6=20, share=0.1, warning_share=0.2, most_mib=10, most_lines=7, ratio=3.0))
    assert (most.widest_v4, most.widest_v6, most.share, most.warning_share, most.most_lines, most.ratio) == (9, 20, 0.1, 0.2, 7, 3.0)
    assert (most.most_octets, most.most_document) == (10 << 20, 10 << 20)
    assert bounds(IntelConfig()).most_document == 64 << 20


@pytest.mark.parametrize("name", catalogue())
def test_a_list_of_the_catalogue_says_what_one_must_know(name: str) -> None:
    offered = catalogue()[name]
    known = known_list(ListConfig(name=name), "default")
    assert re.fullmatch(r"[a-z0-9_-]+", name)
    assert known.source.startswith("https://")
    assert host_of(known.source)
    assert host_of(offered.home)
    assert all([offered.title, offered.licence, offered.holds])
    assert offered.every_hours >= 1
    assert (known.confidence is None) == (offered.kind == "warning") == (known.meaning is not None)


def test_the_catalogue_asks_no_publisher_twice_for_the_same() -> None:
    assert len({offered.source for offered in catalogue().values()}) == len(catalogue()) >= 12
