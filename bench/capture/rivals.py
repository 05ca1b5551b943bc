"""Others that can be asked who talks to whom: ``ss`` in a loop, nethogs, and bpftrace's tcplife.

Each gives the same as ``watching.Outwatch``: ``sees``, ``stop``, ``kill``. One that is not installed is ``None``, with the reason.
"""

import re
import shutil
import signal
import subprocess
from pathlib import Path

from capture.judging import Told
from capture.lab import PROGRAMS, Lab

_END = 30.0
_TRACEFS = "/sys/kernel/tracing"
_MOUNTED = f'[ -e {_TRACEFS}/events ] || mount -t tracefs tracefs {_TRACEFS}; exec "$@"'
_NETIDS = {"icmp6": "icmp", "raw": "raw:253"}
_TOOLS = ("/usr/sbin/tcplife.bt", "/usr/share/bpftrace/tools/tcplife.bt")


def with_tracefs(command: list[str]) -> list[str]:
    """Spell a command in a mount namespace of its own that has tracefs."""
    return ["unshare", "--mount", "--", "sh", "-c", _MOUNTED, "sh", *command]


class Printing:
    """A program whose output goes to a file."""

    ending = signal.SIGINT

    def __init__(self, name: str, folder: Path, command: list[str]) -> None:
        self.name = name
        folder.mkdir(parents=True)
        self.out, self.errors = folder / "out", folder / "errors"
        with self.out.open("wb") as out, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd="/")

    def text(self) -> str:
        """Give all that it printed so far."""
        if self.process.poll() is not None and self.process.returncode > 0:
            raise RuntimeError(f"{self.name}: ended with {self.process.returncode}: {self.errors.read_text(errors='replace')[-500:]}")
        return self.out.read_text(errors="replace")

    def sees(self, port: int) -> bool:
        """Tell whether a connection with this local port was shown so far."""
        return f" {port} " in self.text()

    def finish(self) -> None:
        """End it in order."""
        if self.process.poll() is None:
            self.process.send_signal(self.ending)
        try:
            self.process.wait(timeout=_END)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class SocketStatistics(Printing):
    """``ss -tuwanpiHO`` ten times a second; of what was shown more than once the last bytes count."""

    ending = signal.SIGTERM
    _LOOP = "while :; do ss -tuwanpiHO; sleep 0.1; done"
    _USER = re.compile(r"pid=(\d+)")
    _BYTES = re.compile(r"\b(bytes_sent|bytes_retrans|bytes_received):(\d+)")

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__("ss", folder, lab.inside(lab.here, ["sh", "-c", self._LOOP]))

    def sees(self, port: int) -> bool:
        """Look for the port at the end of an address."""
        return f":{port} " in self.text()

    def stop(self) -> list[Told]:
        """End it; gives what it showed."""
        self.finish()
        last: dict[tuple[str, str, str], Told] = {}
        owners: dict[tuple[str, str, str], int] = {}
        for line in self.text().splitlines():
            words = line.split()
            if len(words) < 6 or words[1] == "LISTEN":
                continue
            key = words[0], words[4], words[5]
            user = self._USER.search(line)
            if user:
                owners[key] = int(user[1])
            sent = received = None
            if words[1] == "TIME-WAIT" and key in last:
                continue  # its counters are gone
            if words[0] == "tcp" and words[1] != "TIME-WAIT":  # a counter that is 0 is left out
                count = {name: int(value) for name, value in self._BYTES.findall(line)}
                sent = count.get("bytes_sent", 0) - count.get("bytes_retrans", 0)
                received = count.get("bytes_received", 0)
            last[key] = Told(owners.get(key), _NETIDS.get(words[0], words[0]), _end(words[4])[1], *_end(words[5]), sent, received)
        return list(last.values())


def _end(text: str) -> tuple[str | None, int | None]:
    address, _, port = text.rpartition(":")
    address = address.partition("%")[0].strip("[]")
    return (None if address in {"*", "0.0.0.0", ""} else address), int(port) if port.isdigit() else None


class NetHogs(Printing):
    """``nethogs -t -v 2``: bytes on the wire of each process, headers and all, in every interface of the namespace."""

    ending = signal.SIGTERM
    _LINE = re.compile(r"^.*/(\d+)/\d+\t([\d.e+]+)\t([\d.e+]+)$")

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__("nethogs", folder, lab.inside(lab.here, ["nethogs", "-t", "-v", "2", "-C", "-a", "-d", "1"]))

    def sees(self, port: int) -> bool:
        """Wait until it has drawn once; it tells no ports."""
        del port
        return "Refreshing" in self.text()

    def stop(self) -> list[Told]:
        """End it; gives what it showed."""
        self.finish()
        last: dict[int, Told] = {}
        for line in self.text().splitlines():
            found = self._LINE.match(line)
            if found:
                pid = int(found[1])
                last[pid] = Told(pid, "", None, None, None, round(float(found[2])), round(float(found[3])))
        return list(last.values())


class TcpLife(Printing):
    """``tcplife.bt``, or where its kprobe can't be attached the same on a tracepoint."""

    _LINE = re.compile(r"^(\d+) +(.{1,16}?) +(\S+) +(\d+) +(\S+) +(\d+) +(\d+) +(\d+) +\d+$")

    def __init__(self, folder: Path, script: Path, name: str, unit: int) -> None:
        self._unit = unit
        super().__init__(name, folder, with_tracefs(["bpftrace", str(script)]))

    def stop(self) -> list[Told]:
        """End it; gives what it showed."""
        self.finish()
        found = filter(None, map(self._LINE.match, self.text().splitlines()))
        return [
            Told(int(one[1]), "tcp", int(one[4]), one[5], int(one[6]), self._unit * int(one[7]), self._unit * int(one[8])) for one in found
        ]


def tcplife(folder: Path) -> TcpLife | str:
    """Start bpftrace's own tcplife, or a script on a tracepoint in its place and say why; gives a reason where there is no bpftrace."""
    if shutil.which("bpftrace") is None:
        return "bpftrace is not installed"
    why = "bpftrace's own tcplife.bt is not there"
    for path in filter(Path.exists, map(Path, _TOOLS)):
        command = with_tracefs(["timeout", "-s", "INT", "4", "bpftrace", str(path)])
        tried = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        errors = [line for line in tried.stderr.splitlines() if line.startswith("ERROR") and "MEMLOCK" not in line]
        if tried.returncode == 0:
            return TcpLife(folder, path, "bpftrace, tcplife.bt", 1024)
        why = f"{path.name} does not load on this kernel ({errors[-1].removeprefix('ERROR: ') if errors else 'no reason given'})"
    script = PROGRAMS / "tcplife_state.bt"
    print(f"{why}; instead of it a script on tracepoint:sock:inet_sock_set_state that prints the same")
    return TcpLife(folder, script, "bpftrace", 1)
