"""A name server that takes its time: every answer comes after 50 ms, and one address in ten gets none.

Run as a program it serves 127.0.0.1:53 until its standard input ends, which also happens when its parent dies. It gives the address
a.b.c.d the name ``host-a-b-c-d.bench.example``, and that name the address.
"""

import contextlib
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator

ADDRESS, LATENCY, MUTE = "127.0.0.1", 0.05, 10
_PTR, _A = 12, 1
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!3HIH")
_LEADS_TO_QUESTION = 0xC00C


def name(address: str) -> str:
    """Give the name that an address has here."""
    return f"host-{address.replace('.', '-')}.bench.example"


def answers(address: str) -> bool:
    """Tell whether the server says anything about an address."""
    return int(address.rpartition(".")[2]) % MUTE != 0


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """Run the server in a process of its own."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        stack.callback(server.kill)  # runs before Popen's own exit, which then only waits
        if server.stdout is None or server.stdout.readline() != b"ready\n":
            raise RuntimeError("the name server could not start")
        yield


def _reply(query: bytes) -> bytes | None:
    """Answer a question, with nothing for kinds of records that nobody has here."""
    labels, at = [], _HEADER.size
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    data = b""
    if kind == _PTR:
        address = ".".join(reversed(labels[:4]))
        if not answers(address):
            return None
        data = b"".join(bytes([len(label)]) + label.encode() for label in name(address).split(".")) + b"\0"
    elif kind == _A:
        data = socket.inet_aton(".".join(labels[0].split("-")[1:]))
    header = _HEADER.pack(int.from_bytes(query[:2], "big"), 0x8180, 1, bool(data), 0, 0)
    record = _RECORD.pack(_LEADS_TO_QUESTION, kind, 1, 60, len(data)) + data if data else b""
    return header + query[_HEADER.size : at + 5] + record


def _serve() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    server.bind((ADDRESS, 53))
    server.setblocking(False)  # noqa: FBT003 - the only way to say it
    events = selectors.DefaultSelector()
    events.register(server, selectors.EVENT_READ)
    events.register(sys.stdin, selectors.EVENT_READ, "end")
    print("ready", flush=True)
    due: deque[tuple[float, bytes, tuple[str, int]]] = deque()  # all wait equally long, so the first in is the first out
    while True:
        ready = events.select(max(0.0, due[0][0] - time.monotonic()) if due else None)
        if any(key.data == "end" for key, _ in ready):
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                query, asker = server.recvfrom(4096)
                reply = _reply(query)
                if reply is not None:
                    due.append((time.monotonic() + LATENCY, reply, asker))
        while due and due[0][0] <= time.monotonic():
            _, reply, asker = due.popleft()
            with contextlib.suppress(OSError):  # the asker may have given up
                server.sendto(reply, asker)


if __name__ == "__main__":
    _serve()
