"""A mistake in the configuration names the file, the key and what would be right; and nothing hangs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from outwatch.engine import config as configuration
from outwatch.engine import registry
from outwatch.engine.config import Config, load
from outwatch.errors import ConfigError

DEEP = ".".join(["a"] * 3000)


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    path = tmp_path / "extra.toml"
    path.touch(0o600)
    return path


def check(config: Config) -> None:
    """Ask for all that the detectors are set to, as the program does."""
    names = registry.names("detectors")
    config.check_names("detectors", names)
    for name in names:
        part = registry.part("detectors", name)
        assert part is not None
        config.of("detectors", part)


def mistake(path: Path, text: str) -> ConfigError:
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        check(load(path, {}))
    assert caught.value.path == str(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("log_levle = 'low'", "log_levle", "log_level"),
        ("Log_Dir = 'x'", "Log_Dir", "log_dir"),
        ("[scope]\npubilc = []", "scope.pubilc", "public"),
        ("[detector.allow_list]\nx = 1", "detector", "detectors"),
        ("[detectors.alow_list]\npoints = 1", "detectors.alow_list", "allow_list"),
        ("[detectors.allow_list]\nunlist = 'low'", "detectors.allow_list.unlist", "unlisted"),
        ("[[detectors.allow_list.entries]]\ndestnation = '192.0.2.1'", "detectors.allow_list.entries[0].destnation", "destination"),
        (
            "[[detectors.allow_list.entries]]\nport = 1\n[[detectors.allow_list.entries]]\nprot = 1",
            "detectors.allow_list.entries[1].prot",
            "port",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_right_one(extra: Path, text: str, key: str, nearest: str) -> None:
    error = mistake(extra, text)
    assert error.key == key
    assert f"did you mean '{nearest}'?" in error.hint


def test_a_key_like_no_other_gets_the_list_of_the_right_ones(extra: Path) -> None:
    hint = mistake(extra, "[scope]\nzzzzqqq = 1").hint
    assert "right ones: private, public" in hint


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("log_dir = 7", "log_dir", "Expected `str"),
        ("log_level = 'loud'", "log_level", "'loud' is no choice"),
        ("scope = 5", "scope", "Expected `object`"),
        ("[scope]\npublic = 'x'", "scope.public", "Expected `array`"),
        ("[scope]\npublic = ['10.0.0.0/8', 5]", "scope.public[1]", "Expected `str`"),
        ("[scope]\npublic = ['10.0.0.0/8', '10/99']", "scope.public[1]", "'10/99' is no address or network"),
        ("[scope]\nprivate = ['example.com']", "scope.private[0]", "is no address or network"),
        ("[detectors.allow_list]\npoints = 101", "detectors.allow_list.points", "<= 100"),
        ("[detectors.allow_list]\nenabled = 'no'", "detectors.allow_list.enabled", "Expected `bool`"),
        ("[detectors.allow_list]\nunlisted_scopes = ['moon']", "detectors.allow_list.unlisted_scopes[0]", "'moon' is no choice"),
        ("[[detectors.allow_list.entries]]\nport = 1.5", "detectors.allow_list.entries[0].port", "Expected `int | str"),
        ("[[detectors.allow_list.entries]]\nexpires = 'soon'", "detectors.allow_list.entries[0].expires", "RFC3339"),
        ("[verdict.weights]\nallow_list = 'heavy'", "verdict.weights.allow_list", "Expected `float`"),
        ("[detectors]\nallow_list = 5", "detectors.allow_list", "Expected `object`"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_expected(extra: Path, text: str, key: str, expected: str) -> None:
    error = mistake(extra, text)
    assert error.key == key
    assert expected in error.hint


@pytest.mark.security
@pytest.mark.parametrize("weight", ["nan", "inf", "-inf", "-1", "-0.5"])
def test_a_weight_that_turns_a_worry_into_praise_or_nonsense_is_refused(extra: Path, weight: str) -> None:
    assert mistake(extra, f"[verdict.weights]\nexecutable_path = {weight}").key == "verdict.weights.executable_path"


@pytest.mark.parametrize(("right", "wrong"), [("[detectors.allow_list]\npoints = 1", "[detectors]\ndomain_pattern = 5")])
def test_of_two_files_the_one_with_the_mistake_is_named(extra: Path, right: str, wrong: str) -> None:
    configuration.SYSTEM.mkdir()
    (configuration.SYSTEM / "config.toml").write_text(right)
    (configuration.SYSTEM / "config.toml").chmod(0o600)
    assert mistake(extra, wrong).path == str(extra)


def test_a_wrong_type_is_found_also_where_a_later_file_has_it_right(extra: Path) -> None:
    configuration.SYSTEM.mkdir()
    wrong = configuration.SYSTEM / "config.toml"
    wrong.write_text("scope = 5")
    wrong.chmod(0o600)
    extra.write_text("[scope]\npublic = []")
    with pytest.raises(ConfigError, match=re.escape(f"{wrong}: scope: ")):
        load(extra, {})


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("OUTWATCH_LOG_LEVLE", "log_levle"),
        ("OUTWATCH_DETECTORS__ALLOW_LIST__POINTS", "detectors.allow_list.points"),
        ("OUTWATCH_SCOPE", "scope"),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(name: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(load(environ={name: "many"}))
    assert (caught.value.path, caught.value.key) == (name, key)


def test_a_file_named_with_config_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load(tmp_path / "none.toml", {})


def test_a_folder_in_the_place_of_a_file_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {})
    assert caught.value.path == str(tmp_path)


@pytest.mark.security
@pytest.mark.parametrize(
    "raw",
    [
        b"log_level = ",
        b"[",
        b"\x00",
        b"\xff",
        b"a = 1\na = 2",
        b"a" * 10_000,
        b"x=" + b"[" * 5000,
        b"log_dir = " + b"1" * 5000,
        DEEP.encode() + b" = 1",
    ],
    ids=["half", "bracket", "NUL", "no UTF-8", "twice", "long", "deep list", "long number", "deep keys"],
)
def test_what_is_no_usable_toml_is_a_mistake_of_its_file(extra: Path, raw: bytes) -> None:
    extra.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(extra, {})
    assert caught.value.path == str(extra)


@pytest.mark.security
@pytest.mark.parametrize(
    ("name", "value"), [("OUTWATCH_LOG_DIR", "1" * 5000), ("OUTWATCH_" + "A__" * 3000 + "A", "1")], ids=["number", "deep"]
)
def test_a_monstrous_variable_is_text_or_a_mistake(name: str, value: str) -> None:
    try:
        assert load(environ={name: value}).settings.log_dir == value
    except ConfigError as error:
        assert error.path == name  # noqa: PT017 - either is right


@pytest.mark.security
@pytest.mark.parametrize("key", ["a]", "[0]x"])
def test_a_key_with_brackets_in_a_list_is_a_mistake_and_no_endless_search(extra: Path, key: str) -> None:
    extra.write_text(f'[[detectors.allow_list.entries]]\n"{key}" = 1\n')
    program = (
        "import sys; from pathlib import Path; from outwatch.engine import config, registry\n"
        "try: config.load(Path(sys.argv[1]), {}).of('detectors', registry.part('detectors', 'allow_list'))\n"
        "except config.ConfigError as error: print(error.path)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", program, str(extra)], capture_output=True, text=True, timeout=10, check=True)
    except subprocess.TimeoutExpired:
        pytest.fail("it does not come to an end")
    assert done.stdout.strip() == str(extra)


@pytest.mark.security
@pytest.mark.root
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="needs root to give files to others")
@pytest.mark.parametrize(("owner", "mode"), [(54321, 0o600), (0, 0o666), (0, 0o660)])
def test_a_file_that_others_could_have_written_is_refused_as_configuration(extra: Path, owner: int, mode: int) -> None:
    extra.chmod(mode)
    os.chown(extra, owner, owner)
    with pytest.raises(ConfigError) as caught:
        load(extra, {})
    assert caught.value.path == str(extra)
    assert re.search("belongs to user 54321|others may write it", caught.value.hint)


PATTERNS = "# the bad one is '(foo'\n[detectors.domain_pattern]\npatterns = [\n  '(foo)+',\n\n  '(foo',\n  'a\\\\q',\n]\n"


@pytest.mark.parametrize(("value", "line"), [("(foo", 6), ("(foo)+", 4), ("never there", None)])
def test_a_value_that_can_not_be_used_is_placed_at_its_own_line(extra: Path, value: str, line: int | None) -> None:
    extra.write_text(PATTERNS)
    error = load(extra, {}).rule_error("detectors.domain_pattern.patterns", value, "missing )")
    assert (error.path, error.line, error.reason) == (str(extra), line, "missing )")


def test_a_value_with_doubled_backslashes_is_found_too(extra: Path) -> None:
    extra.write_text('log_level = "low"\n[detectors.domain_pattern]\npatterns = ["a\\\\qb"]\n')
    assert load(extra, {}).rule_error("detectors.domain_pattern.patterns", "a\\qb", "bad").line == 3


def test_a_value_from_a_variable_has_no_line() -> None:
    config = load(environ={"OUTWATCH_DETECTORS__DOMAIN_PATTERN__PATTERNS": "['(foo']"})
    error = config.rule_error("detectors.domain_pattern.patterns", "(foo", "missing )")
    assert str(error) == "OUTWATCH_DETECTORS__DOMAIN_PATTERN__PATTERNS: missing )"


def test_a_choice_that_does_not_exist_is_told_with_the_nearest_that_does(extra: Path) -> None:
    extra.write_text('log_level = "hihg"\n')
    with pytest.raises(ConfigError, match=r"log_level: 'hihg' is no choice; did you mean 'high'\?"):
        load(extra, {})
