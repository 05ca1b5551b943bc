"""Who was asked for, in packets: hellos, requests and answers of name servers, and the connections that they name."""

import struct
from pathlib import Path

import pytest

from outwatch.model.records import Name

from .frames import ACK, BEGAN, CLIENT, SERVER, WEB, Side, after, client_hello, conversation, dns_query, dns_reply
from .recorded import captured

RESOLVER = Side((CLIENT, 50_000), ("192.168.1.1", 53))
HELLO = client_hello("www.example.com")


@pytest.mark.parametrize(
    "say",
    [
        pytest.param([HELLO], id="at once"),
        pytest.param([HELLO[at : at + 7] for at in range(0, len(HELLO), 7)], id="in small pieces"),
        pytest.param([bytes([octet]) for octet in HELLO], id="byte by byte"),
        pytest.param(
            [client_hello("www.example.com", padding=60_000)[at : at + 90] for at in range(0, 61_000, 90)], id="very long, small pieces"
        ),
        pytest.param([client_hello("www.example.com", padding=40_000)[at : at + 1400] for at in range(0, 41_000, 1400)], id="very long"),
        pytest.param([HELLO + b"and more"], id="with something behind"),
    ],
)
def test_the_name_in_a_hello_is_found_however_it_was_cut(tmp_path: Path, say: list[bytes]) -> None:
    one = captured(tmp_path, conversation(WEB, say, [b"answer"])).one()
    assert one.tls is not None
    assert one.tls.client is not None
    assert one.tls.client.server_name == one.destination.domain == "www.example.com"
    assert (one.tls.client.ja4 or "").startswith("t13d0")
    assert one.outwatch.names == (Name(name="www.example.com", origin="sni"),)


@pytest.mark.security
def test_on_the_port_of_dns_a_hello_is_read_too(tmp_path: Path) -> None:
    one = captured(tmp_path, conversation(Side((CLIENT, 40_000), (SERVER, 53)), [HELLO], [b"answer" * 1000])).one()
    assert one.destination.domain == "www.example.com"


def test_a_connection_to_a_known_encrypted_resolver_says_so(tmp_path: Path) -> None:
    one = captured(tmp_path, conversation(WEB, [client_hello("dns.quad9.net")], [])).one()
    assert one.outwatch.encrypted_dns == "Quad9 (DNS over HTTPS)"


def test_a_hello_is_read_out_of_order_and_the_first_copy_of_a_segment_counts(tmp_path: Path) -> None:
    half = len(HELLO) // 2
    forged = client_hello("www.evil---.com")
    segments = [WEB.tcp(ACK, 1001 + half, HELLO[half:]), WEB.tcp(ACK, 1001 + half, forged[half:]), WEB.tcp(ACK, 1001, HELLO[:half])]
    one = captured(tmp_path, [*conversation(WEB, [], [])[:3], *segments]).one()
    assert one.destination.domain == "www.example.com"


@pytest.mark.parametrize(
    ("say", "names"),
    [
        pytest.param([b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"], [("example.com", "http")], id="plain HTTP"),
        pytest.param([b"GET / HT", b"TP/1.1\r\nHost: exa", b"mple.com:8080\r\n\r\n"], [("example.com", "http")], id="in pieces"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: 203.0.113.9\r\n\r\n"], [], id="an address is no name"),
        pytest.param(
            [b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", HELLO], [("a.example", "http"), ("www.example.com", "sni")], id="through a proxy"
        ),
        pytest.param([b"SSH-2.0-OpenSSH\r\n"], [], id="something else"),
        pytest.param([b"\x16\x03\x01\x00\x05hello"], [], id="no hello after all"),
        pytest.param([HELLO[:-9]], [], id="a hello that never ends"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: cut.example\r\nX-Lo"], [("cut.example", "http")], id="a head that never ends"),
    ],
)
def test_who_is_asked_for_is_named_with_where_it_stood(tmp_path: Path, say: list[bytes], names: list[tuple[str, str]]) -> None:
    one = captured(tmp_path, conversation(WEB, say, [])).one()
    assert [(name.name, name.origin) for name in one.outwatch.names or ()] == names
    assert one.destination.domain == (names[0][0] if names else None)


def test_a_question_and_its_answer_are_one_record(tmp_path: Path) -> None:
    answer = dns_reply("www.example.com", ["203.0.113.9", "203.0.113.10"], alias="edge.cdn.example")
    found = captured(tmp_path, [RESOLVER.udp(dns_query("www.Example.com")), RESOLVER.back().udp(answer, at=0.25)])
    (asked,) = found.questions
    assert asked.dns is not None
    assert asked.dns.question is not None
    assert (asked.dns.question.name, asked.dns.question.type, asked.dns.response_code) == ("www.example.com", "A", "NOERROR")
    assert asked.dns.resolved_ip == ("203.0.113.9", "203.0.113.10")
    assert (asked.source.ip, asked.source.port, asked.destination.ip, asked.destination.port) == (CLIENT, 50_000, "192.168.1.1", 53)
    assert (asked.timestamp, asked.event.end, asked.network.transport, asked.network.direction) == (BEGAN, after(0.25), "udp", "egress")
    assert [(one.destination.port, one.network.transport) for one in found.connections] == [(53, "udp")]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([(True, dns_query("a.example"))], [("a.example", None)], id="no answer"),
        pytest.param([(True, dns_query("a.example")), (True, dns_query("a.example"))], [("a.example", None)], id="asked again"),
        pytest.param(
            [(True, dns_query("a.example")), (False, dns_reply("a.example", [], rcode=3)), (False, dns_reply("a.example", [], rcode=3))],
            [("a.example", "NXDOMAIN")],
            id="answered twice",
        ),
        pytest.param([(False, dns_reply("a.example", []))], [("a.example", "NOERROR")], id="the answer alone"),
        pytest.param(
            [(True, dns_query("a.example", 1)), (True, dns_query("a.example", 2)), (False, dns_reply("a.example", [], 1))],
            [("a.example", "NOERROR"), ("a.example", None)],
            id="two questions",
        ),
        pytest.param(
            [(True, dns_query("a.example")), (False, dns_reply("b.example", []))],
            [("b.example", "NOERROR"), ("a.example", None)],
            id="an answer to another question",
        ),
        pytest.param([(True, b"no message of DNS")], [], id="no DNS"),
    ],
)
def test_every_question_is_told_once(tmp_path: Path, messages: list[tuple[bool, bytes]], expected: list[tuple[str, str | None]]) -> None:
    found = captured(tmp_path, [(RESOLVER if asks else RESOLVER.back()).udp(data, at=at) for at, (asks, data) in enumerate(messages)])
    asked = [one.dns for one in found.questions if one.dns]
    assert [(one.question.name if one.question else None, one.response_code) for one in asked] == expected


def test_questions_over_tcp_are_read_in_pieces_and_in_rows(tmp_path: Path) -> None:
    def framed(data: bytes) -> bytes:
        return struct.pack("!H", len(data)) + data

    side = Side((CLIENT, 50_000), ("192.168.1.1", 53))
    asked = framed(dns_query("a.example", 1)) + framed(dns_query("b.example", 2))
    answered = framed(dns_reply("b.example", ["203.0.113.2"], 2)) + framed(dns_reply("a.example", ["203.0.113.1"], 1))
    found = captured(tmp_path, conversation(side, [asked[:1], asked[1:20], asked[20:]], [answered[:50], answered[50:]]))
    assert [one.dns.resolved_ip for one in found.questions if one.dns] == [("203.0.113.2",), ("203.0.113.1",)]
    assert {one.network.transport for one in found.questions} == {"tcp"}


@pytest.mark.parametrize(
    ("asker", "ttl", "at", "names"),
    [
        pytest.param(CLIENT, 300, 100, ["www.example.com"], id="while it holds"),
        pytest.param(CLIENT, 0, 50, ["www.example.com"], id="a minute at least"),
        pytest.param(CLIENT, 300, 400, [], id="no longer"),
        pytest.param("192.168.1.99", 300, 100, [], id="somebody else asked"),
    ],
)
def test_a_connection_has_the_name_that_its_client_was_answered(tmp_path: Path, asker: str, ttl: int, at: float, names: list[str]) -> None:
    resolver = Side((asker, 50_000), ("192.168.1.1", 53))
    answer = dns_reply("www.example.com", [SERVER], alias="edge.cdn.example", ttl=ttl)
    found = captured(
        tmp_path, [resolver.udp(dns_query("www.example.com")), resolver.back().udp(answer), *conversation(WEB, [b"x"], [], at)]
    )
    one = next(one for one in found.connections if one.destination.port == 443)
    assert [name.name for name in one.outwatch.names or ()] == names
    assert one.destination.domain == (names[0] if names else None)


@pytest.mark.security
def test_no_name_of_a_capture_is_confirmed_for_anybody_may_have_sent_its_packets(tmp_path: Path) -> None:
    packets = [
        RESOLVER.udp(dns_query("www.example.com")),
        RESOLVER.back().udp(dns_reply("www.example.com", [SERVER])),
        RESOLVER.udp(dns_query("later.example")),
        RESOLVER.back().udp(dns_reply("later.example", [SERVER])),
        *conversation(WEB, [HELLO], [], at=1),
    ]
    one = next(one for one in captured(tmp_path, packets).connections if one.destination.port == 443)
    assert [(name.name, name.origin, name.confirmed) for name in one.outwatch.names or ()] == [
        ("www.example.com", "sni", None),
        ("later.example", "dns", None),
        ("www.example.com", "dns", None),
    ]
    assert one.destination.domain == "www.example.com", "asked for and answered goes before answered later"


@pytest.mark.security
def test_a_name_that_nobody_answered_does_not_hide_the_one_that_was(tmp_path: Path) -> None:
    answered = [RESOLVER.udp(dns_query("c2.example")), RESOLVER.back().udp(dns_reply("c2.example", [SERVER]))]
    one = next(
        one for one in captured(tmp_path, [*answered, *conversation(WEB, [HELLO], [], at=1)]).connections if one.destination.port == 443
    )
    assert one.destination.domain == "c2.example"
    assert [name.name for name in one.outwatch.names or ()] == ["www.example.com", "c2.example"]
