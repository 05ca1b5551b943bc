"""Recorded connections that never happened, of the size and variety of real ones.

Addresses come from ranges that lead nowhere: 198.18.0.0/15 (RFC 2544, kept for benchmarks) and 2001:db8::/32 (RFC 3849, documentation).
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b, sha256
from ipaddress import IPv4Address, IPv6Address

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
    ("/usr/lib/firefox/firefox", ("-contentproc", "-childID", "7", "-isForBrowser", "-prefsLen", "31245", "tab")),
    ("/usr/bin/curl", ("-fsSL", "--retry", "3", "https://mirror.example/packages/index.json", "-o", "index.json")),
    ("/usr/bin/python3.11", ("-m", "pip", "install", "--upgrade", "--quiet", "-r", "requirements.txt")),
    ("/usr/lib/thunderbird/thunderbird", ("--headless",)),
    ("/opt/sync/bin/syncd", ("--config", "/etc/syncd/syncd.toml", "--log-level", "info")),
    ("/home/alice/.cache/updater/run", ("--daemon",)),
    ("/tmp/build-7f3a/agent", ("--connect", "relay.example:8443")),
)
_WEIGHTS = (40, 15, 20, 10, 13, 1, 1)
_MICROSECOND_STEP = 1_037  # no two records of a recording share their time


def lines(count: int, destinations: int, seed: int = 2) -> list[bytes]:
    """Give JSON lines of connections that all differ, to that many destinations, by a tenth as many processes."""
    chance = random.Random(seed)
    processes = [_process(number, chance) for number in range(max(1, min(count, destinations) // 10))]
    return [wire.encode(_connection(number, destinations, processes, chance)) for number in range(count)]


def _connection(number: int, destinations: int, processes: Sequence[Process], chance: random.Random) -> Connection:
    at = number if destinations >= count_limit(number) else int(destinations * chance.random() ** 2)
    ip = str(IPv6Address(_V6 + (at << 16) + 1) if at % 4 == 0 else IPv4Address(_V4 + at))
    domain = f"n{at}.{'edge' if at % 50 else 'cdn'}.{('service.example', 'mirror.example', 'mail.example')[at % 3]}"
    if at % 50 == 0:
        domain = f"n{at}.example.top"
    start = _BEGAN + timedelta(microseconds=number * _MICROSECOND_STEP)
    return Connection(
        id=blake2b(b"%d" % number, digest_size=8).hexdigest(),
        revision=1,
        timestamp=start,
        event=Event(action="connect", start=start),
        host=_HOST,
        network=Network(transport="tcp", direction="egress", scope="public"),
        source=Source(ip="198.19.255.7", port=32_768 + number % 28_232, bytes=chance.randrange(200, 90_000)),
        destination=Destination(ip=ip, port=443, bytes=chance.randrange(500, 900_000), domain=domain),
        process=processes[chance.randrange(len(processes))],
        user=User(id="1000", name="alice"),
        outwatch=Findings(
            sensor="polling", attribution="inferred", names=(Name(name=domain, origin="dns", confirmed=True),), verdict="normal", score=0
        ),
    )
