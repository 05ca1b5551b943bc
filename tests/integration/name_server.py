"""A name server that behaves as it is told: ``name_server.py ADDRESS MANNER``.

It prints ``ready`` and then each question (``PTR 7.100.51.198.in-addr.arpa.``). Well-mannered, it gives every address the name
``www.good.example`` and that name the address 198.51.100.7; ``held`` answers nothing before it is told to on standard input. It
ends when its standard input does.
"""

import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

GOOD, ADDRESS = "www.good.example.", "198.51.100.7"
HOSTILE = ("\\027[31mred\\010.example.", "google.com\\000.evil.example.", "=cmd.evil.example.", "\\255\\254.evil.example.")


def answered(query: dns.message.Message, *names: str) -> bytes:
    made = dns.message.make_response(query)
    asked = query.question[0]
    if asked.rdtype == dns.rdatatype.PTR:
        made.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "PTR", *names))
    elif asked.rdtype == dns.rdatatype.A:
        made.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "A", ADDRESS))
    return made.to_wire(max_size=65_535)


def refused(query: dns.message.Message) -> bytes:
    made = dns.message.make_response(query)
    made.set_rcode(dns.rcode.SERVFAIL)
    return made.to_wire()


def truncated(query: dns.message.Message) -> bytes:
    made = dns.message.make_response(query)
    made.flags |= dns.flags.TC
    return made.to_wire()


def wrong_id(query: dns.message.Message) -> bytes:
    return (query.id ^ 0xFFFF).to_bytes(2, "big") + answered(query, GOOD)[2:]


def of_another(query: dns.message.Message) -> bytes:
    return answered(dns.message.make_query("8.100.51.198.in-addr.arpa.", "PTR", id=query.id), GOOD)


MANNERS: dict[str, Callable[[dns.message.Message], bytes | None]] = {
    "good": lambda query: answered(query, GOOD),
    "held": lambda query: answered(query, GOOD),
    "silent": lambda _query: None,
    "servfail": refused,
    "truncated": truncated,
    "wrong id": wrong_id,
    "another question": of_another,
    "garbage": lambda query: query.id.to_bytes(2, "big") + b"\xff" * 300,
    "60 kB": lambda query: answered(query, *(f"name{number:04}.evil.example." for number in range(3_300)))[:60_000],
    "hostile names": lambda query: answered(query, *HOSTILE),
}


def serve(address: str, manner: str) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    events = selectors.DefaultSelector()
    events.register(server, selectors.EVENT_READ)
    events.register(sys.stdin, selectors.EVENT_READ, "told")
    print("ready", flush=True)
    held: list[tuple[bytes, Any]] = []
    holds = manner == "held"
    while True:
        for key, _ in events.select():
            if key.data == "told":
                if not sys.stdin.readline():
                    return
                holds = False
                for data, asker in held:
                    server.sendto(data, asker)
                continue
            data, asker = server.recvfrom(65_535)
            query = dns.message.from_wire(data)
            print(dns.rdatatype.to_text(query.question[0].rdtype), query.question[0].name, flush=True)
            reply = MANNERS[manner](query)
            if holds and reply is not None:
                held.append((reply, asker))
            elif reply is not None:
                server.sendto(reply, asker)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
