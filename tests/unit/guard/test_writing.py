"""What is written goes where it was meant to go, whole or not at all, and leaves nothing lying about."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from outwatch.errors import FileRefused, OutputError
from outwatch.guard.files import append_line, private_folder, require_own_folder, write_atomic

STRANGER = 54321
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX owners and modes")
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root to give files to others")
pytestmark = [pytest.mark.security, posix]

Write = Callable[[Path, str], None]


def appended(path: Path, text: str) -> None:
    append_line(path, [text])


def replaced(path: Path, text: str) -> None:
    write_atomic(path, text.encode())


both = pytest.mark.parametrize("write", [appended, replaced])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run under each usual umask, and put it back."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@both
@pytest.mark.usefixtures("umask")
def test_a_new_file_is_nobody_elses_to_read_whatever_the_umask(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "new", "x")
    assert mode_of(tmp_path / "new") == 0o600


def test_lines_are_added_below_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append_line(path, ["one", "two"])
    append_line(path, iter(["three"]))
    assert path.read_text() == "one\ntwo\nthree\n"


def test_text_that_is_no_unicode_is_written_escaped_with_its_neighbours(tmp_path: Path) -> None:
    append_line(tmp_path / "log", ["before", "bad \udcff", "after ü"])
    assert (tmp_path / "log").read_text("utf-8") == "before\nbad \\udcff\nafter ü\n"


def test_a_link_in_the_place_of_a_log_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "shadow"
    target.write_text("root:*\n")
    (tmp_path / "log").symlink_to(target)
    with pytest.raises(FileRefused, match="it is a link"):
        append_line(tmp_path / "log", ["x"])
    assert target.read_text() == "root:*\n"


def test_a_dangling_link_does_not_create_its_target(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "created")
    with pytest.raises(FileRefused):
        append_line(tmp_path / "log", ["x"])
    assert not (tmp_path / "created").exists()


def test_a_link_laid_after_the_look_is_not_followed_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "shadow"
    target.write_text("root:*\n")
    (tmp_path / "log").symlink_to(target)
    monkeypatch.setattr(Path, "is_symlink", lambda _path: False)
    with pytest.raises((FileRefused, OutputError)):
        append_line(tmp_path / "log", ["x"])
    assert target.read_text() == "root:*\n"


def test_a_file_with_a_second_name_is_refused_as_a_log(tmp_path: Path) -> None:
    (tmp_path / "system").write_text("kept\n")
    os.link(tmp_path / "system", tmp_path / "log")
    with pytest.raises(FileRefused, match="second name"):
        append_line(tmp_path / "log", ["x"])
    assert (tmp_path / "system").read_text() == "kept\n"


def test_replacing_takes_a_links_place_and_leaves_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "file", b"new")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "target").read_text() == "kept"


@pytest.mark.root
@as_root
def test_a_log_that_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("theirs\n")
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(FileRefused, match="belongs to somebody else"):
        append_line(path, ["x"])
    assert path.read_text() == "theirs\n"


@pytest.mark.parametrize("reader", [False, True], ids=["nobody reads", "somebody reads"])
def test_a_pipe_in_the_place_of_a_log_is_refused_without_waiting(tmp_path: Path, *, reader: bool) -> None:
    os.mkfifo(tmp_path / "log")
    listening = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK) if reader else None
    try:
        with pytest.raises((FileRefused, OutputError)):
            append_line(tmp_path / "log", ["x"])
        assert listening is None or os.read(listening, 10) == b""
    finally:
        if listening is not None:
            os.close(listening)


@both
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o722])
def test_a_folder_in_which_others_may_replace_files_is_refused(tmp_path: Path, write: Write, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, -1, 4242 if os.geteuid() == 0 else -1)
    if mode == 0o775 and os.geteuid() != 0:
        pytest.skip("needs root to give the folder to another group")
    with pytest.raises(FileRefused, match="others may write to the folder"):
        write(folder / "file", "x")
    assert not list(folder.iterdir())


@pytest.mark.root
@as_root
@both
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_folder_that_belongs_to_somebody_else_is_refused_also_when_sticky(tmp_path: Path, write: Write, mode: int) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, STRANGER, STRANGER)
    with pytest.raises(FileRefused, match=f"belongs to user {STRANGER}"):
        write(folder / "file", "x")
    assert not list(folder.iterdir())


@pytest.mark.root
@as_root
@both
def test_roots_sticky_folder_is_good_enough(tmp_path: Path, write: Write) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    write(folder / "file", "x")
    assert (folder / "file").read_text().strip() == "x"


@pytest.mark.root
@as_root
@both
@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_way_through_somebody_elses_folder_is_refused(tmp_path: Path, write: Write, kind: str) -> None:
    """Who owns a folder on the way can lead it elsewhere: to /etc/cron.d as well."""
    system = tmp_path / "cron.d"
    system.mkdir(mode=0o755)
    theirs = tmp_path / "mallory"
    theirs.mkdir(mode=0o755)
    way = theirs / "logs"
    if kind == "link":
        way.symlink_to(system)
    else:
        way.mkdir(mode=0o755)
    os.chown(theirs, STRANGER, STRANGER)
    os.chown(way, STRANGER if kind == "link" else 0, 0, follow_symlinks=False)
    with pytest.raises(FileRefused):
        write(way / "file", "x")
    assert not list(system.iterdir())


@pytest.mark.parametrize(("uid", "gid", "fits"), [(1000, 1000, True), (1000, 100, False), (0, 0, False)])
@pytest.mark.root
@as_root
def test_a_group_may_write_to_the_folder_only_if_it_is_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, gid: int, *, fits: bool
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o775)
    os.chown(folder, uid, gid)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if fits:
        require_own_folder(folder)
        assert folder.is_dir()
    else:
        with pytest.raises(FileRefused):
            require_own_folder(folder)


@both
def test_a_missing_folder_is_one_clear_line(tmp_path: Path, write: Write) -> None:
    with pytest.raises(OutputError, match=r"\Acan't write .*none: No such file or directory\Z"):
        write(tmp_path / "none" / "file", "x")


@both
def test_a_file_where_a_folder_should_be_is_said_so(tmp_path: Path, write: Write) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(OutputError, match=r"not a folder|Not a directory"):
        write(tmp_path / "plain" / "file", "x")


def test_replacing_keeps_nothing_of_the_old_and_nothing_beside_it(tmp_path: Path) -> None:
    path = private_folder(tmp_path / "folder") / "state"
    write_atomic(path, b"a much longer first content")
    write_atomic(path, b"short", mode=0o644)
    assert path.read_bytes() == b"short"
    assert mode_of(path) == 0o644
    assert os.listdir(path.parent) == ["state"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["disk", "Ctrl+C"])
def test_a_replacement_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, fault: BaseException
) -> None:
    folder = private_folder(tmp_path / "state")
    (folder / "file").write_text("old")

    def fail(*_args: object, **_options: object) -> None:
        raise fault

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write_atomic(folder / "file", b"new")
    assert os.listdir(folder) == ["file"]
    assert (folder / "file").read_text() == "old"


def test_a_folder_in_the_place_of_the_file_stays_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "state")
    (folder / "file").mkdir()
    with pytest.raises(OutputError):
        write_atomic(folder / "file", b"new")
    assert os.listdir(folder) == ["file"]


def test_a_line_of_which_the_disk_takes_only_a_part_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_line(path, ["whole"])
    write, calls = os.write, []

    def half(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return write(descriptor, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OutputError, match="No space left on device"):
        append_line(path, ["second line"])
    assert path.read_text() == "whole\n"


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    append_line(tmp_path / "log", ["a line in pieces"])
    assert (tmp_path / "log").read_text() == "a line in pieces\n"


@pytest.mark.usefixtures("umask")
def test_a_private_folder_and_all_that_had_to_be_made_above_it_are_closed_to_others(tmp_path: Path) -> None:
    made = private_folder(tmp_path / "a" / "b" / "c")
    assert mode_of(made) == 0o700
    assert not any(mode_of(folder) & 0o022 for folder in (made.parent, made.parent.parent))


def test_a_private_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(FileRefused):
        private_folder(folder)


def test_a_private_folder_that_can_not_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(OutputError, match=r"\Acan't write [^\n]*\Z"):
        private_folder(tmp_path / "plain" / "state")
