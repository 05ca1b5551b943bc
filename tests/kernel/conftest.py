"""One lab, one server and one watch for all tests of a file."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import Lab, standing_lab
from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model.records import Host
from outwatch.sensors.ebpf import EbpfConfig, build

from .watch import Watch, script

SERVE = """
import asyncio, socket, sys
async def serve(reader, writer):
    size, answer, first = map(int, (await reader.readline()).split())
    await reader.readexactly(size)
    writer.write(b"a" * answer)
    await writer.drain()
    if not first:
        await reader.read()
    writer.close()
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, who):
        self.transport.sendto(data[: len(data) // 2 + 1], who)
async def main():
    loop = asyncio.get_running_loop()
    for address in ("192.0.2.2", "198.51.100.7", "2001:db8::2"):
        for port in (9001, 9002, 9003):
            await loop.create_datagram_endpoint(Echo, local_addr=(address, port))
    servers = [await asyncio.start_server(serve, address, 8443, backlog=2000) for address in ("0.0.0.0", "::")]
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"""
"""Answers on TCP 8443 (a line "SIZE ANSWER FIRST", then SIZE bytes; FIRST: it hangs up first) and, half as long, on UDP 9001 to 9003."""


@pytest.fixture(scope="session")
def may_load() -> None:
    """Skip where the kernel takes no BPF programs from us."""
    sensor = build(EbpfConfig(ring_kib=4), host=Host(), boot="", health=Health())
    try:
        sensor.check()
    except SensorUnavailable as error:
        pytest.skip(f"BPF can't be loaded: {error}")
    vars(sensor)["_hooks"].close()


@pytest.fixture(scope="module")
def lab(may_load: None) -> Iterator[Lab]:
    with standing_lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Child]:
    with script(lab, SERVE, namespace=lab.there) as child:
        assert child.line() == "ready"
        yield child


@pytest.fixture(scope="module")
def watch(lab: Lab, server: Child, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    # With room for all that happens while others keep the processors busy: what is lost and counted has tests of its own.
    room = {"OUTWATCH_SENSORS__EBPF__RING_KIB": "32768", "OUTWATCH_SENSORS__EBPF__STORM": "0"}
    with Watch(lab, tmp_path_factory.mktemp("watch"), env=room) as watch:
        yield watch


@pytest.fixture(autouse=True)
def untold(request: pytest.FixtureRequest) -> None:
    """Let each test begin with nothing told: a pid or a port that another one had may come back."""
    if "watch" in request.fixturenames:
        request.getfixturevalue("watch").forget()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that every user can enter."""
    made = Path(tempfile.mkdtemp(prefix="kernel", dir="/var/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture
def program(folder: Path) -> Path:
    """Copy a shell under another name."""
    shutil.copy2(os.path.realpath("/bin/bash"), folder / "tool")
    return folder / "tool"
