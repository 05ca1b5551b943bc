"""Ports have the names that IANA gave them, and nothing is named that has no name."""

import re
from pathlib import Path

import pytest

from outwatch.net import services
from outwatch.net.services import service

_SYSTEMS_LIST = Path("/etc/services")
_LEAST = {"tcp": 5_000, "udp": 5_000, "sctp": 80}  # names that the registry has at least
# Services of the old days that lost their port to others in the registry, and yet stand in Debian's list.
_OTHERWISE = {(21, "udp"), (210, "tcp"), (106, "tcp")}
_OLD_PORTS = 700  # below it lists agree


@pytest.mark.parametrize(
    ("port", "transport", "name"),
    [
        (443, "tcp", "https"),
        (443, "udp", "https"),
        (53, "udp", "domain"),
        (22, "tcp", "ssh"),
        (123, "udp", "ntp"),
        (514, "tcp", "shell"),
        (514, "udp", "syslog"),
        (853, "tcp", "domain-s"),
        (993, "tcp", "imaps"),
        (3389, "tcp", "ms-wbt-server"),
        (27017, "tcp", "mongodb"),
        (22, "udp", "ssh"),  # assigned, if not in use
        (80, "tcp", "http"),
        (3478, "udp", "stun"),
        (6000, "tcp", "x11"),
        (6063, "udp", "x11"),
        (6667, "tcp", "ircu"),
        (3868, "sctp", "diameter"),
        (38412, "sctp", "ng-control"),
    ],
)
def test_well_known_ports_have_their_registered_name(port: int, transport: str, name: str) -> None:
    assert service(port, transport) == name


@pytest.mark.parametrize(
    ("port", "transport"),
    [(6379, "udp"), (5938, "tcp"), (51820, "udp"), (None, "tcp"), (443, None), (443, "icmp"), (443, "TCP"), (0, "tcp"), (65535, "tcp")],
)
def test_other_ports_and_transports_have_none(port: int | None, transport: str | None) -> None:
    assert service(port, transport) is None


def test_every_entry_is_a_port_and_a_name_as_the_registry_allows_them() -> None:
    names = services._names()
    assert {transport: len(named) > least for transport, least, named in ((t, n, names[t]) for t, n in _LEAST.items())} == dict.fromkeys(
        _LEAST, True
    )
    for named in names.values():
        for port, name in named.items():
            assert port is not None
            assert 0 < port < 65536
            assert re.fullmatch(r"[a-z0-9](-?[a-z0-9])*", name), name  # RFC 6335, 5.1
            assert len(name) <= 15


def test_the_extract_says_whose_it_is_and_of_when() -> None:
    first = (Path(services.__file__).parent / "services.txt").read_text("ascii").splitlines()[0]
    assert re.search(r"IANA.*as of \w+ 20\d\d", first)


@pytest.mark.skipif(not _SYSTEMS_LIST.exists(), reason="this system has no list of services")
def test_the_names_agree_with_the_systems_list_where_both_have_one() -> None:
    theirs: dict[tuple[int, str], set[str]] = {}
    for line in _SYSTEMS_LIST.read_text("utf-8").splitlines():
        if match := re.match(r"(\S+)\s+(\d+)/(\w+)\s*([^#]*)", line):
            theirs.setdefault((int(match[2]), match[3]), set()).update([match[1], *match[4].split()])
    both = [one for one in theirs if service(*one) is not None and one[0] < _OLD_PORTS]
    assert len(both) > 100
    wrong = {one: (service(*one), theirs[one]) for one in both if service(*one) not in theirs[one] and one not in _OTHERWISE}
    assert wrong == {}
