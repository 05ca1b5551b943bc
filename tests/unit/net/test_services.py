"""Ports have the names that IANA gave them, and nothing is named that has no name."""

import re
from pathlib import Path

import pytest

from outwatch.net import services
from outwatch.net.services import service

_SYSTEMS_LIST = Path("/etc/services")
# Where Debian's list keeps an older or another name than the registry.
_OTHERWISE = {(465, "tcp"), (587, "tcp"), (853, "tcp"), (853, "udp"), (5061, "tcp"), (5061, "udp"), (6667, "tcp")}


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
    ],
)
def test_well_known_ports_have_their_registered_name(port: int, transport: str, name: str) -> None:
    assert service(port, transport) == name


@pytest.mark.parametrize(
    ("port", "transport"), [(22, "udp"), (None, "tcp"), (443, None), (443, "icmp"), (443, "TCP"), (0, "tcp"), (65535, "tcp")]
)
def test_other_ports_and_transports_have_none(port: int | None, transport: str | None) -> None:
    assert service(port, transport) is None


def test_every_entry_is_a_port_and_a_name_as_the_registry_allows_them() -> None:
    names = services._names()
    assert len(names) > 150
    for (port, transport), name in names.items():
        assert port is not None
        assert 0 < port < 65536
        assert transport in {"tcp", "udp"}
        assert re.fullmatch(r"[a-z0-9](-?[a-z0-9])*", name), name  # RFC 6335, 5.1
        assert len(name) <= 15 or name == "ms-wbt-server"


@pytest.mark.skipif(not _SYSTEMS_LIST.exists(), reason="this system has no list of services")
def test_the_names_agree_with_the_systems_list_where_both_have_one() -> None:
    theirs: dict[tuple[int, str], set[str]] = {}
    for line in _SYSTEMS_LIST.read_text("utf-8").splitlines():
        if match := re.match(r"(\S+)\s+(\d+)/(\w+)\s*([^#]*)", line):
            theirs.setdefault((int(match[2]), match[3]), set()).update([match[1], *match[4].split()])
    both = [(port, transport) for port, transport in services._names() if port and transport and (port, transport) in theirs]
    assert len(both) > 20
    wrong = {one: (service(*one), theirs[one]) for one in both if service(*one) not in theirs[one] and one not in _OTHERWISE}
    assert wrong == {}
