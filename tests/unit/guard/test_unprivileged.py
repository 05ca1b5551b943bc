"""Whom root becomes, and that rights are given up whole or not at all."""

import os
import subprocess
import sys
import threading

import pytest

from outwatch.errors import ConfigError, OutwatchError
from outwatch.guard import unprivileged
from outwatch.guard.rights import CAPABILITIES
from outwatch.guard.unprivileged import KEPT, Account, account, give_up, group_number

if sys.platform != "linux":
    pytest.skip("capabilities are Linux's", allow_module_level=True)

import grp
import pwd

_THERE = {"outwatch": 801, "nobody": 65534, "root": 0, "toor": 0, "alice": 1000}


@pytest.fixture(autouse=True)
def _accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be the accounts above, and run as root."""

    def by_name(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", _THERE[name], _THERE[name] + 1, "", "/", "/bin/false"))

    def by_number(number: int) -> pwd.struct_passwd:
        return by_name(next((name for name, user in _THERE.items() if user == number), "no such"))

    monkeypatch.setattr(pwd, "getpwnam", by_name)
    monkeypatch.setattr(pwd, "getpwuid", by_number)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize(("name", "user"), [("alice", 1000), ("1000", 1000), ("nobody", 65534), (None, 801)])
def test_root_becomes_whom_it_is_told_to_or_an_account_made_for_this(name: str | None, user: int) -> None:
    found = account(name)
    assert (found.user, found.group) == (user, user + 1)
    assert found.name in _THERE


def test_without_an_account_made_for_this_it_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_THERE, "outwatch")
    assert account(None).name == "nobody"


@pytest.mark.security
@pytest.mark.parametrize("name", ["root", "toor", "0", "eve", "4711", "", "-1", "\0", "99999999999999999999", "٣"])
def test_nobody_becomes_root_or_an_account_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match="--user"):
        account(name)


def test_an_ordinary_user_stays_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 7)
    assert account(None) == account("alice") == account("1000") == Account("alice", 1000, 7)
    for other in ("root", "nobody", "eve"):
        with pytest.raises(ConfigError):
            account(other)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert account(None) == Account("4711", 4711, 7), "there need be no name for it"


def test_groups_have_names_or_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_name(name: str) -> grp.struct_group:
        return grp.struct_group((name, "x", {"adm": 4}[name], []))

    monkeypatch.setattr(grp, "getgrnam", by_name)
    assert (group_number("adm"), group_number("54321")) == (4, 54321)
    for name in ("eve", "", "-1", str(2**32 - 1), "99999999999"):
        with pytest.raises(ConfigError, match="--group"):
            group_number(name)


def test_what_is_kept_are_five_capabilities_that_are_known_by_number() -> None:
    assert {name for name in CAPABILITIES.values() if name in KEPT} == KEPT
    assert unprivileged._mask(KEPT) == 1 << 2 | 1 << 12 | 1 << 19 | 1 << 38 | 1 << 39


@pytest.mark.security
def test_beside_another_thread_nothing_is_given_up() -> None:
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait)
    other.start()
    try:
        with pytest.raises(OutwatchError, match="another thread"):
            give_up(Account("nobody", 65534, 65534))
    finally:
        go_on.set()
        other.join()
    assert os.getresuid()[0] == os.getuid()


_GIVE_UP = """
import os, sys
from outwatch.errors import OutwatchError
from outwatch.guard import unprivileged
from outwatch.guard.unprivileged import Account, give_up
{before}
try:
    give_up(Account("x", {user}, {user}))
except OutwatchError as error:
    print(error)
else:
    print("given up", os.getresuid(), os.getresgid(), os.getgroups())
"""


def run(before: str = "", user: int = 54001, prefix: tuple[str, ...] = ()) -> str:
    """Give rights up in a process of its own, and give what that says."""
    code = _GIVE_UP.format(before=before, user=user)
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to give up")


@needs_root
@pytest.mark.root
@pytest.mark.integration
def test_root_becomes_somebody_else_for_good() -> None:
    said = run(prefix=("setpriv", "--groups=4,7", "--"))
    assert said == "given up (54001, 54001, 54001) (54001, 54001, 54001) []"


@needs_root
@pytest.mark.root
@pytest.mark.integration
@pytest.mark.security
@pytest.mark.parametrize(
    "fault",
    [
        "os.setgroups = os.setresgid = lambda *_: None",
        "os.setresuid = lambda *_: None",
        "def fail(*_): raise PermissionError(1, 'Operation not permitted')\nos.setgroups = fail",
        "unprivileged._set = lambda *_: None",
    ],
)
def test_a_step_that_fails_or_does_nothing_is_an_error(fault: str) -> None:
    assert run(before=fault).startswith("rights can't be given up")


@needs_root
@pytest.mark.root
@pytest.mark.integration
def test_root_without_the_right_to_become_another_does_not_go_on() -> None:
    assert "can't be given up" in run(prefix=("setpriv", "--bounding-set=-setuid,-setgid", "--inh-caps=-all", "--"))
