"""Where keys come from, what is refused, and that nothing shows them."""

import copy
import importlib.util
import os
import pickle
import stat
import sys
import threading
import types
from pathlib import Path

import pytest

from outwatch.errors import OutwatchError
from outwatch.reputation import keys
from outwatch.reputation.keys import Key, Keyring, find
from outwatch.reputation.settings import ProviderConfig

CANARY = "canary-5a1f0c3e"
NOTHING = ProviderConfig()


def written(path: Path, text: str = CANARY, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def said(key: Key | None) -> str | None:
    return key.header("{}") if key else None


@pytest.mark.parametrize(
    ("provider", "variable"),
    [
        ("virustotal", "VT_API_KEY"),
        ("abuseipdb", "ABUSE_API_KEY"),
        ("abuseipdb", "ABUSEIPDB_API_KEY"),
        ("ipinfo", "IPINFO_TOKEN"),
        ("greynoise", "GREYNOISE_API_KEY"),
    ],
)
def test_the_environment_holds_a_key_under_the_names_of_the_contract(provider: str, variable: str) -> None:
    key = find(provider, NOTHING, {variable: f" {CANARY}\n"})
    assert said(key) == CANARY
    assert key is not None
    assert key.origin == f"the variable {variable}"
    assert find(provider, NOTHING, {variable: "  "}) is None


def test_a_file_goes_before_the_setting_that_before_a_credential_and_that_before_the_environment(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    written(credentials / "virustotal", "from-systemd\n", 0o440)
    surroundings = {"CREDENTIALS_DIRECTORY": str(credentials), "VT_API_KEY": "from-variable"}
    file = written(tmp_path / "key", "from-file\n")
    everything = ProviderConfig(api_key_file=str(file), api_key="from-setting")
    assert said(find("virustotal", everything, surroundings)) == "from-file"
    assert said(find("virustotal", ProviderConfig(api_key="from-setting"), surroundings)) == "from-setting"
    assert said(find("virustotal", NOTHING, surroundings)) == "from-systemd"
    assert said(find("abuseipdb", NOTHING, {**surroundings, "ABUSE_API_KEY": "other"})) == "other"


@pytest.mark.security
@pytest.mark.skipif(sys.platform == "win32", reason="modes say nothing there")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path / "key", mode=mode)
    with pytest.raises(OutwatchError) as refusal:
        find("virustotal", ProviderConfig(api_key_file=str(file)), {})
    assert str(file) in str(refusal.value)
    assert "chmod" in str(refusal.value)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "binary", "long", "two lines"])
def test_a_file_without_a_key_is_named_and_what_it_holds_is_not(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        held = {"empty": "\n", "binary": CANARY + "\x00\x1b", "long": CANARY * 200, "two lines": f"{CANARY}\n{CANARY}"}[kind]
        written(path, held)
    with pytest.raises(OutwatchError) as refusal:
        find("virustotal", ProviderConfig(api_key_file=str(path)), {"VT_API_KEY": "not taken instead"})
    assert str(path) in str(refusal.value)
    assert CANARY not in str(refusal.value)


@pytest.mark.security
def test_a_key_shows_itself_to_nobody() -> None:
    key = Key(CANARY, "the variable X")
    config = ProviderConfig(api_key=CANARY)
    for shown in (repr(key), str(key), f"{key!r}", repr(config), str(config), repr({"a": [key, config]})):
        assert CANARY not in shown
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.copy(key)
    assert key.header("Bearer {}") == f"Bearer {CANARY}"


@pytest.mark.security
@pytest.mark.parametrize("text", ["a\r\nX-Evil: 1", "a b", "ключ", "a\x7f", "{0.__class__}" * 60])
def test_what_can_not_stand_in_a_header_is_no_key(text: str) -> None:
    with pytest.raises(OutwatchError) as refusal:
        Key(text, "the place")
    assert str(refusal.value) == "the place holds something else than a key"


def fake_keyring(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Put a package ``keyring`` in the place of the real one, if there is one."""
    package, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")

    class KeyringError(Exception):
        pass

    def get_password(service: str, user: str) -> str | None:
        assert service == "outwatch"
        if user != "virustotal":
            return None
        if answer == "locked":
            raise KeyringError(CANARY)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else None

    monkeypatch.setattr(errors, "KeyringError", KeyringError, raising=False)
    monkeypatch.setattr(package, "get_password", get_password, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", package)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "keyring" else None)


DESKTOP = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}


def keyring() -> Keyring:
    return Keyring(["abuseipdb", "virustotal"], DESKTOP)


def test_the_keyring_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_keyring(monkeypatch, CANARY)
    key = find("virustotal", NOTHING, {}, keyring())
    assert said(key) == CANARY
    assert key is not None
    assert key.origin == "the system's keyring"
    assert find("abuseipdb", NOTHING, {}, keyring()) is None
    assert said(find("virustotal", NOTHING, {"VT_API_KEY": "variable"}, keyring())) == "variable"


@pytest.mark.parametrize("answer", [None, "", "locked", RuntimeError("no desktop"), OSError("no bus")])
def test_a_keyring_that_has_nothing_or_can_not_be_asked_gives_no_key(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    fake_keyring(monkeypatch, answer)
    assert find("virustotal", NOTHING, {}, keyring()) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere keyrings need no session bus")
def test_where_there_is_no_desktop_no_keyring_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_keyring(monkeypatch, CANARY)
    assert Keyring(["virustotal"], {}).password("virustotal") is None


def test_a_keyring_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    fake_keyring(monkeypatch, CANARY)
    monkeypatch.setattr(sys.modules["keyring"], "get_password", lambda *_: never.wait(), raising=False)
    monkeypatch.setattr(keys, "_KEYRING_SECONDS", 0.05)
    try:
        assert keyring().password("virustotal") is None
    finally:
        never.set()
        for thread in threading.enumerate():
            if thread.name == "keyring":
                thread.join()


@pytest.mark.security
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can make a file somebody else's")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "key")
    os.chown(file, 12345, 12345)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(OutwatchError, match="belongs to user 12345"):
        find("virustotal", ProviderConfig(api_key_file=str(file)), {})
