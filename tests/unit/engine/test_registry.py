"""Parts are found by name, those of other packages by entry point, and a broken one costs only itself."""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from outwatch.engine import registry
from outwatch.engine.registry import Room
from outwatch.model.interfaces import Part, PartConfig

ROOMS: list[Room] = ["sensors", "enrichers", "lookups", "detectors", "sinks"]


def offer(monkeypatch: pytest.MonkeyPatch, **offered: object) -> None:
    """Let other packages offer these objects; an error is raised at loading."""

    class Point:
        def __init__(self, name: str, value: object) -> None:
            self.name, self.value = name, value

        def load(self) -> object:
            if isinstance(self.value, Exception):
                raise self.value
            return self.value

    monkeypatch.setattr(registry, "offered", lambda group: [Point(*one) for one in offered.items()] if group.endswith("detectors") else [])


def collect(room: Room = "detectors") -> tuple[dict[str, Part], dict[str, BaseException]]:
    failed: dict[str, BaseException] = {}
    parts = registry.parts(room, failed.__setitem__)
    assert len({one.name for one in parts}) == len(parts)
    return {one.name: one for one in parts}, failed


def foreign(name: str) -> Part:
    return Part(name=name, config=PartConfig, build=dict)


@pytest.mark.parametrize("room", ROOMS)
def test_every_part_has_the_name_of_its_module(room: Room) -> None:
    found = {name: part for name in registry.names(room) if (part := registry.part(room, name)) is not None}
    assert found
    assert {name: part.name for name, part in found.items()} == {name: name for name in found}


def test_the_detectors_of_the_contract_are_there() -> None:
    assert {"allow_list", "domain_pattern", "executable_path"} <= set(registry.names("detectors"))


def test_a_part_of_another_package_joins_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    part = foreign("weather")
    offer(monkeypatch, weather=part)
    parts, failed = collect()
    assert parts["weather"] is part
    assert "allow_list" in parts
    assert not failed


@pytest.mark.security
def test_another_package_can_not_take_the_place_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, allow_list=foreign("allow_list"))
    parts, _failed = collect()
    assert parts["allow_list"].build is not dict


@pytest.mark.parametrize("broken", [ImportError("no module"), ValueError("at import"), "text", 7, Part], ids=repr)
def test_a_part_of_another_package_that_is_broken_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch, broken: object) -> None:
    offer(monkeypatch, broken=broken, sound=foreign("sound"))
    parts, failed = collect()
    assert "broken" not in parts
    assert "sound" in parts
    assert list(failed) == ["broken"]
    assert isinstance(failed["broken"], type(broken) if isinstance(broken, Exception) else TypeError)


def test_an_entry_point_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="lost", value="no_such_module_anywhere:PART", group="outwatch.detectors")
    monkeypatch.setattr(registry, "offered", lambda group: [point])
    _parts, failed = collect()
    assert isinstance(failed["lost"], ModuleNotFoundError)


def test_a_module_that_offers_no_part_is_none() -> None:
    assert registry.part("sinks", "lines") is None


def test_a_part_is_handed_what_it_names_and_nothing_else() -> None:
    def make(config: object, *, health: object, scopes: object = "none") -> tuple[object, object, object]:
        return config, health, scopes

    def part(build: Callable[..., Any]) -> Part:
        return Part(name="p", config=PartConfig, build=build)

    assert registry.build(part(make), "c", {"health": "h", "paths": "p"}) == ("c", "h", "none")
    assert registry.build(part(make), "c", {"health": "h", "scopes": "s"}) == ("c", "h", "s")
    assert registry.build(part(lambda config: config), "c", {"health": "h"}) == "c"
    with pytest.raises(TypeError):
        registry.build(part(make), "c", {})


def ordered(*parts: tuple[str, tuple[str, ...]]) -> list[str]:
    """Order parts of these names, each of which builds on others."""
    return [
        part.name
        for part, _ in registry.in_order([(Part(name=name, config=PartConfig, build=dict, after=after), 0) for name, after in parts])
    ]


@pytest.mark.parametrize(
    ("parts", "order"),
    [
        ([("a", ()), ("b", ())], ["a", "b"]),
        ([("a", ("c",)), ("b", ()), ("c", ("b",))], ["b", "c", "a"]),
        ([("a", ("switched off",)), ("b", ())], ["a", "b"]),
        ([("a", ("b",)), ("b", ("a",)), ("c", ("a",)), ("d", ())], ["d", "a", "b", "c"]),
    ],
    ids=["as they are", "behind those that they build on", "without one that is not there", "in a circle"],
)
def test_parts_stand_behind_those_that_they_build_on(parts: list[tuple[str, tuple[str, ...]]], order: list[str]) -> None:
    assert ordered(*parts) == order


def test_look_ups_have_what_they_build_on_in_front_of_them() -> None:
    lookups, failed = collect("lookups")
    assert not failed
    order = [part.name for part, _ in registry.in_order([(part, 0) for part in lookups.values()])]
    assert order.index("hashing") < order.index("packages") < order.index("changes")
