"""Who logged in, from where, and what began a process: what the system says first, parents only where it says nothing."""

import struct
from datetime import UTC, datetime

import pytest

from outwatch.enrichers.identity.origin import Session, audit_id, login_in_utmp, session_of, started_by
from outwatch.enrichers.identity.units import NOWHERE, Place
from outwatch.model.records import Process

BEGAN = 1_700_000_000


def entry(pid: int, user: str = "alice", host: str = "", address: bytes = b"", at: int = BEGAN, kind: int = 7) -> bytes:
    """Write an entry as login(1) and sshd do: struct utmp of utmp(5)."""
    head = struct.pack("<hxxi32s4s32s256s", kind, pid, b"pts/0", b"ts/0", user.encode(), host.encode())
    return head + struct.pack("<hhiii", 0, 0, 5, at, 0) + address.ljust(16, b"\0") + bytes(20)


def chain(*pids: int, start: int = BEGAN) -> Process:
    """Make a process with parents; the first is the process itself."""
    parent: Process | None = None
    for pid in reversed(pids):
        parent = Process(pid=pid, start=datetime.fromtimestamp(start, UTC), parent=parent)
    assert parent is not None
    return parent


def below(*executables: str | None) -> Process:
    """Make a process whose parents run these programs, the nearest first."""
    parent: Process | None = None
    for executable in reversed(executables):
        parent = Process(pid=5, executable=executable, parent=parent)
    return Process(pid=9, executable="/usr/bin/curl", parent=parent)


def test_an_entry_has_the_size_that_the_system_gives_it() -> None:
    assert len(entry(1)) == 384


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000", "1000"), ("0\n", "0"), ("4294967295", None), ("", None), ("-1", None), ("1000 1", None), ("٣", None), ("99999999999", None)],
)
def test_an_audit_id_is_a_number_or_nothing(text: str, expected: str | None) -> None:
    assert audit_id(text) == expected


def test_a_session_from_elsewhere_has_an_address() -> None:
    text = 'UID=1000\nUSER=alice\nACTIVE=1\nREMOTE=1\nREMOTE_HOST=192.0.2.7\nTYPE=tty\nSERVICE=sshd\nSCOPE="session-3.scope"\n'
    assert session_of(text) == Session(uid="1000", user="alice", address="192.0.2.7", service="sshd", kind="tty")


@pytest.mark.parametrize(
    "text",
    ["UID=1000\nREMOTE=0\nREMOTE_HOST=192.0.2.7\n", "UID=1000\nREMOTE=1\nREMOTE_HOST=\n", "UID=1000\nREMOTE_HOST=192.0.2.7\n",
     "UID=1000\nREMOTE=1\nREMOTE_HOST=:0\n"],
)  # fmt: skip
def test_a_session_at_the_machine_has_no_address(text: str) -> None:
    assert session_of(text) == Session(uid="1000")


@pytest.mark.security
@pytest.mark.parametrize("text", ["", "=\n=x", "UID=root\nUSER=\n", "\n" * 100_000, "UID" * 50_000])
def test_a_session_that_lies_says_nothing(text: str) -> None:
    assert session_of(text) == Session()


@pytest.mark.parametrize(
    ("address", "host", "expected"),
    [
        (bytes([192, 0, 2, 7]), "x.example", "192.0.2.7"),
        (bytes.fromhex("20010db8000000000000000000000007"), "x.example", "2001:db8::7"),
        (b"", "x.example", "x.example"),
        (b"", ":0", None),
        (b"", "", None),
    ],
)
def test_a_login_is_found_by_the_parent_that_it_began(address: bytes, host: str, expected: str | None) -> None:
    data = entry(3, "bob") + entry(40, "alice", host, address)
    assert login_in_utmp(data, chain(42, 41, 40, 1)) == Session(user="alice", address=expected)


@pytest.mark.parametrize(
    "data",
    [b"", entry(7), entry(40, kind=8), entry(40, at=BEGAN - 5), entry(40)[:-1], b"\xff" * 384 * 3],
    ids=["none", "another", "ended", "of an earlier process", "cut off", "garbage"],
)
def test_entries_of_others_are_no_login(data: bytes) -> None:
    assert login_in_utmp(data, chain(42, 41, 40)) is None


@pytest.mark.parametrize(
    ("place", "session", "expected"),
    [
        (Place(container="x", unit="docker.service"), None, "container"),
        (Place(pod="x"), None, "container"),
        (Place(unit="cron.service"), None, "cron"),
        (Place(unit="crond.service"), None, "cron"),
        (Place(unit="nginx.service"), None, "systemd"),
        (Place(unit="ssh.service"), None, "ssh"),
        (Place(unit="sshd@3-192.0.2.1:22.service"), None, "ssh"),
        (Place(unit="session-3.scope", session="3"), Session(service="sshd", kind="tty"), "ssh"),
        (Place(unit="session-3.scope", session="3"), Session(service="crond"), "cron"),
        (Place(unit="session-3.scope", session="3"), Session(service="gdm-password", kind="wayland"), "desktop"),
        (Place(unit="session-3.scope", session="3"), Session(service="login", kind="tty"), "login"),
        (Place(unit="session-3.scope", session="3"), None, None),
        (Place(unit="user@1000.service", user_unit="app-firefox-1.scope", user="1000"), None, "desktop"),
        (Place(unit="user@1000.service", user_unit="sync.service", user="1000"), None, "systemd"),
        (Place(unit="init.scope"), None, None),
        (NOWHERE, None, None),
    ],
)
def test_units_and_sessions_say_what_began_a_process(place: Place, session: Session | None, expected: str | None) -> None:
    assert started_by(place, session, below("/usr/bin/bash")) == expected


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        (("/bin/sh", "/usr/sbin/cron"), "cron"),
        (("/bin/bash", "/usr/sbin/sshd", "/usr/sbin/sshd"), "ssh"),
        (("/bin/bash", "/usr/lib/openssh/sshd-session"), "ssh"),
        (("/usr/bin/bash", "/usr/bin/gnome-shell", "/usr/sbin/cron"), "desktop"),
        (("/home/u/cron", "/tmp/sshd"), None),
        ((None, None), None),
        ((), None),
    ],
)
def test_without_the_systems_word_the_nearest_known_parent_counts(parents: tuple[str | None, ...], expected: str | None) -> None:
    assert started_by(NOWHERE, None, below(*parents)) == expected


@pytest.mark.security
def test_a_parent_that_calls_itself_cron_does_not_overrule_the_unit() -> None:
    assert started_by(Place(unit="web.service"), None, below("/usr/sbin/cron")) == "systemd"
