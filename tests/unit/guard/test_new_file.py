"""A new file appears whole or not at all, replaces nothing unasked, and belongs to whoever asked for it."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outwatch.errors import FileRefused, OutputError, OutwatchError
from outwatch.guard import rights
from outwatch.guard.files import new_file, require_writable
from outwatch.guard.rights import invoking_user

CALLER, GROUP, STRANGER = 54320, 54319, 54321
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX owners and modes")
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root to give files to others")
pytestmark = [pytest.mark.security, posix]

Try = Callable[..., None]


def written(path: Path, *, replaces: bool = False) -> None:
    with new_file(path, replaces=replaces) as file:
        file.write(b"new")


def half_written(path: Path, error: type[BaseException] | BaseException, *, replaces: bool) -> None:
    with new_file(path, replaces=replaces) as file:
        file.write(b"half")
        raise error


both = pytest.mark.parametrize("attempt", [written, require_writable], ids=["written", "asked before"])


def attempted(attempt: Try, path: Path, *, replaces: bool = False) -> OutwatchError:
    """Give the error, after which nothing has changed in the folder."""
    before = sorted(os.listdir(path.parent)) if path.parent.is_dir() else None
    with pytest.raises(OutwatchError) as caught:
        attempt(path, replaces=replaces)
    assert (sorted(os.listdir(path.parent)) if before is not None else None) == before
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(CALLER))
    monkeypatch.setenv("SUDO_GID", str(GROUP))


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a folder of the user behind sudo, on a way that is root's."""
    folder = Path(tempfile.mkdtemp(prefix="caller", dir="/var/tmp"))
    try:
        os.chown(folder, CALLER, GROUP)
        yield folder
    finally:
        shutil.rmtree(folder)


def test_the_file_is_there_when_the_block_has_ended_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with new_file(path, replaces=False) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert sorted(os.listdir(tmp_path)) == ["home", "r.csv"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_nobody_elses_to_read_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        written(tmp_path / "r.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "r.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError, OutputError("x", "full")])
def test_a_block_that_fails_leaves_nothing_and_raises_what_it_raised(tmp_path: Path, error: type[BaseException] | BaseException) -> None:
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind):
        half_written(tmp_path / "r.csv", error, replaces=False)
    assert os.listdir(tmp_path) == ["home"]


def test_a_block_that_fails_leaves_the_file_that_was_to_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        half_written(path, KeyboardInterrupt, replaces=True)
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2


def test_an_error_of_the_disk_inside_of_the_block_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with pytest.raises(OutputError, match=r"r\.csv: No space left") as caught, new_file(path, replaces=False):
        raise OSError(28, "No space left on device")
    assert str(path) in str(caught.value)
    assert os.listdir(tmp_path) == ["home"]


@both
def test_an_existing_file_is_refused_and_untouched(tmp_path: Path, attempt: Try) -> None:
    path = tmp_path / "r.csv"
    path.write_text("old")
    assert "--force" in str(attempted(attempt, path))
    assert path.read_text() == "old"


def test_with_leave_to_replace_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("old")
    path.chmod(0o644)
    second_name = tmp_path / "second"
    os.link(path, second_name)
    require_writable(path, replaces=True)
    assert path.read_text() == "old"
    written(path, replaces=True)
    assert (path.read_text(), second_name.read_text()) == ("new", "old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_came_while_the_block_ran_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with pytest.raises(OutputError, match="exists"), new_file(path, replaces=False):
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("replaces", [False, True])
def test_a_link_that_came_while_the_block_ran_is_not_followed(tmp_path: Path, *, replaces: bool) -> None:
    path, victim = tmp_path / "r.csv", tmp_path / "victim"
    victim.write_text("precious")
    with pytest.raises(FileRefused), new_file(path, replaces=replaces):
        path.symlink_to(victim)
    assert victim.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["home", "r.csv", "victim"]


@both
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("target", ["victim", "nowhere", "home"])
def test_a_link_is_refused_even_if_it_may_be_replaced(tmp_path: Path, attempt: Try, target: str, *, replaces: bool) -> None:
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "r.csv"
    path.symlink_to(target)
    assert "link" in str(attempted(attempt, path, replaces=replaces))
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


@both
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, attempt: Try, kind: str) -> None:
    path = tmp_path / "r.csv"
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert "plain file" in str(attempted(attempt, path, replaces=True))


@both
def test_a_missing_folder_and_a_file_in_its_place_are_named(tmp_path: Path, attempt: Try) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "gone") in str(attempted(attempt, tmp_path / "gone" / "r.csv"))
    assert str(tmp_path / "file") in str(attempted(attempt, tmp_path / "file" / "r.csv"))


@both
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, attempt: Try) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert str(shared) in str(attempted(attempt, shared / "r.csv"))


@both
@as_root
def test_a_strangers_folder_is_refused(tmp_path: Path, attempt: Try) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    assert f"user {STRANGER}" in str(attempted(attempt, theirs / "r.csv"))


def test_the_longest_names_of_a_file_system_can_be_written(tmp_path: Path) -> None:
    for name in ("r" * 251 + ".csv", "网" * 83 + ".csv", "\udcff" * 100 + ".csv"):
        written(tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"new"


def test_a_relative_name_lies_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    written(Path("r.csv"))
    assert (folder / "r.csv").read_bytes() == b"new"


@both
def test_a_current_folder_that_is_gone_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: Try) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(OutwatchError):
        attempt(Path("r.csv"), replaces=False)


@pytest.mark.parametrize("replaces", [False, True])
def test_a_folder_that_was_exchanged_meanwhile_does_not_get_the_file(tmp_path: Path, *, replaces: bool) -> None:
    folder, away = tmp_path / "folder", tmp_path / "away"
    folder.mkdir()
    with new_file(folder / "r.csv", replaces=replaces) as file:
        file.write(b"new")
        folder.rename(away)
        (tmp_path / "victim").mkdir()
        folder.symlink_to(tmp_path / "victim")
    assert os.listdir(tmp_path / "victim") == []
    assert os.listdir(away) == ["r.csv"]


@as_root
def test_under_sudo_a_file_in_the_callers_folder_becomes_theirs(sudo: None, home: Path) -> None:
    path = home / "r.csv"
    require_writable(path, replaces=False)
    assert os.listdir(home) == []
    written(path)
    facts = path.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (CALLER, GROUP, 0o600)


@as_root
def test_under_sudo_a_file_in_roots_folder_stays_roots(sudo: None, tmp_path: Path) -> None:
    written(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").stat().st_uid == 0


@as_root
@both
@pytest.mark.parametrize("trap", ["strangers folder inside", "roots folder inside", "link out", "others may write"])
def test_under_sudo_the_caller_can_not_lead_root_elsewhere(sudo: None, home: Path, tmp_path: Path, attempt: Try, trap: str) -> None:
    inside = home / "inside"
    if trap == "link out":
        inside.symlink_to(tmp_path)
        os.lchown(inside, CALLER, GROUP)
    else:
        inside.mkdir()
        if trap == "strangers folder inside":
            os.chown(inside, STRANGER, STRANGER)
        elif trap == "others may write":
            os.chown(inside, CALLER, GROUP)
            inside.chmod(0o777)
    attempted(attempt, inside / "r.csv")


@as_root
def test_without_sudo_the_folder_of_another_user_is_refused_to_root(home: Path) -> None:
    assert f"user {CALLER}" in str(attempted(written, home / "r.csv"))


@as_root
@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [
        ("1000", "1001", (1000, 1001)),
        ("0", "0", None),
        ("1000", "", None),
        ("", "1000", None),
        ("-1", "1000", None),
        ("1000 ", "1000", None),
        ("x", "1000", None),
        ("00", "0", None),
    ],
)
def test_the_invoking_user_is_who_typed_sudo(
    monkeypatch: pytest.MonkeyPatch, user: str, group: str, expected: tuple[int, int] | None
) -> None:
    monkeypatch.setenv("SUDO_UID", user)
    monkeypatch.setenv("SUDO_GID", group)
    assert invoking_user() == expected


@as_root
@pytest.mark.parametrize("user", ["1" * 30, "4294967295", "4294967296", "²"])
def test_a_user_number_that_no_system_has_is_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: str) -> None:
    monkeypatch.setenv("SUDO_UID", user)
    monkeypatch.setenv("SUDO_GID", "1000")
    written(tmp_path / "r.csv")
    assert invoking_user() is None


@pytest.mark.usefixtures("sudo")
def test_for_anybody_but_root_there_is_no_invoking_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "is_root", lambda: False)
    assert invoking_user() is None
