"""A watch by the kernel sensor whose lines go to a file: it sees the whole machine, of which a test reads its own part."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from integration.child import LONG, Child
from integration.lab import Lab

Record = dict[str, Any]
Found = TypeVar("Found")


def settings(folder: Path, **more: str) -> dict[str, str]:
    """Give the environment of a watch: no configuration of this machine, the kernel sensor switched on."""
    return {
        **os.environ,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "OUTWATCH_STATE_DIR": str(folder / "state"),
        "OUTWATCH_LOOKUPS__REVERSE_NAMES__ENABLED": "false",
        "OUTWATCH_SENSORS__EBPF__ENABLED": "true",
        **more,
    }


class Watch:
    """A running ``outwatch watch --sensor ebpf``."""

    def __init__(
        self, lab: Lab, folder: Path, *, env: Mapping[str, str] | None = None, before: tuple[str, ...] = (), more: tuple[str, ...] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "records.jsonl"
        self._lab = lab
        inodes = [os.stat(f"/run/netns/{name}").st_ino for name in (lab.here, lab.there)]
        self._namespaces = [f'"namespace":"{inode}"' for inode in inodes]  # other labs have the same addresses
        self._read = 0
        self.latest: dict[str, Record] = {}
        self.history: list[Record] = []
        self.questions: list[Record] = []
        self.summary: Record = {}
        self.errors = ""
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            *before,
            sys.executable,
            "-m",
            "outwatch",
            "watch",
            "--jsonl",
            "--all",
            "--no-dns",
            "--sensor",
            "ebpf",
            *more,
        ]
        with self._path.open("wb") as out, (folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(command, stdout=out, stderr=errors, env=settings(folder, **(env or {})), cwd="/")
        self._errors = folder / "errors"

    def __enter__(self) -> Self:
        try:
            self._wait_until_awake()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def _wait_until_awake(self) -> None:
        """Connect until a connection is told that was opened under its eyes."""
        with self._lab.caller() as probe:

            def is_seen(records: list[Record]) -> bool:
                probe.call("192.0.2.2")
                probe.ask("close")
                pids = [one.get("process", {}).get("pid") for one in records if one["event"]["action"] != "existing"]
                return probe.pid in pids

            self.wait(is_seen)

    def _take(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data.rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        for line in whole.decode("utf-8").split("\n"):
            if '"kind":"summary"' in line:
                self.summary = json.loads(line)
            elif '"kind":"connection"' in line and any(namespace in line for namespace in self._namespaces):
                record = json.loads(line)
                self.latest[record["id"]] = record
                self.history.append(record)
            elif '"kind":"dns"' in line and any(namespace in line for namespace in self._namespaces):
                self.questions.append(json.loads(line))

    def forget(self) -> None:
        """Forget what was told up to now."""
        self._take()
        self.latest.clear()
        self.history.clear()
        self.questions.clear()

    def wait(self, wanted: Callable[[list[Record]], Found], within: float = LONG) -> Found:
        """Read until ``wanted`` finds something in the latest revisions, and give that."""
        turns = int(within / 0.1)
        for _ in range(turns):
            self._take()
            found = wanted(list(self.latest.values()))
            if found:
                return found
            try:
                self.process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(f"not seen; {len(self.latest)} others; standard error: {self._errors.read_text()[-2000:]}")

    def of(self, pid: int, count: int = 1, *, over: bool = True, **network: str) -> list[Record]:
        """Wait until ``count`` connections of a process are told (and over), and give them in the order of their start."""

        def chosen(records: list[Record]) -> list[Record]:
            some = [one for one in records if one.get("process", {}).get("pid") == pid and network.items() <= one["network"].items()]
            ready = [one for one in some if not over or one["event"]["action"] in {"close", "failed"}]
            return sorted(ready, key=lambda one: str(one["@timestamp"])) if len(ready) >= count else []

        found = self.wait(chosen)
        assert len(found) == count, found[:3]
        return found

    def asked(self, pid: int, name: str) -> list[Record]:
        """Wait until a process's questions for a name are told, and give them."""

        def chosen(_: list[Record]) -> list[Record]:
            return [one for one in self.questions if one["process"]["pid"] == pid and one["dns"]["question"]["name"] == name]

        return self.wait(chosen)

    def end(self, number: int = signal.SIGTERM) -> Record:
        """End the watch in order and give its summary."""
        self.process.send_signal(number)
        assert self.process.wait(timeout=LONG) == 0, self._errors.read_text()
        self._take()
        return self.summary


def script(lab: Lab, code: str, *arguments: object, namespace: str | None = None, before: tuple[str, ...] = ()) -> Child:
    """Start a Python script in the lab."""
    argv = [*before, sys.executable, "-S", "-c", code, *map(str, arguments)]
    return Child(lab.inside(namespace or lab.here, argv))


def done(lab: Lab, code: str, *arguments: object, before: tuple[str, ...] = ()) -> tuple[int, Any]:
    """Run a Python script in the lab to its end and give its pid and what it told (JSON)."""
    with script(lab, code, *arguments, before=before) as child:
        told = child.line()
        assert child.end() == 0, child.errors
        return child.pid, json.loads(told)
