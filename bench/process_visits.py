"""How often identity reads /proc: once for each process, whatever number of connections it has.

Measured: all that reads a file below ``/proc/PID`` of ten real processes while a whole watch (App, with the process and identity enrichers,
hashing and packages) is told of their connections, a hundred of each, then of more bytes on all of them, then of their ends. The sensor
is made up: it describes processes as the kernel sensor does, or only names them as the sensors do that look at lists of sockets. Rival:
the same with one connection of each process. Bounds: no more reads than the rival's; where nobody tells that a process runs another
program, and so it is looked at again from time to time, not twice as many.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from msgspec.structs import replace

from measuring import Bounds, parser
from outwatch.app import App
from outwatch.engine.config import Config, Settings
from outwatch.engine.health import Health
from outwatch.engine.request import Request
from outwatch.model.interfaces import ProcessTable, Sensor
from outwatch.model.records import Action, Connection, Destination, Event, Findings, Network, Process, Source

PROCESSES, EACH = 10, 100
PROGRAM = "/usr/bin/sleep"
_ACTIONS: tuple[Action, ...] = ("connect", "traffic", "close")
_READS = ("open", "stat", "lstat", "readlink", "listdir", "scandir")


class Told:
    """A sensor that tells of connections of these processes: three times of each, with some time for look-ups in between."""

    name: ClassVar[str] = "told"
    live: ClassVar[bool] = True

    def __init__(self, pids: Sequence[int], each: int, processes: ProcessTable, *, described: bool) -> None:
        self._pids, self._each, self._processes, self._described = pids, each, processes, described

    def check(self) -> None:
        """Run anywhere."""

    def blind(self) -> Sequence[str]:
        """Miss nothing."""
        return ()

    def observe(self, stop: threading.Event) -> Iterator[Sequence[Connection]]:
        """Yield what opens, what carries more, what ends."""
        owners = {pid: self._owner(pid) for pid in self._pids}
        for turn, action in enumerate(_ACTIONS):
            batch = []
            for number in range(self._each):
                batch += [self._connection(pid, number, owners[pid], action, turn) for pid in self._pids]
            yield batch
            stop.wait(1.0)

    def _owner(self, pid: int) -> Process:
        """Name a process, or describe it as the kernel does."""
        process = self._processes.identify(pid, time.time())
        if process is None:
            raise RuntimeError(f"process {pid} has ended")
        return replace(process, executable=os.path.realpath(PROGRAM), args=(PROGRAM, "60")) if self._described else process

    def _connection(self, pid: int, number: int, owner: Process, action: Action, turn: int) -> Connection:
        now = datetime.now(UTC)
        return Connection(
            id=f"{pid} {number}",
            timestamp=now,
            event=Event(action=action, start=now),
            network=Network(transport="tcp", direction="egress"),
            source=Source(ip="198.19.255.7", port=32_768 + number, bytes=1_000 * turn),
            destination=Destination(ip=f"198.18.{number % 250}.1", port=443, bytes=1_000 * turn),
            process=owner if self._described else replace(owner),
            outwatch=Findings(sensor=self.name, attribution="exact" if self._described else "inferred"),
        )


class Watching(App):
    """A watch by such a sensor."""

    def __init__(self, health: Health, pids: Sequence[int], each: int, *, described: bool) -> None:
        super().__init__(Config(Settings(state_dir=os.environ["OUTWATCH_STATE_DIR"]), {}), health)
        self._pids, self._each, self._described = pids, each, described

    def _sensor(self, _choice: str, offers: dict[str, object], _among: Sequence[str] = ()) -> Sensor:
        processes = offers["processes"]
        if not isinstance(processes, ProcessTable):
            raise TypeError("nobody knows processes")
        return Told(self._pids, self._each, processes, described=self._described)


@contextlib.contextmanager
def counted(pids: Sequence[int]) -> Iterator[Counter[str]]:
    """Count what is read below these processes' folders, by its name, in this process and all its threads."""
    found: Counter[str] = Counter()
    folders = tuple(f"/proc/{pid}/" for pid in pids)
    before = {name: getattr(os, name) for name in _READS}

    def counting(name: str) -> Callable[..., Any]:
        def read(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if str(path).startswith(folders):
                found[str(path).split("/", 3)[3]] += 1
            return before[name](path, *arguments, **options)

        return read

    def opened(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and active and str(arguments[0]).startswith(folders):
            found[str(arguments[0]).split("/", 3)[3]] += 1

    active = [True]
    sys.addaudithook(opened)  # open() in all its forms; such a hook stays for good
    for name in _READS[1:]:
        setattr(os, name, counting(name))
    try:
        yield found
    finally:
        active.clear()
        for name, one in before.items():
            setattr(os, name, one)


def reads(each: int, *, described: bool) -> Counter[str]:
    """Give what was read of ten new processes in a watch that is told of so many connections of each."""
    with contextlib.ExitStack() as running:
        pids = []
        for _ in range(PROCESSES):
            one = running.enter_context(subprocess.Popen([PROGRAM, "60"]))
            running.callback(one.kill)
            pids.append(one.pid)
        health = Health(tell=print)
        watch = Watching(health, pids, each, described=described)
        with counted(pids) as found:
            outcome = watch.run(Request(dns=False))
    connections = [one for one in outcome.records if isinstance(one, Connection)]
    whole = [one for one in connections if one.process and one.process.hash and one.outwatch.subject]
    if len(whole) != each * PROCESSES or health.problems:
        raise RuntimeError(f"{len(whole)} of {each * PROCESSES} connections have identity and checksum; {health.problems}")
    return found


def main() -> int:
    parser(__doc__, rounds=1).parse_args()
    bounds = Bounds()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTWATCH_STATE_DIR"] = folder
        for described, kind, most in (True, "described by the kernel", 1), (False, "named by a list of sockets", 2):
            few, many = reads(1, described=described), reads(EACH, described=described)
            print(f"{PROCESSES} processes, {kind}; reads for a process with 1 and with {EACH} connections")
            for name in sorted(few | many):
                print(f"  {name:12} {few[name] / PROCESSES:8,.1f} {many[name] / PROCESSES:10,.1f}")
            bounds.at_most(f"{kind}: reads in all", many.total() / few.total(), most, "times those for one connection of each")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
