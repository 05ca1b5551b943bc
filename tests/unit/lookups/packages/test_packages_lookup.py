"""A package is claimed for the very file that runs, and for nothing that only goes by its name."""

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine.health import Health
from outwatch.errors import LookupFailed
from outwatch.lookups import packages
from outwatch.lookups.packages import Packages
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Findings, Hash, Package, Process

from .trees import dpkg, write

Make = Callable[..., Connection]
TOOL = b"\x7fELF tool"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="package databases are those of Linux")


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def lookup(health: Health, tmp_path: Path) -> Packages:
    """Give a look-up on a machine that has /usr/bin/tool of the package tools."""
    dpkg(tmp_path, "tools", {"/usr/bin/tool": TOOL}, version="1.5-3")
    write(tmp_path / "usr/bin/tool", TOOL)
    return Packages(PartConfig(), health=health, root=str(tmp_path))


def of(
    make: Make, path: str = "/usr/bin/tool", content: bytes | None = TOOL, state: Any = None, package: Package | None = None
) -> Connection:
    digest = Hash(sha256=hashlib.sha256(content).hexdigest()) if content is not None else None
    process = Process(pid=77, executable=path, entity_id="e1", hash=digest)
    return make(process=process, outwatch=Findings(executable=state, package=package))


def found(lookup: Packages, record: Connection) -> Package | None:
    """Look a connection up as the slow lane does, and give the package it has then."""
    key = lookup.missing(record)
    if key is not None:
        asyncio.run(lookup.find(key, record))
    return lookup.enrich(record).outwatch.package


def test_the_file_that_a_package_brought_is_claimed_and_matches(lookup: Packages, connection: Make) -> None:
    record = of(connection)
    assert lookup.enrich(record) is record
    assert found(lookup, record) == Package(name="tools", version="1.5-3", manager="dpkg", matches=True)
    assert lookup.missing(record) is None


@pytest.mark.security
def test_a_packages_file_that_was_overwritten_is_claimed_and_does_not_match(lookup: Packages, connection: Make, tmp_path: Path) -> None:
    write(tmp_path / "usr/bin/tool", b"evil")
    package = found(lookup, of(connection, content=b"evil"))
    assert package is not None
    assert (package.name, package.matches) == ("tools", False)


@pytest.mark.security
def test_another_content_than_that_at_the_path_is_never_the_packages(lookup: Packages, connection: Make) -> None:
    assert found(lookup, of(connection, content=b"evil")) is None


@pytest.mark.security
@pytest.mark.parametrize("state", ["deleted", "memfd", "replaced", "other_namespace"])
def test_a_disguised_executable_is_not_even_looked_up(lookup: Packages, connection: Make, state: Any) -> None:
    record = of(connection, state=state)
    assert lookup.missing(record) is None
    assert lookup.enrich(record).outwatch.package is None


@pytest.mark.security
@pytest.mark.parametrize("kind", ["copy", "link", "hard link"])
def test_a_copy_elsewhere_belongs_to_nobody(lookup: Packages, connection: Make, tmp_path: Path, kind: str) -> None:
    original, copy = tmp_path / "usr/bin/tool", tmp_path / "copy"
    if kind == "copy":
        write(copy, TOOL)
    elif kind == "link":
        copy.symlink_to(original)
    else:
        os.link(original, copy)
    assert found(lookup, of(connection, "/copy")) is None


@pytest.mark.security
def test_a_link_at_a_packages_path_is_not_the_packages_file(lookup: Packages, connection: Make, tmp_path: Path) -> None:
    write(tmp_path / "other", TOOL)
    (tmp_path / "usr/bin/tool").unlink()
    (tmp_path / "usr/bin/tool").symlink_to(tmp_path / "other")
    assert found(lookup, of(connection)) is None


@pytest.mark.parametrize(("path", "content"), [("/usr/bin/tool", None), ("", TOOL), ("relative", TOOL), ("C:\\tool.exe", TOOL)])
def test_without_a_path_and_a_checksum_nothing_is_asked(lookup: Packages, connection: Make, path: str, content: bytes | None) -> None:
    assert lookup.missing(of(connection, path, content)) is None
    assert lookup.missing(connection(process=None)) is None


def test_the_package_of_an_earlier_program_is_taken_off(lookup: Packages, connection: Make) -> None:
    stale = of(connection, "/usr/bin/other", package=Package(name="tools"))
    assert lookup.enrich(stale).outwatch.package is None


def test_programs_that_wait_together_are_looked_for_in_one_go(
    lookup: Packages, connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    look = lookup._look

    def counting(programs: Any) -> Any:
        asked.append(len(programs))
        return look(programs)

    monkeypatch.setattr(lookup, "_look", counting)
    records = [of(connection, f"/usr/bin/t{number}") for number in range(30)] + [of(connection)]

    async def all_at_once() -> None:
        await asyncio.gather(*(lookup.find(lookup.missing(record), record) for record in records))

    asyncio.run(all_at_once())
    assert sum(asked) == 31
    assert len(asked) <= 2  # the first begins by itself, the others wait for it
    assert lookup.enrich(records[-1]).outwatch.package is not None


def test_whoever_builds_on_packages_waits_for_the_word_and_has_nothing_looked_for_twice(
    lookup: Packages, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    look = lookup._look

    def counting(programs: Any) -> Any:
        asked.append(len(programs))
        return look(programs)

    monkeypatch.setattr(lookup, "_look", counting)
    record = of(connection)

    async def both() -> tuple[Package | None, Package | None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(lookup.find(lookup.missing(record), record))
            early = group.create_task(lookup.owner(record))
        return early.result(), await lookup.owner(record)

    package = Package(name="tools", version="1.5-3", manager="dpkg", matches=True)
    assert asyncio.run(both()) == (package, package)
    assert asked == [1]
    assert asyncio.run(lookup.owner(of(connection, content=None))) is None


def test_an_answer_is_asked_again_after_its_time_and_serves_until_then(
    lookup: Packages, connection: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = of(connection)
    assert found(lookup, record) is not None
    now = time.monotonic()
    monkeypatch.setattr("outwatch.lookups.packages.time.monotonic", lambda: now + packages._AGAIN + 10)
    assert lookup.enrich(record).outwatch.package is not None
    assert lookup.missing(record) is not None


def test_a_broken_database_is_told_and_the_others_are_asked(lookup: Packages, health: Health, connection: Make, tmp_path: Path) -> None:
    write(tmp_path / "var/lib/rpm/rpmdb.sqlite", b"no database at all, whatever its name says")
    write(tmp_path / "lib/apk/db/installed", "P:apktool\nV:1\nF:bin\nR:tool\n")
    write(tmp_path / "bin/tool", b"x")
    package = found(lookup, of(connection, "/bin/tool", b"x"))
    assert package == Package(name="apktool", version="1", manager="apk")
    assert [problem for problem in health.problems if "rpmdb.sqlite" in problem]


def test_a_look_that_takes_too_long_is_not_checked(lookup: Packages, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr(packages, "_LONGEST", 0.01)
    monkeypatch.setattr(lookup, "_look", lambda _: release.wait(30) and {})
    record = of(connection)
    with pytest.raises(LookupFailed, match="too long"):
        asyncio.run(lookup.find(lookup.missing(record), record))
    release.set()
    assert lookup.missing(record) is not None


def test_a_key_of_somebody_else_is_left_alone(lookup: Packages, connection: Make) -> None:
    asyncio.run(lookup.find("not ours", connection()))
    assert not lookup._answers


def test_the_memory_for_answers_is_bounded(lookup: Packages, connection: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_REMEMBERED", 5)
    for number in range(12):
        found(lookup, of(connection, f"/usr/bin/t{number}"))
    assert len(lookup._answers) == 5
