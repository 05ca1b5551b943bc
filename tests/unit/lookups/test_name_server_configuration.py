"""Which name servers are asked: those of resolv.conf, as the C library would read it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import dns.message
import dns.name
import dns.rrset
import pytest

from outwatch.errors import LookupFailed
from outwatch.lookups.reverse_names import asking
from outwatch.lookups.reverse_names.asking import Asker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps its name servers elsewhere")
REVERSE = "7.100.51.198.in-addr.arpa"
FIRST, SECOND, THIRD, FOURTH = (f"192.0.2.{number}" for number in range(1, 5))


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a file of the test in the place of the system's."""
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(asking, "_CONFIGURATION", path)
    return path


class Wire:
    """A network in which every server answers at once, or (``dead``) none can be reached."""

    def __init__(self, *, dead: bool = False) -> None:
        self.dead = dead
        self.asked: list[tuple[str, int]] = []

    async def endpoint(self, make: Any, *, remote_addr: tuple[str, int]) -> Any:
        protocol = make()
        self.asked.append(remote_addr)
        transport = _Transport(protocol, dead=self.dead)
        return transport, protocol

    async def ask(self, asker: Asker) -> None:
        asyncio.get_running_loop().create_datagram_endpoint = self.endpoint  # type: ignore[method-assign, assignment]
        await asker.ask(REVERSE, "PTR", 20.0)


class _Transport:
    def __init__(self, protocol: asyncio.DatagramProtocol, *, dead: bool) -> None:
        self.protocol, self.dead = protocol, dead

    def sendto(self, data: bytes) -> None:
        if self.dead:
            self.protocol.error_received(ConnectionRefusedError())
            return
        made = dns.message.make_response(dns.message.from_wire(data))
        made.answer.append(dns.rrset.from_text(dns.name.from_text(REVERSE), 60, "IN", "PTR", "a.example."))
        self.protocol.datagram_received(made.to_wire(), ("", 53))

    def close(self) -> None:
        """Hold nothing."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nameserver 192.0.2.1\n", [FIRST]),
        ("# old\nsearch example\nnameserver 2001:db8::1\noptions ndots:2\n", ["2001:db8::1"]),
        ("nameserver fe80::1%eth0\n", ["fe80::1%eth0"]),
        (f"nameserver {FIRST}\nnameserver {SECOND}\nnameserver {THIRD}\nnameserver {FOURTH}\n", [FIRST, SECOND, THIRD]),
        ("nameserver resolver.example\nnameserver 192.0.2.1\n", [FIRST]),
        ("nameserver https://resolver.example/\nnameserver 192.0.2.1\n", [FIRST]),
        ("search a..b\nnameserver 192.0.2.1\n", [FIRST]),
        (f"search {'a' * 70}\nnameserver 192.0.2.1\n", [FIRST]),
        ("# caf\udce9\nnameserver 192.0.2.1\n", [FIRST]),
        ("options timeout:x\nnameserver\nnameserver 192.0.2.1\n", [FIRST]),
    ],
)
def test_the_first_three_addresses_are_asked_and_bad_lines_passed_over(configuration: Path, text: str, expected: list[str]) -> None:
    configuration.write_bytes(text.encode("utf-8", "surrogateescape"))
    network = Wire(dead=True)
    with pytest.raises(LookupFailed):
        asyncio.run(network.ask(Asker(lambda: 0.0)))
    assert list(dict.fromkeys(network.asked)) == [(server, 53) for server in expected]


@pytest.mark.parametrize("text", [None, "", "search example\n"])
def test_without_a_server_this_machine_is_asked(configuration: Path, text: str | None) -> None:
    if text is not None:
        configuration.write_text(text)
    network = Wire(dead=True)
    with pytest.raises(LookupFailed):
        asyncio.run(network.ask(Asker(lambda: 0.0)))
    assert set(network.asked) == {("127.0.0.1", 53)}, "resolv.conf(5)"


@pytest.mark.security
def test_of_a_huge_file_only_the_beginning_is_read(configuration: Path) -> None:
    configuration.write_text(f"nameserver {FIRST}\n" + "# more\n" * 100_000 + f"nameserver {SECOND}\n")
    network = Wire(dead=True)
    with pytest.raises(LookupFailed):
        asyncio.run(network.ask(Asker(lambda: 0.0)))
    assert set(network.asked) == {(FIRST, 53)}


def test_a_new_configuration_is_noticed_and_an_old_one_not_read_again(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    system = asking.system_servers

    def counted() -> Any:
        nonlocal reads
        reads += 1
        return system()

    def write(server: str, written_at: int) -> None:
        configuration.write_text(f"nameserver {server}\n")
        os.utime(configuration, ns=(written_at, written_at))

    async def ask_thrice() -> None:
        asker = Asker(lambda: 0.0)
        await network.ask(asker)
        await network.ask(asker)
        assert reads == 1
        write(SECOND, 1)
        await network.ask(asker)

    monkeypatch.setattr(asking, "system_servers", counted)
    write(FIRST, 0)
    network = Wire()
    asyncio.run(ask_thrice())
    assert [server for server, _ in network.asked] == [FIRST, FIRST, SECOND]


@pytest.mark.security
@pytest.mark.parametrize(
    ("lowest", "is_ours"), [("1024", True), ("54", True), ("53", False), ("0", False), ("", False), (None, False)], ids=str
)
def test_answers_of_this_machine_are_believed_where_only_root_may_give_them(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lowest: str | None, is_ours: bool
) -> None:
    monkeypatch.setattr(asking, "_LOWEST_FOR_ALL", tmp_path / "lowest")
    monkeypatch.setattr(asking, "_BEHIND_RESOLVED", tmp_path / "none")
    configuration.write_text(f"nameserver {FIRST}\n")
    if lowest is not None:
        (tmp_path / "lowest").write_text(lowest)
    assert set(asking.believed_servers()) == {FIRST, *(("127.0.0.0/8", "::1") if is_ours else ())}


def test_the_servers_that_the_systems_resolver_asks_are_believed_too(
    configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_LOWEST_FOR_ALL", tmp_path / "none")
    monkeypatch.setattr(asking, "_BEHIND_RESOLVED", tmp_path / "behind")
    configuration.write_text("nameserver 127.0.0.53\n")
    (tmp_path / "behind").write_text(f"# made by a program\nnameserver {FIRST}\nnameserver fe80::1%eth0\nnameserver x\n")
    assert list(asking.believed_servers()) == ["127.0.0.53", FIRST, "fe80::1%eth0"]
