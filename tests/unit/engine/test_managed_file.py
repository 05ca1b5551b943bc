"""A file that commands keep is changed whole, and what can't be understood is never overwritten."""

import contextlib
import os
import stat
import sys
from datetime import date
from pathlib import Path

import pytest

from outwatch.engine import config as configuration
from outwatch.engine.managed_file import ManagedFile
from outwatch.errors import ConfigError, OutputError

KEY = ("detectors", "allow_list", "entries")
ENTRIES = [
    {"destination": "192.0.2.1", "port": 443},
    {"program": "/usr/bin/curl", "comment": 'tab\tquote" ü \\ \n', "expires": date(2027, 1, 1)},
]


@pytest.fixture
def file(tmp_path: Path) -> ManagedFile:
    return ManagedFile("allow.toml", KEY, tmp_path / "outwatch")


def written(file: ManagedFile, text: str) -> ManagedFile:
    file.path.parent.mkdir(parents=True)
    file.path.write_text(text, "utf-8")
    file.path.chmod(0o600)
    return file


def test_there_are_no_entries_before_there_is_a_file(file: ManagedFile) -> None:
    assert file.read() == []
    assert not file.path.exists()


@pytest.mark.parametrize("entries", [[], ENTRIES[:1], ENTRIES])
def test_entries_come_back_as_they_were_written(file: ManagedFile, entries: list[dict[str, object]]) -> None:
    file.write(ENTRIES)
    file.write(entries)
    assert file.read() == entries
    assert os.listdir(file.path.parent) == ["allow.toml"]


def test_what_is_written_is_read_as_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "is_root", lambda: False)
    file = ManagedFile("allow.toml", KEY)
    file.write(ENTRIES)
    assert file.path == configuration.user_config_dir() / "conf.d" / "allow.toml"
    config = configuration.load(environ={})
    assert config.tree["detectors"]["allow_list"]["entries"] == ENTRIES
    assert config.files == (file.path,)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX modes")
def test_the_systems_file_can_be_read_by_all_and_a_users_by_nobody_else(file: ManagedFile) -> None:
    shared = ManagedFile("allow.toml", KEY, configuration.SYSTEM)
    for one, mode in ((shared, 0o644), (file, 0o600)):
        one.write(ENTRIES)
        assert stat.S_IMODE(one.path.stat().st_mode) == mode


@pytest.mark.parametrize(
    "text", ["[[detectors", "detectors = 5", "[detectors]\nallow_list = 5", "[detectors.allow_list]\nentries = ['x']", "\0"]
)
def test_a_file_that_can_not_be_understood_is_a_mistake_and_stays(file: ManagedFile, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        written(file, text).read()
    assert caught.value.path == str(file.path)
    assert file.path.read_text() == text


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[detectors.allow_list]\n"])
def test_a_file_without_entries_has_none(file: ManagedFile, text: str) -> None:
    assert written(file, text).read() == []


@pytest.mark.security
def test_a_setting_that_stands_beside_the_entries_is_not_silently_removed(file: ManagedFile) -> None:
    """Without it the allow list would stop to report what is not on it."""
    written(file, "[detectors.allow_list]\nunlisted = 'medium'\n[[detectors.allow_list.entries]]\ndestination = '192.0.2.1'\n")
    with contextlib.suppress(ConfigError):  # a refusal is as good
        file.write([*file.read(), *ENTRIES])
    assert "unlisted" in file.path.read_text()


@pytest.mark.security
@pytest.mark.root
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root to give files to others")
def test_a_file_that_belongs_to_somebody_else_is_refused_as_configuration(file: ManagedFile) -> None:
    file.write(ENTRIES)
    os.chown(file.path, 54321, 54321)
    with pytest.raises(ConfigError, match="belongs to user 54321"):
        file.read()


def test_a_folder_that_can_not_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with pytest.raises(OutputError, match=r"\Acan't write [^\n]*\Z"):
        ManagedFile("allow.toml", KEY, tmp_path / "plain").write(ENTRIES)
