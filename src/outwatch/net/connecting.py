"""Where HTTP may connect to: the check of the very address, the system's proxies, and whom to trust."""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from outwatch.errors import LookupFailed
from outwatch.net.addresses import Scopes

_REMEMBERED = 30.0  # seconds that the addresses of a host are used again
_NOT_PERMITTED = "address not permitted"
PORTS = {"http": 80, "https": 443}
"""The schemes that can be spoken, and their usual ports."""

Addresses = list[str]


class Place(NamedTuple):
    """Where a URL lives."""

    scheme: str
    host: str
    port: int


class Gate:
    """Lets connections through to public addresses, and to any address of the hosts that the user has configured.

    What is declared public in ``[scope]`` is not: that is how to show a laboratory, no leave to send it requests.
    """

    def __init__(self, permitted: Iterable[str]) -> None:
        """Take the names or addresses of those hosts."""
        self._permitted = frozenset(host.lower() for host in permitted)
        self._scopes = Scopes()
        self._known: dict[str, tuple[float, asyncio.Task[Addresses]]] = {}

    def check_written(self, host: str) -> None:
        """Refuse a host that is written as an address that is not permitted, where somebody else will connect to it."""
        for address in _written(host):
            self._require(host, [address])

    async def addresses(self, host: str) -> Addresses:
        """Give the addresses of a host that may be connected to; ``LookupFailed`` if there are none."""
        written = _written(host)
        return self._require(host, written or await self._resolved(host))

    def _require(self, host: str, addresses: Addresses) -> Addresses:
        if not addresses:
            raise LookupFailed("name not found")
        if host.lower() in self._permitted:
            return addresses
        public = [address for address in addresses if self._scopes.place(address)[1] == "public"]
        if not public:
            raise LookupFailed(_NOT_PERMITTED)
        return public

    async def _resolved(self, host: str) -> Addresses:
        """Ask the system for the addresses of a name, once for all connections that are made at the same time."""
        until, asking = self._known.get(host, (0.0, None))
        if asking is None or until < time.monotonic():
            asking = asyncio.create_task(_beside(lambda: _addresses(host)))
            self._known[host] = time.monotonic() + _REMEMBERED, asking
        found = await asyncio.shield(asking)
        if not found:
            self._known.pop(host, None)
        return found


def _written(host: str) -> Addresses:
    """Give the address that a host is written as, also in forms such as ``127.1`` and ``0x7f000001``; nothing for a name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [str(one[4][0]) for one in found]


def _addresses(host: str) -> Addresses:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def _beside(work: Callable[[], Addresses]) -> Addresses:
    """Resolve in a thread that nobody waits for at the end: the system's resolver may take half a minute."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Addresses] = loop.create_future()

    def tell(found: Addresses) -> None:
        if not answer.done():
            answer.set_result(found)

    def run() -> None:
        found = work()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, found)

    threading.Thread(target=run, name="addresses", daemon=True).start()
    return await answer


def proxy_for(place: Place, proxies: Mapping[str, str] | None = None) -> str | None:
    """Give the URL of the proxy that a host is asked through, or ``None``; by the system's settings unless ``proxies`` are given."""
    import urllib.request  # noqa: PLC0415 - it knows where each system keeps them, and takes 20 ms to import

    given = urllib.request.getproxies() if proxies is None else dict(proxies)
    url = given.get(place.scheme) or given.get("all")
    if not url:
        return None
    bypassed = urllib.request.proxy_bypass(f"{place.host}:{place.port}") or urllib.request.proxy_bypass(place.host)
    if bypassed:
        return None
    return url if "://" in url else f"http://{url}"


def trusted() -> ssl.SSLContext:
    """Make the settings of TLS: the authorities that this system trusts, or certifi's where it has none."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if sys.platform != "win32" and paths.cafile is None and not _has_files(paths.capath):
        import certifi  # noqa: PLC0415 - for systems without a store alone

        context.load_verify_locations(certifi.where())
    return context


def _has_files(folder: str | None) -> bool:
    try:
        return folder is not None and bool(os.listdir(folder))
    except OSError:
        return False
