"""A server of lists on loopback that does as it is told, path by path, and remembers what it was asked.

::

    with ListServer() as server:
        server.serve("/list.txt", Page(b"203.0.113.7\\n", etag='"1"'))
        ... server.url("/list.txt") ...
        assert server.asked("/list.txt")[1]["if-none-match"] == '"1"'
"""

import gzip
import socket
import struct
import sys
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a page is given: ``cut`` sends only so many bytes of it and ends, ``stuck`` sends these and then nothing more."""

    status: int = 200
    packed: bool = False
    cut: int | None = None
    stuck: int | None = None
    reset: bool = False


@dataclass(frozen=True)
class Page:
    """What is at a path. With ``etag`` or ``last_modified`` a request that names it is answered with 304."""

    body: bytes = b""
    etag: str | None = None
    last_modified: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that break off: that is what they do when they have heard enough."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed on as it came


class ListServer:
    """Listens on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._asked: dict[str, list[dict[str, str]]] = defaultdict(list)
        self._ending = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def serve(self, path: str, page: Page) -> str:
        """Put a page at a path and give its URL."""
        self._pages[path] = page
        return self.url(path)

    def asked(self, path: str) -> list[dict[str, str]]:
        """Give the headers of each request for a path, their names in lower case."""
        return self._asked[path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._asked[self.path].append({name.lower(): value for name, value in self.headers.items()})
                owner._answer(self, owner._pages.get(self.path, Page(b"<html>404", manner=Manner(status=404))))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler, page: Page) -> None:
        manner = page.manner
        if manner.reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
            return
        known = handler.headers.get("If-None-Match") == page.etag if page.etag else False
        known = known or (page.last_modified is not None and handler.headers.get("If-Modified-Since") == page.last_modified)
        body = b"" if known else gzip.compress(page.body) if manner.packed else page.body
        handler.send_response(304 if known else manner.status)
        told = {"ETag": page.etag, "Last-Modified": page.last_modified, "Content-Encoding": "gzip" if manner.packed and not known else None}
        for name, value in {**told, **page.headers}.items():
            if value is not None:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        part = body[: manner.cut if manner.cut is not None else manner.stuck]
        try:
            handler.wfile.write(part)
            handler.wfile.flush()
        except OSError:  # whoever asked has heard enough
            handler.close_connection = True
        if manner.cut is not None:
            handler.close_connection = True
        if manner.stuck is not None:
            self._ending.wait()
