"""Who was who, from what the kernel told of beginnings, programs and ends."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from outwatch.sensors.ebpf import lives as module
from outwatch.sensors.ebpf.decode import EXIT, FORK, Life, Program
from outwatch.sensors.ebpf.lives import Lives

OURS, OTHERS = 4026531841, 4026539999
BOOTED = datetime(2025, 7, 10, tzinfo=UTC)
TICK = 10_000_000


@pytest.fixture
def lives() -> Lives:
    return Lives("boot", lambda ns: BOOTED + timedelta(microseconds=ns // 1000), tick=TICK, mount_namespace=OURS)


def program(
    pid: int,
    path: bytes,
    *args: bytes,
    start: int = 1,
    parent: int = 1,
    cut: bool = False,
    links: int = 1,
    mntns: int = OURS,
    folder: bytes = b"",
    **facts: int,
) -> Program:
    return Program(
        time=0, start=start * TICK, parent_start=TICK, cgroup=0, inode=facts.get("inode", 0), pid=pid, parent=parent, uid=0, mntns=mntns,
        device=facts.get("device", 0), links=links, comm=b"comm", path=path, cut=cut, folder=folder, args=args, args_cut=False,
    )  # fmt: skip


def fork(pid: int, parent: int, start: int = 1) -> Life:
    return Life(FORK, 0, start * TICK, TICK, pid, parent)


def ended(pid: int, start: int = 1) -> Life:
    return Life(EXIT, 0, start * TICK, 0, pid, 0)


def identity(path: Path) -> dict[str, Any]:
    """Give inode and device as the kernel spells it."""
    facts = path.stat()
    return {"inode": facts.st_ino, "device": os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)}


def described(lives: Lives, pid: int, start: int = 1) -> tuple[str | None, tuple[str, ...] | None]:
    known = lives.describe((pid, start * TICK))
    assert known is not None
    return known[0].executable, known[0].args


def test_a_process_is_described_after_its_end(lives: Lives) -> None:
    lives.see(program(5, b"/usr/bin/curl", b"curl", b"-s"))
    lives.see(ended(5))
    assert described(lives, 5) == ("/usr/bin/curl", ("curl", "-s"))


def test_another_program_in_the_same_process_replaces_the_one_before(lives: Lives) -> None:
    lives.see(program(5, b"/bin/sh", b"sh"))
    assert described(lives, 5)[0] == "/bin/sh"
    lives.see(program(5, b"/bin/nc", b"nc"))
    assert described(lives, 5) == ("/bin/nc", ("nc",))


def test_a_child_runs_its_parents_program_until_it_runs_its_own(lives: Lives) -> None:
    lives.see(program(5, b"/bin/sh", b"sh"))
    lives.see(fork(6, 5))
    assert described(lives, 6)[0] == "/bin/sh"
    lives.see(program(5, b"/bin/nc"))
    assert described(lives, 6)[0] == "/bin/sh"
    lives.see(program(6, b"/bin/id", parent=5))
    assert described(lives, 6)[0] == "/bin/id"


def test_a_pid_that_is_used_again_is_another_process(lives: Lives) -> None:
    lives.see(program(5, b"/bin/a", start=1))
    lives.see(ended(5, start=1))
    lives.see(program(5, b"/bin/b", start=2))
    assert (described(lives, 5, 1)[0], described(lives, 5, 2)[0]) == ("/bin/a", "/bin/b")
    assert lives.bare((5, TICK)).entity_id != lives.bare((5, 2 * TICK)).entity_id
    assert lives.describe((5, 3 * TICK)) is None


def test_parents_are_named_upwards_and_one_that_is_not_known_is_bare(lives: Lives) -> None:
    lives.see(program(4, b"/sbin/cron", parent=3))
    lives.see(fork(5, 4))
    lives.see(program(5, b"/bin/sh", parent=4))
    known = lives.describe((5, TICK))
    assert known is not None
    parent = known[0].parent
    assert parent is not None
    assert parent.executable == "/sbin/cron"
    assert parent.parent is not None
    assert (parent.parent.pid, parent.parent.executable, parent.parent.name) == (3, None, None)


def test_parents_that_go_round_in_a_circle_end_somewhere(lives: Lives) -> None:
    lives.see(program(5, b"/bin/a", parent=5))
    depth, at = 0, lives.bare((5, TICK))
    known = lives.describe((5, TICK))
    assert known is not None
    at = known[0]
    while at.parent is not None:
        at, depth = at.parent, depth + 1
    assert 0 < depth < 100


def test_what_ended_is_forgotten_in_its_order_and_what_runs_is_kept(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ENDED", 2)
    for pid in (1, 2, 3, 4):
        lives.see(program(pid, b"/bin/a"))
    for pid in (3, 1, 2):
        lives.see(ended(pid))
    assert [pid for pid in (1, 2, 3, 4) if lives.describe((pid, TICK))] == [1, 2, 4]


def test_memory_is_bounded_when_no_end_is_ever_told(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 10)
    for pid in range(100):
        lives.see(program(pid, b"/bin/a"))
    assert len(lives._known) == 10
    assert lives.describe((99, TICK)) is not None


def test_the_end_of_a_process_that_was_never_known_is_no_matter(lives: Lives) -> None:
    lives.see(ended(77))
    assert lives.describe((77, TICK)) is None


@pytest.mark.parametrize(
    ("path", "links", "mntns", "state"),
    [
        (b"/memfd:x", 0, OURS, "memfd"),
        (b"/bin/x", 0, OURS, "deleted"),
        (b"/nowhere/x", 1, OURS, "deleted"),
        (b"/nowhere/x", 1, OTHERS, "other_namespace"),
    ],
)
def test_a_file_that_is_not_there_is_told_so(lives: Lives, path: bytes, links: int, mntns: int, state: str) -> None:
    lives.see(program(5, path, links=links, mntns=mntns))
    known = lives.describe((5, TICK))
    assert known is not None
    assert known[1] == state


@pytest.mark.parametrize(("mntns", "other"), [(OURS, "replaced"), (OTHERS, "other_namespace")])
def test_a_path_that_leads_to_another_file_is_told_so(lives: Lives, tmp_path: Path, mntns: int, other: str) -> None:
    file = tmp_path / "tool"
    file.touch()
    facts = identity(file)
    lives.see(program(5, os.fsencode(file), mntns=mntns, **facts))
    lives.see(program(6, os.fsencode(file), mntns=mntns, **{**facts, "inode": facts["inode"] + 1}))
    states = [known[1] for pid in (5, 6) if (known := lives.describe((pid, TICK)))]
    assert states == [None, other]


def test_a_path_that_is_cut_is_no_executable_and_its_file_is_not_called_deleted(lives: Lives) -> None:
    lives.see(program(5, b"/x/y", cut=True))
    known = lives.describe((5, TICK))
    assert known is not None
    assert (known[0].executable, known[0].name, known[1]) == (None, "comm", None)


def test_names_that_are_no_text_become_text(lives: Lives) -> None:
    lives.see(program(5, b"/tmp/a\xff", b"\xfe\xed"))
    executable, args = described(lives, 5)
    assert executable is not None
    assert args is not None
    assert executable.startswith("/tmp/a")
    assert (executable + "".join(args)).encode("utf-8")  # no lone surrogates


def test_a_program_that_has_gone_still_has_the_folder_it_worked_in(lives: Lives) -> None:
    lives.see(program(7, b"/usr/bin/python3", b"python3", b"x.py", folder=b"/home/me\xff"))
    lives.see(ended(7))
    told = lives.describe((7, TICK))
    assert told is not None
    assert told[0].working_directory == "/home/me\\xff"
