"""Traffic of every kind, counted by the one who makes it: ``calls.py KIND [ADDRESS]`` prints its flows as JSON.

A flow: ``pids`` of those who use it, ``transport``, ``own`` port, ``ip`` and ``port`` of the other end, and the application's bytes
``sent`` and ``received`` (of AF_PACKET whole frames, of ICMP with its header, as the caller hands them over). Exit code 2: the kernel lacks
it. The other end is ``answer.c``. Nothing but the standard library is needed.
"""

import json
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

Flow = dict[str, object]

TCP, OTHER_TCP, CLOSED = 8443, 8444, 1
AT_ONCE, RESET = 1, 2
MPTCP, UDP_SEGMENT, SOL_PACKET, QDISC_BYPASS = 262, 103, 263, 20
SILENT, SERVER_V6 = "203.0.113.99", "2001:db8:51::2"
_PIECE = 65_536
_NOW = struct.pack("ii", 1, 0)  # SO_LINGER: end with a reset


def header(up: int, down: int, flags: int = 0) -> bytes:
    return struct.pack("!III", up, down, flags)


def flow(one: socket.socket | None, to: tuple[str, int], sent: int, received: int, **more: object) -> Flow:
    own = one.getsockname()[1] if one is not None and one.type in {socket.SOCK_STREAM, socket.SOCK_DGRAM} else None
    kind = {socket.SOCK_DGRAM: "udp"}.get(one.type, "tcp") if one is not None else "tcp"
    return {"pids": [os.getpid()], "transport": kind, "own": own, "ip": to[0], "port": to[1], "sent": sent, "received": received, **more}


def give(one: socket.socket, size: int) -> int:
    """Send that many bytes; gives how many."""
    data, count = bytes(_PIECE), 0
    while count < size:
        count += one.send(data[: size - count])
    return count


def take(one: socket.socket, size: int) -> int:
    """Receive that many bytes; gives how many came."""
    count = 0
    while count < size:
        some = len(one.recv(min(_PIECE, size - count)))
        if not some:
            break
        count += some
    return count


def connected(address: str, port: int = TCP, protocol: int = 0) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, protocol)
    one.connect((address, port))
    return one


def talk(address: str, up: int, down: int, port: int = TCP, protocol: int = 0) -> list[Flow]:
    with connected(address, port, protocol) as one:
        sent = one.send(header(up, down)) + give(one, up)
        return [flow(one, (address, port), sent, take(one, down))]


def duplex(address: str) -> list[Flow]:
    size, sent, received = 5_000_000, 0, 0
    with connected(address) as one:
        sent = one.send(header(size, size, AT_ONCE))
        while sent < size + 12 or received < size:
            if sent < size + 12:
                sent += give(one, min(_PIECE, size + 12 - sent))
            received += take(one, min(_PIECE, size - received))
        return [flow(one, (address, TCP), sent, received)]


def drip(address: str) -> list[Flow]:
    """Send ten bytes every 60 ms, for three seconds."""
    with connected(address) as one:
        sent = one.send(header(500, 7))
        for _ in range(50):
            sent += give(one, 10)
            time.sleep(0.06)
        return [flow(one, (address, TCP), sent, take(one, 7))]


def small(address: str) -> list[Flow]:
    return [flow for number in range(2_000) for flow in talk(address, number % 100, number % 37)]


def attempt(address: str, port: int, patience: int = 0) -> list[Flow]:
    """Try to connect where that must fail; ``patience`` in milliseconds."""
    with socket.socket() as one:
        if patience:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        if not one.connect_ex((address, port)):
            raise RuntimeError("somebody answered")
        return [flow(one, (address, port), 0, 0)]


def reset(address: str) -> list[Flow]:
    """Be reset by the other end, and reset one."""
    flows = []
    with connected(address) as one:
        sent = one.send(header(3_000, 0, RESET)) + give(one, 3_000)
        flows.append(flow(one, (address, TCP), sent, 0))
        try:
            one.recv(1)
        except ConnectionResetError:
            pass
        else:
            raise RuntimeError("not reset")
    with connected(address) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        sent = one.send(header(2_000, 50)) + give(one, 2_000)
        flows.append(flow(one, (address, TCP), sent, take(one, 50)))
    return flows


def sendfile(address: str) -> list[Flow]:
    size, sent = 8_000_000, 0
    with tempfile.TemporaryFile() as file, connected(address) as one:
        file.truncate(size)
        first = one.send(header(size, 5))
        while sent < size:
            sent += os.sendfile(one.fileno(), file.fileno(), sent, size - sent)
        return [flow(one, (address, TCP), first + sent, take(one, 5))]


def splice(address: str) -> list[Flow]:
    size, sent, received = 3_000_000, 0, 0
    out, into = os.pipe()
    with open("/dev/null", "wb") as nowhere, open("/dev/zero", "rb") as zeros, connected(address) as one:
        first = one.send(header(size, size))
        while sent < size:
            count = os.write(into, zeros.read(min(_PIECE, size - sent)))
            while count:
                some = os.splice(out, one.fileno(), count)
                count, sent = count - some, sent + some
        while received < size:
            count = os.splice(one.fileno(), into, min(_PIECE, size - received))
            received += count
            while count:
                count -= os.splice(out, nowhere.fileno(), count)
        return [flow(one, (address, TCP), first + sent, received)]


def fast_open(address: str) -> list[Flow]:
    """Send with the SYN; the first call only brings the cookie for the second."""
    flows = []
    for _ in range(2):
        with socket.socket() as one:
            said = header(900, 11) + bytes(900)
            sent = one.sendto(said, socket.MSG_FASTOPEN, (address, TCP))
            sent += give(one, len(said) - sent)
            flows.append(flow(one, (address, TCP), sent, take(one, 11)))
    return flows


def datagrams(address: str, port: int, sizes: Iterable[int], *, connect: bool = True, segment: int = 0) -> list[Flow]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sent = received = 0
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        if segment:
            one.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
        if connect:
            one.connect((address, port))
        for size in sizes:
            sent += one.send(bytes(size)) if connect else one.sendto(bytes(size), (address, port))
            while received < sent:
                received += len(one.recv(_PIECE))
        return [flow(one, (address, port), sent, received)]


def two_peers(address: str) -> list[Flow]:
    """One unconnected socket that talks with two others in turn."""
    counts = {9001: [0, 0], 9002: [0, 0]}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(5)
        for number in range(200):
            port = 9001 + number % 2
            counts[port][0] += one.sendto(bytes(10 + number), (address, port))
            data, who = one.recvfrom(_PIECE)
            counts[who[1]][1] += len(data)
        return [flow(one, (address, port), *both) for port, both in counts.items()]


def ping(address: str, kind: int) -> list[Flow]:
    said = struct.pack("!BBHHH", 8, 0, 0, 77, 1) + b"e" * 48
    words = struct.unpack(f"!{len(said) // 2}H", said)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    said = said[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + said[4:]
    head = 20 if kind == socket.SOCK_RAW else 0  # the IP header, which only a raw socket gets to see
    sent = received = 0
    if kind == socket.SOCK_DGRAM:
        with open("/proc/sys/net/ipv4/ping_group_range", "w", encoding="ascii") as allowed:
            allowed.write("0 0")
    with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as one:
        one.settimeout(5)
        for _ in range(5):
            sent += one.sendto(said, (address, 0))
            received += len(one.recv(4096)) - head
        return [flow(None, (address, 0), sent, received, transport="icmp")]


def raw(address: str) -> list[Flow]:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 253) as one:
        sent = sum(one.sendto(bytes(size), (address, 0)) for size in (20, 300, 1_400))
        return [flow(None, (address, 0), sent, 0, transport="raw:253")]


def frames(*, bypass: bool) -> list[Flow]:
    """Send frames of an experimental protocol to everybody on the cable."""
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + struct.pack("!H", 0x88B5)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as one:
        one.bind(("cable", 0))
        one.setsockopt(SOL_PACKET, QDISC_BYPASS, int(bypass))
        sent = sum(one.send(frame + bytes(size)) for size in (46, 500, 1_400))
        return [flow(None, ("", 0), sent, 0, transport="packet")]


def passed(address: str) -> list[Flow]:
    """Connect and say a little, then let another process, which was there before, do the rest."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        ours.close()
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        with socket.socket(fileno=fds[0]) as one:
            theirs.sendall(struct.pack("!II", give(one, 5_000), take(one, 700)))
        os._exit(0)
    theirs.close()
    with connected(address) as one:
        sent = one.send(header(6_000, 700)) + give(one, 1_000)
        told = flow(one, (address, TCP), sent, 0)
        socket.send_fds(ours, [b"x"], [one.fileno()])
    more, received = struct.unpack("!II", ours.recv(8))
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("the other process failed")
    return [told | {"pids": [os.getpid(), child], "sent": sent + more, "received": received}]


def inherited(address: str) -> list[Flow]:
    """Connect and say a little, let a child say more, and say the last word oneself."""
    with connected(address) as one:
        sent = one.send(header(6_010, 700)) + give(one, 1_000)
        child = os.fork()
        if not child:
            give(one, 5_000)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise RuntimeError("the child failed")
        sent += 5_000 + give(one, 10)
        return [flow(one, (address, TCP), sent, take(one, 700)) | {"pids": [os.getpid(), child]}]


KINDS: dict[str, Callable[[str], list[Flow]]] = {
    "upload": lambda to: talk(to, 20_000_000, 1),
    "download": lambda to: talk(to, 1, 20_000_000),
    "duplex": duplex,
    "ipv6": lambda _to: talk(SERVER_V6, 300_000, 200_000),
    "call": lambda to: talk(to, 300_000, 200_000),
    "drip": drip,
    "small": small,
    "refused": lambda to: attempt(to, CLOSED),
    "unanswered": lambda _to: attempt(SILENT, 443, patience=1_200),
    "reset": reset,
    "sendfile": sendfile,
    "splice": splice,
    "mptcp": lambda to: talk(to, 400_000, 300_000, OTHER_TCP, MPTCP),
    "fast-open": fast_open,
    "udp-connected": lambda to: datagrams(to, 9001, range(1, 1_400, 7)),
    "udp-unconnected": two_peers,
    "udp-ipv6": lambda _to: datagrams(SERVER_V6, 9001, range(1, 1_400, 7)),
    "udp-443": lambda to: datagrams(to, 443, [1_200] * 50),
    "udp-53": lambda to: datagrams(to, 53, [40] * 20, connect=False),
    "udp-fragments": lambda to: datagrams(to, 9001, [5_000, 20_000, 60_000]),
    "udp-gso": lambda to: datagrams(to, 9001, [10_000, 20_500, 999], segment=1_000),
    "icmp-datagram": lambda to: ping(to, socket.SOCK_DGRAM),
    "icmp-raw": lambda to: ping(to, socket.SOCK_RAW),
    "raw-253": raw,
    "packet": lambda _to: frames(bypass=False),
    "packet-bypass": lambda _to: frames(bypass=True),
    "passed": passed,
    "inherited": inherited,
}


def probe(address: str) -> None:
    """Open a connection for each line of standard input, after the last one was closed; tell its port."""
    for _line in sys.stdin:
        with connected(address) as one:
            print(one.getsockname()[1], flush=True)
            sys.stdin.readline()


def main() -> int:
    kind, address = sys.argv[1:]
    if kind == "probe":
        probe(address)
        return 0
    try:
        print(json.dumps(KINDS[kind](address)))
    except OSError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, PermissionError) or error.errno in {92, 93, 94} else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
