"""What a scan says about connections that are open while it looks."""

import hashlib
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from outwatch.app import SENSORS

from .lab import PUBLIC, SERVER, SERVER_V6, SHARED_PORT, SILENT, Caller, Lab, of_port

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]


@pytest.mark.parametrize(
    ("address", "port", "kind", "transport", "here"),
    [
        pytest.param(SERVER, 443, "tcp", "tcp", "192.0.2.1", id="established"),
        pytest.param(SERVER_V6, 443, "tcp", "tcp", "2001:db8::1", id="established over IPv6"),
        pytest.param(SILENT, 443, "silent", "tcp", "192.0.2.1", id="waiting for an answer"),
        pytest.param(PUBLIC, 53, "udp", "udp", "192.0.2.1", id="connected UDP"),
        pytest.param(SERVER_V6, 53, "udp", "udp", "2001:db8::1", id="connected UDP over IPv6"),
    ],
)
def test_a_scan_shows_both_ends_and_the_owner(
    lab: Lab, caller: Callers, address: str, port: int, kind: str, transport: str, here: str
) -> None:
    client = caller()
    local = client.call(address, port, kind)
    record = of_port(lab.records("scan"), local)
    assert (record["source"]["ip"], record["source"]["port"]) == (here, local)
    assert record["destination"]["ip"] == address
    assert record["destination"]["port"] == port
    assert record["network"]["transport"] == transport
    assert record["network"]["direction"] == "egress"
    assert record["event"] == {"action": "existing"}, "when it began was not seen and must not be claimed"
    assert record["process"]["pid"] == client.pid
    assert record["outwatch"]["sensor"] in SENSORS


def test_a_scan_tells_everything_about_the_program(lab: Lab, caller: Callers) -> None:
    client = caller(arguments=["--to", "somewhere"])
    local = client.call(SERVER)
    process = of_port(lab.records("scan"), local)["process"]
    program = os.path.realpath(f"/proc/{client.pid}/exe")
    with open(program, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert process["executable"] == program
    assert process["hash"]["sha256"] == digest
    assert process["args"][0] == sys.executable
    assert process["args"][-2:] == ["--to", "somewhere"]
    assert process["name"] == os.path.basename(sys.executable)
    assert process["working_directory"] == "/"


def test_parents_are_followed_up_to_the_first_process(lab: Lab, caller: Callers) -> None:
    local = caller().call(SERVER)
    process = of_port(lab.records("scan"), local)["process"]
    chain: list[int] = []
    above: dict[str, Any] | None = process["parent"]
    while above is not None:
        chain.append(above["pid"])
        above = above.get("parent")
    assert chain[0] == os.getpid()
    assert chain[1] == os.getppid()
    assert chain[-1] == 1


def test_the_user_is_the_one_the_program_runs_as(lab: Lab, unprivileged: Any) -> None:
    with unprivileged.caller(lab) as client:
        local = client.call(SERVER)
        record = of_port(lab.records("scan"), local)
    assert record["user"] == {"id": "65534", "name": "nobody"}
    assert record["process"]["pid"] == client.pid, "root sees whose connection it is"


def test_two_programs_to_one_destination_keep_their_own_connections(lab: Lab, caller: Callers) -> None:
    clients = [caller(), caller()]
    ports = [client.call(SERVER) for client in clients]
    records = lab.records("scan")
    assert [of_port(records, port)["process"]["pid"] for port in ports] == [client.pid for client in clients]


def test_an_accepted_connection_is_told_and_not_judged(lab: Lab, caller: Callers) -> None:
    host, guest = caller(), caller()
    waiting = host.ask("listen")
    local = guest.call("192.0.2.1", waiting)
    both = [one for one in lab.records("scan", "--all") if one.get("source", {}).get("port") == local]
    directions = {one["network"]["direction"]: one for one in both}
    assert set(directions) == {"egress", "ingress"}
    assert "verdict" not in directions["ingress"]["outwatch"]
    assert directions["egress"]["outwatch"]["verdict"] == "normal"
    assert directions["egress"]["process"]["pid"] == guest.pid


def test_a_connection_from_outside_is_ingress_and_has_no_verdict(lab: Lab, caller: Callers, started: Any) -> None:
    waiting = caller().ask("listen")
    outsider = started.enter_context(Caller(lab.inside(lab.there, [sys.executable, "-c", _OUTSIDER, str(waiting)])))
    local = int(outsider.line())
    records = lab.records("scan", "--all")
    record = of_port(records, local)
    assert record["network"]["direction"] == "ingress"
    assert record["source"]["ip"] == SERVER
    assert "verdict" not in record["outwatch"]
    assert "score" not in record["outwatch"]
    assert records[-1]["not_judged"] == 1
    assert all(one["kind"] == "summary" for one in lab.records("scan")), "without --all it is not shown"


_OUTSIDER = """
import socket, sys
one = socket.create_connection(("192.0.2.1", int(sys.argv[1])))
print(one.getsockname()[1], flush=True)
input()
"""


def test_an_attempt_from_a_port_that_also_listens_is_still_outbound(lab: Lab, started: Any) -> None:
    # A socket in SYN_SENT has called out, whoever listens on its port: else sharing a port would hide any call from judgement.
    client = started.enter_context(Caller(lab.inside(lab.here, [sys.executable, "-c", SHARED_PORT, SILENT, "0"])))
    local = int(client.line())
    record = of_port(lab.records("scan", "--all"), local)
    assert record["network"]["direction"] == "egress"
    assert record["outwatch"]["verdict"] == "normal"


def test_loopback_is_counted_and_shown_only_with_all(lab: Lab, caller: Callers) -> None:
    client = caller()
    local = client.call("127.0.0.1", client.ask("listen"))
    hidden, shown = lab.records("scan"), lab.records("scan", "--all")
    assert [one["kind"] for one in hidden] == ["summary"]
    assert hidden[0]["scopes"] == shown[-1]["scopes"]
    assert hidden[0]["scopes"]["loopback"] == hidden[0]["seen"] == len(shown) - 1
    assert {one["network"]["scope"] for one in shown[:-1] if local in {one["source"]["port"], one["destination"]["port"]}} == {"loopback"}
    said = lab.outwatch("scan").stdout
    assert "not shown: " in said
    assert "--all" in said


def test_networks_that_are_declared_public_are_shown_as_such(lab: Lab, caller: Callers) -> None:
    local = caller().call(SERVER)
    record = of_port(lab.records("scan", env={"OUTWATCH_SCOPE__PUBLIC": '["192.0.2.0/24"]'}), local)
    assert record["network"]["scope"] == "public"


def test_networks_that_are_declared_private_are_hidden(lab: Lab, caller: Callers) -> None:
    caller().call(SERVER)
    (summary,) = lab.records("scan", env={"OUTWATCH_SCOPE__PRIVATE": '["192.0.2.0/24"]'})
    assert summary["scopes"] == {"private": 1}


@pytest.mark.parametrize("sensor", ["sock_diag", "polling"])
def test_the_summary_says_what_one_look_cannot_see(lab: Lab, sensor: str) -> None:
    (summary,) = lab.records("scan", "--sensor", sensor)
    assert summary["kind"] == "summary"
    assert summary["sensor"] == sensor
    blind = " ".join(summary["blind"])
    assert "unconnected UDP" in blind
    assert "one look" in blind


@pytest.mark.parametrize("sensor", ["sock_diag", "polling"])
def test_connections_of_other_network_namespaces_are_named_as_a_blind_spot(lab: Lab, sensor: str) -> None:
    # A container's connections live in a namespace of its own: what is not looked at must be said.
    (summary,) = lab.records("scan", "--sensor", sensor)
    assert any("namespace" in what or "container" in what for what in summary["blind"]), summary["blind"]


@pytest.mark.parametrize("length", ["0s", "1ms"])
def test_even_the_shortest_watch_looks_once(lab: Lab, caller: Callers, length: str) -> None:
    # Else an empty picture would say that nothing is connected.
    local = caller().call(SERVER)
    assert of_port(lab.records("scan", "--for", length), local)["destination"]["ip"] == SERVER
