"""Questions to the system's name servers, over UDP alone.

dnspython spells the questions and knows where Windows keeps its servers. The exchange is our own, because a server may answer with as much
as it likes: dnspython's resolver goes on to TCP for 64 KB, and reading a hostile kilobyte takes it 75 ms
(``docs/decisions/0009-reverse-names.md``). What does not fit into one packet is no name that anybody wants to read.
"""

import asyncio
import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Literal

from outwatch.errors import LookupFailed
from outwatch.net.protocols import dns as protocol

_LARGEST = 1232  # bytes of an answer: no longer one comes in one piece everywhere (DNS Flag Day 2020)
_TRIES = 2  # a packet may get lost
_SERVERS = 3  # resolv.conf(5): MAXNS
_PORT = 53
_CONFIGURATION = Path("/etc/resolv.conf")
_MOST_CONFIGURATION = 1 << 16  # bytes
_MOST_NAMED = 64
_BEHIND_RESOLVED = Path("/run/systemd/resolve/resolv.conf")  # systemd-resolved.service(8)
_LOWEST_FOR_ALL = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")  # the lowest port that anybody may take
_NO_RECORD_FOR = 300.0  # seconds that "there is none" is remembered when nobody says for how long

Kind = Literal["PTR", "A", "AAAA"]
_TYPES: dict[Kind, int] = {"PTR": protocol.PTR, "A": protocol.A, "AAAA": protocol.AAAA}


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
        self._servers: Sequence[str] = ()
        self._read_at: int | None = None
        self._ready: asyncio.Task[ModuleType] | None = None

    async def ask(self, name: str, kind: Kind, until: float) -> Answer:
        """Ask for records of a name, until the moment ``until`` of the clock. ``LookupFailed`` if nobody gives a usable answer."""
        await self._import()
        servers = self._configured()
        if not servers:
            raise LookupFailed("no name server is configured")
        why = "name server did not answer"
        tries = max(_TRIES, len(servers))
        for number in range(tries):
            left = until - self._clock()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(left / (tries - number)):
                    return await _exchange(servers[number % len(servers)], name, kind)
            except TimeoutError:
                continue
            except (OSError, _Useless):
                why = "name server gave no usable answer"
        raise LookupFailed(why)

    async def _import(self) -> None:
        """Import dnspython beside the loop, once: it takes longer than a batch of connections may wait."""
        if self._ready is None:
            self._ready = asyncio.create_task(asyncio.to_thread(importlib.import_module, "dns.message"))
        await asyncio.shield(self._ready)

    def _configured(self) -> Sequence[str]:
        changed = _changed_at()
        if changed != self._read_at or self._read_at is None:
            self._servers, self._read_at = system_servers(), changed
        return self._servers


class _Useless(Exception):
    """A reply that says nothing about the name: the next server may know more."""


class _Exchange(asyncio.DatagramProtocol):
    """One question on a port of its own, so that nobody else can guess where its answer is awaited (RFC 5452)."""

    def __init__(self, number: int, name: str, kind: int) -> None:
        self._asked = (number, name, kind)
        self.reply: asyncio.Future[protocol.Message] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        if self.reply.done() or len(data) > _LARGEST:
            return
        try:
            reply = protocol.read(data)
        except protocol.DnsError:
            return  # not an answer; the real one may still come
        if reply.is_reply and (reply.id, reply.name, reply.type) == self._asked:
            self.reply.set_result(reply)

    def error_received(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


async def _exchange(server: str, name: str, kind: Kind) -> Answer:
    import dns.message  # noqa: PLC0415 - 50 ms for those who ask something
    from dns.exception import DNSException  # noqa: PLC0415

    try:
        # Without EDNS (RFC 6891): there are servers in small routers that refuse it.
        query = dns.message.make_query(name, kind, use_edns=False)
        wire = query.to_wire()
    except DNSException as error:
        raise LookupFailed("not a name that can be asked for") from error
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(
        lambda: _Exchange(query.id, name.lower().rstrip("."), _TYPES[kind]), remote_addr=(server, _PORT)
    )
    try:
        transport.sendto(wire)
        return _answer(await exchange.reply)
    finally:
        exchange.reply.cancel()
        transport.close()


def _answer(reply: protocol.Message) -> Answer:
    """Take the records asked for, at the end of a chain of aliases (RFC 2317 builds reverse zones with them)."""
    if reply.rcode not in {protocol.NOERROR, protocol.NXDOMAIN}:
        raise _Useless
    records, ttl = reply.chain()
    if records and ttl is not None:
        return Answer(tuple(dict.fromkeys(one.value for one in records if one.value)), ttl)
    if reply.is_truncated or (reply.refers and not reply.is_authoritative and reply.negative_ttl is None):
        raise _Useless
    return Answer((), _NO_RECORD_FOR if reply.negative_ttl is None else reply.negative_ttl)


def _changed_at() -> int | None:
    """Tell when the configuration was changed; ``None`` where that is not kept in a file: it is then read each time."""
    try:
        return _CONFIGURATION.stat().st_mtime_ns if sys.platform != "win32" else 0
    except OSError:
        return None


def system_servers() -> Sequence[str]:
    """Give the addresses of the name servers that this system asks (resolv.conf(5); on Windows its registry)."""
    if sys.platform == "win32":
        import dns.resolver  # noqa: PLC0415 - it knows the registry

        try:
            return [server for server in dns.resolver.get_default_resolver().nameservers if isinstance(server, str)][:_SERVERS]
        except dns.resolver.NoResolverConfiguration:
            return ()
    return _named_in(_CONFIGURATION)[:_SERVERS] or ["127.0.0.1"]


def believed_servers() -> Sequence[str]:
    """Give addresses and networks whose answers are those of this system's name servers.

    So are those that systemd-resolved asks in its turn, because programs may ask it without a packet; and all of this machine itself, if
    only root may answer there.
    """
    found = [*system_servers(), *_named_in(_BEHIND_RESOLVED)]
    with contextlib.suppress(OSError, ValueError):  # where it is not said, anybody may
        found += ["127.0.0.0/8", "::1"] if int(_LOWEST_FOR_ALL.read_text("ascii")) > _PORT else []
    return found


def _named_in(path: Path) -> list[str]:
    """Read the name servers of a file in the form of resolv.conf(5)."""
    try:
        with open(path, "rb") as file:
            lines = file.read(_MOST_CONFIGURATION).decode("ascii", "replace").splitlines()
    except OSError:
        return []
    named = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    return [server for server in named if _is_address(server)][:_MOST_NAMED]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
