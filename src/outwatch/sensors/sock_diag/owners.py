"""Which process holds a socket: one pass over ``/proc/*/fd`` answers for all sockets that are asked about (proc(5))."""

import os
import time
from collections.abc import Iterator
from itertools import islice

from outwatch.model.interfaces import ProcessTable
from outwatch.model.records import Process

_PREFIX = "socket:["
_FEW = 4096  # links that are read of a process at first: one with more waits until all others have had their turn
_LONGEST = 2.0  # seconds that a pass may take


class Owners:
    """Finds the processes that hold sockets, and notices when one of them has gone."""

    def __init__(self, processes: ProcessTable, proc: str = "/proc") -> None:
        """Take who can say which process a pid is."""
        self._processes = processes
        self._proc = proc
        self._known: dict[int, Process] = {}
        self._turn = 0

    def find(self, wanted: set[int]) -> dict[int, Process | None]:
        """Give the holder of each socket whose inode is wanted; ``None`` for one that has gone meanwhile.

        A socket that several processes hold belongs to the first that is found. The pass ends when all are found.
        """
        left = {f"{_PREFIX}{inode}]": inode for inode in wanted}
        found: dict[int, Process | None] = {}
        limit, seen_at = time.monotonic() + _LONGEST, time.time()  # who began later may have got another's pid
        for pid, links in self._links(limit):
            held = [left.pop(link) for link in links if link in left]
            if held:
                process = self._processes.identify(pid, seen_at)
                if process is not None:
                    self._known[pid] = process
                found.update(dict.fromkeys(held, process))
                if not left:
                    break
        return found

    def gone(self) -> set[int]:
        """Name the pids of holders that have ended since the last call."""
        now = time.time()
        ended = {pid for pid, known in self._known.items() if not _same(self._processes.identify(pid, now), known)}
        for pid in ended:
            del self._known[pid]
        return ended

    def keep(self, pids: set[int]) -> None:
        """Forget all other holders."""
        for pid in self._known.keys() - pids:
            del self._known[pid]

    def _links(self, limit: float) -> Iterator[tuple[int, list[str]]]:
        """Give what the descriptors of processes lead to; those that are known to hold sockets come first."""
        crowded = []
        for pid in self._pids():
            links = self._read(str(pid), 0) or self._of_another_thread(pid)
            yield pid, links
            if len(links) >= _FEW:
                crowded.append(pid)
            if time.monotonic() > limit:
                return
        self._turn += 1  # so that none of them can keep the others from their turn for ever
        start = self._turn % len(crowded) if crowded else 0
        for pid in crowded[start:] + crowded[:start]:
            at = _FEW
            while time.monotonic() <= limit and (links := self._read(str(pid), at)):
                yield pid, links
                at += _FEW

    def _pids(self) -> Iterator[int]:
        first = dict(self._known)
        yield from first
        try:
            names = os.listdir(self._proc)
        except OSError:
            return
        yield from (pid for name in names if name.isdecimal() and (pid := int(name)) not in first)

    def _of_another_thread(self, pid: int) -> list[str]:
        """Read the descriptors of a process whose first thread has ended: they are shown with the others."""
        try:
            threads = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return []
        other = next((thread for thread in threads if thread != str(pid)), None)
        return self._read(f"{pid}/task/{other}", 0) if other else []

    def _read(self, task: str, start: int) -> list[str]:
        """Read some of the descriptors of a process or thread, if that is allowed and it is still there."""
        try:
            folder = os.open(f"{self._proc}/{task}/fd", os.O_RDONLY)
        except OSError:
            return []
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, start, start + _FEW)]
            try:
                return [os.readlink(name, dir_fd=folder) for name in names]
            except OSError:  # one was closed meanwhile
                return [_link(name, folder) for name in names]
        except OSError:  # the process has ended
            return []
        finally:
            os.close(folder)


def _link(name: str, folder: int) -> str:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return ""


def _same(one: Process | None, other: Process) -> bool:
    return one is not None and (one.pid, one.entity_id) == (other.pid, other.entity_id)
