"""The programs in the kernel: loaded, attached, and read; what this kernel lacks is left out and said."""

import contextlib
import os
import struct
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files

from outwatch.errors import SensorUnavailable
from outwatch.guard.rights import capabilities
from outwatch.sensors.ebpf.decode import FLOW_SIZE, KINDS, PROGRAM_SIZE, Flow, Program, decode, flow
from outwatch.sensors.ebpf.libbpf import BpfObject, Ring

if sys.platform == "linux":
    from outwatch.sensors.ebpf.cgroups import cgroup_root

assert sys.platform == "linux"  # noqa: S101 - told to the type checker too, which then knows what there is

_BTF = "/sys/kernel/btf/vmlinux"
_RIGHTS = frozenset({"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"})
_NEEDED = ("tcp_state", "process_exec", "process_fork", "process_exit")
_DATAGRAMS = ("socket_create", "socket_release", "packet_out", "packet_in", "talk_totals")
_COUNT = struct.Struct("<QQ")  # struct count: happened, refused
_PEER = struct.Struct("<Q16sHHI")  # struct peer
_PIECE = 65_536


class Hooks:
    """All programs of the object, attached where this kernel lets them.

    ``missing`` says in words what could not be attached and what that costs.
    """

    def __init__(self, ring_bytes: int) -> None:
        """Load and attach; ``SensorUnavailable`` if TCP and processes can't be seen."""
        lacking = _RIGHTS - capabilities()
        if lacking and "CAP_SYS_ADMIN" not in capabilities():
            raise SensorUnavailable(f"it needs {', '.join(sorted(lacking))}", "run it as root")
        if not os.path.exists(_BTF):
            raise SensorUnavailable(f"this kernel does not describe itself ({_BTF} is missing)", "use a kernel with CONFIG_DEBUG_INFO_BTF")
        self.missing: list[str] = []
        self._ring: Ring | None = None
        try:
            self._object = _loaded(ring_bytes, ())
            self._datagrams = True
        except SensorUnavailable as error:
            self._object = _loaded(ring_bytes, _DATAGRAMS)
            self._datagrams = False
            self.missing.append(f"UDP, ICMP and raw sockets: {error.reason}")
        try:
            for name in _NEEDED:
                self._object.attach(name)
            if self._datagrams:
                self._attach_to_cgroups()
            self._running = self._object.iterator("running")
            self._existing = self._object.iterator("existing")
            self._totals = [self._object.iterator("totals", "owners")]
            if self._datagrams:
                self._totals.append(self._object.iterator("talk_totals", "talks"))
        except SensorUnavailable:
            self._object.close()
            raise

    def _attach_to_cgroups(self) -> None:
        try:
            with cgroup_root() as folder:
                for name in _DATAGRAMS[:4]:
                    self._object.attach(name, folder)
        except (SensorUnavailable, OSError) as error:
            reason = error.reason if isinstance(error, SensorUnavailable) else error.strerror
            self.missing.append(f"UDP, ICMP and raw sockets: {reason}")

    def open_ring(self, taken: Callable[[bytes], None]) -> None:
        """Begin to read records; ``taken`` gets each."""
        self._ring = self._object.ring("ring", taken)

    def poll(self, milliseconds: int) -> None:
        """Wait for records, and take all that are there."""
        if self._ring is not None:
            self._ring.poll(milliseconds)

    def running(self) -> Iterator[Program]:
        """Yield every process that runs."""
        for record in self._records(self._running, PROGRAM_SIZE):
            event = decode(record)
            if isinstance(event, Program):
                yield event

    def existing(self) -> Iterator[Flow | None]:
        """Yield every socket that some process holds."""
        return (flow(record) for record in self._records(self._existing, FLOW_SIZE))

    def totals(self) -> Iterator[Flow | None]:
        """Yield connections that have carried something since the last time, and all talks with further peers of a socket."""
        for iterator in self._totals:
            for record in self._records(iterator, FLOW_SIZE):
                yield flow(record)

    def _records(self, iterator: int, size: int) -> Iterator[bytes]:
        left = b""
        for piece in self._object.read(iterator, _PIECE):
            data = left + piece
            whole = len(data) - len(data) % size
            for at in range(0, whole, size):
                yield data[at : at + size]
            left = data[whole:]

    def forget(self, talk: Flow) -> None:
        """Give up the place of a talk that is over."""
        self._object.delete("talks", _PEER.pack(talk.socket, talk.remote, talk.remote_port, talk.family, 0))

    def refused(self) -> tuple[int, int]:
        """Count what found no room since the start: in the ring, and in the map of talks."""
        sums = [sum(_COUNT.unpack(value)[1] for value in self._object.per_cpu("counts", kind, _COUNT.size)) for kind in range(KINDS)]
        return sum(sums[1:]), sums[0]

    def close(self) -> None:
        """Take everything out of the kernel."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._object.close()


def _loaded(ring_bytes: int, without: tuple[str, ...]) -> BpfObject:
    image = BpfObject(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes())
    with contextlib.ExitStack() as undo:
        undo.callback(image.close)
        image.resize("ring", ring_bytes)
        for name in without:
            image.leave_out(name)
        image.load()
        undo.pop_all()
    return image
