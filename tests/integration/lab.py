"""Two network namespaces joined by a cable, with documentation addresses on both sides.

``here`` is the machine that is looked at (192.0.2.1, 2001:db8::1). ``there`` answers at 192.0.2.2, 198.51.100.7 and 2001:db8::2,
and swallows what is sent to 203.0.113.99.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import outwatch

from .child import LONG, Child

NOBODY = 65534
SERVER, SERVER_V6, PUBLIC, SILENT = "192.0.2.2", "2001:db8::2", "198.51.100.7", "203.0.113.99"

_SERVE = """
import selectors, socket, sys
events = selectors.DefaultSelector()
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    listener = socket.socket(family)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind((address, 443))
    listener.listen(500)
    events.register(listener, selectors.EVENT_READ, "listener")
events.register(sys.stdin, selectors.EVENT_READ, "end")
print("ready", flush=True)
while True:
    for key, _ in events.select():
        if key.data == "end":
            sys.exit()
        if key.data == "listener":
            events.register(key.fileobj.accept()[0], selectors.EVENT_READ, "caller")
        else:  # nobody says anything here: the caller has closed
            events.unregister(key.fileobj)
            key.fileobj.close()
"""

CALL = """
import json, os, socket, sys
held = []
def call(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    one.setblocking(kind != "silent")
    one.connect_ex((address, port))
    held.append(one)
    return one.getsockname()[1]
for line in sys.stdin:
    wanted = json.loads(line)
    if wanted == "close":
        while held:
            held.pop().close()
    elif wanted == "listen":
        held.append(socket.create_server(("", 0)))
        wanted = held[-1].getsockname()[1]
    else:
        wanted = [call(*one) for one in wanted]
    print(json.dumps(wanted), flush=True)
"""
"""A client: each line it gets is a list of targets to connect to, or what to do; it answers with its ports."""


SHARED_PORT = """
import socket, sys
def shared():
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return one
out, door = shared(), shared()
out.bind(("192.0.2.1", 0))
door.bind(("192.0.2.1", out.getsockname()[1]))
door.listen()
out.setblocking(bool(int(sys.argv[2])))
out.connect_ex((sys.argv[1], 443))
print(out.getsockname()[1], flush=True)
input()
"""
"""ADDRESS WAITS: connects from a port at which it listens too, and waits for the answer or not."""


class Caller(Child):
    """A client that connects when it is told to."""

    def ask(self, wanted: object) -> Any:
        self.tell(json.dumps(wanted))
        return json.loads(self.line())

    def call(self, address: str, port: int = 443, kind: str = "tcp") -> int:
        """Connect, hold the connection, and give its local port."""
        return int(self.ask([(kind, address, port)])[0])


class Lab:
    """The namespaces, and programs inside them."""

    def __init__(self) -> None:
        self.here, self.there = f"ow{os.getpid()}h", f"ow{os.getpid()}t"
        self._server: Child | None = None

    def build(self) -> None:
        for name in (self.here, self.there):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("link", "add", "cable", "netns", self.here, "type", "veth", "peer", "name", "cable", "netns", self.there)
        for name, number in ((self.here, 1), (self.there, 2)):
            _ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "cable")
            _ip("-n", name, "addr", "add", f"2001:db8::{number}/64", "dev", "cable", "nodad")
            _ip("-n", name, "link", "set", "cable", "up")
        _ip("-n", self.here, "route", "add", "default", "via", SERVER)
        _ip("-n", self.there, "addr", "add", f"{PUBLIC}/32", "dev", "lo")
        _ip("-n", self.there, "route", "add", "blackhole", f"{SILENT}/32")
        # Both ends must be up, or the first connection over IPv6 finds no route.
        self._server = Child(self.inside(self.there, [sys.executable, "-c", _SERVE]))
        assert self._server.line() == "ready"

    def tear_down(self) -> None:
        if self._server is not None:
            with self._server:
                pass
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    @staticmethod
    def inside(namespace: str, argv: Iterable[str], user: int | None = None) -> list[str]:
        """Spell a command that runs in a namespace, under its own pid."""
        drop = [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]
        return ["nsenter", f"--net=/run/netns/{namespace}", *drop, *argv]

    def caller(self, program: str = sys.executable, arguments: Sequence[str] = (), user: int | None = None, **options: Any) -> Caller:
        """Start a client; ``arguments`` follow its script and mean nothing to it."""
        return Caller(self.inside(self.here, [program, "-c", CALL, *arguments], user), **options)

    def watcher(self, *arguments: str) -> Child:
        """Start outwatch."""
        return Child(self.inside(self.here, outwatch_command(*arguments)))

    def outwatch(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run outwatch to its end; ``env`` is added to this environment."""
        argv = self.inside(self.here, outwatch_command(*arguments))
        whole = {**os.environ, **(env or {})}
        return subprocess.run(argv, capture_output=True, text=True, timeout=LONG, env=whole, cwd="/", check=False)

    def records(self, *arguments: str, env: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Run outwatch and give what it printed with ``--jsonl``."""
        done = self.outwatch(*arguments, "--jsonl", env=env)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def standing_lab() -> Iterator[Lab]:
    """Build a lab that stands until the block ends, or skip the test where that can't be done."""
    reason = missing_for_lab()
    if reason:
        pytest.skip(reason)
    lab = Lab()
    try:
        lab.build()
        yield lab
    finally:
        lab.tear_down()


def outwatch_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "outwatch", *arguments]


def of_port(records: Iterable[dict[str, Any]], port: int) -> dict[str, Any]:
    """Give the last word on the connection that has a port at one of its ends; there must be exactly one such connection."""
    found = [one for one in records if one["kind"] == "connection" and port in {one["source"]["port"], one["destination"]["port"]}]
    assert len({one["id"] for one in found}) == 1, found
    return found[-1]


def missing_for_lab() -> str | None:
    """Say why the lab can't be built here, if so."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    gone = [program for program in ("ip", "nsenter", "setpriv") if shutil.which(program) is None]
    if gone:
        return f"{gone[0]} is not installed"
    probe = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True, text=True)
    return f"no right to make network namespaces: {probe.stderr.strip()}" if probe.returncode else None


def python_for_nobody() -> tuple[str, dict[str, str]] | None:
    """Find an interpreter, with its environment, that an unprivileged user can run outwatch with."""
    folders = [str(Path(outwatch.__file__).parents[1]), *(one for one in sys.path if one.endswith("-packages"))]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        env = {"PYTHONPATH": os.pathsep.join(folders)}
        try:
            subprocess.run(
                [program, "-c", "import outwatch.cli.live, psutil, re2, rich_click"],
                user=NOBODY, group=NOBODY, extra_groups=[], env=env, cwd="/", check=True, capture_output=True, timeout=LONG,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
        return program, env
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=LONG)
