"""The few calls of the system's libbpf that are needed: open, load, attach, read maps and the ring (libbpf 1.0 and later).

Every pointer function has its result type set: ctypes would cut pointers to 32 bits otherwise.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator
from ctypes import CFUNCTYPE, byref, c_char_p, c_int, c_long, c_size_t, c_uint32, c_void_p
from typing import Any

from outwatch.errors import SensorUnavailable

_LIBRARY = "libbpf.so.1"
_REMEDY = "apt install libbpf1 (or your system's package of libbpf 1.0 or later)"
_INFO, _MISSES_AT = 216, 208  # bytes of struct bpf_prog_info up to recursion_misses, which ends there (linux/bpf.h)
_MOST_SAID, _MOST_REASON = 4000, 200  # characters of libbpf's own words that are kept, and that are told
_LINE, _LOG = 512, 1 << 20  # bytes of a line that libbpf says; of what the kernel's verifier says, which comes as one
_ABOUT_ITSELF = ("verification time", "stack depth", "processed", "--")  # how such lines begin that hold no reason

_Print = CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
Sample = CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
"""What is called for each record of the ring: context, address, size."""

_POINTER_CALLS: dict[str, tuple[Any, ...]] = {
    "bpf_object__open_mem": (c_void_p, c_size_t, c_void_p),
    "bpf_object__next_program": (c_void_p, c_void_p),
    "bpf_object__find_map_by_name": (c_void_p, c_char_p),
    "bpf_program__attach": (c_void_p,),
    "bpf_program__attach_iter": (c_void_p, c_void_p),
    "bpf_program__attach_cgroup": (c_void_p, c_int),
    "ring_buffer__new": (c_int, Sample, c_void_p, c_void_p),
}
_OTHER_CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_program__set_autoload": (c_int, (c_void_p, ctypes.c_bool)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__set_initial_value": (c_int, (c_void_p, c_void_p, c_size_t)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, ctypes.c_uint64)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_iter_create": (c_int, (c_int,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_get_error": (c_long, (c_void_p,)),
    "ring_buffer__poll": (c_int, (c_void_p, c_int)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__free": (None, (c_void_p,)),
}


def verifiers_reason(said: str) -> str:
    """Give the line of a verifier's log that says why a program was refused: the last one before its figures; empty if there is none."""
    lines = [line.strip() for line in said.splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith(_ABOUT_ITSELF) and "LOAD LOG --" not in line), "")


class _MapOption(ctypes.Structure):
    """``union bpf_iter_link_info`` for a map (linux/bpf.h)."""

    _fields_ = (("map_fd", c_uint32), ("padding", c_uint32 * 3))


class _IteratorOptions(ctypes.Structure):
    """``struct bpf_iter_attach_opts`` (bpf/libbpf.h)."""

    _fields_ = (("size", c_size_t), ("link_info", c_void_p), ("link_info_length", c_uint32))


def _library() -> Any:
    """Load libbpf and say what its functions take and give; ``SensorUnavailable`` if it is missing or too old."""
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
        for name, arguments in _POINTER_CALLS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_void_p
        for name, (result, arguments) in _OTHER_CALLS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, result
    except (OSError, AttributeError) as error:
        raise SensorUnavailable(f"{_LIBRARY} can't be used ({error})", _REMEDY) from error
    return library


class BpfObject:
    """A loaded object with its attached programs; closing it takes everything out of the kernel again."""

    def __init__(self, image: bytes) -> None:
        """Read an object file; nothing is loaded yet. ``SensorUnavailable`` if libbpf can't be used or refuses it."""
        self._libbpf = _library()
        self._said: list[str] = []
        self._refusal = ""
        self._print = self._hear()
        self._links: list[int] = []
        self._image = ctypes.create_string_buffer(image, len(image))
        self._object = self._libbpf.bpf_object__open_mem(self._image, len(image), None)
        if not self._object:
            raise self._unavailable("the BPF object can't be read", "install outwatch anew")

    def _hear(self) -> Any:
        """Keep what libbpf says, for the reason of a refusal, instead of letting it write to the terminal."""
        libc = ctypes.CDLL(None)
        libc.vsnprintf.argtypes = (c_char_p, c_size_t, c_char_p, c_void_p)

        def hear(level: int, form: bytes, arguments: int) -> int:
            if level == 0 and sum(map(len, self._said)) < _MOST_SAID:
                log = b"LOAD LOG" in form
                text = ctypes.create_string_buffer(_LOG if log else _LINE)
                libc.vsnprintf(text, len(text), form, arguments)
                said = text.value.decode("utf-8", "replace").strip()
                if log:
                    self._refusal = self._refusal or verifiers_reason(said)
                else:
                    self._said.append(said.removeprefix("libbpf: "))
            return 0

        listener = _Print(hear)
        self._libbpf.libbpf_set_print.argtypes, self._libbpf.libbpf_set_print.restype = (c_void_p,), c_void_p
        self._libbpf.libbpf_set_print(ctypes.cast(listener, c_void_p))
        return listener

    def _unavailable(self, what: str, remedy: str) -> SensorUnavailable:
        number = ctypes.get_errno()
        said = [line for line in (*self._said[:1], self._refusal) if line]  # what is said later is that others fail by it
        why = "; ".join(said)[:_MOST_REASON] or (os.strerror(number) if number else "no reason given")
        if number == errno.EPERM:
            remedy = "run it as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
        return SensorUnavailable(f"{what}: {why}", remedy)

    def programs(self) -> Iterator[tuple[str, int]]:
        """Yield names and handles of the programs."""
        program = None
        while program := self._libbpf.bpf_object__next_program(self._object, program):
            yield self._libbpf.bpf_program__name(program).decode("ascii"), program

    def keep(self, names: Collection[str]) -> None:
        """Load these programs and no others."""
        for name, program in self.programs():
            self._libbpf.bpf_program__set_autoload(program, name in names)

    def resize(self, name: str, entries: int) -> None:
        """Set the size of a map before it is loaded."""
        if self._libbpf.bpf_map__set_max_entries(self._map(name), entries):
            raise self._unavailable(f"the map {name} can't have {entries} entries", "choose another size")

    def set_constants(self, data: bytes) -> None:
        """Set all constants of the programs (``.rodata``) before they are loaded."""
        if self._libbpf.bpf_map__set_initial_value(self._map(".rodata"), data, len(data)):
            raise self._unavailable("the programs' constants can't be set", "install outwatch anew")

    def load(self) -> None:
        """Load maps and programs into the kernel; ``SensorUnavailable`` if it refuses."""
        ctypes.set_errno(0)
        if self._libbpf.bpf_object__load(self._object):
            raise self._unavailable("the kernel does not take the BPF programs", "use Linux 5.11 or later, or --sensor sock_diag")

    def attach(self, name: str, cgroup: int | None = None) -> None:
        """Attach a program to the hook in its name, or to a cgroup's folder (a descriptor)."""
        program = dict(self.programs())[name]
        ctypes.set_errno(0)
        link = self._libbpf.bpf_program__attach(program) if cgroup is None else self._libbpf.bpf_program__attach_cgroup(program, cgroup)
        if not link:
            raise self._unavailable(f"the BPF program {name} can't be attached", "see outwatch doctor")
        self._links.append(link)

    def iterator(self, name: str, over: str | None = None) -> int:
        """Attach an iterator, over a map if one is named, and give what ``read`` needs to run it."""
        options, wanted = None, None
        if over is not None:
            options = _MapOption(self.map_descriptor(over))
            wanted = _IteratorOptions(ctypes.sizeof(_IteratorOptions), ctypes.addressof(options), ctypes.sizeof(options))
        ctypes.set_errno(0)
        link = self._libbpf.bpf_program__attach_iter(dict(self.programs())[name], byref(wanted) if wanted is not None else None)
        if not link:
            raise self._unavailable(f"the BPF iterator {name} can't be attached", "see outwatch doctor")
        self._links.append(link)
        return int(link)

    def read(self, iterator: int, most: int) -> Iterator[bytes]:
        """Run an iterator and yield what it writes, at most so many bytes at a time."""
        descriptor = self._libbpf.bpf_iter_create(self._libbpf.bpf_link__fd(iterator))
        if descriptor < 0:
            return
        try:
            while piece := os.read(descriptor, most):
                yield piece
        finally:
            os.close(descriptor)

    def _map(self, name: str) -> int:
        found: int | None = self._libbpf.bpf_object__find_map_by_name(self._object, name.encode("ascii"))
        if found is None:
            raise SensorUnavailable(f"the BPF object has no map {name}", "install outwatch anew")
        return found

    def map_descriptor(self, name: str) -> int:
        """Give the descriptor of a loaded map."""
        return int(self._libbpf.bpf_map__fd(self._map(name)))

    def per_cpu(self, name: str, key: int, size: int) -> list[bytes]:
        """Read one entry of a map that has a value for each processor: a value of ``size`` bytes (a multiple of 8) for each."""
        processors = self._libbpf.libbpf_num_possible_cpus()
        values = ctypes.create_string_buffer(size * processors)
        number = c_uint32(key)
        if self._libbpf.bpf_map_lookup_elem(self.map_descriptor(name), byref(number), values):
            return []
        return [values.raw[at : at + size] for at in range(0, len(values), size)]

    def misses(self, name: str) -> int:
        """Count how often the kernel did not enter a program because it ran already on that processor (told since Linux 5.12)."""
        info, length = ctypes.create_string_buffer(_INFO), c_uint32(_INFO)
        if self._libbpf.bpf_obj_get_info_by_fd(self._libbpf.bpf_program__fd(dict(self.programs())[name]), info, byref(length)):
            return 0
        return int.from_bytes(info.raw[_MISSES_AT:_INFO], sys.byteorder) if length.value >= _INFO else 0

    def update(self, name: str, key: bytes, value: bytes) -> None:
        """Set an entry of a map."""
        buffers = [ctypes.create_string_buffer(data, len(data)) for data in (key, value)]
        self._libbpf.bpf_map_update_elem(self.map_descriptor(name), *buffers, 0)

    def delete(self, name: str, key: bytes) -> None:
        """Delete an entry of a map, if it is there."""
        self._libbpf.bpf_map_delete_elem(self.map_descriptor(name), ctypes.create_string_buffer(key, len(key)))

    def ring(self, name: str, taken: Callable[[bytes], None]) -> "Ring":
        """Open a ring; ``taken`` gets each record."""
        return Ring(self._libbpf, self.map_descriptor(name), taken)

    def close(self) -> None:
        """Detach and unload everything."""
        while self._links:
            self._libbpf.bpf_link__destroy(self._links.pop())
        if self._object:
            self._libbpf.bpf_object__close(self._object)
            self._object = None


class Ring:
    """A ring buffer that the kernel writes records to."""

    def __init__(self, libbpf: Any, descriptor: int, taken: Callable[[bytes], None]) -> None:
        """Open it; each record is copied and given to ``taken`` while ``poll`` runs."""
        self._libbpf = libbpf

        def sample(_context: int, data: int, size: int) -> int:
            taken(ctypes.string_at(data, size))
            return 0

        self._sample = Sample(sample)  # must live as long as the ring
        self._ring = libbpf.ring_buffer__new(descriptor, self._sample, None, None)
        if not self._ring:
            raise SensorUnavailable("the ring can't be opened", "see outwatch doctor")

    def poll(self, milliseconds: int) -> None:
        """Wait at most so long for the kernel's wake-up, then take everything that is there."""
        self._libbpf.ring_buffer__poll(self._ring, milliseconds)
        self._libbpf.ring_buffer__consume(self._ring)

    def close(self) -> None:
        """Close it."""
        if self._ring:
            self._libbpf.ring_buffer__free(self._ring)
            self._ring = None
