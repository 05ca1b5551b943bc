"""What this process may do is read from the kernel, and doubt means no."""

import sys
from pathlib import Path
from typing import Any

import pytest

from outwatch.guard import rights


def pretend(monkeypatch: pytest.MonkeyPatch, status: str | None) -> None:
    """Let the kernel's file about this process say ``status``, or be missing."""

    def read_text(_path: Path, *_args: Any, **_kwargs: Any) -> str:
        if status is None:
            raise FileNotFoundError
        return status

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("0000000000000000", set()),
        ("0000000000080000", {"CAP_SYS_PTRACE"}),
        ("0000000000000006", {"CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"}),
        ("000000c000201000", {"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_BPF"}),
        ("0000000000000001", set()),  # CAP_CHOWN shows us nothing
    ],
)
def test_capabilities_are_named_from_the_effective_mask(monkeypatch: pytest.MonkeyPatch, mask: str, expected: set[str]) -> None:
    pretend(monkeypatch, f"Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t{mask}\nCapBnd:\tffffffffffffffff\n")
    assert rights.capabilities() == expected


@pytest.mark.parametrize("status", [None, "", "Name:\tx\n"])
def test_without_the_kernels_word_no_capability_is_claimed(monkeypatch: pytest.MonkeyPatch, status: str | None) -> None:
    pretend(monkeypatch, status)
    assert rights.capabilities() == frozenset()
    assert not rights.sees_other_users()


@pytest.mark.parametrize(("mask", "sees"), [("80000", False), ("80002", True), ("80004", True), ("6", False), ("1ffffffffff", True)])
def test_looking_into_other_users_processes_takes_tracing_and_reading(monkeypatch: pytest.MonkeyPatch, mask: str, *, sees: bool) -> None:
    pretend(monkeypatch, f"CapEff:\t{mask}\n")
    assert rights.sees_other_users() is sees


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no effective user id")
@pytest.mark.parametrize(("euid", "root"), [(0, True), (1000, False)])
def test_root_is_who_has_the_effective_user_id_zero(monkeypatch: pytest.MonkeyPatch, euid: int, *, root: bool) -> None:
    monkeypatch.setattr("os.geteuid", lambda: euid)
    assert rights.is_root() is root


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no effective user id")
@pytest.mark.parametrize("euid", [0, 501])
def test_where_there_are_no_capabilities_root_alone_sees_others(monkeypatch: pytest.MonkeyPatch, euid: int) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("os.geteuid", lambda: euid)
    assert rights.sees_other_users() is (euid == 0)


def test_windows_has_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not rights.is_root()
