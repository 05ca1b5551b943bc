"""Programs that a test starts: they are talked to line by line, and always ended, by their own pid."""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

LONG = float(os.environ.get("TEST_PATIENCE", "30"))  # seconds until a test gives up; on a healthy machine nothing comes near


def anything(_line: str) -> bool:
    return True


class Child:
    """A running program; its standard output comes line by line, its standard error is kept in a file."""

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str = "/") -> None:
        # A file, because a full pipe that nobody reads would stop the program.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, env=env, cwd=cwd, bufsize=0
        )
        self.lines: list[str] = []
        self.errors = ""
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    def line(self, wanted: Callable[[str], bool] = anything) -> str:
        """Read lines up to the first that is wanted."""
        limit = time.monotonic() + LONG
        while True:
            self.lines.append(self._next(limit))
            if wanted(self.lines[-1]):
                return self.lines[-1]

    def _next(self, limit: float) -> str:
        assert self.process.stdout is not None
        while b"\n" not in self._rest:
            left = limit - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            piece = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not piece:
                raise AssertionError(f"{'it ended' if ready else 'nothing'} after {self.lines[-5:]}; standard error: {self._read_errors()}")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8")

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so that this program, or what it is made to do, brings about."""
        limit = time.monotonic() + LONG
        while True:
            over = self.process.poll() is not None
            if is_so():
                return
            assert not over, f"it ended, without {what}; standard error: {self._read_errors()}"
            assert time.monotonic() < limit, f"no {what}; standard error: {self._read_errors()}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.02)

    def wait_for_error(self, text: str) -> None:
        """Wait until standard error holds a text."""
        self.until(lambda: text in self._read_errors(), repr(text))

    def end(self, number: int | None = None) -> int:
        """Send a signal if one is given, close its input, and wait; gives the exit code."""
        if self._errors.closed:
            return self.process.returncode
        if number is not None:
            self.process.send_signal(number)
        try:
            out, _ = self.process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            self._close()
            raise
        self.lines += (self._rest + out).decode("utf-8").splitlines()
        self._close()
        return self.process.returncode

    def _close(self) -> None:
        self.errors = self._read_errors()
        self._errors.close()

    def _read_errors(self) -> str:
        # The program writes where this file's own position is, so that must not be moved.
        file = self._errors.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "backslashreplace")
