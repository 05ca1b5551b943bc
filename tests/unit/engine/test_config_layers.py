"""Which value is in force, and where it comes from."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine import config as configuration
from outwatch.engine import registry
from outwatch.engine.config import Config, load
from outwatch.errors import ConfigError

LAYERS = ["system", "system.d", "user", "user.d", "--config", "OUTWATCH_LOG_LEVEL", "option"]
LEVELS = ["normal", "low", "medium", "high", "critical", "allowed", "low"]


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def places(own_folders: Path, tmp_path: Path) -> dict[str, Path]:
    """Name the file of each layer."""
    user = configuration.user_config_dir()
    return {
        "system": configuration.SYSTEM / "config.toml",
        "system.d": configuration.SYSTEM / "conf.d" / "b.toml",
        "user": user / "config.toml",
        "user.d": user / "conf.d" / "a.toml",
        "--config": tmp_path / "extra.toml",
    }


def allow_list(config: Config) -> Any:
    part = registry.part("detectors", "allow_list")
    assert part is not None
    return config.of("detectors", part)


def load_layers(places: dict[str, Path], texts: Mapping[str, str], environ: Mapping[str, str] | None = None, **options: Any) -> Config:
    for layer, text in texts.items():
        put(places[layer], text)
    return load(places["--config"] if "--config" in texts else None, environ or {}, options)


@pytest.mark.parametrize("highest", range(len(LAYERS)), ids=LAYERS)
def test_the_later_layer_wins(places: dict[str, Path], highest: int) -> None:
    chosen = dict(list(zip(LAYERS, LEVELS, strict=True))[: highest + 1])
    option = {"log_level": chosen.pop("option")} if "option" in chosen else {}
    environ = {"OUTWATCH_LOG_LEVEL": chosen.pop("OUTWATCH_LOG_LEVEL")} if "OUTWATCH_LOG_LEVEL" in chosen else {}
    config = load_layers(places, {layer: f"log_level = '{level}'" for layer, level in chosen.items()}, environ, **option)
    assert config.settings.log_level == LEVELS[highest]
    name = LAYERS[highest]
    assert config.origin("log_level") == (str(places[name]) if name in places else name)
    assert config.files == tuple(places[layer] for layer in chosen)


def test_without_any_file_the_defaults_hold() -> None:
    config = load(environ={})
    assert config.settings == configuration.Settings()
    assert config.origin("log_level") == "default"
    assert (config.files, config.unreadable) == ((), ())


def test_files_of_a_folder_are_read_in_the_order_of_their_names(own_folders: Path) -> None:
    for name, level in (("20-b.toml", "high"), ("10-a.toml", "low"), ("30-c.txt", "critical")):
        put(configuration.SYSTEM / "conf.d" / name, f"log_level = '{level}'")
    assert load(environ={}).settings.log_level == "high"


def test_tables_merge_and_other_values_are_replaced(places: dict[str, Path]) -> None:
    first = "[scope]\npublic = ['192.0.2.0/24']\nprivate = ['198.51.100.0/24']\n[detectors.allow_list]\npoints = 30\n"
    second = "[scope]\npublic = ['203.0.113.0/24']\n[detectors.allow_list]\nunlisted = 'low'\n"
    config = load_layers(places, {"system": first, "user": second})
    assert config.settings.scope.public == ["203.0.113.0/24"]
    assert config.settings.scope.private == ["198.51.100.0/24"]
    assert (allow_list(config).points, allow_list(config).unlisted) == (30, "low")
    assert config.origin("detectors.allow_list.points") == str(places["system"])
    assert config.origin("detectors.allow_list.unlisted") == str(places["user"])
    assert [str(one) for one in config.networks("public")] == ["203.0.113.0/24"]


def entries(*destinations: str) -> str:
    return "".join(f"[[detectors.allow_list.entries]]\ndestination = '{one}'\n" for one in destinations)


def test_lists_of_tables_add_up_and_each_entry_knows_its_file(places: dict[str, Path]) -> None:
    environ = {"OUTWATCH_DETECTORS__ALLOW_LIST__ENTRIES": "[{destination = '192.0.2.4'}]"}
    config = load_layers(places, {"system": entries("192.0.2.1", "192.0.2.2"), "user": entries("192.0.2.3")}, environ)
    assert [one.destination for one in allow_list(config).entries] == [f"192.0.2.{number}" for number in (1, 2, 3, 4)]
    origins = [config.origin(f"detectors.allow_list.entries[{at}].destination") for at in range(4)]
    assert origins == [str(places["system"])] * 2 + [str(places["user"]), *environ]


def test_an_empty_list_clears_what_was_there(places: dict[str, Path]) -> None:
    texts = {"system": entries("192.0.2.1"), "user": "[detectors.allow_list]\nentries = []\n", "--config": entries("192.0.2.9")}
    config = load_layers(places, texts)
    assert [one.destination for one in allow_list(config).entries] == ["192.0.2.9"]


def test_naming_a_file_that_is_read_anyway_does_not_read_it_twice(places: dict[str, Path]) -> None:
    put(places["user"], entries("192.0.2.1"))
    assert len(allow_list(load(places["user"], {})).entries) == 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OUTWATCH_DETECTORS__ALLOW_LIST__ENABLED", "false", ("enabled", False)),
        ("OUTWATCH_DETECTORS__ALLOW_LIST__POINTS", "12.5", ("points", 12.5)),
        ("OUTWATCH_DETECTORS__ALLOW_LIST__UNLISTED", "low", ("unlisted", "low")),
        ("OUTWATCH_DETECTORS__ALLOW_LIST__UNLISTED", "'low'", ("unlisted", "low")),
        ("OUTWATCH_DETECTORS__ALLOW_LIST__UNLISTED_SCOPES", "['private']", ("unlisted_scopes", ("private",))),
    ],
)
def test_a_variable_is_read_as_toml_or_else_as_text(name: str, value: str, expected: tuple[str, object]) -> None:
    assert getattr(allow_list(load(environ={name: value})), expected[0]) == expected[1]


@pytest.mark.parametrize(
    "folder", ["/var/log/x y", "~/logs", "C:\\logs", "a # b", 'x"\nlog_level = "low', "2025", "true", "1979-05-27", ""]
)
def test_a_folder_from_the_environment_may_have_any_name(folder: str) -> None:
    config = load(environ={"OUTWATCH_LOG_DIR": folder})
    assert config.settings.log_dir == folder
    assert config.settings.log_level == "medium"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {"OUTWATCH_CONFIG": "x", "OUTWATCH_COMPLETE": "x", "OUTWATCH_": "x", "MY_OUTWATCH_FOO": "x", "PATH": "x"}
    assert load(environ=environ).settings == configuration.Settings()


def test_folders_are_the_configured_ones_or_the_systems(monkeypatch: pytest.MonkeyPatch, own_folders: Path) -> None:
    config = load(environ={"OUTWATCH_STATE_DIR": "~/state of mine", "OUTWATCH_LOG_DIR": "/somewhere/logs"})
    assert (config.state_dir, config.log_dir) == (own_folders / "state of mine", Path("/somewhere/logs"))
    monkeypatch.setattr(configuration, "is_root", lambda: True)
    assert (load(environ={}).state_dir, load(environ={}).log_dir) == (Path("/var/lib/outwatch"), Path("/var/log/outwatch"))
    monkeypatch.setattr(configuration, "is_root", lambda: False)
    assert own_folders in load(environ={}).state_dir.parents
    assert own_folders in load(environ={}).log_dir.parents


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Give a folder that all may enter, and be nobody inside it after the test calls ``seteuid``; root again at the end."""
    if sys.platform == "win32" or os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.mark.root
@pytest.mark.parametrize("closed", ["config.toml", "conf.d/a.toml", "conf.d", "."])
def test_what_an_ordinary_user_may_not_read_is_passed_over_and_said(nobody: Path, monkeypatch: pytest.MonkeyPatch, closed: str) -> None:
    put(nobody / "etc" / "config.toml", "log_level = 'low'")
    put(nobody / "etc" / "conf.d" / "a.toml", "log_level = 'high'")
    for path in (nobody / "etc" / "config.toml", nobody / "etc" / "conf.d" / "a.toml"):
        path.chmod(0o644)
    (nobody / "etc" / closed).chmod(0o600)
    monkeypatch.setattr(configuration, "SYSTEM", nobody / "etc")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(nobody / "none"))
    load(environ={})  # imports what is loaded late while everything can still be read
    os.seteuid(65534)
    config = load(environ={})
    assert config.unreadable
    assert all(str(path).startswith(str(nobody / "etc")) for path in config.unreadable)


@pytest.mark.root
def test_a_file_named_with_config_must_be_readable(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(nobody / "none"))
    monkeypatch.setattr(configuration, "SYSTEM", nobody / "etc")
    secret = put(nobody / "extra.toml", "log_level = 'low'")
    load(environ={})
    os.seteuid(65534)
    with pytest.raises(ConfigError, match=r"extra\.toml: Permission denied"):
        load(secret, {})
