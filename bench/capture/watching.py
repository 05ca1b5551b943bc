"""Outwatch as a program of its own, whose records go to a file, and the connections in them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capture.judging import Told

Record = dict[str, Any]
_END = 120.0  # seconds that a watch may take to write what it still has


def settings(folder: Path) -> dict[str, str]:
    """Give the environment of a watch: no configuration of this machine, the kernel sensor switched on."""
    return {
        **os.environ,
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "OUTWATCH_STATE_DIR": str(folder / "state"),
        "OUTWATCH_LOOKUPS__REVERSE_NAMES__ENABLED": "false",
        "OUTWATCH_SENSORS__EBPF__ENABLED": "true",
    }


class Outwatch:
    """``outwatch watch --sensor SENSOR --jsonl --all`` with its records in a file."""

    def __init__(self, folder: Path, sensor: str = "ebpf", before: Sequence[str] = ()) -> None:
        self.name = f"outwatch, {sensor}"
        folder.mkdir(parents=True)
        self._records, self._errors = folder / "records.jsonl", folder / "errors"
        command = [*before, sys.executable, "-m", "outwatch", "watch", "--jsonl", "--all", "--no-dns", "--sensor", sensor]
        with self._records.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=settings(folder), cwd="/")

    def sees(self, port: int) -> bool:
        """Tell whether a connection with this port was told so far."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name}: ended with {self.process.returncode}: {self._errors.read_text()}")
        return b'"port":%d,' % port in self._records.read_bytes() or b'"port":%d}' % port in self._records.read_bytes()

    def cpu(self) -> float:
        """Give the seconds of processor time it has used so far."""
        return cpu_of(self.process.pid)

    def memory(self) -> dict[str, float]:
        """Give what it holds resident, now (``VmRSS``) and at most (``VmHWM``), in MiB."""
        return memory_of(self.process.pid)

    def idle(self, within: float = 600.0) -> bool:
        """Wait until it has worked off what is there: for two seconds it has used nearly nothing."""
        limit = time.monotonic() + within
        before = self.cpu()
        while time.monotonic() < limit:
            time.sleep(2.0)
            used, before = self.cpu() - before, self.cpu()
            if used < 0.2:
                return True
        return False

    def size(self) -> int:
        """Give how many bytes of records are written."""
        return self._records.stat().st_size

    def stop(self) -> list[Told]:
        """End it in order; gives every connection by its last record."""
        self.finish()
        return [told(record) for record in self.latest().values()]

    def finish(self) -> None:
        """End it in order."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=_END)
        if code:
            raise RuntimeError(f"{self.name}: ended with {code}: {self._errors.read_text()}")

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def records(self) -> Iterator[Record]:
        """Read all that was written."""
        with self._records.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def latest(self) -> dict[str, Record]:
        """Give the last word on each connection, by id."""
        return {one["id"]: one for one in self.records() if one["kind"] == "connection"}

    def summary(self) -> Record:
        """Give the last line."""
        *_, last = self.records()
        if last["kind"] != "summary":
            raise RuntimeError(f"{self.name}: no summary at the end")
        return last


def told(record: Mapping[str, Any]) -> Told:
    """Read a record, seen from the end that is on this machine."""
    source, destination, network = record["source"], record["destination"], record["network"]
    near, far = (destination, source) if network.get("direction") == "ingress" else (source, destination)
    return Told(
        pid=record.get("process", {}).get("pid"),
        transport=network["transport"],
        own=near.get("port") or None,
        ip=far.get("ip"),
        port=far.get("port") or None,
        sent=near.get("bytes"),
        received=far.get("bytes"),
        count=record.get("outwatch", {}).get("count", 1),
        others=frozenset(one["pid"] for one in record.get("outwatch", {}).get("shared_with", ())),
    )


def cpu_of(pid: int) -> float:
    """Give the seconds of processor time of a process and of its children that have ended (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def busy() -> float:
    """Give the seconds that all cores together have worked since the machine began (proc_stat(5): all but idle and waiting for disks)."""
    first = Path("/proc/stat").read_text().splitlines()[0].split()
    user, nice, system, _idle, _waiting, *interrupts = map(int, first[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> dict[str, float]:
    """Give the memory lines of a process in MiB (proc_pid_status(5))."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Vm"))
    return {name.rstrip(":"): int(size) / 1024 for name, size, *_ in lines}


@contextlib.contextmanager
def watching(folder: Path, sensor: str = "ebpf", before: Sequence[str] = ()) -> Iterator[Outwatch]:
    """Run a watch that is ended with whatever happens here; it is not awake yet (``lab.Lab.awaken``)."""
    watch = Outwatch(folder, sensor, before)
    try:
        yield watch
    finally:
        watch.kill()
