"""Captures that others made, against what others say of them: published fingerprints, and Wireshark's own reading."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from outwatch.enrichers.endpoints import Endpoints
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection

from .recorded import material, read

Fields = list[list[str]]
Ends = tuple[str | None, str | None, int | None, str | None, int | None]

HELLOS = (
    "browsers-x509.pcapng",
    "chrome-cloudflare-quic-with-secrets.pcapng",
    "quic-tls-handshake.pcapng",
    "tls-handshake.pcapng",
    "tls12.pcap",
)
QUESTIONS = (
    "normal/normal_00000_20230805150331.pcap.gz",
    "normal/normal_00001_20230805152732.pcap.gz",
    "tunnel/dnscat2-cname_00001_20230903170247.pcap",
    "tunnel/iodine-cname.pcap.gz",
)


def wireshark(path: Path, shown: str, *fields: str) -> Fields:
    """Ask Wireshark for fields of the packets of a capture."""
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    command = [tshark, "-r", str(path), "-Y", shown, "-T", "fields", *(part for field in fields for part in ("-e", field))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", HELLOS)
def test_every_stream_has_the_published_server_name_and_fingerprint(name: str) -> None:
    if "quic" in name or name.startswith("tls-"):
        pytest.importorskip("cryptography", reason="what deciphers QUIC is not installed")
    streams: list[dict[str, Any]] = json.loads(material("tls_hello/expected.json").read_text())[name]
    found = read(material(f"tls_hello/{name}"))
    assert found.reasons == []
    facts = {ends(one): hello(one) for one in found.connections}
    assert streams
    for stream in streams:
        key = (stream["transport"], stream["src"], int(stream["src_port"]), stream["dst"], int(stream["dst_port"]))
        assert facts[key] == (stream["tls_server_name"], stream["ja4"])


def ends(one: Connection) -> Ends:
    """Give transport and ends of a connection, whoever opened it first."""
    return one.network.transport, one.source.ip, one.source.port, one.destination.ip, one.destination.port


def hello(one: Connection) -> tuple[str | None, str | None]:
    client = one.tls.client if one.tls else None
    return (client.server_name, client.ja4) if client else (None, None)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_questions_are_those_that_wireshark_sees(name: str) -> None:
    path = material(f"dns_tunnels/{name}")
    rows = wireshark(path, "dns", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "dns.flags.response", "dns.qry.name")
    asked, replies = Counter[tuple[str, str, str]](), 0
    for source, port, destination, to_port, response, question in rows:
        is_reply = response in {"1", "True"}
        replies += is_reply
        asked[(destination, to_port, question) if is_reply else (source, port, question)] += not is_reply
    found = read(path)
    assert found.reasons == []
    ours = {(one.source.ip, str(one.source.port), one.dns.question.name) for one in found.questions if one.dns and one.dns.question}
    assert sum(1 for one in found.questions if one.dns and one.dns.response_code) == replies
    if name.startswith("tunnel"):  # nothing was asked twice there: each question is a packet
        assert len(found.questions) == asked.total()
    else:
        assert ours == set(asked)


@pytest.mark.parametrize("name", ["browsers-x509.pcapng", "tls-handshake.pcapng", "chrome-cloudflare-quic-with-secrets.pcapng"])
def test_connections_and_their_bytes_are_those_that_wireshark_counts(name: str) -> None:
    path = material(f"tls_hello/{name}")
    address = "ipv6" if "chrome" in name else "ip"
    fields = (f"{address}.src", "{0}.srcport", f"{address}.dst", "{0}.dstport")
    segments = wireshark(path, "tcp", *(field.format("tcp") for field in fields), "tcp.seq_raw", "tcp.len")
    datagrams = wireshark(path, "udp", *(field.format("udp") for field in fields), "udp.length")
    sent = {ends_of("tcp", row): set[int]() for row in segments}
    for row in segments:
        sent[ends_of("tcp", row)].update(range(int(row[4]), int(row[4]) + int(row[5])))
    carried = Counter({key: len(octets) for key, octets in sent.items()})
    for row in datagrams:
        carried[ends_of("udp", row)] += int(row[4]) - 8
    found = read(path)
    conversations = {frozenset({key[1:3], key[3:5]}) for key in carried}
    assert len(found.connections) == len(conversations) > 1
    for one in found.connections:
        key = ends(one)
        assert one.source.bytes == carried[key]
        assert one.destination.bytes == carried[(key[0], *key[3:5], *key[1:3])]


def ends_of(transport: str, row: list[str]) -> Ends:
    """Give the ends of a packet from its fields."""
    return transport, row[0], int(row[1]), row[2], int(row[3])


def test_community_ids_are_those_that_wireshark_gives() -> None:
    path = material("tls_hello/browsers-x509.pcapng")
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    command = [tshark, "-r", str(path), "--enable-protocol", "communityid", "-T", "fields", "-e", "communityid", "-e", "tcp.srcport"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    theirs = {line.split("\t")[0] for line in done.stdout.splitlines()}
    enricher = Endpoints(PartConfig())
    assert {enricher.enrich(one).network.community_id for one in read(path).connections} == theirs
