"""Whom ``outwatch capture`` lets read, what it refuses to listen at, and that no reader holds up another."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.child import LONG, Child
from integration.lab import NOBODY, SERVER, Lab

from .capture import GROUP, OWNER, READER, STRANGER, Capture, ReadingWatch, as_user, place, running, sockets, unprivileged_python
from .test_bytes import TALK
from .watch import done, script, settings

pytestmark = [pytest.mark.integration, pytest.mark.root]

_ASK = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(len(s.recv(1)))"
_HELD = f"""
import socket, sys
one = socket.create_connection(("{SERVER}", 8443))
print(one.getsockname()[1], flush=True)
sys.stdin.readline()
one.close()
print("closed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(lab: Lab, server: Child, folder: Path) -> Path:
    return folder / "run" / "capture.sock"


@pytest.fixture
def capture(path: Path, folder: Path) -> Iterator[Capture]:
    with running(folder / "home", path, "--group", str(GROUP)) as capture:
        yield capture


def asked(path: Path, user: int, *groups: int) -> subprocess.CompletedProcess[str]:
    """Have a user ask for the first byte."""
    python, _ = unprivileged_python()
    argv = [*as_user(user, *groups), python, "-S", "-c", _ASK, str(path)]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=LONG, cwd="/")


def connected(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(LONG)
    one.connect(str(path))
    return one


def lines(one: socket.socket) -> Iterator[dict[str, Any]]:
    """Give the records that a capture sends."""
    with one.makefile("rb") as file:
        for line in file:
            yield json.loads(line)


def refused(folder: Path, path: Path, *options: str) -> str:
    """Start a capture that must end at once with one line, and give that."""
    with Capture(folder / "home", path, *options) as capture:
        assert capture.end() in {1, 2}
    (line,) = capture.errors.splitlines()
    return line


def state(path: Path) -> tuple[int, ...]:
    """Give all that changes when somebody changes what lies there; it may have been read."""
    facts = path.lstat()
    return (facts.st_mode, facts.st_ino, facts.st_uid, facts.st_gid, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@pytest.mark.parametrize(("user", "groups"), [(0, ()), (NOBODY, ()), (READER, (GROUP,)), (READER, (7, GROUP, 9))])
def test_root_its_own_account_and_members_of_the_group_may_read(capture: Capture, path: Path, user: int, groups: tuple[int, ...]) -> None:
    answer = asked(path, user, *groups)
    assert answer.stdout == "1\n", answer.stderr


@pytest.mark.security
def test_a_stranger_can_not_even_enter_the_folder(capture: Capture, path: Path) -> None:
    assert (path.parent.stat().st_mode & 0o7777, path.parent.stat().st_gid) == (0o750, GROUP)
    answer = asked(path, STRANGER, STRANGER)
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert "Permission denied" in answer.stderr


@pytest.mark.security
def test_a_stranger_whom_the_folder_lets_in_is_refused_and_told_of_once(capture: Capture, path: Path) -> None:
    path.parent.chmod(0o755)
    for _ in range(2):
        assert asked(path, STRANGER).stdout == "0\n"
    assert asked(path, READER, GROUP).stdout == "1\n"
    capture.end(signal.SIGTERM)
    assert capture.errors.count(f"user {STRANGER} was refused") == 1


@pytest.mark.security
def test_a_watch_of_a_stranger_says_what_is_missing(capture: Capture, path: Path, lab: Lab, folder: Path) -> None:
    watch = ReadingWatch(lab, folder / "reader", path, STRANGER)
    assert watch.process.wait(timeout=LONG) == 1
    (line,) = watch.told().splitlines()
    assert f"group of {path.parent}" in line


def test_after_sigterm_the_socket_is_gone_and_readers_have_the_last_word(capture: Capture, path: Path) -> None:
    with connected(path) as one:
        told = lines(one)
        assert next(record for record in told if record["kind"] == "summary")
        capture.process.send_signal(signal.SIGTERM)
        last = [record for record in told if record["kind"] == "summary"]
        assert capture.end() == 0, capture.errors
    assert [one["sensor"] for one in last] == ["ebpf"]
    assert last[0]["blind"]
    assert last[0]["event"]["start"] < last[0]["event"]["end"]
    assert "Traceback" not in capture.errors
    assert not path.exists()


def test_the_next_reader_finds_no_place_until_one_of_eight_has_gone(capture: Capture, path: Path) -> None:
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(connected(path)) for _ in range(8)]
        assert all(one.recv(1) for one in readers)
        assert asked(path, READER, GROUP).stdout == "0\n"
        readers[0].close()
        limit = time.monotonic() + LONG
        while asked(path, READER, GROUP).stdout != "1\n":
            assert time.monotonic() < limit


def test_who_only_says_nothing_more_goes_on_reading(capture: Capture, path: Path, lab: Lab) -> None:
    with connected(path) as one:
        one.sendall(b"hello?\n")
        one.shutdown(socket.SHUT_WR)
        told = lines(one)
        assert next(record for record in told if record["kind"] == "summary")
        pid, _ = done(lab, TALK, SERVER, 1, 1, 1)
        assert next(record for record in told if record.get("process", {}).get("pid") == pid)


def test_a_reader_that_is_killed_is_let_go(capture: Capture, path: Path, lab: Lab, folder: Path) -> None:
    for turn in range(10):
        with ReadingWatch(lab, folder / f"reader{turn}", path, GROUP) as watch:
            watch.process.kill()
            watch.process.wait()
    with ReadingWatch(lab, folder / "last", path, GROUP) as watch:
        pid, _ = done(lab, TALK, SERVER, 1, 1, 1)
        assert watch.of(pid)
    assert len(sockets(capture.pid)) < 8, "those of readers that have gone are closed"


def test_a_capture_that_is_killed_and_started_again_is_followed_through_both(path: Path, lab: Lab, folder: Path) -> None:
    options = ("--group", str(GROUP))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(folder / "home", path, *options))
        watch = stack.enter_context(ReadingWatch(lab, folder / "reader", path, GROUP))
        kept, dropped = (stack.enter_context(script(lab, _HELD)) for _ in range(2))
        for held in (kept, dropped):
            held.line()
            watch.of(held.pid, over=False)
        first.process.kill()
        first.process.wait()
        dropped.tell("")
        assert dropped.line() == "closed"
        assert path.exists(), "nobody took it away"
        stack.enter_context(running(folder / "home", path, *options))
        (ended,) = watch.of(dropped.pid)
        before = {one["id"] for one in watch.of(kept.pid, over=False)}
        kept.tell("")
        assert kept.line() == "closed"
        (closed,) = watch.of(kept.pid)
        pid, _ = done(lab, TALK, SERVER, 1, 1, 1)
        assert watch.of(pid)
        summary = watch.end()
    assert ended["event"]["action"] == "close"
    assert "end" not in ended["event"], "nobody saw it end"
    assert {closed["id"]} == before, "the new capture has other ids; here it is one connection"
    assert "end" in closed["event"]
    assert summary["lost"].keys() >= {"sensor remote"}
    assert "has ended" in watch.told()


@pytest.mark.parametrize("what", ["link", "file", "folder"])
@pytest.mark.security
def test_what_stands_in_the_place_of_the_socket_is_left_alone(path: Path, folder: Path, what: str) -> None:
    path.parent.mkdir(mode=0o750)
    os.chown(path.parent, NOBODY, NOBODY)
    precious = folder / "precious"
    precious.write_text("precious")
    if what == "link":
        path.symlink_to(precious)
    elif what == "file":
        path.write_text("precious")
    else:
        path.mkdir()
    before = state(path)
    assert str(path) in refused(folder, path)
    assert state(path) == before
    assert precious.read_text() == "precious"


@pytest.mark.security
@pytest.mark.parametrize(
    ("owner", "mode", "said"),
    [(STRANGER, 0o750, f"user {STRANGER}"), (0, 0o750, "user 0"), (NOBODY, 0o755, "0750"), (NOBODY, 0o770, "0750")],
)
def test_a_folder_of_somebody_else_or_open_to_others_is_refused(path: Path, folder: Path, owner: int, mode: int, said: str) -> None:
    path.parent.mkdir()
    os.chown(path.parent, owner, NOBODY)
    path.parent.chmod(mode)
    before = state(path.parent)
    assert said in refused(folder, path)
    assert state(path.parent) == before
    assert not path.exists()


@pytest.mark.security
def test_a_link_in_the_place_of_the_folder_is_refused(path: Path, folder: Path) -> None:
    (folder / "elsewhere").mkdir(mode=0o750)
    os.chown(folder / "elsewhere", NOBODY, NOBODY)
    path.parent.symlink_to(folder / "elsewhere")
    assert "link" in refused(folder, path)
    assert list((folder / "elsewhere").iterdir()) == []


@pytest.mark.security
@pytest.mark.parametrize("where", ["/tmp/capture.sock", "/var/tmp/capture.sock"])
def test_a_socket_in_a_folder_for_everybody_is_refused(lab: Lab, folder: Path, where: str) -> None:
    refused(folder, Path(where))
    assert not Path(where).exists()


@pytest.mark.security
def test_root_makes_no_folder_where_a_user_could_exchange_it(lab: Lab, folder: Path) -> None:
    theirs = place(folder, user=STRANGER)
    assert f"user {STRANGER}" in refused(folder, theirs)
    assert not theirs.parent.exists()


def test_a_capture_that_is_served_already_is_not_replaced(capture: Capture, path: Path, folder: Path) -> None:
    assert "another capture" in refused(folder, path)
    with connected(path) as one:
        assert next(lines(one))


@pytest.mark.security
def test_a_socket_at_which_another_program_listens_is_not_replaced(path: Path, folder: Path) -> None:
    path.parent.mkdir(mode=0o750)
    os.chown(path.parent, NOBODY, NOBODY)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        os.chown(path, NOBODY, NOBODY)
        other.listen()
        assert "another program" in refused(folder, path)
        with connected(path) as one:
            other.accept()[0].close()  # this one asked who listens
            with other.accept()[0] as accepted:
                accepted.sendall(b"x")
                assert one.recv(1) == b"x"


@pytest.mark.security
@pytest.mark.parametrize(
    ("mode", "owner", "listens"),
    [(0o777, NOBODY, NOBODY), (0o770, NOBODY, NOBODY), (0o750, STRANGER, OWNER), (0o750, 0, OWNER), (0o750, STRANGER, 0)],
)
def test_a_watch_does_not_believe_a_socket_that_somebody_else_could_have_put_there(
    path: Path, lab: Lab, folder: Path, mode: int, owner: int, listens: int
) -> None:
    """A stranger listens in a folder of another user, or in one that others may write to."""
    path.parent.mkdir()
    path.parent.chmod(0o777)
    python, _ = unprivileged_python()
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1], 0o666); s.listen();"
        "print('ready', flush=True)\nwhile True: c = s.accept()[0]; c.sendall(b'{}'); c.close()"
    )
    with Child([*as_user(listens), python, "-S", "-c", code, str(path)]) as listener:
        assert listener.line() == "ready"
        os.chown(path.parent, owner, GROUP)
        path.parent.chmod(mode)
        watch = ReadingWatch(lab, folder / "reader", path, GROUP)
        assert watch.process.wait(timeout=LONG) == 1
    (line,) = watch.told().splitlines()
    assert str(path.parent) in line
    assert "others may write" in line or "user" in line


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--user", "root"), 2, "root's rights"),
        (("--user", "no-such-account"), 2, "no-such-account"),
        (("--group", "no-such-group"), 2, "no-such-group"),
        (("--sensor", "polling"), 2, "polling"),
    ],
)
def test_who_can_not_be_is_refused_before_anything_is_made(
    path: Path, folder: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    with Capture(folder / "home", path, *options) as capture:
        assert capture.end() == code
    assert said in capture.errors
    assert not path.parent.exists()


def test_an_ordinary_user_can_not_become_another(path: Path, folder: Path) -> None:
    with Capture(folder / "home", place(folder), "--user", "root", user=NOBODY) as capture:
        assert capture.end() == 2
    assert "only root" in capture.errors


def test_auto_takes_the_capture_if_the_kernel_sensor_is_not_allowed_and_says_nothing_is_missing(
    capture: Capture, path: Path, lab: Lab, folder: Path
) -> None:
    python, env = unprivileged_python()
    whole = {**settings(folder), **env, "OUTWATCH_SENSORS__REMOTE__SOCKET": str(path)}
    argv = [python, "-m", "outwatch", "scan", "--jsonl", "--no-dns"]
    seen = {}
    for name, groups in (("member", (GROUP,)), ("stranger", ())):
        ended = subprocess.run(
            [*as_user(READER, *groups), *argv], check=True, capture_output=True, text=True, timeout=LONG, env=whole, cwd="/"
        )
        seen[name] = json.loads(ended.stdout.splitlines()[-1])
    assert seen["member"]["sensor"] == "remote"
    assert not any("can't run" in one for one in seen["member"]["blind"])
    assert seen["stranger"]["sensor"] == "sock_diag"
    said = [one for one in seen["stranger"]["blind"] if "can't run" in one]
    assert [one.split()[1] for one in said] == ["ebpf", "remote"]
