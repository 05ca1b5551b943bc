"""The programs in the kernel: loaded, attached, and read; what this kernel lacks is left out and said."""

import contextlib
import itertools
import os
import re
import struct
import sys
import time
from collections.abc import Callable, Collection, Iterator
from importlib.resources import files
from typing import NamedTuple

from outwatch.errors import SensorUnavailable
from outwatch.guard.rights import capabilities
from outwatch.sensors.ebpf.decode import BURST_SIZE, FAILED, FLOW_SIZE, INGRESS, KINDS, PROGRAM_SIZE, Flow, Program, burst, decode, flows
from outwatch.sensors.ebpf.libbpf import BpfObject, Ring

if sys.platform == "linux":
    from outwatch.sensors.ebpf.cgroups import cgroup_root

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_BTF = "/sys/kernel/btf/vmlinux"
_RIGHTS = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
_COUNT = struct.Struct("<QQ")  # struct count: happened, refused
_SETTINGS = struct.Struct("=2I2Q")  # settings
_PEER = struct.Struct("<Q16sHHI")  # struct peer
_PLACE = struct.Struct("<QII16sHBBBBH")  # struct place
_NUMBER = struct.Struct("<I")
_PIECE = 65_536


class Hook(NamedTuple):
    """Programs that belong together, the iterators among them, and what their lack costs (empty: the sensor can't do without).

    ``again``: programs of which there is a second, for kernels that let others go on while a program runs.
    """

    name: str
    programs: tuple[str, ...]
    iterators: tuple[str, ...] = ()
    lack: str = ""
    to_cgroups: bool = False
    again: bool = False


TCP = Hook("tcp", ("tcp_held", "tcp_free"), ("existing", "stream_totals"), again=True)
PROCESSES = Hook("processes", ("process_exec", "process_fork", "process_exit"), ("running",), again=True)
DATAGRAMS = Hook(
    "datagrams",
    ("socket_create", "socket_release", "packet_out", "packet_in", "addressed_4", "addressed_6"),
    ("datagram_totals", "talk_totals"),
    "UDP, ICMP, SCTP and raw sockets are not seen, nor who accepts connections",
    to_cgroups=True,
)
SHARING = Hook("sharing", ("socket_sent", "socket_received"), (), "AF_PACKET, and other processes that use somebody's socket, are not seen")
STORMS = Hook("storms", (), ("burst_totals",), "storms are told one by one and may overrun the ring")
GROUPS = Hook("groups", ("group_made",), (), "services and containers that are begun meanwhile stay unnamed when their processes have gone")
HOOKS = (TCP, PROCESSES, DATAGRAMS, SHARING, STORMS, GROUPS)
"""All that there are."""

_AGAIN = "_again"  # ends the name of a second program
_INTERRUPTED = (6, 19)  # the first kernels whose tracepoints do not keep a processor for themselves, at the earliest
_PICTURE = ("running", "existing")
_OPTIONAL = (GROUPS, SHARING, STORMS, DATAGRAMS)
_OVER = {"stream_totals": "streams", "datagram_totals": "owners", "talk_totals": "talks", "burst_totals": "bursts"}
"""The map that an iterator goes through."""


class Hooks:
    """All programs of the object, attached where this kernel lets them.

    ``off`` has the reason for each hook that is not on.
    """

    def __init__(
        self, ring_bytes: int, *, storm: int = 2000, without: Collection[str] = (), once: bool = False, names: bool = True
    ) -> None:
        """Load and attach all but those called ``without``; ``SensorUnavailable`` if TCP and processes can't be seen.

        ``storm`` connections of one process to one place in a second are told one by one (0: all of them). ``once``: nothing is attached
        but what is needed to see what is there. ``names``: copy bytes in which names stand.
        """
        self._copies_names = names
        lacking = _RIGHTS - capabilities()
        if lacking and "CAP_SYS_ADMIN" not in capabilities():
            raise SensorUnavailable(f"it needs {', '.join(sorted(lacking))}", "run it as root")
        if not os.path.exists(_BTF):
            raise SensorUnavailable(f"this kernel does not describe itself ({_BTF} is missing)", "use a kernel with CONFIG_DEBUG_INFO_BTF")
        self.off: dict[str, str] = dict.fromkeys(without, "switched off")
        if not storm:
            self.off.setdefault(STORMS.name, "switched off")
        self._ring: Ring | None = None
        self._iterators: dict[str, int] = {}
        look = _SETTINGS.pack(0, 0, ring_bytes // 4, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        self._object = _loaded(ring_bytes, look, _PICTURE) if once else self._loaded(ring_bytes, storm)
        try:
            for hook in HOOKS if not once else ():
                self._attach(hook)
            iterators = _PICTURE if once else [name for hook in HOOKS if hook.name not in self.off for name in hook.iterators]
            self._iterators = {name: self._object.iterator(name, _OVER.get(name)) for name in iterators}
        except SensorUnavailable:
            self._object.close()
            raise

    def _loaded(self, ring_bytes: int, storm: int) -> BpfObject:
        """Load with as few hooks left out as the kernel asks for."""
        first: SensorUnavailable | None = None
        wished = [hook for hook in _OPTIONAL if hook.name not in self.off]
        for number in range(len(wished) + 1):
            for dropped in itertools.combinations(wished, number):
                names = {*self.off, *(hook.name for hook in dropped)}
                settings = _SETTINGS.pack(0 if STORMS.name in names else storm, self._copies_names, ring_bytes // 4, 0)
                wanted = [name for hook in HOOKS if hook.name not in names for name in (*programs_of(hook), *hook.iterators)]
                try:
                    image = _loaded(ring_bytes, settings, wanted)
                except SensorUnavailable as error:
                    first = first or error
                    continue
                self.off |= {hook.name: first.reason if first else "" for hook in dropped}
                return image
        raise first or SensorUnavailable("the kernel does not take the BPF programs", "see outwatch doctor")

    def _attach(self, hook: Hook) -> None:
        if hook.name in self.off:
            return
        try:
            with cgroup_root() if hook.to_cgroups else contextlib.nullcontext() as folder:
                for name in programs_of(hook):
                    self._object.attach(name, folder)
        except (SensorUnavailable, OSError) as error:
            if hook not in _OPTIONAL:
                raise
            self.off[hook.name] = error.reason if isinstance(error, SensorUnavailable) else str(error.strerror)

    def blind(self) -> list[str]:
        """Say what it costs that hooks are off, and why they are."""
        return [f"{hook.lack} ({self.off[hook.name]})" for hook in HOOKS if hook.name in self.off]

    def open_ring(self, taken: Callable[[bytes], None]) -> None:
        """Begin to read records; ``taken`` gets each."""
        self._ring = self._object.ring("ring", taken)

    def poll(self, milliseconds: int) -> None:
        """Wait for records, and take all that are there."""
        if self._ring is not None:
            self._ring.poll(milliseconds)

    def running(self) -> Iterator[Program]:
        """Yield every process that runs."""
        for record in self._one_by_one("running", PROGRAM_SIZE):
            event = decode(record)
            if isinstance(event, Program):
                yield event

    def existing(self) -> Iterator[Flow]:
        """Yield every socket that some process holds, once for each."""
        return itertools.chain.from_iterable(map(flows, self._pieces("existing", FLOW_SIZE)))

    def totals(self, *, last: bool = False) -> Iterator[Flow]:
        """Yield connections that have carried something since the previous time, and all talks with further peers of a socket.

        The ``last`` time also those that began a moment ago and were to be counted with others at their end.
        """
        if last:
            self._object.update("ends", _NUMBER.pack(0), _NUMBER.pack(1))
        for name in ("stream_totals", "datagram_totals", "talk_totals"):
            for records in self._pieces(name, FLOW_SIZE):
                yield from flows(records)

    def bursts(self) -> Iterator[tuple[Flow, int] | None]:
        """Yield connections that were counted together, and how many each stands for."""
        return (burst(record) for record in self._one_by_one("burst_totals", BURST_SIZE))

    def _one_by_one(self, name: str, size: int) -> Iterator[bytes]:
        for records in self._pieces(name, size):
            for at in range(0, len(records), size):
                yield records[at : at + size]

    def _pieces(self, name: str, size: int) -> Iterator[bytes]:
        """Yield what an iterator writes, in pieces of whole records."""
        left = b""
        for piece in self._object.read(self._iterators[name], _PIECE) if name in self._iterators else ():
            data = left + piece
            whole = len(data) - len(data) % size
            yield data[:whole]
            left = data[whole:]

    def forget(self, talk: Flow) -> None:
        """Give up the place of a talk that is over."""
        self._object.delete("talks", _PEER.pack(talk.socket, talk.remote, talk.remote_port, talk.family, 0))

    def forget_burst(self, one: Flow) -> None:
        """Give up the place of a storm that is over."""
        port = one.local_port if one.flags & INGRESS else one.remote_port
        flags = one.flags & (INGRESS | FAILED)
        key = _PLACE.pack(one.start, one.pid, one.netns, one.remote, port, one.family, one.protocol & 0xFF, flags, 0, one.error)
        self._object.delete("bursts", key)

    def refused(self) -> tuple[int, int, int]:
        """Count what was lost since the start: no room in the ring, no room in a map, a program that was not entered.

        Where there are two for the same, as many at the most as one of them was not.
        """
        counts = [[_COUNT.unpack(value) for value in self._object.per_cpu("counts", kind, _COUNT.size)] for kind in range(KINDS)]
        sums = [sum(refused for _, refused in one) for one in counts]
        untold = sum(happened for happened, _ in counts[0])
        on = [hook for hook in HOOKS if hook.name not in self.off and not hook.to_cgroups]
        misses = {name: self._object.misses(name) for hook in on for name in programs_of(hook)}
        missed = sum(min(misses[name], misses.get(name + _AGAIN, misses[name])) for hook in on for name in hook.programs)
        return sum(sums[1:]), sums[0], untold + missed

    def close(self) -> None:
        """Take everything out of the kernel."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._object.close()


def programs_of(hook: Hook) -> tuple[str, ...]:
    """Give the programs of a hook that this kernel needs; the second ones come last, and so do what the first ones left."""
    release = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    return (*hook.programs, *(name + _AGAIN for name in hook.programs)) if hook.again and release >= _INTERRUPTED else hook.programs


def _loaded(ring_bytes: int, settings: bytes, wanted: Collection[str]) -> BpfObject:
    image = BpfObject(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes())
    with contextlib.ExitStack() as undo:
        undo.callback(image.close)
        image.resize("ring", ring_bytes)
        image.set_constants(settings)
        image.keep(wanted)
        image.load()
        undo.pop_all()
    return image
