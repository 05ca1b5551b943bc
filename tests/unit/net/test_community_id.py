"""Community ID: what other tools call a connection, by the examples of its specification and of its reference implementation."""

from ipaddress import ip_address

import pytest

from outwatch.net.community_id import community_id, icmp_community_id

TCP, UDP, ICMP, ICMP6, SCTP, RSVP = 6, 17, 1, 58, 132, 46

NEAR, FAR, HOST = "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", "3ffe:507:0:1:200:86ff:fe05:80da"


def packed(text: str) -> bytes:
    return ip_address(text).packed


@pytest.mark.parametrize(
    ("protocol", "source", "destination", "ports", "expected"),
    [
        (TCP, "127.0.0.1", "10.0.0.1", (1234, 80), "1:mgRgpIZSu0KHDp/QrtcWZpkJpMU="),
        (TCP, "10.0.0.1", "10.0.0.2", (10, 20), "1:9j2Dzwrw7T9E+IZi4b4IVT66HBI="),
        (TCP, "128.232.110.120", "66.35.250.204", (34855, 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (UDP, "192.168.1.52", "8.8.8.8", (54585, 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        (SCTP, "192.168.170.8", "192.168.170.56", (7, 7), "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="),
        (RSVP, "10.1.24.4", "10.1.12.1", None, "1:/nQI4Rh/TtY3mf0R2gJFBkVlgS4="),
    ],
)
def test_both_directions_have_the_published_id(
    protocol: int, source: str, destination: str, ports: tuple[int, int] | None, expected: str
) -> None:
    assert community_id(protocol, packed(source), packed(destination), ports) == expected
    assert community_id(protocol, packed(destination), packed(source), ports and (ports[1], ports[0])) == expected


@pytest.mark.parametrize(
    ("protocol", "source", "destination", "message", "expected"),
    [
        pytest.param(ICMP, "192.168.0.89", "192.168.0.1", (8, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", id="echo"),
        pytest.param(ICMP, "192.168.0.1", "192.168.0.89", (0, 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=", id="echo reply"),
        pytest.param(ICMP, "192.168.0.89", "192.168.0.1", (20, 0), "1:3o2RFccXzUgjl7zDpqmY7yJi8rI=", id="one way"),
        pytest.param(ICMP, "192.168.0.89", "192.168.0.1", (20, 1), "1:tz/fHIDUHs19NkixVVoOZywde+I=", id="one way, other code"),
        pytest.param(ICMP, "192.168.0.1", "192.168.0.89", (20, 0), "1:xka8imJTHE0ZCHTDqMsnK5QKoh8=", id="one way, back"),
        pytest.param(ICMP, "10.0.0.1", "10.0.0.2", (10, 0), "1:qhJTvE/Qez7ZPSOGlcKJAzRpSO0=", id="router solicitation"),
        pytest.param(ICMP, "10.0.0.1", "10.0.0.2", (17, 0), "1:pBxqyIdNW2nuGKUHpPBwrujq1iE=", id="mask"),
        pytest.param(ICMP6, NEAR, FAR, (135, 0), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", id="neighbour"),
        pytest.param(ICMP6, FAR, NEAR, (136, 0), "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=", id="its answer"),
        pytest.param(ICMP6, "3ffe:507:0:1:260:97ff:fe07:69ea", HOST, (3, 0), "1:NdobDX8PQNJbAyfkWxhtL2Pqp5w=", id="exceeded"),
        pytest.param(ICMP6, HOST, "3ffe:501:0:1001::2", (128, 0), "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg=", id="echo, version 6"),
        pytest.param(ICMP6, "fe80::1", "fe80::2", (139, 0), "1:oPVhmQYL42iV9FGiMqdb38yGSeA=", id="who are you"),
        pytest.param(ICMP6, "fe80::1", "fe80::2", (144, 0), "1:21qp2MlwLUEblqK3FO0+OyLBlWA=", id="home agents"),
    ],
)
def test_messages_of_icmp_have_the_published_id(
    protocol: int, source: str, destination: str, message: tuple[int, int], expected: str
) -> None:
    assert icmp_community_id(protocol, packed(source), packed(destination), *message) == expected


def test_ends_with_the_same_address_are_told_apart_by_their_ports() -> None:
    here = packed("127.0.0.1")
    assert community_id(TCP, here, here, (5, 6)) == community_id(TCP, here, here, (6, 5))
    assert community_id(TCP, here, here, (5, 6)) != community_id(UDP, here, here, (5, 6))


@pytest.mark.parametrize(
    ("protocol", "source", "destination", "ports"),
    [
        pytest.param(TCP, bytes(4), bytes(16), (1, 2), id="two families"),
        pytest.param(TCP, bytes(5), bytes(5), (1, 2), id="no address"),
        pytest.param(256, bytes(4), bytes(4), (1, 2), id="no protocol"),
        pytest.param(TCP, bytes(4), bytes(4), (1, 65536), id="no port"),
        pytest.param(TCP, bytes(4), bytes(4), (-1, 2), id="less than a port"),
    ],
)
def test_what_can_not_be_has_none(protocol: int, source: bytes, destination: bytes, ports: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"addresses|port"):
        community_id(protocol, source, destination, ports)
