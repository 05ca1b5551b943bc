"""One connection to an HTTP server, on which one GET after another is sent. The protocol is h11's, the bytes are asyncio's."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from urllib.parse import unquote, urlsplit

import h11

from outwatch.errors import LookupFailed
from outwatch.net.connecting import PORTS, Gate, Place

_PIECE = 1 << 16
_LONGEST_HEAD = 1 << 16  # bytes of all headers together
_TRY = 1.0  # seconds for one of several addresses of a host, but the last
_OK = range(200, 300)
Pairs = Sequence[tuple[str, str]]


class Wire:
    """An open connection; ``before`` is what stands before the path of a request: nothing, or of a proxy the place."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, before: str = "", extra: Pairs = ()) -> None:
        """Take the streams, and headers that a proxy wants."""
        self._reader, self._writer = reader, writer
        self._before, self._extra = before, extra
        self._protocol = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self.is_new, self.is_silent = True, True

    async def ask(self, target: str, headers: Pairs, method: str = "GET") -> h11.Response:
        """Send a request and give the head of its response; ``LookupFailed`` if there is none."""
        self.is_silent = True
        self._writer.write(self._request(method, f"{self._before}{target}", [*headers, *self._extra]))
        await self._writer.drain()
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise LookupFailed("connection lost")

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body of the response."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def skip(self) -> None:
        """Read a body that nobody needs, if it is short, so that the connection can be used again."""
        left = _PIECE
        async for piece in self.body():
            left -= len(piece)
            if left < 0:
                return

    def rests(self) -> bool:
        """Make ready for the next request; false if there can't be one."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE or self._protocol.trailing_data[0]:
            return False
        self._protocol.start_next_cycle()
        self.is_new = False
        return True

    @property
    def is_open(self) -> bool:
        """Tell whether the server has kept its end open."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        """End it at once: there is nothing left to say."""
        self._writer.transport.abort()

    async def wrap(self, context: ssl.SSLContext, host: str) -> "Wire":
        """Go on with TLS, through a proxy that has let us through."""
        await self._writer.start_tls(context, server_hostname=host)
        return Wire(self._reader, self._writer)

    def _request(self, method: str, target: str, headers: Pairs) -> bytes:
        """Spell a request; what h11 says of one that it refuses must not be seen, as it may hold a key."""
        try:
            head = self._protocol.send(h11.Request(method=method, target=target, headers=list(headers)))
            return (head or b"") + (self._protocol.send(h11.EndOfMessage()) or b"")
        except h11.LocalProtocolError:
            pass
        raise LookupFailed("not a request that can be sent")

    async def _event(self) -> object:
        try:
            while (event := self._protocol.next_event()) is h11.NEED_DATA:
                data = await self._reader.read(_PIECE)
                self.is_silent = self.is_silent and not data
                self._protocol.receive_data(data)
        except h11.RemoteProtocolError:
            pass
        else:
            return event
        raise LookupFailed("connection lost" if self.is_silent else "broken reply")


async def opened(place: Place, gate: Gate, proxy: str | None, context: ssl.SSLContext | None) -> Wire:
    """Open a connection to an origin, through a proxy if there is one; ``context`` is needed if either speaks TLS."""
    if proxy is None:
        addresses = await gate.addresses(place.host)
        reader, writer = await _connected(addresses, place.port, context if place.scheme == "https" else None, place.host)
        return Wire(reader, writer)
    gate.check_written(place.host)
    parts = urlsplit(proxy)
    if parts.scheme not in PORTS or not parts.hostname:
        raise LookupFailed("the system's proxy is of a kind that can't be used")
    port = parts.port or PORTS[parts.scheme]
    reader, writer = await _connected([parts.hostname], port, context if parts.scheme == "https" else None, parts.hostname)
    extra = _credentials(parts.username, parts.password)
    host = f"[{place.host}]" if ":" in place.host else place.host
    authority = f"{host}:{place.port}"
    if place.scheme == "http":
        return Wire(reader, writer, f"http://{authority}", extra)
    tunnel = Wire(reader, writer, extra=extra)
    with contextlib.ExitStack() as undo:
        undo.callback(tunnel.close)
        response = await tunnel.ask(authority, [("Host", authority)], "CONNECT")
        if response.status_code in _OK and context is not None:
            through = await tunnel.wrap(context, place.host)
            undo.pop_all()
            return through
    raise LookupFailed("the proxy refused")


async def _connected(
    hosts: Sequence[str], port: int, context: ssl.SSLContext | None, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of several addresses that answers."""
    server_name = name if context is not None else None
    for host in hosts[:-1]:
        try:
            async with asyncio.timeout(_TRY):
                return await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name)
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await asyncio.open_connection(hosts[-1], port, ssl=context, server_hostname=server_name)


def _credentials(user: str | None, password: str | None) -> Pairs:
    if user is None:
        return ()
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return (("Proxy-Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"),)
