"""A file that decides what the program does is read only when nobody else could have written it."""

import os
import sys
from pathlib import Path

import pytest

from outwatch.errors import FileRefused
from outwatch.guard.files import read_trusted

STRANGER = 54321
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX owners and modes")
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root to give files to others")
pytestmark = pytest.mark.security


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Make a file that is in order."""
    path = tmp_path / "config.toml"
    path.write_bytes(b"log_level = 'low'\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o400])
def test_an_own_file_that_others_can_at_most_read_is_read(settings: Path, mode: int) -> None:
    settings.chmod(mode)
    assert read_trusted(settings) == b"log_level = 'low'\n"


@posix
@pytest.mark.parametrize("mode", [0o602, 0o666, 0o622])
def test_a_file_that_everyone_may_write_is_refused(settings: Path, mode: int) -> None:
    settings.chmod(mode)
    with pytest.raises(FileRefused, match="others may write it; chmod go-w"):
        read_trusted(settings)


@pytest.mark.root
@as_root
def test_a_file_that_belongs_to_somebody_else_is_refused_to_root(settings: Path) -> None:
    os.chown(settings, STRANGER, STRANGER)
    with pytest.raises(FileRefused, match=f"belongs to user {STRANGER}.*chown it to root"):
        read_trusted(settings)


@pytest.mark.root
@as_root
def test_a_group_that_may_write_is_refused_to_root(settings: Path) -> None:
    settings.chmod(0o660)
    with pytest.raises(FileRefused, match="others may write"):
        read_trusted(settings)


@pytest.mark.root
@as_root
@pytest.mark.parametrize(
    ("owner", "group", "mode", "trusted"),
    [
        (1000, 1000, 0o664, True),  # the user's private group, umask 002
        (1000, 100, 0o664, False),  # a group with other people in it
        (0, 50, 0o664, False),
        (0, 0, 0o644, True),
        (1000, 100, 0o644, True),
        (1001, 1001, 0o644, False),
    ],
)
def test_an_ordinary_user_trusts_what_only_root_and_they_can_write(
    settings: Path, monkeypatch: pytest.MonkeyPatch, owner: int, group: int, mode: int, *, trusted: bool
) -> None:
    settings.chmod(mode)
    os.chown(settings, owner, group)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if trusted:
        assert read_trusted(settings).startswith(b"log_level")
    else:
        with pytest.raises(FileRefused):
            read_trusted(settings)


@posix
@pytest.mark.parametrize("make", ["mkfifo", "mkdir"])
def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path, make: str) -> None:
    strange = tmp_path / "strange"
    getattr(os, make)(strange)
    with pytest.raises(FileRefused, match="not a plain file"):
        read_trusted(strange)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count open files")
def test_a_folder_in_the_place_of_a_file_leaves_nothing_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises((FileRefused, OSError)):
            read_trusted(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_without_end_is_refused() -> None:
    with pytest.raises(FileRefused, match="not a plain file"):
        read_trusted(Path("/dev/zero"))


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_a_file_beyond_the_limit_is_refused_and_one_at_the_limit_is_not(settings: Path, size: int, *, fits: bool) -> None:
    settings.write_bytes(b"#" * size)
    if fits:
        assert len(read_trusted(settings, most=100)) == size
    else:
        with pytest.raises(FileRefused, match="larger than 100 bytes"):
            read_trusted(settings, most=100)


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_trusted(tmp_path / "none")
