"""Two network namespaces joined by a cable, programs built from C, and everything gone at the end.

``here`` is the machine that is looked at (198.51.100.1, 2001:db8:51::1); ``there`` answers at 198.51.100.2 and 2001:db8:51::2 and swallows
what is sent to 203.0.113.99. Where C can't be compiled, no root is at hand or ``ip`` is missing, ``missing`` says so in words.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

HERE, THERE, THERE_V6, SILENT = "198.51.100.1", "198.51.100.2", "2001:db8:51::2", "203.0.113.99"
PROGRAMS = Path(__file__).with_name("programs")
_SETTINGS = {"net.ipv4.tcp_fastopen": "3", "net.core.somaxconn": "16384"}
_PORTS = ("10000 44999", "45000 64999")  # apart from each other, so that no two connections have the same ends in both
_LONG = 60.0  # seconds for what takes one


def missing() -> str | None:
    """Say what is missing for a lab, if anything is."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid():
        return "network namespaces need root"
    gone = [program for program in ("ip", "nsenter", "unshare") if shutil.which(program) is None]
    if gone:
        return f"{gone[0]} is not installed"
    if shutil.which("cc") is None:
        return (
            "there is no C compiler (cc): what must be fast or live short is written in C; on Debian and Ubuntu: apt install gcc libc6-dev"
        )
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, text=True)
    return f"no right to make network namespaces: {probe.stderr.strip()}" if probe.returncode else None


class Lab:
    """The namespaces and a folder with the built programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here, self.there = f"owb{os.getpid()}h", f"owb{os.getpid()}t"
        self._built: dict[str, Path] = {}

    def build(self) -> None:
        """Make the namespaces and the cable."""
        for name, ports in zip((self.here, self.there), _PORTS, strict=True):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            for key, value in {**_SETTINGS, "net.ipv4.ip_local_port_range": ports}.items():
                path = "/proc/sys/" + key.replace(".", "/")
                subprocess.run(self.inside(name, ["sh", "-c", 'echo "$1" > "$2"', "sh", value, path]), check=True, timeout=_LONG)
        _ip("link", "add", "cable", "netns", self.here, "type", "veth", "peer", "name", "cable", "netns", self.there)
        for name, number in ((self.here, 1), (self.there, 2)):
            _ip("-n", name, "addr", "add", f"198.51.100.{number}/24", "dev", "cable")
            _ip("-n", name, "addr", "add", f"2001:db8:51::{number}/64", "dev", "cable", "nodad")
            _ip("-n", name, "link", "set", "cable", "up")
        _ip("-n", self.here, "route", "add", "default", "via", THERE)
        _ip("-n", self.there, "route", "add", "blackhole", f"{SILENT}/32")

    def tear_down(self) -> None:
        """Take the namespaces away, and with them the cable."""
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=_LONG)

    def program(self, name: str, *, static: bool = False) -> str:
        """Build a program of ``programs/`` once, and give its path."""
        if name not in self._built:
            made = self.folder / name
            command = ["cc", "-O2", "-pthread", *(["-static"] if static else []), "-o", str(made), str(PROGRAMS / f"{name}.c")]
            subprocess.run(command, check=True, timeout=_LONG)
            self._built[name] = made
        return str(self._built[name])

    @staticmethod
    def inside(namespace: str, argv: Sequence[str]) -> list[str]:
        """Spell a command that runs in a namespace, under its own pid."""
        return ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]

    def run(self, namespace: str, argv: Sequence[str], within: float = _LONG) -> Any:
        """Run a generator to its end and give what it printed (JSON); ``None`` where the kernel lacks what it needs (exit code 2)."""
        done = subprocess.run(self.inside(namespace, argv), check=False, stdout=subprocess.PIPE, timeout=within, text=True, cwd="/")
        if done.returncode == 2:
            return None
        done.check_returncode()
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def running(self, namespace: str, argv: Sequence[str]) -> Iterator["Generator"]:
        """Run a generator that goes on until its standard input ends."""
        generator = Generator(self.inside(namespace, argv))
        try:
            yield generator
        finally:
            generator.kill()


class Generator:
    """A running generator that tells JSON line by line."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        self.pid = self.process.pid

    def line(self) -> Any:
        """Read what it tells next."""
        text = _pipe(self.process.stdout).readline()
        if not text:
            raise RuntimeError(f"process {self.pid} ended with {self.process.wait()}")
        return json.loads(text)

    def tell(self, text: str = "") -> None:
        """Give it a line."""
        stdin = _pipe(self.process.stdin)
        stdin.write(text + "\n")
        stdin.flush()

    def begin(self) -> None:
        """End its input, for which it waits."""
        _pipe(self.process.stdin).close()

    def end(self) -> Any:
        """End its input; gives its last words."""
        self.begin()
        last = self.line()
        self.process.wait(timeout=_LONG)
        return last

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("started without a pipe")
    return pipe


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=_LONG)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


@contextlib.contextmanager
def laboratory() -> Iterator[Lab]:
    """Make a lab that is taken down also after a failure, Ctrl+C or SIGTERM; without what it needs the script ends with ``SKIP``."""
    why_not = missing()
    if why_not:
        print(f"SKIP  {why_not}")
        raise SystemExit(0)
    signal.signal(signal.SIGTERM, _stop)
    with tempfile.TemporaryDirectory(prefix="capture") as folder:
        lab = Lab(Path(folder))
        try:
            lab.build()
            yield lab
        finally:
            lab.tear_down()
