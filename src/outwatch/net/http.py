"""The one HTTP client: GET only, to where it is allowed to go, and no more bytes than were asked for.

Why it is our own, on top of h11: ``docs/decisions/0019-asking-services.md``.
"""

import asyncio
import contextlib
import importlib
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, BinaryIO, Self
from urllib.parse import urlencode, urljoin, urlsplit

from outwatch import __version__
from outwatch.errors import LookupFailed
from outwatch.model.reputation import LookupReply
from outwatch.net.connecting import PORTS, Gate, Place, proxy_for, trusted
from outwatch.net.unpacking import Unpacking

if TYPE_CHECKING:  # h11 is imported when something is asked
    from h11 import Response

    from outwatch.net.wire import Wire

MOST = 5 << 20
"""Bytes that a reply may have after decompression, unless the caller says otherwise."""

SECONDS = 10.0
"""How long one request may take in all, unless the caller says otherwise."""

RATIO = 200.0
"""How much larger than what was sent a download may become; lists come to 5 to 20, bombs to 1,000."""

_REDIRECTS = 3
_KEPT = 15.0  # seconds that an idle connection is kept
_MOVED = frozenset({301, 302, 303, 307, 308})
_OK = 200
_ALWAYS = (("User-Agent", f"outwatch/{__version__}"), ("Accept-Encoding", "gzip, deflate"))
_Pairs = Iterable[tuple[str, str]] | Mapping[str, str]
_Keep = Callable[[bytes], object]


def host_of(url: str) -> str | None:
    """Give the host that a URL names, in lower case; ``None`` for what is no URL of HTTP, or has a user or a password in it."""
    place = _place(url)
    return place.host if place else None


class Http:
    """Sends GET requests over connections that are kept; for one event loop. ``async with`` closes them.

    Private, loopback, link-local and other non-public addresses are refused, whatever name led there, unless the user has configured a URL
    that names that very host: those hosts are ``permitted``. The system's proxies are honoured; what a proxy connects to, it decides.
    Every failure is a ``LookupFailed``, whose reason repeats nothing of the request or the reply.
    """

    def __init__(self, *, permitted: Iterable[str] = (), proxies: Mapping[str, str] | None = None) -> None:
        """Take the hosts that may be gone to wherever they live, and proxies by scheme (``None``: those of the system)."""
        self._gate = Gate(permitted)
        self._proxies = proxies
        self._idle: dict[Place, list[tuple[float, Wire]]] = {}
        self._ready: asyncio.Task[object] | None = None
        self._trust: asyncio.Task[ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        """Open nothing: connections are made when something is asked."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        idle, self._idle = self._idle, {}
        for wires in idle.values():
            for _since, wire in wires:
                wire.close()
        await asyncio.sleep(0)  # what was closed is done with in the next turn of the loop

    async def get(self, url: str, *, headers: _Pairs = (), params: _Pairs = (), most: int = MOST, seconds: float = SECONDS) -> LookupReply:
        """Ask for ``url`` and give the whole reply, whatever its status; ``LookupFailed`` if there is none."""
        body = bytearray()
        if params:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(list(_pairs(params)))}"
        reply = await self._answer(url, headers, Unpacking(most), body.extend, seconds)
        return LookupReply(status=reply.status, headers=reply.headers, body=bytes(body))

    async def download(
        self, url: str, into: BinaryIO, *, most: int, seconds: float, headers: _Pairs = (), ratio: float = RATIO
    ) -> LookupReply:
        """Write what ``url`` holds to a file and give the reply without a body; nothing is written if its status is not 200.

        ``LookupFailed`` also for more than ``most`` bytes, or more than ``ratio`` times what was sent; the file then holds a part.
        ``OSError`` if the file can't be written.
        """
        failures: list[OSError] = []

        def write(piece: bytes) -> None:
            try:
                into.write(piece)
            except OSError as error:
                failures.append(error)
                raise LookupFailed("can't be written") from error

        try:
            return await self._answer(url, headers, Unpacking(most, ratio), write, seconds, only_ok=True)
        except LookupFailed:
            if failures:  # the disk's trouble, not that of the service
                raise failures[0] from None
            raise

    async def _answer(
        self, url: str, headers: _Pairs, unpacking: Unpacking, keep: _Keep, seconds: float, *, only_ok: bool = False
    ) -> LookupReply:
        """Ask within the time; what went wrong is raised outside of the ``except``, so that no traceback shows what was sent."""
        try:
            async with asyncio.timeout(seconds):
                await self._prepare()
                return await self._follow(url, [*_ALWAYS, *_pairs(headers)], unpacking, keep, only_ok=only_ok)
        except LookupFailed as error:
            reason = error.reason
        except (OSError, UnicodeError) as error:  # also TimeoutError and all of TLS; a name that IDNA can't spell
            reason = _reason(error)
        raise LookupFailed(reason)

    async def _follow(self, url: str, headers: list[tuple[str, str]], unpacking: Unpacking, keep: _Keep, *, only_ok: bool) -> LookupReply:
        """Ask, and go on where the same host says that it has moved to."""
        for _ in range(_REDIRECTS + 1):
            place = _place(url)
            if place is None:
                raise LookupFailed("not a URL of HTTP")
            wire, response = await self._asked(place, url, headers)
            try:
                received = _received(response.headers)
                if response.status_code in _MOVED and "location" in received:
                    url = _moved(url, received["location"])
                    await wire.skip()
                    continue
                if only_ok and response.status_code != _OK:
                    return LookupReply(status=response.status_code, headers=received)
                unpacking.begin(received)
                async for piece in wire.body():
                    for part in unpacking.unpacked(piece):
                        keep(part)
                unpacking.end()
                return LookupReply(status=response.status_code, headers=received)
            finally:
                self._put_back(place, wire)
        raise LookupFailed("redirected too often")

    async def _asked(self, place: Place, url: str, headers: list[tuple[str, str]]) -> "tuple[Wire, Response]":
        """Send a request over a connection that is there, or a new one.

        A server may have closed the former just now: if it said nothing at all, the request is sent once more (RFC 9112, 9.3.1).
        """
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        while True:
            wire = self._kept(place) or await self._opened(place)
            with contextlib.ExitStack() as undo:
                undo.callback(wire.close)
                try:
                    response = await wire.ask(target, [("Host", parts.netloc), *headers])
                except (LookupFailed, OSError):
                    if wire.is_new or not wire.is_silent:
                        raise
                else:
                    undo.pop_all()
                    return wire, response

    async def _opened(self, place: Place) -> "Wire":
        from outwatch.net import wire  # noqa: PLC0415 - imported by _prepare

        proxy = proxy_for(place, self._proxies)
        speaks_tls = "https" in {place.scheme, urlsplit(proxy or "").scheme}
        return await wire.opened(place, self._gate, proxy, await self._context() if speaks_tls else None)

    def _kept(self, place: Place) -> "Wire | None":
        """Give an idle connection, the one that was used last."""
        idle = self._idle.get(place, [])
        while idle:
            since, wire = idle.pop()
            if wire.is_open and time.monotonic() - since < _KEPT:
                return wire
            wire.close()
        return None

    def _put_back(self, place: Place, wire: "Wire") -> None:
        """Keep a connection whose response was read to its end; others are of no use."""
        if wire.is_open and wire.rests():
            self._idle.setdefault(place, []).append((time.monotonic(), wire))
        else:
            wire.close()

    async def _prepare(self) -> None:
        """Import what speaks HTTP beside the loop, once: it takes longer than a batch of connections may wait."""
        if self._ready is None:
            self._ready = asyncio.create_task(asyncio.to_thread(_import))
        await asyncio.shield(self._ready)

    async def _context(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = asyncio.create_task(asyncio.to_thread(trusted))
        return await asyncio.shield(self._trust)


def _import() -> None:
    importlib.import_module("outwatch.net.wire")
    importlib.import_module("urllib.request")


def _pairs(given: _Pairs) -> Iterable[tuple[str, str]]:
    return given.items() if isinstance(given, Mapping) else given


def _place(url: str) -> Place | None:
    """Give the place of a URL that may be asked for, or ``None``."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or not host or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        return None
    return Place(parts.scheme, host.lower(), port or PORTS[parts.scheme])


def _moved(url: str, location: str) -> str:
    """Give the URL that a redirect leads to; the headers go along, so it must be the same place, or the same host with TLS."""
    try:
        target = urljoin(url, location)
    except ValueError:  # no URL at all
        target = ""
    before, after = _place(url), _place(target)
    if before is None or after is None or before.host != after.host:
        raise LookupFailed("redirected to another host")
    if before != after and (before.scheme, after.scheme) != ("http", "https"):
        raise LookupFailed("redirected to another port, or away from TLS")
    return target


def _received(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give headers by their names in lower case; repeated ones are joined (RFC 9110, 5.3)."""
    received: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        received[key] = f"{received[key]}, {text}" if key in received else text
    return received


def _reason(error: Exception) -> str:
    """Name what went wrong, in words that fit every request that fails so."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "no connection")


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (ssl.SSLCertVerificationError, "certificate not trusted"),
    (ssl.SSLError, "broken TLS"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "connection lost"),
)
