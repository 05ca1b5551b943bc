"""A file that is not what it was, or not what its package brought, is a reason; an update is none."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from outwatch.detectors.executable_changed import ExecutableChanged, ExecutableChangedConfig
from outwatch.model.records import Changed, Connection, Findings, Package, Process

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 9, 10, tzinfo=UTC)
BEFORE = Changed(sha256="a" * 64, last_seen=WHEN, first_seen=WHEN)
UPDATE = Changed(sha256="a" * 64, last_seen=WHEN, first_seen=WHEN, by_package=True)
Points = Callable[..., list[float]]


def package(*, matches: bool | None) -> Package:
    return Package(name="tools", version="1.5", manager="dpkg", matches=matches)


@pytest.fixture
def points(connection: Make) -> Points:
    """Give the points that facts about a file are worth."""

    def judge(findings: Findings, *exceptions: str, path: str | None = "/opt/tool") -> list[float]:
        detector = ExecutableChanged(ExecutableChangedConfig(exceptions=exceptions))
        return [found.points for found in detector.inspect(connection(process=Process(executable=path), outwatch=findings))]

    return judge


@pytest.mark.parametrize(
    ("findings", "worth"),
    [
        (Findings(), []),
        (Findings(changed=BEFORE), [25]),
        (Findings(changed=UPDATE), []),
        (Findings(changed=UPDATE, package=package(matches=True)), []),
        (Findings(changed=BEFORE, package=package(matches=None)), [25]),
        (Findings(package=package(matches=True)), []),
        (Findings(package=package(matches=None)), []),
        (Findings(package=package(matches=False)), [60]),
        (Findings(changed=BEFORE, package=package(matches=False)), [60, 25]),
        (Findings(changed=UPDATE, package=package(matches=False)), [60]),  # it was exchanged after the update
    ],
)
def test_an_exchanged_file_is_worth_points_and_an_update_none(points: Points, findings: Findings, worth: list[float]) -> None:
    assert points(findings) == worth


def test_the_reasons_name_what_was_there_and_what_should_be(connection: Make) -> None:
    record = connection(process=Process(executable="/usr/bin/tool"), outwatch=Findings(changed=BEFORE, package=package(matches=False)))
    foreign, changed = ExecutableChanged(ExecutableChangedConfig()).inspect(record)
    assert foreign.evidence == {"executable": "/usr/bin/tool", "package": "tools 1.5"}
    assert changed.evidence == {"executable": "/usr/bin/tool", "before": "a" * 64, "seen_until": "2025-07-09T10:00:00+00:00"}
    assert {foreign.family, changed.family} == {"process"}


def test_paths_that_the_user_names_may_change(points: Points) -> None:
    assert points(Findings(changed=BEFORE), "/home/*/build/*", path="/home/bob/build/x") == []
    assert points(Findings(changed=BEFORE), "/home/*/build/*", path="/home/bob/building/x") == [25]


def test_bare_facts_are_judged_all_the_same(points: Points, connection: Make) -> None:
    assert points(Findings(changed=Changed(), package=Package(matches=False)), path=None) == [60, 25]
    assert list(ExecutableChanged(ExecutableChangedConfig()).inspect(connection(process=None))) == []
