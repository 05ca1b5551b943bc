"""Real connections on loopback, held open by processes of our own while something is measured.

Run as a program with a number it is such a process: it opens that many connections to itself and keeps them until its standard input
ends, which also happens when its parent dies.
"""

import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: end with a reset, so that nothing is left in TIME_WAIT


@contextlib.contextmanager
def held(connections: int, processes: int) -> Iterator[Sequence[int]]:
    """Hold connections (two sockets each), spread evenly over child processes; gives the children's pids."""
    share, rest = divmod(connections, processes)
    with contextlib.ExitStack() as stack:
        children = []
        for number in range(processes):
            command = [sys.executable, __file__, str(share + (number < rest))]
            child = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(child.kill)  # runs before Popen's own exit, which then only waits
            children.append(child)
        for child in children:
            if child.stdout is None or child.stdout.readline() != b"ready\n":
                raise RuntimeError(f"process {child.pid} could not open its connections")
        yield [child.pid for child in children]


def _hold(connections: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ends = []
    for _ in range(connections):
        caller = socket.create_connection(listener.getsockname())
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        answerer, _address = listener.accept()
        answerer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        ends += [caller, answerer]
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _hold(int(sys.argv[1]))
