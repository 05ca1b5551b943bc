"""The HTTP client over real sockets on loopback: what it sends, what it reuses, where it goes, and what it makes of bad replies."""

import asyncio
import gzip
import io
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from outwatch.errors import LookupFailed
from outwatch.net import connecting
from outwatch.net.http import Http

pytestmark = pytest.mark.integration
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


def failure(server: Server, path: str = "/", **how: Any) -> str:
    """Ask once, and give the reason of the failure."""

    async def body() -> str:
        async with serving(server) as url, client() as http:
            with pytest.raises(LookupFailed) as failed:
                await http.get(url + path, headers=[("x-key", CANARY)], **how)
            return failed.value.reason

    return run(body)


def test_a_request_says_what_it_must_and_nothing_of_the_machine() -> None:
    server = Server()

    async def body() -> tuple[int, bytes]:
        async with serving(server) as url, client() as http:
            reply = await http.get(f"{url}/a/b?x=1", headers={"x-key": CANARY}, params=[("ipAddress", "2001:db8::1"), ("q", "a b&c")])
            return reply.status, reply.body

    assert run(body) == (200, b"ok")
    first, *lines = server.lines()
    assert first == "GET /a/b?x=1&ipAddress=2001%3Adb8%3A%3A1&q=a+b%26c HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines if line}
    assert names == {"host", "user-agent", "accept-encoding", "x-key"}
    assert f"Host: 127.0.0.1:{server.port}" in lines
    assert f"x-key: {CANARY}" in lines


def test_one_connection_serves_one_request_after_another() -> None:
    server = Server()

    async def body() -> None:
        async with serving(server) as url, client() as http:
            for _ in range(10):
                await http.get(url)
            assert server.connections == 1
            await asyncio.gather(*(http.get(url) for _ in range(5)))
            assert server.connections <= 5
            await asyncio.gather(*(http.get(url) for _ in range(5)))
            assert server.connections <= 5

    run(body)
    assert len(server.heads) == 20


@pytest.mark.parametrize("says_so", [True, False])
def test_a_connection_that_the_server_has_closed_meanwhile_costs_no_answer(says_so: bool) -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok" if says_so else OK

    async def once(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = Server(once)

    async def body() -> list[int]:
        async with serving(server) as url, client() as http:
            return [(await http.get(url)).status for _ in range(5)]

    assert run(body) == [200] * 5
    assert len(server.heads) == 5


def test_a_request_is_sent_once_more_only_if_an_old_connection_ended_without_a_byte() -> None:
    count = 0

    async def second_time_nothing(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if count == 2:
            writer.close()  # it was read, and this connection is an old one
        else:
            writer.write(OK)

    server = Server(second_time_nothing)

    async def body() -> None:
        async with serving(server) as url, client() as http:
            await http.get(url)
            await http.get(url)

    run(body)
    assert (count, server.connections) == (3, 2)
    always = Server(_closed)
    assert failure(always) == "connection lost"
    assert len(always.heads) == 1


async def _closed(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _reset(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _hang(_head: bytes, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def _drip(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _endless(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()


async def _endless_head(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"X-More: " + b"x" * 8192 + b"\r\n")
        await writer.drain()


def _body(head: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.security
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_reset, "connection lost"),
        (_closed, "connection lost"),
        (_hang, "timeout"),
        (_drip, "timeout"),
        (_endless, "larger than 1 MB"),
        (_endless_head, "broken reply"),
        (_body(b"", b"x" * (1 << 21)), "larger than 1 MB"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "larger than 1 MB"),
        (_body(b"Content-Encoding: gzip\r\n", gzip.compress(bytes(50 << 20))), "larger than 1 MB"),
        (_body(b"Content-Encoding: gzip\r\n", b"no gzip"), "broken compression"),
        (_body(b"Content-Encoding: br\r\n", b"x"), "packed in an unknown way"),
        (b"not HTTP at all\r\n\r\n", "broken reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "broken reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok", "broken reply"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "broken reply"),
        (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok", "broken reply"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "timeout"),
    ],
)
def test_a_bad_reply_is_one_short_reason_within_time_and_memory(answer: bytes | Handler, reason: str) -> None:
    assert failure(Server(answer), most=1 << 20, seconds=1.0) == reason


def test_a_reply_that_ends_too_early_is_broken() -> None:
    async def short(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    assert failure(Server(short)) == "broken reply"


def test_a_reply_without_a_length_ends_with_its_connection() -> None:
    async def until_closed(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        writer.close()

    async def body() -> bytes:
        async with serving(Server(until_closed)) as url, client() as http:
            return (await http.get(url)).body

    assert run(body) == b"all of it"


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_same_place_is_followed_with_the_headers(status: int) -> None:
    async def first_moved(head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(moved("/new?x=1", status) if head.startswith(b"GET /old ") else OK)

    server = Server(first_moved)

    async def body() -> int:
        async with serving(server) as url, client() as http:
            return (await http.get(f"{url}/old", headers={"x-key": CANARY})).status

    assert run(body) == 200
    assert server.lines()[0] == "GET /new?x=1 HTTP/1.1"
    assert f"x-key: {CANARY}" in server.lines()
    assert server.connections == 1


@pytest.mark.security
@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.2:{port}/", "redirected to another host"),
        ("http://localhost:{port}/", "redirected to another host"),
        ("//127.0.0.2/", "redirected to another host"),
        ("http://127.0.0.1:1/", "redirected to another port, or away from TLS"),
        ("http://user:{canary}@127.0.0.1:{port}/", "redirected to another host"),
        ("file:///etc/passwd", "redirected to another host"),
        ("http://[::1", "redirected to another host"),
        ("/again", "redirected too often"),
    ],
)
def test_a_redirect_elsewhere_gets_nothing(location: str, reason: str) -> None:
    async def redirect(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(moved(location.format(port=server.port, canary=CANARY)))

    server = Server(redirect)
    assert failure(server) == reason
    assert len(server.heads) == (4 if location == "/again" else 1)


@pytest.mark.security
def test_loopback_is_refused_unless_the_user_has_named_it() -> None:
    server = Server()

    async def body() -> None:
        async with serving(server) as url, Http(proxies={}) as http:
            with pytest.raises(LookupFailed, match="address not permitted"):
                await http.get(url)
            with pytest.raises(LookupFailed, match="address not permitted"):
                await http.get(f"http://localhost:{server.port}/")

    run(body)
    assert server.connections == 0


@pytest.mark.security
@pytest.mark.parametrize("headers", [{"x-key": f"{CANARY}\r\nX-Evil: 1"}, {"x-key": f"{CANARY}\x00"}, {"x key": CANARY}])
def test_a_header_that_can_not_be_sent_is_not_repeated_in_what_is_raised(headers: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def body() -> str:
        async with serving(Server()) as url, client() as http:
            try:
                await http.get(url, headers=headers)
            except LookupFailed as error:
                return "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()) + repr(error.__context__)
        return "nothing was raised"

    told = run(body)
    assert "not a request that can be sent" in told
    assert CANARY not in told
    assert CANARY not in caplog.text


@pytest.mark.parametrize(("url", "reason"), [("http://127.0.0.1:1/", "connection refused"), ("ftp://127.0.0.1/", "not a URL of HTTP")])
def test_where_nobody_answers_the_reason_says_so(url: str, reason: str) -> None:
    async def body() -> str:
        async with client() as http:
            with pytest.raises(LookupFailed) as failed:
                await http.get(url)
            return failed.value.reason

    assert run(body) == reason


def test_a_reply_with_any_status_is_a_reply_with_its_headers_in_lower_case() -> None:
    answer = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"

    async def body() -> Any:
        async with serving(Server(answer)) as url, client() as http:
            return await http.get(url)

    reply = run(body)
    assert (reply.status, reply.body) == (429, b"")
    assert reply.headers == {"retry-after": "7", "x-a": "1, 2", "content-length": "0"}


def test_a_download_is_unpacked_into_a_file_and_other_replies_are_not() -> None:
    text = b"".join(b"%d.example\n" % number for number in range(100_000))

    async def body() -> None:
        packed = Server(_body(b'Content-Encoding: gzip\r\nETag: "a"\r\n', gzip.compress(text)))
        async with serving(packed) as url, client() as http:
            file = io.BytesIO()
            reply = await http.download(url, file, most=1 << 22, seconds=10, headers={"If-None-Match": '"b"'})
            assert (reply.status, reply.body, reply.headers["etag"]) == (200, b"", '"a"')
            assert file.getvalue() == text
            assert 'If-None-Match: "b"' in packed.lines()
            with pytest.raises(LookupFailed, match="larger than 1 MB"):
                await http.download(url, io.BytesIO(), most=1 << 20, seconds=10)
        unchanged = Server(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        async with serving(unchanged) as url, client() as http:
            file = io.BytesIO()
            assert (await http.download(url, file, most=100, seconds=10)).status == 304
        error = Server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>")
        async with serving(error) as url, client() as http:
            assert (await http.download(url, file, most=100, seconds=10)).status == 404
            assert file.getvalue() == b""

    run(body)


@pytest.mark.security
def test_a_bomb_of_a_download_is_refused_by_its_ratio() -> None:
    async def body() -> None:
        async with serving(Server(_body(b"Content-Encoding: gzip\r\n", gzip.compress(bytes(100 << 20))))) as url, client() as http:
            with pytest.raises(LookupFailed, match="unpacks to more than 200 times its size"):
                await http.download(url, io.BytesIO(), most=1 << 30, seconds=10)

    run(body)


def test_a_full_disk_is_not_taken_for_the_services_trouble() -> None:
    class Full(io.BytesIO):
        def write(self, _data: Any) -> int:
            raise OSError(28, "No space left on device")

    async def body() -> None:
        async with serving(Server()) as url, client() as http:
            with pytest.raises(OSError, match="No space left"):
                await http.download(url, Full(), most=100, seconds=10)

    run(body)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1, with its key."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography makes the certificate")
    from ipaddress import ip_address

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "lab")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusting(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))


@pytest.mark.usefixtures("trusting")
def test_tls_is_spoken_with_those_that_the_system_trusts(tls: ssl.SSLContext) -> None:
    server = Server()

    async def body() -> None:
        async with serving(server, tls) as url, client() as http:
            assert (await http.get(url)).body == b"ok"
            assert (await http.get(url)).body == b"ok"
        assert server.connections == 1

    run(body)


@pytest.mark.security
def test_tls_with_others_sends_nothing(tls: ssl.SSLContext) -> None:
    server = Server()

    async def body() -> str:
        async with serving(server, tls) as url, client() as http:
            with pytest.raises(LookupFailed) as failed:
                await http.get(url, headers={"x-key": CANARY})
            return failed.value.reason

    assert run(body) == "certificate not trusted"
    assert server.heads == []


def test_a_server_that_speaks_no_tls_is_told() -> None:
    async def body() -> str:
        async with serving(Server(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as url, client() as http:
            with pytest.raises(LookupFailed) as failed:
                await http.get(url.replace("http:", "https:"), seconds=2)
            return failed.value.reason

    assert run(body) in {"broken TLS", "timeout"}, "a server may also wait for the end of what it takes for a request"


class Proxy(Server):
    """A proxy: it passes requests for plain HTTP off as its own, and opens tunnels to loopback, unless it refuses."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__(self._serve)
        self.refuses = refuses

    async def _serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        if method != b"CONNECT":
            writer.write(OK)
            return
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = target.decode().rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def test_plain_http_goes_through_the_proxy_with_its_whole_url_and_credentials_for_it() -> None:
    proxy = Proxy()

    async def body() -> None:
        async with serving(proxy) as place:
            through = place.replace("http://", "http://user:p%40ss@")
            async with client(proxies={"http": through}) as http:
                assert (await http.get("http://127.0.0.1:9/a?b=1")).body == b"ok"

    run(body)
    lines = proxy.lines()
    assert lines[0] == "GET http://127.0.0.1:9/a?b=1 HTTP/1.1"
    assert "Host: 127.0.0.1:9" in lines
    assert "Proxy-Authorization: Basic dXNlcjpwQHNz" in lines


@pytest.mark.usefixtures("trusting")
@pytest.mark.security
def test_tls_goes_through_a_tunnel_in_which_the_proxy_sees_no_key(tls: ssl.SSLContext) -> None:
    proxy, server = Proxy(), Server()

    async def body() -> None:
        async with serving(proxy) as place, serving(server, tls) as url, client(proxies={"https": place}) as http:
            for _ in range(2):
                assert (await http.get(url, headers={"x-key": CANARY})).body == b"ok"

    run(body)
    assert [head.split(b"\r\n")[0] for head in proxy.heads] == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1".encode()]
    assert len(server.heads) == 2
    assert CANARY not in proxy.heads[0].decode()


@pytest.mark.security
def test_through_a_proxy_private_addresses_are_refused_as_well() -> None:
    proxy = Proxy()

    async def body() -> None:
        async with serving(proxy) as place, Http(proxies={"http": place, "https": place}) as http:
            for url in ("http://10.0.0.1/", "http://169.254.169.254/latest/meta-data", "https://127.1/", "http://[::1]/"):
                with pytest.raises(LookupFailed, match="address not permitted"):
                    await http.get(url)

    run(body)
    assert proxy.heads == []


@pytest.mark.parametrize(
    ("refuses", "kind", "reason"),
    [(True, "http", "the proxy refused"), (False, "socks5", "the system's proxy is of a kind that can't be used")],
)
def test_a_proxy_that_is_of_no_use_is_told(refuses: bool, kind: str, reason: str) -> None:
    async def body() -> str:
        async with serving(Proxy(refuses)) as place, client(proxies={"https": place.replace("http", kind, 1)}) as http:
            with pytest.raises(LookupFailed) as failed:
                await http.get("https://127.0.0.1:9/")
            return failed.value.reason

    assert run(body) == reason


def test_of_several_addresses_the_next_is_tried_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_addresses", lambda _host: ["127.0.0.3", "127.0.0.1"])
    server = Server()

    async def body() -> bytes:
        async with serving(server), Http(permitted=["lab.test"], proxies={}) as http:
            return (await http.get(f"http://lab.test:{server.port}/")).body

    assert run(body) == b"ok"
    assert f"Host: lab.test:{server.port}" in server.lines()


def test_who_stops_waiting_leaves_nothing_open_that_would_be_used_again() -> None:
    server = Server(_hang)

    async def body() -> None:
        async with serving(server) as url, client() as http:
            waiting = asyncio.create_task(http.get(url))
            while not server.heads:  # noqa: ASYNC110 - the server has no event to wait for
                await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            server.answer = OK
            assert (await http.get(url)).body == b"ok"

    run(body)
    assert server.connections == 2
