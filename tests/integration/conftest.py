"""The lab, programs inside it, and an unprivileged user with a home."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from outwatch.model import wire
from outwatch.model.records import Connection, Process

from .asking import BAD, MANNER, NEW, THREE, Asking
from .child import LONG, Child
from .lab import NOBODY, Caller, Lab, python_for_nobody, standing_lab
from .services import Services


@pytest.fixture
def lab(own_folders: Path) -> Iterator[Lab]:
    """Build the lab anew for each test: what closes in one must not linger in the next."""
    with standing_lab() as lab:
        yield lab


@pytest.fixture
def started() -> Iterator[ExitStack]:
    """End everything that is entered here, whatever happens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def caller(lab: Lab, started: ExitStack) -> Callable[..., Caller]:
    """Start clients in the lab; they end with the test."""
    return lambda *arguments, **options: started.enter_context(lab.caller(*arguments, **options))


@pytest.fixture
def watcher(lab: Lab, started: ExitStack) -> Callable[..., Child]:
    """Start outwatch in the lab and let it run; it ends with the test."""
    return lambda *arguments, **options: started.enter_context(lab.watcher(*arguments, **options))


@dataclass(frozen=True)
class Unprivileged:
    """A user without rights: a home, an environment and an interpreter that this user can reach."""

    home: Path
    python: str
    env: dict[str, str]

    def outwatch(self, lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = lab.inside(lab.here, [self.python, "-m", "outwatch", *arguments], NOBODY)
        return subprocess.run(argv, capture_output=True, text=True, timeout=LONG, env=self.env, cwd="/", check=False)

    def records(self, lab: Lab, *arguments: str) -> list[dict[str, Any]]:
        done = self.outwatch(lab, *arguments, "--jsonl")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def caller(self, lab: Lab, program: str | None = None) -> Caller:
        return lab.caller(program or self.python, user=NOBODY, env=self.env)


@pytest.fixture
def unprivileged(lab: Lab) -> Iterator[Unprivileged]:
    found = python_for_nobody()
    if found is None:
        pytest.skip("no Python interpreter that an unprivileged user can reach")
    python, env = found
    home = Path(tempfile.mkdtemp(prefix="home", dir="/var/tmp"))  # not below tmp_path, which others may not enter
    try:
        os.chown(home, NOBODY, NOBODY)
        settings = {"HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "OUTWATCH_STATE_DIR": f"{home}/state"}
        yield Unprivileged(home, python, {**env, **settings, "PATH": os.environ["PATH"]})
    finally:
        shutil.rmtree(home)


@pytest.fixture
def copied_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Copy an interpreter that runs from anywhere into a folder directly below /tmp, under a name."""
    folder = Path(tempfile.mkdtemp(prefix="tool", dir="/tmp"))
    program = os.path.realpath(f"/proc/{os.getpid()}/exe")

    def copy(name: str) -> str:
        shutil.copy2(program, folder / name)
        return str(folder / name)

    folder.chmod(0o755)
    try:
        yield copy
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def running_services() -> Iterator[Services]:
    with Services() as services:
        yield services


@pytest.fixture
def services(running_services: Services) -> Services:
    running_services.reset()
    for name in THREE:
        running_services.behave(name, MANNER)
    running_services.answer("virustotal", BAD, "malicious", malicious=12)
    running_services.answer("abuseipdb", BAD, "malicious")
    running_services.answer("virustotal", NEW, "no_data")
    return running_services


@pytest.fixture
def asking(services: Services, tmp_path: Path) -> Asking:
    return Asking(services, tmp_path)


@pytest.fixture
def recording(tmp_path: Path, connection: Callable[..., Connection]) -> Callable[..., Path]:
    """Write a recording of connections to addresses; one that is marked runs from a temporary folder."""

    def write(*ips: str, suspicious: str = "") -> Path:
        path = tmp_path / "recorded.jsonl"
        lines = []
        for number, ip in enumerate(ips):
            program = "/tmp/updater" if ip == suspicious else "/usr/bin/curl"
            record = connection(
                id=f"c{number}",
                ip=ip,
                process=Process(pid=77, name="curl", executable=program, entity_id=f"e{number}"),
            )
            lines.append(wire.encode(record))
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write
