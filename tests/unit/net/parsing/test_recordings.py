"""Recorded traffic of browsers and resolvers gives what others found in it."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dns.exception
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest

from outwatch.net.protocols.dns import DnsError, facts
from outwatch.net.protocols.quic import Initials, QuicError, is_initial
from outwatch.net.protocols.tls import ClientHello, TlsError, client_hello

from .captures import MATERIAL, material, packets, sent

RECORDINGS = ["browsers-x509.pcapng", "chrome-cloudflare-quic-with-secrets.pcapng", "quic-tls-handshake.pcapng", "tls-handshake.pcapng",
              "tls12.pcap"]  # fmt: skip
MOST_MESSAGES = 3_000


def of_stream(stream: bytes) -> ClientHello | None:
    try:
        return client_hello(stream)
    except TlsError:
        return None


def of_datagrams(datagrams: list[bytes]) -> ClientHello | None:
    initials = Initials()
    if not is_initial(datagrams[0]):
        return None
    try:
        return next((hello for one in datagrams if (hello := initials.add(one)) is not None), None)
    except QuicError:
        return None


@pytest.mark.parametrize("name", RECORDINGS)
def test_each_recorded_hello_has_the_name_and_fingerprint_that_others_found(name: str) -> None:
    expected = json.loads(material("tls_hello/expected.json").read_bytes())[name]
    streams, datagrams = sent(material(f"tls_hello/{name}"))
    found = {("tcp", ends): of_stream(stream) for ends, stream in streams.items()}
    found |= {("udp", ends): of_datagrams(those) for ends, those in datagrams.items()}
    hellos = [(transport, *ends[1::2], one.server_name, one.ja4) for (transport, ends), one in found.items() if one is not None]
    wanted = [(one["transport"], int(one["src_port"]), int(one["dst_port"]), one["tls_server_name"], one["ja4"]) for one in expected]
    assert sorted(hellos) == sorted(wanted), "every hello, and nothing that a server said"


def messages(name: str) -> Iterator[bytes]:
    for packet in packets(material(name)):
        if packet.transport == "udp" and 53 in packet.ends:
            yield packet.payload


def as_others_read(data: bytes) -> tuple[Any, ...] | None:
    try:
        one = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return None
    if len(one.question) != 1:
        return None
    (question,) = one.question
    is_reply = bool(one.flags & 0x8000)
    name = question.name.to_text(omit_final_dot=True).lower()
    chain = [question.name]
    while (alias := one.get_rrset(one.answer, chain[-1], dns.rdataclass.IN, dns.rdatatype.CNAME)) is not None and alias[
        0
    ].target not in chain:
        chain.append(alias[0].target)
    held = Counter(
        record.address
        for answer in one.answer
        if answer.name in chain and is_reply and answer.rdtype in {1, 28} and one.rcode() == 0
        for record in answer
    )
    rcode = dns.rcode.to_text(one.rcode()) if is_reply else None
    return one.id, name, dns.rdatatype.to_text(question.rdtype), rcode, len(chain) if is_reply else 1, set(held)


@pytest.mark.parametrize("name", ["normal/normal_00000_20230805150331.pcap.gz", "tunnel/iodine-cname.pcap.gz"])
def test_recorded_answers_say_what_another_reader_finds_in_them(name: str) -> None:
    compared = 0
    for _, data in zip(range(MOST_MESSAGES), messages(f"dns_tunnels/{name}"), strict=False):
        expected = as_others_read(data)
        try:
            found = facts(data)
        except DnsError:
            assert expected is None
            continue
        if expected is None:
            continue
        # Names are compared where both spell them alike: other octets stand for themselves there.
        assert "\\" in found.name or found.name == (expected[1] or ".")
        assert (found.id, found.type, found.rcode, len(found.chain), {one.ip for one in found.addresses}) == (expected[0], *expected[2:])
        compared += 1
    assert compared >= 1_000


def test_the_recordings_are_where_they_are_looked_for() -> None:
    if not MATERIAL.exists():
        pytest.skip("no recordings are here")
    assert {name for name in RECORDINGS if (MATERIAL / "tls_hello" / name).exists()} == set(RECORDINGS)
