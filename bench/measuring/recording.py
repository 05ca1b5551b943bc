"""Recorded connections that never happened, of the size and variety of real ones.

Addresses come from ranges that lead nowhere: 198.18.0.0/15 (RFC 2544, kept for benchmarks) and 2001:db8::/32 (RFC 3849, documentation).
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from ipaddress import IPv4Address, IPv6Address

import msgspec

from outwatch.model import wire
from outwatch.model.records import (
    Boot,
    Connection,
    Destination,
    Event,
    Findings,
    Hash,
    Host,
    Name,
    Network,
    Process,
    Source,
    User,
)

_HOST = Host(name="workstation", id="5d41402abc4b2a76b9719d911017c592", boot=Boot(id="0d9b3f6e-5a0b-4a43-9f0e-8a3c6c1d2e4f"))
_BEGAN = datetime(2025, 7, 10, 17, 42, 1, 250001, UTC)
_V4, _V6 = int(IPv4Address("198.18.0.0")), int(IPv6Address("2001:db8::"))
_PROGRAMS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("/usr/lib/firefox/firefox", ("-contentproc", "-childID", "7", "tab")),
    ("/usr/bin/curl", ("-fsSL", "https://mirror.example/packages/index.json")),
    ("/usr/bin/python3.11", ("-m", "pip", "install", "requests")),
    ("/usr/lib/thunderbird/thunderbird", ("--headless",)),
    ("/opt/sync/bin/syncd", ("--config", "/etc/syncd.toml")),
    ("/home/alice/.cache/updater/run", ("--daemon",)),
    ("/tmp/build-7f3a/agent", ("--connect", "relay.example:8443")),
)
_WEIGHTS = (40, 15, 20, 10, 13, 1, 1)
_STEP = 1_037  # microseconds between records


def lines(count: int, destinations: int, seed: int = 2) -> list[bytes]:
    """Give JSON lines of connections that all differ, by a tenth as many processes as destinations.

    With as many destinations as connections each has its own; with fewer, some are called much more often than others.
    """
    chance = random.Random(seed)
    processes = [_process(number, chance) for number in range(max(1, destinations // 10))]
    each_its_own = destinations >= count
    return [
        wire.encode(_connection(number, number if each_its_own else int(destinations * chance.random() ** 2), processes, chance))
        for number in range(count)
    ]


def _connection(number: int, place: int, processes: Sequence[Process], chance: random.Random) -> Connection:
    start = _BEGAN + timedelta(microseconds=number * _STEP)
    domain = _domain(place)
    return Connection(
        id=_digits("connection", number, 8),
        revision=1,
        timestamp=start,
        event=Event(action="connect", start=start),
        host=_HOST,
        network=Network(transport="tcp", direction="egress", scope="unclassified" if _is_v6(place) else "private"),
        source=Source(ip="198.19.255.7", port=32_768 + number % 28_232, bytes=chance.randrange(200, 90_000)),
        destination=Destination(ip=_address(place), port=443, bytes=chance.randrange(500, 900_000), domain=domain),
        process=chance.choice(processes),
        user=User(id="1000", name="alice"),
        outwatch=Findings(
            sensor="polling", attribution="inferred", names=(Name(name=domain, origin="dns", confirmed=True),), verdict="normal", score=0
        ),
    )


def _address(place: int) -> str:
    return str(IPv6Address(_V6 + (place << 16) + 1) if _is_v6(place) else IPv4Address(_V4 + place))


def _is_v6(place: int) -> bool:
    return place % 4 == 0


def _domain(place: int) -> str:
    """Give a name; one of fifty lies below a top-level domain that the shipped patterns distrust."""
    if place % 50 == 0:
        return f"n{place}.example.top"
    return f"n{place}.edge.{('service', 'mirror', 'mail')[place % 3]}.example"


def _process(number: int, chance: random.Random) -> Process:
    ((executable, args),) = chance.choices(_PROGRAMS, _WEIGHTS)
    start = _BEGAN - timedelta(seconds=chance.randrange(10, 90_000), microseconds=number % 900)
    shell = _one(number + 2_000_000, "/usr/bin/bash", ("-l",), start - timedelta(seconds=3), _INIT)
    return msgspec.structs.replace(
        _one(number, executable, args, start, shell),
        hash=Hash(sha256=sha256(b"%d" % number).hexdigest()),
        working_directory="/home/alice",
    )


def _one(pid: int, executable: str, args: tuple[str, ...], start: datetime, parent: Process | None) -> Process:
    return Process(
        pid=1_000 + pid,
        name=executable.rpartition("/")[2],
        executable=executable,
        args=(executable, *args),
        start=start,
        entity_id=_digits(executable, pid, 10),
        parent=parent,
    )


def _digits(kind: str, number: int, size: int) -> str:
    return blake2b(f"{kind} {number}".encode(), digest_size=size).hexdigest()


_INIT = _one(-999, "/usr/lib/systemd/systemd", (), _BEGAN - timedelta(days=3), None)
