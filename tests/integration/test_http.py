"""The HTTP client over real sockets on loopback: what it sends, what it reuses, where it goes, and what it makes of bad replies."""

import asyncio
import gzip
import io
import logging
import traceback
from typing import Any

import pytest

from outwatch.errors import LookupFailed
from outwatch.net import connecting
from outwatch.net.http import Http

from .http_server import CANARY, OK, Handler, Server, client, run, serving

pytestmark = pytest.mark.integration


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


@pytest.mark.security
def test_a_request_that_got_a_part_of_an_answer_is_not_sent_again() -> None:
    async def second_time_half(_head: bytes, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.heads) == 1:
            writer.write(OK)
        else:
            writer.write(b"HTTP/1.1 200")
            writer.close()

    server = Server(second_time_half)

    async def body() -> None:
        async with serving(server) as url, client() as http:
            await http.get(url)
            with pytest.raises(LookupFailed, match="broken reply"):
                await http.get(url)

    run(body)
    assert len(server.heads) == 2


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
