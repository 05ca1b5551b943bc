"""The process behind ``services.py``: an HTTP server that does as it is told, a line of JSON on standard input for each order."""

import asyncio
import base64
import contextlib
import json
import socket
import struct
import sys
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from .service_replies import KEY_HEADERS, MAKERS, TOO_MANY, WRONG_KEY, Reply, indicator_of, ipinfo_json

Headers = list[tuple[str, str]]
PLAIN = {"key": None, "quotas": (), "told": (), "latency": 0.0, "hang_every": 0, "fault": "", "fault_every": 1}
ELSEWHERE = "elsewhere"
_MEGABYTE = 1 << 20
_PAGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"
_GZIP = ("Content-Encoding", "gzip")
_BODIES = {"empty": b"", "null": b"null", "list": b"[[], {}, 1]", "nested": b'{"data":' * 100_000 + b"1" + b"}" * 100_000}
_HUGE = [b'{"data":{"attributes":{"x":"', *[b"a" * _MEGABYTE] * 100, b'"}}}']  # the same megabyte a hundred times


@dataclass
class Request:
    """What was asked, and the connection it came on."""

    provider: str
    target: str  # below the provider's base URL
    headers: dict[str, str]
    writer: asyncio.StreamWriter
    log: dict[str, Any]

    @property
    def indicator(self) -> str:
        return str(self.log["indicator"])


class Provider:
    """How one provider behaves, and what it has counted."""

    def __init__(self) -> None:
        self.manner: dict[str, Any] = PLAIN
        self.answers: dict[str | None, tuple[str, dict[str, Any]]] = {}
        self.replies: dict[str | None, tuple[int, bytes, dict[str, str]]] = {}
        self.arrived: deque[float] = deque()
        self.seen = self.open = self.most_open = 0

    def forget(self) -> None:
        self.arrived.clear()
        self.seen, self.most_open = 0, self.open

    def over_quota(self, now: float) -> tuple[int, float] | None:
        """Give the quota that another request would break, if one is: it is not counted then."""
        for count, seconds in self.manner["quotas"]:
            if sum(now - at < seconds for at in self.arrived) >= count:
                return count, seconds
        self.arrived.append(now)
        return None

    def limits(self, now: float) -> Iterator[tuple[str, str]]:
        """Tell the tightest quota as headers do."""
        for count, seconds in sorted(self.manner["quotas"]):
            within = [at for at in self.arrived if now - at < seconds]
            yield "X-RateLimit-Limit", str(count)
            yield "X-RateLimit-Remaining", str(count - len(within))
            yield "X-RateLimit-Reset", str(int(time.time() + (within[0] + seconds - now if within else 0)) + 1)
            return


class Server:
    """All providers at one address, told apart by the first step of the path."""

    def __init__(self) -> None:
        self.providers: defaultdict[str, Provider] = defaultdict(Provider)
        self.log: list[dict[str, Any]] = []
        self.connections = 0
        self.address = self.elsewhere = ""
        self.other_port = ""

    async def run(self) -> None:
        """Serve until standard input ends."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        other = await asyncio.start_server(self.serve_elsewhere, "127.0.0.2", 0)
        third = await asyncio.start_server(self.serve_elsewhere, "127.0.0.1", 0)
        self.address, self.elsewhere, self.other_port = (_address(one) for one in (server, other, third))
        self.say({"result": [self.address, self.elsewhere]})
        orders = asyncio.StreamReader(limit=1 << 30)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while line := await orders.readline():
            try:
                self.say({"result": self.obey(*json.loads(line))})
            except (LookupError, TypeError, ValueError) as error:
                self.say({"error": repr(error)})

    def say(self, what: object) -> None:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()

    def obey(self, order: str, *about: Any) -> Any:
        match order, about:
            case "behave", [provider, manner]:
                self.providers[provider].manner = manner
            case "answer", [provider, indicator, name, facts]:
                MAKERS[provider]("x", name, facts)  # so that a wrong name is told at once
                self.providers[provider].replies.pop(indicator, None)
                self.providers[provider].answers[indicator] = name, facts
            case "reply", [provider, indicator, status, body, headers]:
                self.providers[provider].replies[indicator] = status, base64.b64decode(body), headers
            case "forget", []:
                self.log.clear()
                for provider in self.providers.values():
                    provider.forget()
            case "reset", []:
                self.log.clear()
                self.providers.clear()
            case "requests", []:
                return self.log
            case "most at once", []:
                return {name: provider.most_open for name, provider in self.providers.items()}
            case "connections", []:
                return self.connections
            case _:
                raise ValueError(order)
        return None

    async def serve_elsewhere(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.serve(reader, writer, ELSEWHERE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str = "") -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while await self.one(reader, writer, where):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await writer.wait_closed()

    async def one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> bool:
        """Answer one request; tells whether the connection may go on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        target = head[0].split(" ")[1]
        by_proxy = not target.startswith("/")
        if by_proxy:
            parts = urlsplit(target)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        _, provider, below = (*target.split("/", 2), "", "")[:3]
        provider = where or provider
        found = indicator_of(provider, f"/{below}")
        log = {"provider": provider, "indicator": found or "", "target": target, "headers": headers, "at": time.monotonic()}
        log |= {"status": 0, "by_proxy": by_proxy}
        self.log.append(log)
        request = Request(provider, f"/{below}", headers, writer, log)
        state = self.providers[provider]
        state.open += 1
        state.most_open = max(state.most_open, state.open)
        try:
            return await self.answer(request, state, reader)
        finally:
            state.open -= 1

    async def answer(self, request: Request, state: Provider, reader: asyncio.StreamReader) -> bool:
        manner, now = state.manner, time.monotonic()
        state.seen += 1
        number = state.seen
        broken = state.over_quota(now)
        if manner["latency"]:
            await asyncio.sleep(manner["latency"])
        told = manner["told"]
        extra = list(state.limits(now)) if "x-ratelimit" in told else []
        if broken is not None:
            wait = broken[1] - (now - state.arrived[-min(broken[0], len(state.arrived))])
            extra += [("Retry-After", str(int(wait) + 1))] if "retry-after" in told else []
            extra += [("Retry-After", formatdate(time.time() + wait + 1, usegmt=True))] if "date" in told else []
            return await send_json(request, TOO_MANY[request.provider], extra)
        if manner["hang_every"] and number % manner["hang_every"] == 0:
            await reader.read()
            return False
        if manner["fault"] and number % manner["fault_every"] == 0:
            return await self.fail(request, manner["fault"], state)
        if request.provider in MAKERS and not request.indicator:
            return await send(request, 400, b"no such path", [("Content-Type", "text/plain")])
        if manner["key"] is not None and request.headers.get(KEY_HEADERS.get(request.provider, ""), "").split(" ")[-1] != manner["key"]:
            return await send_json(request, WRONG_KEY[request.provider], extra)
        status, body, headers = self.right(request, state)
        return await send(request, status, body, [*headers, *extra])

    def right(self, request: Request, state: Provider) -> tuple[int, bytes, Headers]:
        """Make the reply that was set for an indicator, or for all."""
        for known in (request.indicator, None):
            if known in state.replies:
                status, body, headers = state.replies[known]
                return status, body, list(headers.items())
            if known in state.answers:
                name, facts = state.answers[known]
                break
        else:
            name, facts = "clean", {}
        if request.provider not in MAKERS:
            return 200, b"{}", []
        maker = ipinfo_json if request.provider == "ipinfo" and request.target.endswith("/json") else MAKERS[request.provider]
        status, found = maker(request.indicator, name, facts)
        return status, json.dumps(found).encode(), [("Content-Type", "application/json")]

    async def fail(self, request: Request, fault: str, state: Provider) -> bool:
        """Give a reply that no provider documents, or none."""
        status, body, headers = self.right(request, state)
        if fault[:3].isdigit():
            code, _, what = fault.partition(" ")
            page = _PAGE if code in {"404", "500", "502", "503"} else b""
            return await send(request, int(code), page, [("Retry-After", "1")] if what == "retry-after" else [])
        if fault in _BODIES:
            return await send(request, 200, _BODIES[fault], headers)
        if fault.startswith("redirect"):
            return await self.redirect(request, fault, (status, body, headers))
        return await _BROKEN[fault](request, body, headers)

    async def redirect(self, request: Request, fault: str, right: tuple[int, bytes, Headers]) -> bool:
        if fault == "redirect" and "hop=" in request.target:
            return await send(request, *right)
        hop = f"/{request.provider}{request.target}{'&' if '?' in request.target else '?'}hop=1"
        host = {"redirect to another host": f"http://{self.elsewhere}", "redirect to another port": f"http://{self.other_port}"}
        return await send(request, 302, b"", [("Location", host.get(fault, "") + hop)])


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


async def send_json(request: Request, reply: Reply, extra: Headers) -> bool:
    return await send(request, reply[0], json.dumps(reply[1]).encode(), [("Content-Type", "application/json"), *extra])


async def send(request: Request, status: int, body: bytes, headers: Headers, length: int | None = None) -> bool:
    request.log["status"] = status
    lines = _head(status, headers)
    if status != HTTPStatus.NO_CONTENT:
        lines += f"Content-Length: {len(body) if length is None else length}\r\n"
    request.writer.write(lines.encode() + b"\r\n" + (body if status != HTTPStatus.NO_CONTENT else b""))
    await request.writer.drain()
    return True


def _head(status: int, headers: Headers) -> str:
    reason = HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {reason}\r\nServer: local\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)


async def _html(request: Request, _body: bytes, _headers: Headers) -> bool:
    return await send(request, 200, _PAGE, [("Content-Type", "text/html; charset=UTF-8")])


async def _truncated(request: Request, body: bytes, headers: Headers) -> bool:
    return await send(request, 200, body[: len(body) // 2], headers)


async def _too_short(request: Request, body: bytes, headers: Headers) -> bool:
    await send(request, 200, body[:-5], headers, length=len(body))
    return False


async def _too_long(request: Request, body: bytes, headers: Headers) -> bool:
    return await send(request, 200, body + b'{"data":{}}', headers, length=len(body))


async def _gzip(request: Request, body: bytes, headers: Headers) -> bool:
    return await send(request, 200, zlib.compress(body, wbits=31), [*headers, _GZIP])


async def _broken_gzip(request: Request, body: bytes, headers: Headers) -> bool:
    return await send(request, 200, b"\x1f\x8b" + body, [*headers, _GZIP])


async def _gzip_bomb(request: Request, _body: bytes, headers: Headers) -> bool:
    return await send(request, 200, _bomb(), [*headers, _GZIP])


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(b'{"data":"'), *(packer.compress(bytes([32]) * _MEGABYTE) for _ in range(200)), packer.compress(b'"}')]
    return b"".join([*parts, packer.flush()])


async def _huge(request: Request, _body: bytes, _headers: Headers) -> bool:
    """Send a JSON text of 100 MB, as far as somebody reads it."""
    size = str(sum(map(len, _HUGE)))
    request.log["status"] = 200
    request.writer.write(_head(200, [("Content-Type", "application/json"), ("Content-Length", size)]).encode() + b"\r\n")
    for piece in _HUGE:
        request.writer.write(piece)
        await request.writer.drain()
    return True


async def _huge_chunked(request: Request, _body: bytes, _headers: Headers) -> bool:
    request.log["status"] = 200
    request.writer.write(_head(200, [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]).encode() + b"\r\n")
    for piece in (*_HUGE, b""):
        request.writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await request.writer.drain()
    return True


async def _drip(request: Request, body: bytes, _headers: Headers) -> bool:
    request.log["status"] = 200
    request.writer.write(_head(200, [("Content-Length", str(len(body)))]).encode() + b"\r\n")
    for byte in body:
        request.writer.write(bytes([byte]))
        await request.writer.drain()
        await asyncio.sleep(0.1)
    return True


async def _not_http(request: Request, _body: bytes, _headers: Headers) -> bool:
    request.writer.write(b"220 mail.example.net ESMTP\r\n")
    return False


async def _closed(_request: Request, _body: bytes, _headers: Headers) -> bool:
    return False


async def _reset(request: Request, _body: bytes, _headers: Headers) -> bool:
    connected: socket.socket = request.writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.writer.transport.abort()
    return False


_BROKEN: dict[str, Callable[[Request, bytes, Headers], Awaitable[bool]]] = {
    "html": _html,
    "truncated": _truncated,
    "too short": _too_short,
    "too long": _too_long,
    "gzip": _gzip,
    "broken gzip": _broken_gzip,
    "gzip bomb": _gzip_bomb,
    "huge": _huge,
    "huge chunked": _huge_chunked,
    "drip": _drip,
    "not http": _not_http,
    "closed": _closed,
    "reset": _reset,
}


if __name__ == "__main__":
    asyncio.run(Server().run())
