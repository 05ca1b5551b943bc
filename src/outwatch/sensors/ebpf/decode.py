"""Records of the ring (``event.h``) into values. What is no record, or cut off, is ``None``: a length is never believed."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

OPEN, STATE, CLOSE, EXEC, FORK, EXIT, TOTAL, SHARE, BURST, NAME, GROUP = range(1, 12)
"""Kinds of records."""

KINDS = 12
"""How many kinds there are; 0 counts what a map refused."""

INGRESS, FAILED, KERNEL, EXISTING, LISTENS = 1, 2, 4, 8, 16
"""Flags of a flow."""

_FLOWS = frozenset({OPEN, STATE, CLOSE, TOTAL, SHARE})
_BEGINS = frozenset({bytes([OPEN]), bytes([STATE])})
_OVER, _ANOTHER = bytes([CLOSE]), bytes([EXEC])
_NEW = frozenset({bytes([FORK]), bytes([EXEC]), bytes([GROUP])})
_TCP = (6).to_bytes(2, "little")
_HEAD = struct.Struct("<HBBIQ")
_FLOW = struct.Struct("<2xBB4xQ6Q3I6H16s16s16s")  # without the size and the processor
_LIFE = struct.Struct("<HBBIQ2Q2I")
_NAME = struct.Struct("<HBBIQ2Q4I6HI16s16s")
_PROGRAM = struct.Struct("<HBBIQ4Q6IBBHHBB16s")
_GROUP = struct.Struct("<HBBIQQ")
_SLOTS, _FOLDER_SLOTS, _SLOT = 16, 8, 64
_FOLDER_AT = _PROGRAM.size + _SLOTS * _SLOT
_ARGS_AT = _FOLDER_AT + _FOLDER_SLOTS * _SLOT
_MOST_ARGS = 1024
_COUNT = struct.Struct("<Q")
FLOW_SIZE, PROGRAM_SIZE, BURST_SIZE = _FLOW.size, _ARGS_AT, _FLOW.size + _COUNT.size
"""Bytes of a flow, of a program without its arguments, and of a burst: iterators write one after another."""

_KIND, _ID, _PID, _PROTOCOL, _PROGRAM_PID = slice(2, 3), slice(16, 24), slice(64, 68), slice(78, 80), slice(48, 52)


class Flow(NamedTuple):
    """What happened to a connection. Times in nanoseconds of the boot clock; ``pid`` 0: nobody's; addresses in network order."""

    kind: int
    flags: int
    time: int
    id: int
    socket: int
    sent: int
    received: int
    start: int
    cgroup: int
    pid: int
    uid: int
    netns: int
    family: int
    protocol: int
    local_port: int
    remote_port: int
    error: int
    type: int
    local: bytes
    remote: bytes
    comm: bytes


_made = partial(tuple.__new__, Flow)  # as Flow._make, which counts the fields each time


class Life(NamedTuple):
    """A process began (``FORK``: ``pid`` is the child) or ended (``EXIT``)."""

    kind: int
    time: int
    start: int
    parent_start: int
    pid: int
    parent: int


ANSWER, STREAM, CLIENT, QUIC = range(1, 5)
"""What stands in bytes with a name: a name server's answer (datagram, TCP), what a client says first (TCP, QUIC)."""


class Naming(NamedTuple):
    """Bytes in which a name may stand; ``sequence`` is that of the first one, ``began`` that of the first of its side (TCP)."""

    time: int
    id: int
    start: int
    pid: int
    uid: int
    netns: int
    sequence: int
    family: int
    protocol: int
    local_port: int
    remote_port: int
    what: int
    began: int
    remote: bytes
    data: bytes


class Program(NamedTuple):
    """A process runs another program. ``path`` ends where the kernel's walk did: with ``cut`` its beginning is missing.

    ``folder`` is the one that it works in; empty if that is not known whole.
    """

    time: int
    start: int
    parent_start: int
    cgroup: int
    inode: int
    pid: int
    parent: int
    uid: int
    mntns: int
    device: int
    links: int
    comm: bytes
    path: bytes
    cut: bool
    folder: bytes
    args: tuple[bytes, ...]
    args_cut: bool


class Group(NamedTuple):
    """A group of processes was made; ``path`` is that of its cgroup (version 2), ``id`` is what flows have of it."""

    id: int
    path: bytes


def decode(data: bytes) -> Flow | Life | Program | Naming | Group | None:
    """Read one record."""
    if len(data) < _HEAD.size:
        return None
    if int.from_bytes(data[:2], "little") != len(data):
        return None
    kind = data[2]
    if kind in _FLOWS:
        return flow(data)
    read = _READERS.get(kind)
    return read(data) if read else None


def flow(data: bytes) -> Flow | None:
    """Read a flow."""
    return _made(_FLOW.unpack(data)) if len(data) == FLOW_SIZE else None


def flows(data: bytes) -> Iterator[Flow]:
    """Read flows that stand one after another, and nothing else."""
    return map(_made, _FLOW.iter_unpack(data))


def burst(data: bytes) -> tuple[Flow, int] | None:
    """Read connections that were counted together, and how many they are."""
    known = flow(data[:FLOW_SIZE])
    return (known, _COUNT.unpack_from(data, FLOW_SIZE)[0]) if known is not None and len(data) == BURST_SIZE else None


def needed(records: list[bytes]) -> list[bytes]:
    """Leave out what was said of TCP connections whose end is told in the same breath: the end repeats it.

    Not of processes that ran another program meanwhile: who they were is asked when a connection is first told.
    """
    over = {data[_ID] for data in records if data[_KIND] == _OVER}
    if not over:
        return records
    changed = {data[_PROGRAM_PID] for data in records if data[_KIND] == _ANOTHER}
    return [
        data for data in records if data[_KIND] not in _BEGINS or data[_ID] not in over or data[_PROTOCOL] != _TCP or data[_PID] in changed
    ]


def beginnings(records: list[bytes]) -> list[bytes]:
    """Leave out all but new processes, what they run, and new groups."""
    return [data for data in records if data[_KIND] in _NEW]


def _life(data: bytes) -> Life | None:
    if len(data) != _LIFE.size:
        return None
    _size, kind, _flags, _cpu, time, start, parent_start, pid, parent = _LIFE.unpack(data)
    return Life(kind, time, start, parent_start, pid, parent)


def _naming(data: bytes) -> Naming | None:
    if len(data) < _NAME.size:
        return None
    (_size, _kind, _flags, _cpu, time, identity, start, pid, uid, netns, sequence,
     family, protocol, local_port, remote_port, size, what, began, _local, remote) = _NAME.unpack_from(data)  # fmt: skip
    said = data[_NAME.size : _NAME.size + size]
    if len(said) != size:
        return None
    return Naming(time, identity, start, pid, uid, netns, sequence, family, protocol, local_port, remote_port, what, began, remote, said)


def _group(data: bytes) -> Group | None:
    if len(data) <= _GROUP.size:
        return None
    return Group(_GROUP.unpack_from(data)[5], data[_GROUP.size :].partition(b"\0")[0])


def _path(data: bytes, at: int, slots: int) -> tuple[bytes, bool]:
    """Put a path together from its components, the last one first; tell whether a component was longer than its place."""
    names = [data[start : start + _SLOT].partition(b"\0")[0] for start in range(at, at + slots * _SLOT, _SLOT)]
    return b"/" + b"/".join(reversed(names)), any(len(name) == _SLOT - 1 for name in names)


def _program(data: bytes) -> Program | None:
    if len(data) < _ARGS_AT:
        return None
    (_size, _kind, _flags, _cpu, time, start, parent_start, cgroup, inode,
     pid, parent, uid, mntns, device, links, folder_slots, folder_more, _unused,
     args_size, slots, more, comm) = _PROGRAM.unpack_from(data)  # fmt: skip
    if slots > _SLOTS or folder_slots > _FOLDER_SLOTS or args_size != len(data) - _ARGS_AT:
        return None
    path, cut = _path(data, _PROGRAM.size, slots)
    folder, folder_cut = _path(data, _FOLDER_AT, folder_slots)
    raw = data[_ARGS_AT:]
    args = tuple(raw.removesuffix(b"\0").split(b"\0")) if raw else ()
    return Program(
        time, start, parent_start, cgroup, inode, pid, parent, uid, mntns, device, links,
        comm=comm.partition(b"\0")[0],
        path=path,
        cut=bool(more) or cut,
        folder=b"" if folder_more or folder_cut else folder,
        args=args,
        args_cut=args_size == _MOST_ARGS,
    )  # fmt: skip


_READERS: dict[int, Callable[[bytes], Life | Program | Naming | Group | None]] = {
    FORK: _life, EXIT: _life, NAME: _naming, GROUP: _group, EXEC: _program,
}  # fmt: skip
