"""URLs that may be asked for, addresses that may be connected to, proxies that are used."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from outwatch.errors import LookupFailed
from outwatch.net import connecting
from outwatch.net.connecting import Gate, Place, proxy_for
from outwatch.net.http import host_of

Resolve = Callable[[dict[str, list[str]]], None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Have names resolve to given addresses, without asking anybody."""
    real = socket.getaddrinfo

    def install(names: dict[str, list[str]]) -> None:
        def getaddrinfo(host: str, port: Any, *, type: int, flags: int = 0) -> list[Any]:  # noqa: A002
            if flags & socket.AI_NUMERICHOST:
                return list(real(host, port, type=type, flags=flags))
            if host not in names:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in names[host]]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return install


def addresses(gate: Gate, *hosts: str) -> list[list[str]]:
    async def ask() -> list[list[str]]:
        return list(await asyncio.gather(*map(gate.addresses, hosts)))

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.virustotal.com/api/v3", "www.virustotal.com"),
        ("http://127.0.0.1:8080", "127.0.0.1"),
        ("HTTP://EXAMPLE.org/", "example.org"),
        ("https://[2001:DB8::1]:444/x", "2001:db8::1"),
        ("ftp://example.org/", None),
        ("file:///etc/passwd", None),
        ("example.org", None),
        ("//example.org", None),
        ("https://", None),
        ("https://user:password@example.org/", None),
        ("https://user@example.org/", None),
        ("https://example.org:99999/", None),
        ("https://[::1/", None),
        ("https://exa mple.org/", None),
        ("https://example.org/\r\nHost: x", None),
        ("https://example.org/\x00", None),
        ("https://exämple.org/", None),
    ],
)
def test_a_url_is_plain_http_without_user_and_password(url: str, host: str | None) -> None:
    assert host_of(url) == host


@pytest.mark.security
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "255.255.255.255", "224.0.0.1",
        "::1", "::", "fe80::1", "fc00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::",
        "64:ff9b::10.0.0.1", "192.0.2.1", "2001:db8::1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused_in_all_its_disguises(host: str, resolve: Resolve) -> None:
    resolve({})
    gate = Gate([])
    with pytest.raises(LookupFailed, match="address not permitted"):
        addresses(gate, host)
    with pytest.raises(LookupFailed, match="address not permitted"):
        gate.check_written(host)


@pytest.mark.security
def test_a_name_that_leads_inside_is_refused_and_of_several_addresses_only_public_ones_are_taken(resolve: Resolve) -> None:
    resolve({"rebound.test": ["127.0.0.1", "10.0.0.1"], "mixed.test": ["169.254.169.254", "8.8.8.8", "::1", "2606:4700::1"]})
    with pytest.raises(LookupFailed, match="address not permitted"):
        addresses(Gate(["other.test"]), "rebound.test")
    assert addresses(Gate([]), "mixed.test") == [["8.8.8.8", "2606:4700::1"]]


def test_a_host_that_the_user_has_configured_may_live_anywhere_and_no_other_name_for_it(resolve: Resolve) -> None:
    resolve({"lab.test": ["10.0.0.1"], "alias.test": ["10.0.0.1"]})
    gate = Gate(["LAB.test", "127.0.0.1"])
    assert addresses(gate, "lab.test", "127.0.0.1") == [["10.0.0.1"], ["127.0.0.1"]]
    for host in ("alias.test", "127.0.0.2", "::ffff:127.0.0.1", "127.1"):
        with pytest.raises(LookupFailed, match="address not permitted"):
            addresses(gate, host)


def test_a_name_that_does_not_exist_is_told(resolve: Resolve) -> None:
    resolve({})
    for gate in (Gate([]), Gate(["nowhere.test"])):
        with pytest.raises(LookupFailed, match="name not found"):
            addresses(gate, "nowhere.test")


def test_a_name_is_resolved_once_for_all_that_connect_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def found(host: str) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"]

    monkeypatch.setattr(connecting, "_addresses", found)
    assert addresses(Gate([]), *["dns.test"] * 20) == [["8.8.8.8"]] * 20
    assert asked == ["dns.test"]


@pytest.mark.parametrize(
    ("place", "proxies", "without", "expected"),
    [
        (Place("https", "a.test", 443), {"https": "http://proxy.test:3128"}, "", "http://proxy.test:3128"),
        (Place("http", "a.test", 80), {"https": "http://proxy.test:3128"}, "", None),
        (Place("http", "a.test", 80), {"all": "proxy.test:3128"}, "", "http://proxy.test:3128"),
        (Place("https", "a.test", 443), {"https": ""}, "", None),
        (Place("https", "a.test", 443), {"https": "http://proxy.test"}, "a.test", None),
        (Place("https", "x.a.test", 443), {"https": "http://proxy.test"}, ".a.test", None),
        (Place("https", "b.test", 8443), {"https": "http://proxy.test"}, "b.test:8443", None),
        (Place("https", "a.test", 443), {"https": "http://proxy.test"}, "b.test", "http://proxy.test"),
        (Place("https", "a.test", 443), {"https": "http://proxy.test"}, "*", None),
    ],
)
def test_the_systems_proxies_are_used_but_for_what_they_are_not_for(
    monkeypatch: pytest.MonkeyPatch, place: Place, proxies: dict[str, str], without: str, expected: str | None
) -> None:
    for scheme, url in proxies.items():
        monkeypatch.setenv(f"{scheme}_proxy", url)
    monkeypatch.setenv("no_proxy", without)
    assert proxy_for(place) == expected
    assert proxy_for(place, {}) is None, "given ones take their place"
