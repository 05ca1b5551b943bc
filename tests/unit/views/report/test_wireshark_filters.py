"""Display filters are spelled as Wireshark wants them, and nothing that a record says can add to them."""

import re

import pytest

from outwatch.views.report.wireshark import display_filter

V4, V6 = "192.0.2.1", "2001:db8::1"


@pytest.mark.parametrize(
    ("ip", "port", "transport", "expected"),
    [
        (V4, 443, "tcp", "ip.addr == 192.0.2.1 && tcp.port == 443"),
        (V4, 53, "udp", "ip.addr == 192.0.2.1 && udp.port == 53"),
        (V4, 9899, "sctp", "ip.addr == 192.0.2.1 && sctp.port == 9899"),
        (V6, 443, "udp", "ipv6.addr == 2001:db8::1 && udp.port == 443"),
        (V6, 443, "tcp", "ipv6.addr == 2001:db8::1 && tcp.port == 443"),
        (V4, None, "icmp", "ip.addr == 192.0.2.1 && ip.proto == 1"),
        (V6, None, "icmp", "ipv6.addr == 2001:db8::1 && ipv6.nxt == 58"),
        (V4, None, "raw:253", "ip.addr == 192.0.2.1 && ip.proto == 253"),
        (V6, None, "raw:253", "ipv6.addr == 2001:db8::1 && ipv6.nxt == 253"),
        (V4, None, "tcp", "ip.addr == 192.0.2.1 && ip.proto == 6"),
        (V6, None, "sctp", "ipv6.addr == 2001:db8::1 && ipv6.nxt == 132"),
        (V4, 0, "tcp", "ip.addr == 192.0.2.1 && tcp.port == 0"),
        (V4, None, "packet", "ip.addr == 192.0.2.1"),
        (V6, None, None, "ipv6.addr == 2001:db8::1"),
        ("::ffff:192.0.2.1", 443, "tcp", "ip.addr == 192.0.2.1 && tcp.port == 443"),
        ("2001:0DB8::0001", 443, "tcp", "ipv6.addr == 2001:db8::1 && tcp.port == 443"),
        ("fe80::1%eth0", 443, "tcp", "ipv6.addr == fe80::1 && tcp.port == 443"),
    ],
)
def test_a_filter_has_the_form_of_the_contract(ip: str, port: int | None, transport: str | None, expected: str) -> None:
    assert display_filter(ip, port, transport) == expected


@pytest.mark.parametrize("ip", [None, "", "nonsense", "192.0.2.1 || tcp", "192.0.2.1/24", "=1+1", "1.2.3", "::1%", "2001:db8::1%x y"])
def test_without_an_address_there_is_no_filter(ip: str | None) -> None:
    assert display_filter(ip, 443, "tcp") is None


@pytest.mark.parametrize(
    "transport", ["raw:256", "raw:999", "raw:1234", "raw:", "raw:-1", "raw:6 || tcp", "raw:²", "TCP || udp", "", "raw:6\n"]
)
@pytest.mark.parametrize("port", [None, -1, 65536, 10**20])
def test_what_is_no_protocol_or_port_of_this_world_is_left_out(transport: str, port: int | None) -> None:
    assert display_filter(V4, port, transport) == "ip.addr == 192.0.2.1"


@pytest.mark.parametrize("port", [-1, 65536, 10**20])
def test_an_impossible_port_leaves_the_protocol(port: int) -> None:
    assert display_filter(V4, port, "tcp") == "ip.addr == 192.0.2.1 && ip.proto == 6"


@pytest.mark.parametrize("zone", ["eth0", "a.b-c:d~e_f"])
def test_a_zone_never_gets_into_a_filter(zone: str) -> None:
    said = display_filter(f"fe80::1%{zone}", 1, "udp")
    assert said is not None
    assert re.fullmatch(r"ipv6\.addr == [0-9a-f:]+ && udp\.port == 1", said)


def test_a_translated_address_is_looked_for_as_it_is_on_the_wire() -> None:
    # RFC 6146: this machine sends IPv6 packets; only the translator far away makes IPv4 of them.
    assert display_filter("64:ff9b::c000:201", 443, "tcp") == "ipv6.addr == 64:ff9b::c000:201 && tcp.port == 443"
