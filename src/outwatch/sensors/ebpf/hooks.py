"""The programs in the kernel: loaded, attached, and read; what this kernel lacks is left out and said."""

import os
import struct
from collections.abc import Callable, Iterator
from importlib.resources import files

from outwatch.errors import SensorUnavailable
from outwatch.sensors.ebpf.decode import FLOW_SIZE, Flow, flow
from outwatch.sensors.ebpf.libbpf import BpfObject, Ring

_NEEDED = ("tcp_state", "process_exec", "process_fork", "process_exit")
_CGROUP = {"socket_create": "UDP and raw sockets", "socket_release": "", "packet_out": "", "packet_in": ""}
_ITERATORS = ("existing", "totals")
_KINDS = 8
_COUNT = struct.Struct("<QQ")
_PIECE = FLOW_SIZE * 512


class Hooks:
    """All programs of the object, attached where this kernel lets them."""

    def __init__(self, ring_bytes: int) -> None:
        """Load and attach; ``SensorUnavailable`` if TCP and processes can't be seen."""
        if not os.path.exists("/sys/kernel/btf/vmlinux"):
            raise SensorUnavailable(
                "this kernel has no BTF (/sys/kernel/btf/vmlinux)", "use a kernel with CONFIG_DEBUG_INFO_BTF, or another sensor"
            )
        self.missing: list[str] = []
        self._ring: Ring | None = None
        self._object = BpfObject(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes())
        try:
            self._object.resize("ring", ring_bytes)
            self._object.load()
            for name in _NEEDED:
                self._object.attach(name)
            self._attach_to_cgroups()
            self._iterators = {name: self._object.iterator(name) for name in ("existing",)}
            self._iterators["totals"] = self._object.iterator("totals", "owners")
        except SensorUnavailable:
            self._object.close()
            raise

    def _attach_to_cgroups(self) -> None:
        root = _cgroup_root()
        if root is None:
            self.missing.append("UDP and raw sockets: there is no cgroup2 here")
            return
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in _CGROUP:
                self._object.attach(name, folder)
        except SensorUnavailable as error:
            self.missing.append(f"UDP and raw sockets: {error.reason}")
        finally:
            os.close(folder)

    def open_ring(self, taken: Callable[[bytes], None]) -> None:
        """Begin to read records; ``taken`` gets each."""
        self._ring = self._object.ring("ring", taken)

    def poll(self, milliseconds: int) -> None:
        """Wait for records, and take all that are there."""
        if self._ring is not None:
            self._ring.poll(milliseconds)

    def existing(self) -> Iterator[Flow | None]:
        """Yield every socket that some process holds."""
        return self._flows("existing")

    def totals(self) -> Iterator[Flow | None]:
        """Yield connections that have carried something since the last time."""
        return self._flows("totals")

    def _flows(self, name: str) -> Iterator[Flow | None]:
        left = b""
        for piece in self._object.read(self._iterators[name], _PIECE):
            data = left + piece
            whole = len(data) - len(data) % FLOW_SIZE
            for at in range(0, whole, FLOW_SIZE):
                yield flow(data[at : at + FLOW_SIZE])
            left = data[whole:]

    def refused(self) -> int:
        """Count what found no room in the ring or in a map, since the start."""
        return sum(_COUNT.unpack(value)[1] for kind in range(_KINDS) for value in self._object.per_cpu("counts", kind, _COUNT.size))

    def close(self) -> None:
        """Take everything out of the kernel."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._object.close()


def _cgroup_root() -> str | None:
    """Find where the tree of cgroups (version 2) is mounted."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            return next((line.split()[1] for line in mounts if line.split()[2:3] == ["cgroup2"]), None)
    except OSError:
        return None
