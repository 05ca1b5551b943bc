"""A lab with names: a machine with a resolv.conf of its own that is watched from within, name servers, and services to call by name."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from integration.child import LONG, Child
from integration.lab import PUBLIC, SERVER, SERVER_V6, Lab
from kernel.watch import Record, Watch

LATE, UNASKED, ENCRYPTED = "203.0.113.77", "203.0.113.80", "203.0.113.81"
"""Addresses over there: one whose name is asked for when it has been called already, one without a name, and a resolver's."""

OWN, STRANGER, BEHIND = SERVER, "203.0.113.53", "203.0.113.54"
"""Name servers over there: the system's own, one that is not, and one that asks the own one."""

STUB = "127.0.0.1"
"""A resolver on the machine itself."""

PLAIN, SECURE, PROXY, QUIC = 8080, 8444, 3128, 4433
"""Ports over there: HTTP, TLS, a proxy for tunnels to the TLS server, HTTP/3's transport."""

ZONE: dict[str, dict[str, list[str]]] = {
    "www.example.": {"A": [PUBLIC]},
    "one.example.": {"A": [PUBLIC]},
    "two.example.": {"A": [PUBLIC]},
    "six.example.": {"AAAA": [SERVER_V6]},
    "alias.example.": {"CNAME": ["edge.cdn.example."]},
    "edge.cdn.example.": {"CNAME": ["node.cdn.example."]},
    "node.cdn.example.": {"A": [PUBLIC], "AAAA": [SERVER_V6]},
    "big.example.": {"A": [PUBLIC, *(f"203.0.113.{number}" for number in range(100, 180))]},
    "proxy.example.": {"A": [SERVER]},
    "secure.example.": {"A": [PUBLIC]},
    "quic.example.": {"A": [PUBLIC], "AAAA": [SERVER_V6]},
    "dns.quad9.net.": {"A": [ENCRYPTED]},
    "late.example.": {"A": [LATE]},
    "7.100.51.198.in-addr.arpa.": {"PTR": ["www.example."]},
}

_SERVE = """
import asyncio, ssl, sys
async def say(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 204 No Content\\r\\nConnection: close\\r\\n\\r\\n")
    await writer.drain()
    writer.close()
async def copy(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def tunnel(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", 8444)
    writer.write(b"HTTP/1.1 200 Connection established\\r\\n\\r\\n")
    await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    for address in ("0.0.0.0", "::"):
        await asyncio.start_server(say, address, 8080)
        await asyncio.start_server(say, address, 8444, ssl=context)
        await asyncio.start_server(tunnel, address, 3128)
    from aioquic.asyncio import serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.packet import QuicProtocolVersion
    quic = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    quic.supported_versions = [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2]
    quic.load_cert_chain(sys.argv[1], sys.argv[2])
    for address in sys.argv[3:]:
        await serve(address, 4433, configuration=quic)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""
_BOTH = "both"
_PRIVATELY = 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
Names = list[tuple[str, str, Any]]


class NamesLab:
    """The machine, seen from within; programs that are started there ask the name server that they are told to."""

    def __init__(self, lab: Lab, folder: Path, started: ExitStack) -> None:
        self.lab, self.folder, self._started = lab, folder, started
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        for server in (OWN, STRANGER, BEHIND, STUB):
            (folder / f"resolv.{server}").write_text(f"nameserver {server}\noptions timeout:5\n")
        (folder / f"resolv.{_BOTH}").write_text(f"nameserver {OWN}\nnameserver {BEHIND}\n")

    def privately(self, server: str) -> list[str]:
        """Begin a command whose name server is another than that of this machine."""
        return ["unshare", "--mount", "--", "sh", "-c", _PRIVATELY, "sh", str(self.folder / f"resolv.{server}"), str(self.folder / "hosts")]

    def run(self, argv: Sequence[str], server: str = OWN, *, namespace: str | None = None) -> int:
        """Run a program to its end, here or in another namespace, and give its pid."""
        command = self.lab.inside(namespace or self.lab.here, [*self.privately(server), *argv])
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/") as done:
            try:
                out, _ = done.communicate(timeout=LONG)
            except BaseException:
                done.kill()
                raise
        assert done.returncode == 0, out.decode("utf-8", "backslashreplace")
        return done.pid

    def curl(self, *arguments: str, server: str = OWN) -> int:
        """Run curl to its end and give its pid; only what happens on the network matters."""
        return self.run(["curl", "-q", "-s", "-S", "-k", "-o", "/dev/null", "--noproxy", "", *arguments], server)

    def python(self, code: str, *arguments: str, server: str = OWN, namespace: str | None = None) -> int:
        """Run a script to its end and give its pid."""
        return self.run([sys.executable, "-c", code, *arguments], server, namespace=namespace)

    def child(self, namespace: str, argv: Sequence[str], *before: str) -> Child:
        """Start a program that stays."""
        return self._started.enter_context(Child(self.lab.inside(namespace, [*before, *argv])))

    def watch(self, folder: Path, **more: str) -> Watch:
        """Watch from within: what the system's own name server says is believed."""
        before = (*self.lab.inside(self.lab.here, []), *self.privately(_BOTH))
        room = {"OUTWATCH_SENSORS__EBPF__RING_KIB": "32768", "OUTWATCH_SENSORS__EBPF__STORM": "0"}
        return self._started.enter_context(Watch(self.lab, folder, env={**room, **more}, before=before))


def name_server(
    lab: NamesLab, address: str, zone: dict[str, dict[str, list[str]]], port: int = 53, *, namespace: str | None = None
) -> None:
    """Start a name server, over there unless a namespace is given."""
    program = [sys.executable, str(Path(__file__).with_name("zone_server.py")), address, str(port), json.dumps(zone)]
    assert lab.child(namespace or lab.lab.there, program).line() == "ready"


def services(lab: NamesLab) -> None:
    """Start what can be called by name."""
    key, certificate = lab.folder / "key.pem", lab.folder / "certificate.pem"
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=example", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True, timeout=LONG)
    assert (
        lab.child(lab.lab.there, [sys.executable, "-c", _SERVE, str(certificate), str(key), PUBLIC, UNASKED, SERVER_V6]).line() == "ready"
    )


def standing_names_lab(lab: Lab, folder: Path) -> Iterator[NamesLab]:
    """Start everything that all these tests need."""
    missing = [program for program in ("curl", "openssl", "unshare") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    if not os.path.exists("/etc/resolv.conf"):
        pytest.skip("no /etc/resolv.conf whose place another could take")
    route = ["ip", "-n", lab.there, "route", "add", "local", "203.0.113.0/24", "dev", "lo"]
    subprocess.run(route, check=True, capture_output=True, timeout=LONG)
    with ExitStack() as started:
        made = NamesLab(lab, folder, started)
        name_server(made, OWN, ZONE)
        name_server(made, STRANGER, {"google.com.": {"A": [PUBLIC]}})
        services(made)
        yield made


def names(one: Record) -> Names:
    """Give what a record says of names: each with its origin, and whether it is confirmed."""
    return [(name["name"], name["origin"], name.get("confirmed")) for name in one["outwatch"].get("names", [])]


def told(one: Record) -> tuple[str | None, Names]:
    """Give the best name and all names."""
    return one["destination"].get("domain"), names(one)


def to_port(watch: Watch, pid: int, port: int, count: int = 1) -> list[Record]:
    """Wait until so many connections of a process to a port are over, and give them in their order."""

    def chosen(records: list[Record]) -> list[Record]:
        mine = [one for one in records if one.get("process", {}).get("pid") == pid and one["destination"].get("port") == port]
        over = [one for one in mine if one["event"]["action"] == "close"]
        return sorted(over, key=lambda one: str(one["@timestamp"])) if len(over) >= count else []

    found = watch.wait(chosen)
    assert len(found) == count, found
    return found
