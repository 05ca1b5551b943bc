"""The folder of a socket belongs to one user and one group, and nothing else is changed to make it so."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from outwatch.errors import FileRefused, OutputError
from outwatch.guard.sockets import is_there, shared_folder

if sys.platform == "win32":
    pytest.skip("unix modes", allow_module_level=True)

OWN, GROUP = os.geteuid(), os.getegid()
as_root = pytest.mark.skipif(OWN != 0, reason="only root gives folders to others")


@pytest.fixture(autouse=True)
def _narrow() -> Iterator[None]:
    """Work under a umask that takes away what is needed."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_folder_is_made_for_its_owner_and_the_group(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert shared_folder(path, OWN, GROUP, None) == GROUP
    assert mode(path) == 0o750
    assert (path.stat().st_uid, path.stat().st_gid) == (OWN, GROUP)


@as_root
@pytest.mark.root
def test_root_makes_it_for_another(tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert shared_folder(path, 54001, 54002, 54003) == 54003
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (54001, 54003, 0o750)
    assert shared_folder(path, 54001, 54002, None) == 54003, "its group is kept"
    assert shared_folder(path, 54001, 54002, 54004) == 54004
    assert path.stat().st_gid == 54004


@pytest.mark.parametrize("kept", [0o750, 0o700, 0o550, 0o2750])
def test_a_folder_that_is_there_and_narrow_enough_stays_as_it_is(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(kept)
    assert shared_folder(path, OWN, GROUP, None) == path.stat().st_gid
    assert mode(path) == kept


@pytest.mark.security
@pytest.mark.parametrize("wide", [0o755, 0o751, 0o770, 0o752, 0o1777])
def test_a_folder_that_others_enter_or_its_group_writes_to_is_refused(tmp_path: Path, wide: int) -> None:
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(wide)
    with pytest.raises(FileRefused, match="chmod 0750"):
        shared_folder(path, OWN, GROUP, None)
    assert mode(path) == wide


@pytest.mark.security
@pytest.mark.parametrize("what", ["link", "file"])
def test_what_is_no_folder_is_refused_and_left_alone(tmp_path: Path, what: str) -> None:
    path, other = tmp_path / "run", tmp_path / "other"
    other.mkdir(mode=0o700)
    if what == "link":
        path.symlink_to(other)
    else:
        path.write_text("x")
    before = path.lstat()
    with pytest.raises(FileRefused, match="no folder, or a link"):
        shared_folder(path, OWN, GROUP, None)
    assert path.lstat() == before
    assert mode(other) == 0o700


@pytest.mark.security
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir(mode=0o750)
    with pytest.raises(FileRefused, match=f"belongs to user {OWN}, not to user {OWN + 1}"):
        shared_folder(path, OWN + 1, GROUP, None)


@pytest.mark.security
def test_nothing_is_made_below_a_folder_that_others_may_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(FileRefused, match="others may write"):
        shared_folder(tmp_path / "run", OWN, GROUP, None)
    assert not (tmp_path / "run").exists()


def test_without_a_folder_above_the_reason_is_the_systems(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"):
        shared_folder(tmp_path / "no" / "run", OWN, GROUP, None)


@pytest.mark.skipif(OWN == 0, reason="root may give a folder to any group")
def test_a_folder_that_can_not_be_given_to_the_group_is_not_left_behind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not permitted"):
        shared_folder(tmp_path / "run", OWN, GROUP, 0)
    assert not (tmp_path / "run").exists()


def test_what_can_not_be_looked_at_may_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    found = {name: is_there(tmp_path / name) for name in ("there", "link", "not", "there/below", "zero\0byte")}
    assert found == {"there": True, "link": True, "not": False, "there/below": False, "zero\0byte": False}

    def denied(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "lstat", denied)
    assert is_there(tmp_path / "not")
