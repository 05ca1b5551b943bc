"""Processes read through psutil: what it refuses or has lost is unknown, and nothing raises."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
import pytest

from outwatch.enrichers.process.portable import PortableReader


class Ids(NamedTuple):
    """The user ids of a process."""

    real: int
    effective: int
    saved: int


class Fake:
    """A process as psutil shows it; an exception among the answers is raised."""

    answers: dict[str, Any] = {}  # noqa: RUF012 - set by each test

    def __init__(self, pid: int) -> None:
        if isinstance(gone := self.answers.get("pid"), Exception):
            raise gone
        self.pid = pid

    @contextlib.contextmanager
    def oneshot(self) -> Iterator[None]:
        yield

    def __getattr__(self, name: str) -> Any:
        if name not in self.answers:
            raise AttributeError(name)

        def answer() -> Any:
            value = self.answers[name]
            if isinstance(value, Exception):
                raise value
            return value

        return answer


WHOLE = {
    "name": "curl",
    "exe": "/usr/bin/curl",
    "cmdline": ["curl", "https://example.com"],
    "cwd": "/home/alice",
    "username": "alice",
    "uids": Ids(1000, 1001, 1000),
    "ppid": 12,
    "create_time": 1000.25,
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give what psutil answers, to be changed."""
    made = dict(WHOLE)
    monkeypatch.setattr(Fake, "answers", made)
    monkeypatch.setattr(psutil, "Process", Fake)
    return made


def test_an_ordinary_process_is_read_whole(answers: dict[str, Any]) -> None:
    facts = PortableReader().facts(7)
    assert (facts.name, facts.executable, facts.args) == ("curl", "/usr/bin/curl", ("curl", "https://example.com"))
    assert (facts.user_id, facts.user_name, facts.parent) == ("1001", "alice", 12)
    assert (facts.working_directory, facts.mark) == ("/home/alice", "/usr/bin/curl")


@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(7), psutil.ZombieProcess(7), psutil.NoSuchProcess(7), PermissionError(), OSError(5, "x")]
)
@pytest.mark.parametrize("refused", sorted(set(WHOLE) - {"create_time"}))
def test_each_fact_that_is_refused_is_unknown_and_the_others_are_there(answers: dict[str, Any], refused: str, error: Exception) -> None:
    answers[refused] = error
    facts = PortableReader().facts(7)
    known = {
        "name": facts.name,
        "exe": facts.executable,
        "cmdline": facts.args,
        "cwd": facts.working_directory,
        "username": facts.user_name,
        "uids": facts.user_id,
        "ppid": facts.parent,
    }
    assert [key for key, value in known.items() if value is None] == [refused]


def test_a_process_that_is_gone_is_nobody(answers: dict[str, Any]) -> None:
    answers["pid"] = psutil.NoSuchProcess(7)
    reader = PortableReader()
    assert (reader.birth(7), reader.mark(7)) == (None, None)
    facts = reader.facts(7)
    assert (facts.name, facts.executable, facts.parent) == (None, None, None)


def test_windows_has_no_user_ids(answers: dict[str, Any]) -> None:
    del answers["uids"]
    answers["username"] = "HOST\\alice"
    facts = PortableReader().facts(7)
    assert (facts.user_id, facts.user_name) == (None, "HOST\\alice")


def test_a_start_a_microsecond_later_is_another_process(answers: dict[str, Any]) -> None:
    first = PortableReader().birth(7)
    answers["create_time"] = 1000.250001
    second = PortableReader().birth(7)
    assert first is not None
    assert second is not None
    assert first.entity("b") != second.entity("b")


@pytest.mark.security
def test_names_are_valid_text_and_bounded_whatever_the_system_says(answers: dict[str, Any]) -> None:
    answers.update(name="\udcff\x1b[m", exe="/tmp/\ud800", cmdline=["x" * 10_000, "\udc80"] * 400, username="\udcfe", cwd="/\udcfd")
    facts = PortableReader().facts(7)
    assert (facts.name, facts.executable, facts.user_name, facts.working_directory) == ("\\xff\x1b[m", "/tmp/\\ud800", "\\xfe", "/\\xfd")
    assert facts.args is not None
    assert len(facts.args) <= 257
    assert sum(map(len, facts.args)) <= 1 << 17
    assert max(map(len, facts.args)) == 4096
    assert facts.args[-1] == "…"


def test_empty_answers_are_unknown(answers: dict[str, Any]) -> None:
    answers.update(name="", exe="", cmdline=[], cwd="", username="", ppid=0)
    facts = PortableReader().facts(7)
    assert [facts.name, facts.executable, facts.args, facts.working_directory, facts.user_name, facts.parent] == [None] * 6
