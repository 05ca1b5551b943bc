"""A name server with a zone of its own: ``zone_server.py ADDRESS PORT ZONE``, the zone as JSON: ``{"a.example.": {"A": ["192.0.2.1"]}}``.

It follows aliases (CNAME), answers over UDP and TCP, and over UDP says of names that begin with ``big.`` that the answer does not fit.
It prints ``ready``, and ends when its standard input does.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 300
_Zone = Mapping[str, Mapping[str, Sequence[str]]]


def answered(data: bytes, zone: _Zone, *, over_tcp: bool) -> bytes:
    """Answer a question."""
    query = dns.message.from_wire(data)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    asked = query.question[0]
    name, kind = asked.name.to_text().lower(), dns.rdatatype.to_text(asked.rdtype)
    if name.startswith("big.") and not over_tcp:
        reply.flags |= dns.flags.TC
        return reply.to_wire()
    while alias := zone.get(name, {}).get("CNAME"):
        reply.answer.append(dns.rrset.from_text(name, TTL, "IN", "CNAME", *alias))
        name = alias[0]
    if name not in zone:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif found := zone[name].get(kind):
        reply.answer.append(dns.rrset.from_text(name, TTL, "IN", kind, *found))
    return reply.to_wire(max_size=65_535)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: _Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answered(data, self._zone, over_tcp=False), addr)


async def _serve(address: str, port: int, zone: _Zone) -> None:
    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(2):
            said = answered(await reader.readexactly(int.from_bytes(head)), zone, over_tcp=True)
            writer.write(len(said).to_bytes(2) + said)
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(zone), local_addr=(address, port))
    server = await asyncio.start_server(over_tcp, address, port)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
