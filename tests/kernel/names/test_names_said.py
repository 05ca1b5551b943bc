"""The name that a client gives (TLS, QUIC, HTTP) stands in the record, confirmed only if the system's name server led from it to there."""

from collections.abc import Callable

import pytest

from integration.lab import PUBLIC, SERVER_V6
from kernel.watch import Watch

from .names_lab import ENCRYPTED, PLAIN, PROXY, QUIC, SECURE, UNASKED, NamesLab, to_port, told

pytestmark = [pytest.mark.integration, pytest.mark.root]
Call = Callable[[NamesLab, str, str], int]

_TLS = """
import socket, ssl, sys
context = ssl._create_unverified_context()
context.wrap_socket(socket.create_connection((sys.argv[1], 8444)), server_hostname=sys.argv[2]).close()
"""
_QUIC = """
import asyncio, ssl, sys
from aioquic.asyncio import connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
configuration = QuicConfiguration(alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name=sys.argv[2])
configuration.original_version = QuicProtocolVersion[sys.argv[3]]
configuration.supported_versions = [configuration.original_version]
async def main():
    async with connect(sys.argv[1], 4433, configuration=configuration) as client:
        await client.ping()
asyncio.run(main())
"""
_TWO_OVER_ONE_SOCKET = """
import socket
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    for number, name in enumerate(("first.example", "second.example"), 90):
        client = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["h3"], server_name=name))
        client.connect((f"203.0.113.{number}", 4433), now=0.0)
        for datagram, address in client.datagrams_to_send(now=0.0):
            one.sendto(datagram, address)
"""
_HELLO = """
import socket, ssl, sys
def hello(name, protocols=0):
    out, context = ssl.MemoryBIO(), ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols([f"protocol-{number:0200}" for number in range(protocols)])
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return out.read()
"""
"""What OpenSSL says first; with many protocols it is long."""


def _by_curl(lab: NamesLab, address: str, name: str) -> int:
    return lab.curl(f"https://{name}:{SECURE}/", *(() if address == name else ("--resolve", f"{name}:{SECURE}:{address}")))


def _by_openssl(lab: NamesLab, address: str, name: str) -> int:
    return lab.run(["openssl", "s_client", "-connect", f"{address}:{SECURE}", "-servername", name])


def _by_python(lab: NamesLab, address: str, name: str) -> int:
    return lab.python(_TLS, address, name)


each_client = pytest.mark.parametrize("call", [_by_curl, _by_openssl, _by_python], ids=["curl", "openssl", "python"])


@each_client
def test_a_server_name_that_nobody_asked_a_name_server_for_is_told_and_not_confirmed(
    lab_with_names: NamesLab, watched: Watch, call: Call
) -> None:
    (one,) = to_port(watched, call(lab_with_names, UNASKED, "hidden.example"), SECURE)
    assert told(one) == ("hidden.example", [("hidden.example", "sni", None)])
    assert one["tls"]["client"]["server_name"] == "hidden.example"
    assert one["tls"]["client"]["ja4"].startswith("t13d")


@each_client
def test_a_server_name_that_a_name_server_led_to_its_address_is_confirmed(lab_with_names: NamesLab, watched: Watch, call: Call) -> None:
    (one,) = to_port(watched, call(lab_with_names, "secure.example", "secure.example"), SECURE)
    assert told(one) == ("secure.example", [("secure.example", "dns", True), ("secure.example", "sni", True)])


def test_another_name_than_the_one_that_was_asked_for_is_told_beside_it(lab_with_names: NamesLab, watched: Watch) -> None:
    (one,) = to_port(watched, _by_python(lab_with_names, "secure.example", "google.com"), SECURE)
    assert told(one) == ("secure.example", [("secure.example", "dns", True), ("google.com", "sni", None)])


@pytest.mark.parametrize("version", ["VERSION_1", "VERSION_2"])
def test_the_server_name_in_quic_is_told(lab_with_names: NamesLab, watched: Watch, version: str) -> None:
    asked = to_port(watched, lab_with_names.python(_QUIC, "quic.example", "quic.example", version), QUIC)[0]
    assert told(asked) == ("quic.example", [("quic.example", "dns", True), ("quic.example", "quic", True)])
    assert asked["destination"]["ip"] in {PUBLIC, SERVER_V6}
    unasked = to_port(watched, lab_with_names.python(_QUIC, UNASKED, "hidden.example", version), QUIC)[0]
    assert told(unasked) == ("hidden.example", [("hidden.example", "quic", None)])
    assert {one["tls"]["client"]["ja4"][:4] for one in (asked, unasked)} == {"q13d"}


def test_each_talk_of_a_socket_that_speaks_quic_with_two_servers_has_its_own_name(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.python(_TWO_OVER_ONE_SOCKET)
    found = to_port(watched, pid, QUIC, 2)
    assert {one["destination"]["ip"]: told(one)[1] for one in found} == {
        "203.0.113.90": [("first.example", "quic", None)],
        "203.0.113.91": [("second.example", "quic", None)],
    }


def test_the_host_of_a_request_is_told_and_not_confirmed(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.curl(f"http://{UNASKED}:{PLAIN}/", "-H", "Host: plain.example")
    assert told(to_port(watched, pid, PLAIN)[0]) == ("plain.example", [("plain.example", "http", None)])


def test_through_a_proxy_its_name_and_whom_the_tunnel_leads_to_are_told(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.curl("--proxy", f"http://proxy.example:{PROXY}", f"https://inside.example:{SECURE}/", "--noproxy", "none")
    assert told(to_port(watched, pid, PROXY)[0]) == (
        "proxy.example",
        [("proxy.example", "dns", True), ("inside.example", "http", None), ("inside.example", "sni", None)],
    )


@pytest.mark.parametrize(
    ("protocols", "has_fingerprint"), [(4, True), (12, True), (40, False)], ids=["1 KB", "3 KB", "9 KB, more than is copied"]
)
def test_the_name_in_a_long_hello_is_told(lab_with_names: NamesLab, watched: Watch, protocols: int, has_fingerprint: bool) -> None:
    offered = ",".join(f"protocol-{number:0200}" for number in range(protocols))
    call = ["openssl", "s_client", "-connect", f"{UNASKED}:{SECURE}", "-servername", "long.example", "-alpn", offered]
    (one,) = to_port(watched, lab_with_names.run(call), SECURE)
    assert told(one) == ("long.example", [("long.example", "sni", None)])
    assert ("ja4" in one.get("tls", {}).get("client", {})) is has_fingerprint


def test_a_hello_that_begins_in_the_first_packet_of_all_is_told_once(lab_with_names: NamesLab, watched: Watch) -> None:
    code = f"""{_HELLO}
with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as file:
    file.write("5")  # data in the first packet, also to those who never agreed to it
with socket.socket() as one:
    one.sendto(hello("fast.example", protocols=10), socket.MSG_FASTOPEN, (sys.argv[1], 8444))
    one.recv(1)
"""
    (one,) = to_port(watched, lab_with_names.python(code, UNASKED), SECURE)
    assert told(one) == ("fast.example", [("fast.example", "sni", None)])
    assert "ja4" in one["tls"]["client"]


def test_a_connection_to_an_encrypted_resolver_explains_the_names_that_are_missing_afterwards(
    lab_with_names: NamesLab, watched: Watch
) -> None:
    code = f"""{_HELLO}
for address, said in ((sys.argv[1], hello("dns.quad9.net")), ("203.0.113.82", b"")):
    with socket.create_connection((address, 443)) as one:
        one.sendall(said)
"""
    claims, nameless = to_port(watched, lab_with_names.python(code, UNASKED), 443, 2)
    assert claims["outwatch"]["encrypted_dns"] == "Quad9 (DNS over HTTPS), by the name that it gives"
    assert "Quad9 (DNS over HTTPS)" in nameless["outwatch"]["no_name"]
    assert "no_name" not in claims["outwatch"]
    asks, _ = to_port(watched, lab_with_names.python(f"{code}", "dns.quad9.net"), 443, 2)
    assert asks["destination"]["ip"] == ENCRYPTED
    assert asks["outwatch"]["encrypted_dns"] == "Quad9 (DNS over HTTPS)"
