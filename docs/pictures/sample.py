"""A made-up machine of documentation addresses, for the pictures of the documentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Literal

from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Destination,
    Event,
    Findings,
    Geo,
    Hash,
    Host,
    Listed,
    Name,
    Network,
    Organization,
    Process,
    Reputation,
    Source,
    Unknown,
    User,
)  # fmt: skip

State = Literal["malicious", "suspicious", "clean"]
_QUOTA = "quota: 4 a minute, free again at 09:28"
_BEGAN = datetime(2026, 3, 14, 9, 26, 53, 589793, UTC)
_HOST = Host(name="workstation", id="5f1c0d5e6a7b4c3d9e8f70615243a4b5")
_INIT = Process(pid=1, name="systemd", executable="/usr/lib/systemd/systemd")
_DESKTOP = Process(pid=1874, name="gnome-shell", executable="/usr/bin/gnome-shell", parent=_INIT)
_SHELL = Process(pid=2914, name="bash", executable="/usr/bin/bash", parent=_DESKTOP)
_CRON = Process(pid=811, name="cron", executable="/usr/sbin/cron", parent=_INIT)


@dataclass(frozen=True)
class _Program:
    """A program that has connections."""

    pid: int
    path: str
    user: str
    parent: Process
    args: str = ""

    def process(self) -> Process:
        name = self.path.rpartition("/")[2]
        return Process(
            pid=self.pid,
            name=name,
            executable=self.path,
            args=(name, *self.args.split()),
            entity_id=sha256(f"{self.pid}".encode()).hexdigest()[:20],
            hash=Hash(sha256=sha256(self.path.encode()).hexdigest()),
            parent=self.parent,
        )


_BROWSER = _Program(3120, "/usr/lib/firefox/firefox", "alice", _DESKTOP)
_MAIL = _Program(3307, "/usr/bin/thunderbird", "alice", _DESKTOP)
_CURL = _Program(4410, "/usr/bin/curl", "alice", _SHELL, "-sS https://mirror.example/pub/list")
_MINER = _Program(5205, "/tmp/.X11-unix/kworker", "www-data", _CRON, "-o pool.example:3333")
_SYNC = _Program(940, "/usr/sbin/ntpd", "ntp", _INIT)
_SSH = _Program(4502, "/usr/bin/ssh", "alice", _SHELL, "build.example")
_UPDATE = _Program(4711, "/usr/lib/apt/methods/https", "_apt", _INIT)

# Program, address, port, transport, name, country, network, engines of VirusTotal, percent of AbuseIPDB, connections, bytes.
_CALLS: tuple[tuple[_Program | None, str, int, str, str | None, str, str, int | None, int | None, int, int], ...] = (
    (_MINER, "203.0.113.66", 3333, "tcp", "pool.example", "NL", "Example Hosting", 11, 93, 4, 48_213),
    (_MINER, "198.51.100.23", 443, "tcp", None, "RU", "Example Transit", 2, 41, 1, 9_120),
    (_BROWSER, "192.0.2.80", 443, "tcp", "www.example.org", "US", "Example CDN", 0, 0, 14, 1_204_331),
    (_BROWSER, "2001:db8:4006::200e", 443, "udp", "video.example.com", "US", "Example Video", 0, 0, 3, 88_204_112),
    (_BROWSER, "198.51.100.140", 443, "tcp", "ads.example.net", "IE", "Example Ads", 1, 7, 6, 40_230),
    (_MAIL, "192.0.2.25", 993, "tcp", "imap.mail.example", "DE", "Example Mail", 0, 0, 2, 221_008),
    (_CURL, "203.0.113.5", 443, "tcp", "mirror.example", "FR", "Example University", 0, None, 1, 5_120_442),
    (_SSH, "198.51.100.22", 22, "tcp", "build.example", "DE", "Example Office", None, None, 1, 90_113),
    (_SYNC, "203.0.113.123", 123, "udp", "time.example", "CH", "Example Time", 0, 0, 5, 960),
    (_UPDATE, "192.0.2.18", 443, "tcp", "packages.example", "GB", "Example Archive", 0, 0, 2, 14_332_001),
    (None, "198.51.100.77", 443, "tcp", "push.example", "US", "Example Push", 0, 0, 1, 3_071),
)
_ENGINES = 94
_LISTED = {
    "203.0.113.66": (
        Listed(list_="ipsum", entry="203.0.113.66", confidence=80, last_seen=_BEGAN - timedelta(hours=9)),
        Listed(list_="miners", entry="pool.example", confidence=90, note="coin miners' pools"),
    ),
}
_KNOWN = {"192.0.2.80": (Listed(list_="Example CDN", entry="192.0.2.0/25"),)}


def records() -> Iterator[Connection]:
    """Yield the connections as a recording holds them."""
    number = 0
    for program, ip, port, transport, name, country, network, engines, percent, count, size in _CALLS:
        for again in range(count):
            number += 1
            began = _BEGAN + timedelta(seconds=7.3 * number % 100)
            yield Connection(
                id=sha256(f"{number}".encode()).hexdigest()[:16],
                revision=1,
                timestamp=began,
                event=Event(action="close", start=began, end=began + timedelta(seconds=3 + again)),
                host=_HOST,
                network=Network(transport=transport, direction="egress"),
                source=Source(ip="2001:db8::10" if ":" in ip else "192.0.2.10", port=40_000 + number, bytes=size // (9 * count)),
                destination=Destination(
                    ip=ip, port=port, bytes=size // count, domain=name, geo=Geo(country_iso_code=country),
                    as_=AutonomousSystem(number=64_496 + len(network), organization=Organization(name=network)),
                ),
                process=program.process() if program else None,
                user=User(name=program.user) if program else None,
                outwatch=Findings(
                    sensor="polling",
                    attribution="exact" if program else Unknown(unknown="exited"),
                    names=(Name(name=name, origin="ptr" if program is _SYNC else "dns", confirmed=True),) if name else None,
                    reputation=(_engines(engines, began), _percent(percent, began), *_others(ip, began)),
                    indicators=_LISTED.get(ip),
                    warnings=_KNOWN.get(ip),
                ),
            )  # fmt: skip


def _engines(malicious: int | None, when: datetime) -> Reputation:
    if malicious is None:
        return Reputation(provider="virustotal", state="not_checked", why=_QUOTA)
    state: State = "malicious" if malicious >= 4 else "suspicious" if malicious else "clean"  # noqa: PLR2004 - as VirusTotal's provider
    return Reputation(
        provider="virustotal", state=state, score=malicious, malicious=malicious, suspicious=0, engines=_ENGINES, checked_at=when
    )  # fmt: skip


def _percent(sure: int | None, when: datetime) -> Reputation:
    if sure is None:
        return Reputation(provider="abuseipdb", state="not_checked", why="timeout")
    state: State = "malicious" if sure >= 75 else "suspicious" if sure >= 25 else "clean"  # noqa: PLR2004 - as AbuseIPDB's provider
    return Reputation(provider="abuseipdb", state=state, score=sure, reports=sure * 3 or None, checked_at=when)


def _others(ip: str, when: datetime) -> tuple[Reputation, ...]:
    if ip == "203.0.113.66":
        ports = Reputation(provider="internetdb", state="no_data", tags=("ports 22 3333", "eol-product"), checked_at=when)
        return Reputation(provider="greynoise", state="malicious", tags=("Example Scanner",), checked_at=when), ports
    if ip == "192.0.2.80":
        return (Reputation(provider="greynoise", state="clean", allow_listed=True, tags=("Example CDN",), checked_at=when),)
    return ()
