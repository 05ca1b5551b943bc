"""TLS and proxies: whom the HTTP client trusts, and what goes through whom."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outwatch.errors import LookupFailed
from outwatch.net.http import Http

from .http_server import CANARY, OK, Server, client, run, serving

pytestmark = pytest.mark.integration


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
