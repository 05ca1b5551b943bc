"""A server on loopback that answers as it is told, and a client for it."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from outwatch.net.http import Http

CANARY = "canary-5a1f0c3e"
PATIENCE = 30.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_Result = TypeVar("_Result")


class Server:
    """A server that answers every request with bytes, or as a handler likes; it keeps the heads of all requests."""

    def __init__(self, answer: bytes | Handler = OK) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await _head(reader):
                self.heads.append(head)
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def lines(self, at: int = -1) -> list[str]:
        return self.heads[at].decode("latin-1").split("\r\n")


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@asynccontextmanager
async def serving(server: Server, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Run a server, and give its URL."""
    running = await asyncio.start_server(server.serve, host, 0, ssl=context)
    server.port = running.sockets[0].getsockname()[1]
    try:
        yield f"http{'s' if context else ''}://{host}:{server.port}"
    finally:
        running.close()


def run(body: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    async def bounded() -> _Result:
        return await asyncio.wait_for(body(), PATIENCE)

    return asyncio.run(bounded())


def client(**how: Any) -> Http:
    return Http(**{"permitted": ["127.0.0.1"], "proxies": {}, **how})
