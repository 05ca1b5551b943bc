"""Reading what was seen on the wire: DNS answers, ClientHellos over TCP, and the first packet of QUIC clients; one core.

Measured: ``protocols.dns.facts`` on answers of a chain of two aliases with four addresses and EDNS, each about another name;
``protocols.tls.client_hello`` on what OpenSSL sends, with its fingerprint JA4; ``protocols.quic.Initials`` on what aioquic's client sends,
with its fingerprint. Rivals: dnspython's ``dns.message.from_wire``; aioquic's ``pull_client_hello``, behind its own deciphering for QUIC.
aioquic computes no fingerprint. Both sides must find the same names. Bounds: 10,000 answers, 5,000 hellos, 1,000 clients a second.
"""

import ssl
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import dns.message
import dns.rrset
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # it does not say what it exports
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import pull_quic_header
from aioquic.tls import pull_client_hello

from measuring import Bounds, Run, interleave, parser
from outwatch.net.protocols.dns import facts
from outwatch.net.protocols.quic import Initials
from outwatch.net.protocols.tls import client_hello

ANSWERS, HELLOS, CLIENTS = 2_000, 500, 200
PER_SECOND = {"DNS answers": 10_000, "ClientHellos": 5_000, "QUIC clients": 1_000}
_RECORD_HEADER = 5
_CRYPTO = 0x06
Reader = Callable[[Any], str | None]


def name(number: int) -> str:
    return f"host-{number}.service.example"


def answer(number: int) -> bytes:
    """Make what a resolver says of a name at a content network."""
    made = dns.message.make_response(dns.message.make_query(name(number), "A", use_edns=0))
    aliases = [name(number), f"{name(number)}.edge.example", f"pool-{number % 7}.edge.example"]
    for owner, alias in pairwise(aliases):
        made.answer.append(dns.rrset.from_text(f"{owner}.", 300, "IN", "CNAME", f"{alias}."))
    held = [f"198.18.{number % 250}.{last}" for last in range(1, 5)]
    made.answer.append(dns.rrset.from_text(f"{aliases[-1]}.", 60, "IN", "A", *held))
    return made.to_wire()


def hello(number: int, context: ssl.SSLContext) -> bytes:
    """Let OpenSSL begin a handshake with nobody."""
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name(number)).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise RuntimeError("nobody answered, and yet the handshake is done")


def quic_client(number: int) -> list[bytes]:
    """Let aioquic begin a handshake with nobody."""
    configuration = QuicConfiguration(is_client=True, server_name=name(number), alpn_protocols=["h3"])
    client = QuicConnection(configuration=configuration)
    client.connect(("198.18.0.1", 443), now=0.0)
    return [datagram for datagram, _ in client.datagrams_to_send(now=0.0)]


def of_quic(datagrams: Sequence[bytes]) -> str | None:
    initials = Initials()
    found = next((told for datagram in datagrams if (told := initials.add(datagram)) is not None), None)
    return found.server_name if found else None


def of_aioquic(datagrams: Sequence[bytes]) -> str | None:
    """Read the one packet with the whole hello in one frame that aioquic's client sends first."""
    buffer = Buffer(data=datagrams[0])
    header = pull_quic_header(buffer, host_cid_length=8)
    pair = CryptoPair()
    pair.setup_initial(cid=header.destination_cid, is_client=False, version=header.version or 0)
    _, payload, _ = pair.decrypt_packet(datagrams[0][: header.packet_length], buffer.tell(), 0)
    frames = Buffer(data=payload)
    if frames.pull_uint_var() != _CRYPTO or frames.pull_uint_var() != 0:
        raise RuntimeError("the packet does not begin with the hello")
    return pull_client_hello(Buffer(data=frames.pull_bytes(frames.pull_uint_var()))).server_name


def of_tls(stream: bytes) -> str | None:
    found = client_hello(stream)
    return found.server_name if found else None


def timed(read: Reader, inputs: Sequence[Any]) -> Run:
    """Give a run that reads all inputs and takes the seconds for one."""

    def run() -> float:
        began = time.perf_counter()
        for one in inputs:
            read(one)
        return (time.perf_counter() - began) / len(inputs)

    return run


def main() -> int:
    options = parser(__doc__, rounds=9).parse_args()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    answers = [answer(number) for number in range(ANSWERS)]
    hellos = [hello(number, context) for number in range(HELLOS)]
    clients = [quic_client(number) for number in range(CLIENTS)]
    kinds: dict[str, tuple[Sequence[Any], Reader, Reader]] = {
        "DNS answers": (answers, lambda data: facts(data).name, lambda data: str(dns.message.from_wire(data).question[0].name)[:-1]),
        "ClientHellos": (hellos, of_tls, lambda data: pull_client_hello(Buffer(data=data[_RECORD_HEADER:])).server_name),
        "QUIC clients": (clients, of_quic, of_aioquic),
    }
    rivals = {"DNS answers": "dnspython", "ClientHellos": "aioquic, parsing", "QUIC clients": "aioquic, deciphering"}
    runs: dict[str, Run] = {}
    for kind, (inputs, mine, rival) in kinds.items():
        for read in (mine, rival):
            if [read(one) for one in inputs] != [name(number) for number in range(len(inputs))]:
                raise RuntimeError(f"{kind}: the names are not those that were asked for")
        runs[kind] = timed(mine, inputs)
        runs[f"{kind}, {rivals[kind]}"] = timed(rival, inputs)
    rounds = interleave(runs, options.rounds)
    print(f"{options.rounds} rounds; for one")
    rounds.show(1e6, "µs")
    bounds = Bounds()
    for kind, wanted in PER_SECOND.items():
        print(f"      {kind}: {rounds.ratio(kind, f'{kind}, {rivals[kind]}'):.2f} times as long as {rivals[kind]}")
        bounds.at_least(kind, 1 / rounds.median(kind), wanted, "a second")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
