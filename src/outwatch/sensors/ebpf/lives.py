"""Who was who: processes by pid and start, as the kernel told when they began and what they ran, also when they are gone."""

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from outwatch.engine.patience import Patience
from outwatch.guard.mounts import Mounts
from outwatch.guard.text import cleaned
from outwatch.model.identity import entity_id
from outwatch.model.records import FileState, Process, ProgramFile
from outwatch.sensors.ebpf.decode import EXIT, Life, Program

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_MOST_ENDED = 4_000  # processes that are remembered after their end
_MOST = 200_000
_MOST_FIRSTS = 20_000
_MOST_DEPTH = 62
_MINOR_BITS = 20  # of the kernel's own device numbers (include/linux/kdev_t.h)

Key = tuple[int, int]
"""Pid and start in nanoseconds of the boot clock."""


@dataclass(slots=True)
class _One:
    """What is known of a process."""

    parent: Key | None = None
    program: Program | None = None
    ended: bool = False
    described: Process | None = None
    height: int = 0  # parents of that
    state: FileState | None = None
    looked: bool = False  # at its file
    file: ProgramFile | None = None


class Lives:
    """The table of processes that the kernel spoke of."""

    def __init__(
        self,
        boot: str,
        when: Callable[[int], datetime],
        *,
        tick: int,
        mount_namespace: int | None,
    ) -> None:
        """Take the boot's id, what turns nanoseconds into a time, a clock tick in nanoseconds, and our mount namespace."""
        self._boot = boot
        self._when = when
        self._tick = tick
        self._mntns = mount_namespace
        self._mounts, self._patience = Mounts(), Patience()
        self._known: OrderedDict[Key, _One] = OrderedDict()
        self._ended: OrderedDict[Key, None] = OrderedDict()
        self._firsts: OrderedDict[Key, int] = OrderedDict()  # pid and tick, and when exactly the first process of these began

    def see(self, event: Life | Program) -> None:
        """Take note of a beginning, an end, or another program."""
        key = event.pid, event.start
        if isinstance(event, Program):
            one = self._known.setdefault(key, _One())
            one.ended = False  # another thread than the first may go on
            self._ended.pop(key, None)
            one.program, one.described, one.looked, one.file = event, None, False, None
            one.parent = one.parent or (event.parent, event.parent_start)
        elif event.kind == EXIT:
            if key in self._known:
                self._end(key)
            return
        else:
            parent = event.parent, event.parent_start
            before = self._known.get(parent)
            self._known[key] = _One(parent=parent, program=before.program if before else None)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def _end(self, key: Key) -> None:
        self._known[key].ended = True
        self._ended[key] = None
        if len(self._ended) > _MOST_ENDED:
            self._known.pop(self._ended.popitem(last=False)[0], None)

    def describe(self, key: Key) -> tuple[Process, FileState | None] | None:
        """Give a process and what is odd about its file; ``None`` if the kernel did not tell what it runs."""
        one = self._known.get(key)
        if one is None or one.program is None:
            return None
        if one.described is None:
            one.described, one.height = self._made(key, one, _MOST_DEPTH)
        if not one.looked:
            one.state, one.looked = _state(one.program, self._mntns, self._mounts, self._patience), True
        return one.described, one.state

    def file(self, key: Key) -> ProgramFile | None:
        """Give the file that a process executed; ``None`` if the kernel did not tell what it runs."""
        one = self._known.get(key)
        if one is None or one.program is None:
            return None
        if one.file is None:
            program = one.program
            device = f"{program.device >> _MINOR_BITS}:{program.device & ((1 << _MINOR_BITS) - 1)}"
            one.file = ProgramFile(device=device, inode=str(program.inode), mount_namespace=str(program.mntns))
        return one.file

    def bare(self, key: Key) -> Process:
        """Give what makes a process itself; its start is spelled in clock ticks, as /proc has it."""
        pid, start = key
        return Process(pid=pid, start=self._when(start), entity_id=entity_id(self._boot, pid, self._exact(pid, start)))

    def _exact(self, pid: int, start: int) -> str:
        """Spell a start in clock ticks; with the rest of its nanoseconds if another process began with this pid in the same tick."""
        tick, rest = divmod(start, self._tick)
        first = self._firsts.setdefault((pid, tick), start)
        if len(self._firsts) > _MOST_FIRSTS:
            self._firsts.popitem(last=False)
        return str(tick) if first == start else f"{tick}.{rest}"

    def _made(self, key: Key, one: _One, depth: int) -> tuple[Process, int]:
        """Make a process with at most ``depth`` parents, and count them: more than ``_MOST_DEPTH`` if some were left out.

        Parents are the same object to all their children, for they may be many.
        """
        if one.described is not None and one.height <= depth:
            return one.described, one.height
        bare, program = self.bare(key), one.program
        if program is None:
            return bare, 0
        parent, height = None, 0
        if one.parent:
            above = self._known.get(one.parent)
            if not depth:
                height = _MOST_DEPTH + 1
            elif above is None:
                parent, height = self.bare(one.parent), 1
            else:
                parent, height = self._made(one.parent, above, depth - 1)
                height += 1
        path = cleaned(program.path) if not program.cut and len(program.path) > 1 else None
        process = replace(
            bare,
            name=cleaned(program.path.rpartition(b"/")[2] if path else program.comm),
            executable=path,
            args=(*(cleaned(one) for one in program.args), *(("…",) if program.args_cut else ())) or None,
            working_directory=cleaned(program.folder) or None,
            parent=parent,
        )
        if height <= _MOST_DEPTH:
            one.described, one.height = process, height
        return process, height


def _state(program: Program, mount_namespace: int | None, mounts: Mounts, patience: Patience) -> FileState | None:
    """Say what is odd about the file that a program was started from."""
    if not program.links:
        return "memfd" if program.path.startswith(b"/memfd:") else "deleted"
    if program.cut or len(program.path) == 1:
        return None  # the path is not known whole
    if mounts.may_hang(program.path):
        return "other_namespace" if program.mntns != mount_namespace else None
    try:
        facts = patience.ask(lambda: os.stat(program.path), lambda: (program.pid, program.start))
    except OSError:
        return "other_namespace" if program.mntns != mount_namespace else "deleted"
    device = os.makedev(program.device >> _MINOR_BITS, program.device & ((1 << _MINOR_BITS) - 1))
    if facts.st_ino == program.inode and (facts.st_dev == device or program.mntns == mount_namespace):
        return None  # btrfs and overlays show another device than the kernel's own, so within our mounts the inode decides
    return "other_namespace" if program.mntns != mount_namespace else "replaced"
