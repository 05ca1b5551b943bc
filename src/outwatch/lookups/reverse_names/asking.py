"""Questions to the system's name servers, over UDP alone.

dnspython reads the system's configuration and speaks the protocol; the exchange is our own, because a server may answer
with as much as it likes: 57 kB of names took dnspython 120 ms to read, and its resolver goes on to TCP for more. Whatever
does not fit into one packet of an ordinary size is no name that anybody wants to read.
"""

import asyncio
import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from outwatch.errors import LookupFailed

if TYPE_CHECKING:
    import dns.message

_LARGEST = 1232  # bytes of an answer: what DNS Flag Day 2020 recommends for EDNS (RFC 6891, 6.2.5)
_TRIES = 2  # a packet may get lost
_SERVERS = 3  # resolv.conf(5): MAXNS
_CONFIGURATION = Path("/etc/resolv.conf")
_NO_RECORD_FOR = 300.0  # seconds that an answer without an SOA record is remembered

Kind = Literal["PTR", "A", "AAAA"]


@dataclass(frozen=True)
class Answer:
    """What records of the kind asked for said, and for how many seconds that may be remembered; no values: there are none."""

    values: tuple[str, ...]
    seconds: float


class Asker:
    """Asks the name servers that this system uses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet: the configuration is read when something is asked, and again when it has changed."""
        self._clock = clock
        self._servers: Sequence[tuple[str, int]] = ()
        self._read_at: int | None = None
        self._ready: asyncio.Future[None] | None = None

    async def ask(self, name: str, kind: Kind, until: float) -> Answer:
        """Ask for records of a name, until the moment ``until`` of the clock. ``LookupFailed`` if nobody gives a usable answer."""
        await self._import()
        import dns.message  # noqa: PLC0415 - 50 ms for those who ask something
        from dns.exception import DNSException  # noqa: PLC0415

        servers = self._configured()
        if not servers:
            raise LookupFailed("no name server is configured")
        try:
            query = dns.message.make_query(name, kind, use_edns=0, payload=_LARGEST)
            wire = query.to_wire()
        except DNSException as error:
            raise LookupFailed("not a name that can be asked for") from error
        why = "name server did not answer"
        tries = max(_TRIES, len(servers))
        for number in range(tries):
            left = until - self._clock()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left / (tries - number)):
                    return _read(await _exchange(servers[number % len(servers)], wire, query), kind)
            except TimeoutError:
                continue
            except (OSError, _Useless):
                why = "name server gave no usable answer"
        raise LookupFailed(why)

    async def _import(self) -> None:
        """Import dnspython beside the loop, once: it takes longer than a batch of connections may wait."""
        if self._ready is None:
            self._ready = asyncio.ensure_future(asyncio.to_thread(_import_dnspython))
        await asyncio.shield(self._ready)

    def _configured(self) -> Sequence[tuple[str, int]]:
        changed = _changed_at()
        if changed != self._read_at or self._read_at is None:
            self._servers, self._read_at = _system_servers(), changed
        return self._servers


class _Useless(Exception):
    """A reply that says nothing about the name: the next server may know more."""


class _Exchange(asyncio.DatagramProtocol):
    """One question on a port of its own, so that nobody else can guess where its answer is awaited (RFC 5452)."""

    def __init__(self, query: "dns.message.Message") -> None:
        self._query = query
        self.reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        import dns.message  # noqa: PLC0415
        from dns.exception import DNSException  # noqa: PLC0415

        if self.reply.done() or len(data) > _LARGEST or data[:2] != self._query.id.to_bytes(2, "big"):
            return
        with contextlib.suppress(DNSException, ValueError):  # not an answer; the real one may still come
            reply = dns.message.from_wire(data, ignore_trailing=True)
            if self._query.is_response(reply):
                self.reply.set_result(reply)

    def error_received(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


async def _exchange(server: tuple[str, int], wire: bytes, query: "dns.message.Message") -> Any:
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(query), remote_addr=server)
    try:
        transport.sendto(wire)
        return await exchange.reply
    finally:
        exchange.reply.cancel()
        transport.close()


def _read(reply: "dns.message.QueryMessage", kind: Kind) -> Answer:
    """Take the records asked for, at the end of a chain of aliases (RFC 2317 builds reverse zones with them)."""
    import dns.flags  # noqa: PLC0415
    import dns.rcode  # noqa: PLC0415
    from dns.exception import DNSException  # noqa: PLC0415

    if reply.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise _Useless
    try:
        chain = reply.resolve_chaining()
    except DNSException as error:
        raise _Useless from error
    if chain.answer is None:
        soa = any(one.rdtype == dns.rdatatype.SOA for one in reply.authority)
        return Answer((), chain.minimum_ttl if soa else _NO_RECORD_FOR)
    values = tuple(one.target.to_text(omit_final_dot=True) if kind == "PTR" else one.address for one in chain.answer)
    return Answer(values, chain.minimum_ttl)


def _import_dnspython() -> None:
    importlib.import_module("dns.resolver")


def _changed_at() -> int | None:
    """Tell when the configuration was changed; ``None`` where that is not kept in a file: it is then read each time."""
    try:
        return _CONFIGURATION.stat().st_mtime_ns if sys.platform != "win32" else 0
    except OSError:
        return None


def _system_servers() -> Sequence[tuple[str, int]]:
    import dns.resolver  # noqa: PLC0415

    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return ()
    return [(server, system.nameserver_ports.get(server, system.port)) for server in system.nameservers if isinstance(server, str)][
        :_SERVERS
    ]
