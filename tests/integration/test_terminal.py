"""What happens on a terminal: colours, the live table, its keys, and that the terminal is left as it was."""

import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .child import LONG
from .lab import outwatch_command

pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
import fcntl  # noqa: E402
import struct  # noqa: E402
import termios  # noqa: E402

pytestmark = pytest.mark.integration
_CORNER = f"127.77.{os.getpid() % 250}.1"  # of loopback, for this run of tests
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal with outwatch on it."""

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, columns: int = 160, rows: int = 40, code: str | None = None
    ) -> None:
        """Start it, or a script that does so in its own way."""
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.modes_before = termios.tcgetattr(self._theirs)
        inherited = {name: value for name, value in os.environ.items() if name not in {"LINES", "COLUMNS"}}  # the terminal says
        whole = {**inherited, "TERM": "xterm-256color", **(env or {})}
        argv = outwatch_command(*arguments) if code is None else [sys.executable, "-c", code, *arguments]
        self.process = subprocess.Popen(argv, stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, env=whole)
        self.seen = ""

    def until(self, text: str, times: int = 1) -> None:
        """Read until a text has appeared so many times."""
        limit = time.monotonic() + LONG
        while self.seen.count(text) < times:
            assert time.monotonic() < limit, self.seen[-2000:]
            self._read()

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def wait(self) -> int:
        limit = time.monotonic() + LONG
        while self.process.poll() is None and time.monotonic() < limit:
            self._read()
        while self._read():
            pass
        return self.process.wait(timeout=1)

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.1)[0]:
            return False
        self.seen += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
        return True

    @property
    def text(self) -> str:
        return _ESCAPE.sub("", self.seen)


@pytest.fixture
def started() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def listener(started: ExitStack, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """Hold one connection to a corner of loopback that is declared public, so that nothing else of this machine is shown."""
    try:
        one = started.enter_context(socket.create_server((_CORNER, 0), backlog=100))
    except OSError as error:
        pytest.skip(f"this system has one loopback address only: {error}")
    started.enter_context(socket.create_connection(one.getsockname()))
    monkeypatch.setenv("OUTWATCH_SCOPE__PUBLIC", f'["{_CORNER}"]')
    monkeypatch.setenv("OUTWATCH_SCOPE__PRIVATE", '["0.0.0.0/0", "::/0"]')
    return one


def terminal(started: ExitStack, *arguments: str, **options: Any) -> Terminal:
    one = Terminal(*arguments, **options)
    started.callback(one.close)
    return one


def endpoint(listener: socket.socket) -> str:
    return f"{_CORNER}:{listener.getsockname()[1]}"


def test_the_table_is_coloured_on_a_terminal(listener: socket.socket, started: ExitStack) -> None:
    screen = terminal(started, "scan")
    assert screen.wait() == 0
    assert re.search(r"\x1b\[[0-9;]*32m ?normal", screen.seen), "green is the colour of normal"
    assert endpoint(listener) in screen.text


@pytest.mark.parametrize(
    ("arguments", "env"), [(("--no-color",), {}), ((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"})], ids=["option", "NO_COLOR", "dumb"]
)
def test_colours_can_be_switched_off_on_a_terminal(
    listener: socket.socket, started: ExitStack, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    screen = terminal(started, "scan", *arguments, env=env)
    assert screen.wait() == 0
    assert endpoint(listener) in screen.seen
    assert "\x1b" not in screen.seen


def test_the_live_table_draws_again_and_shows_what_is_new(listener: socket.socket, started: ExitStack) -> None:
    screen = terminal(started, "watch")
    screen.until("VERDICT")
    late = started.enter_context(socket.create_connection(listener.getsockname()))
    screen.until("connect ")
    assert f"{late.getpeername()[0]}:" in screen.text
    screen.until("VERDICT", times=3)


_SELDOM = """  # outwatch whose live table is drawn by the clock once an hour
from outwatch.views.terminal import live
live._EVERY = 3600
from outwatch.cli import main
main()
"""


def test_enter_draws_at_once(listener: socket.socket, started: ExitStack) -> None:
    screen = terminal(started, "watch", code=_SELDOM)
    for drawn in range(3):
        screen.until("seen by ", times=drawn + 1)
        screen.press(b"\n")
    screen.until("seen by ", times=4)


@pytest.mark.parametrize("ending", [pytest.param(b"q", id="q"), pytest.param(2, id="SIGINT"), pytest.param(15, id="SIGTERM")])
def test_watch_leaves_the_summary_and_the_terminal_as_it_was(listener: socket.socket, started: ExitStack, ending: bytes | int) -> None:
    screen = terminal(started, "watch")
    screen.until("VERDICT")
    assert screen.modes() != screen.modes_before, "keys must come one by one meanwhile"
    if isinstance(ending, bytes):
        screen.press(ending)
    else:
        screen.process.send_signal(ending)
    assert screen.wait() == 0
    assert screen.modes() == screen.modes_before
    assert screen.seen.rfind("\x1b[?25h") > screen.seen.rfind("\x1b[?25l"), "the cursor is visible again"
    assert "seen by " in screen.text[screen.text.rfind("VERDICT") :]


def test_a_dumb_terminal_is_told_of_connections_as_they_come(listener: socket.socket, started: ExitStack) -> None:
    # It can't redraw: lines must take the table's place, or the user sees nothing until the end.
    screen = terminal(started, "watch", env={"TERM": "dumb"})
    screen.until(endpoint(listener))
    screen.press(b"q")
    screen.process.send_signal(2)
    assert screen.wait() == 0
    assert "\x1b" not in screen.seen


@pytest.mark.parametrize("rows", [16, 24])
def test_the_live_table_keeps_its_summary_on_a_small_screen(listener: socket.socket, started: ExitStack, rows: int) -> None:
    for _ in range(40):
        started.enter_context(socket.create_connection(listener.getsockname()))
    screen = terminal(started, "watch", columns=80, rows=rows)
    screen.until("VERDICT", times=2)
    screen.press(b"\n")
    screen.until("VERDICT", times=3)
    frame = _ESCAPE.sub("", screen.seen[: screen.seen.rfind("VERDICT")].rpartition("VERDICT")[2])
    assert "seen by " in frame
    assert len(frame.splitlines()) <= rows + 1


@pytest.mark.parametrize("columns", [80, 120])
def test_the_reason_and_the_id_are_there_on_an_ordinary_screen(listener: socket.socket, started: ExitStack, columns: int) -> None:
    # Why a connection is suspicious is the point of the table, and the id is what explain wants.
    screen = terminal(started, "scan", env={"OUTWATCH_DETECTORS__ALLOW_LIST__UNLISTED": "medium"}, columns=columns)
    assert screen.wait() == 0
    header = screen.text.splitlines()[0].split()
    assert "WHY" in header
    assert "ID" in header
    assert {"entry", "allow", "list", "covers"} <= set(screen.text.split()), "folded, but there"


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_of_the_table_is_wider_than_the_screen(listener: socket.socket, started: ExitStack, columns: int) -> None:
    screen = terminal(started, "scan", columns=columns)
    assert screen.wait() == 0
    assert max(map(len, screen.text.splitlines())) <= columns


def test_a_pipe_behind_watch_gets_lines_and_no_table(listener: socket.socket) -> None:
    done = subprocess.run(outwatch_command("watch", "--for", "1s"), capture_output=True, text=True, timeout=LONG, check=False)
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines() if not line.startswith("#")]
    assert endpoint(listener) in {row[10] for row in rows}
    assert "\x1b" not in done.stdout
