"""Names of addresses from real resolvers, and from servers that lie, flood or say nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .child import LONG, Child
from .lab import PUBLIC, SERVER, SERVER_V6, Caller, Lab, of_port, outwatch_command

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]

NAMELESS, LIAR, CROWD = "203.0.113.5", "203.0.113.6", "203.0.113.7"
GOOD, SIX = "www.good.example", "six.good.example"
REVERSE, REVERSE_SERVER = "7.100.51.198.in-addr.arpa", "2.2.0.192.in-addr.arpa"
REVERSE_SIX = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
_CROWDED = [f"a-rather-long-name-{number:03}.crowd.example" for number in range(100)]
_POINTERS = [
    (REVERSE, GOOD),
    (REVERSE_SIX, SIX),
    (REVERSE_SERVER, "server.good.example"),
    ("6.113.0.203.in-addr.arpa", "google.com"),
    *(("7.113.0.203.in-addr.arpa", name) for name in _CROWDED),
]
_HOSTS = [(GOOD, PUBLIC), (SIX, SERVER_V6), ("server.good.example", SERVER), ("google.com", "203.0.113.80")]

_CONFIGURATION = """
[scope]
public = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]
private = ["192.0.2.0/24"]
"""
# Only this program and its children see the other files in the places of the machine's own.
_PRIVATELY = 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


class Machine:
    """The lab's machine with a resolv.conf and a hosts file of its own."""

    def __init__(self, lab: Lab, folder: Path, started: ExitStack) -> None:
        self.lab, self._started = lab, started
        self.resolv, self.hosts, self.config = folder / "resolv.conf", folder / "hosts", folder / "outwatch.toml"
        self.resolv.write_text(f"nameserver {SERVER}\n")
        self.hosts.write_text("127.0.0.1 localhost\n")
        self.config.write_text(_CONFIGURATION)

    def _command(self, *arguments: str) -> list[str]:
        program = outwatch_command(*arguments, "--config", str(self.config))
        places = [str(self.resolv), str(self.hosts)]
        return self.lab.inside(self.lab.here, ["unshare", "--mount", "--", "sh", "-c", _PRIVATELY, "sh", *places, *program])

    def outwatch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self._command(*arguments), capture_output=True, text=True, timeout=LONG, cwd="/", check=False)

    def records(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.outwatch(*arguments, "--jsonl")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def watcher(self, *arguments: str) -> Child:
        return self._started.enter_context(Child(self._command("watch", "--jsonl", *arguments)))

    def name_server(self, manner: str) -> Child:
        program = [sys.executable, str(Path(__file__).with_name("name_server.py")), SERVER, manner]
        server = self._started.enter_context(Child(self.lab.inside(self.lab.there, program)))
        assert server.line() == "ready"
        return server


@pytest.fixture
def machine(lab: Lab, started: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.delenv("OUTWATCH_LOOKUPS__REVERSE_NAMES__ENABLED", raising=False)  # off in all other tests
    if not all(os.path.exists(path) for path in ("/etc/resolv.conf", "/etc/hosts")):
        pytest.skip("no /etc/resolv.conf and /etc/hosts whose places others could take")
    probe = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"no right to make mount namespaces: {probe.stderr.strip()}")
    route = ["ip", "-n", lab.there, "route", "add", "local", "203.0.113.0/24", "dev", "lo"]
    subprocess.run(route, check=True, capture_output=True, timeout=LONG)
    return Machine(lab, tmp_path, started)


class Resolver(Child):
    """A resolver that writes down its questions; ``spelled`` is how it writes one, ``ready`` what it says of its start."""

    spelled = ready = ""

    def count(self, kind: str, name: str) -> int:
        """Count the questions for a name of which it has told."""
        return self._read_errors().count(self.spelled.format(kind=kind, name=name))


def _dnsmasq(lab: Lab, _folder: Path) -> Resolver:
    local = [f"--local=/{zone}/" for zone in ("example", "com", "in-addr.arpa", "ip6.arpa")]
    pointers = [f"--ptr-record={address},{name}" for address, name in _POINTERS]
    hosts = [f"--host-record={name},{address}" for name, address in _HOSTS]
    plain = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root", "--pid-file"]
    log = ["--log-queries", "--log-facility=-"]
    argv = ["dnsmasq", *plain, *log, f"--listen-address={SERVER}", "--local-ttl=60", *local, *pointers, *hosts]
    resolver = Resolver(lab.inside(lab.there, argv))
    resolver.spelled, resolver.ready = "query[{kind}] {name} from", "started"
    return resolver


_UNBOUND = """
server:
  do-daemonize: no
  use-syslog: no
  logfile: ""
  log-queries: yes
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: ""
  interface: {server}
  access-control: 192.0.2.0/24 allow
  module-config: "iterator"
  local-zone: "." static
  local-zone: "100.51.198.in-addr.arpa." static
  local-zone: "113.0.203.in-addr.arpa." static
  local-zone: "2.0.192.in-addr.arpa." static
  local-zone: "8.b.d.0.1.0.0.2.ip6.arpa." static
{data}
remote-control:
  control-enable: no
"""


def _unbound(lab: Lab, folder: Path) -> Resolver:
    data = [f"{address}. 60 IN PTR {name}." for address, name in _POINTERS]
    data += [f"{name}. 60 IN {'AAAA' if ':' in address else 'A'} {address}" for name, address in _HOSTS]
    path = folder / "unbound.conf"
    path.write_text(_UNBOUND.format(folder=folder, server=SERVER, data="\n".join(f'  local-data: "{one}"' for one in data)))
    resolver = Resolver(lab.inside(lab.there, ["unbound", "-d", "-p", "-c", str(path)]))
    resolver.spelled, resolver.ready = "192.0.2.1 {name}. {kind} IN", "start of service"
    return resolver


@pytest.fixture(params=[_dnsmasq, _unbound], ids=["dnsmasq", "unbound"])
def resolver(request: pytest.FixtureRequest, machine: Machine, started: ExitStack, tmp_path: Path) -> Resolver:
    """Run a real resolver beyond the cable."""
    program = request.param.__name__.strip("_")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    resolver: Resolver = started.enter_context(request.param(machine.lab, tmp_path))
    resolver.wait_for_error(resolver.ready)
    return resolver


def ptr(name: str, *, confirmed: bool) -> dict[str, object]:
    return {"name": name, "origin": "ptr", "confirmed": confirmed}


@pytest.mark.security
def test_a_scan_names_what_leads_back_and_believes_nothing_else(machine: Machine, resolver: Resolver, caller: Callers) -> None:
    client = caller()
    ports = {address: client.call(address) for address in (PUBLIC, SERVER_V6, NAMELESS, LIAR, CROWD)}
    records = machine.records("scan")
    found = {address: of_port(records, port) for address, port in ports.items()}
    for address, name in ((PUBLIC, GOOD), (SERVER_V6, SIX)):
        assert found[address]["destination"]["domain"] == name
        assert found[address]["outwatch"]["names"] == [ptr(name, confirmed=True)]
    assert "domain" not in found[LIAR]["destination"]
    assert found[LIAR]["outwatch"]["names"] == [ptr("google.com", confirmed=False)]
    for address in (NAMELESS, CROWD):
        assert "domain" not in found[address]["destination"]
    assert "names" not in found[NAMELESS]["outwatch"]
    # A hundred names don't fit into a packet, and that is not the same as having none. Some servers send the first few of them.
    crowd = found[CROWD]["outwatch"].get("names", [])
    assert {one["name"].partition(".")[2] for one in crowd} <= {"crowd.example"}
    assert records[-1]["not_checked"] == ({} if crowd else {"name server gave no usable answer": 1})


def test_a_watch_says_the_name_as_soon_as_it_is_known(machine: Machine, resolver: Resolver, caller: Callers) -> None:
    local = caller().call(PUBLIC)
    watch = machine.watcher()
    watch.line(lambda line: json.loads(line).get("destination", {}).get("domain") == GOOD)
    assert watch.end(signal.SIGINT) == 0
    last = of_port([json.loads(line) for line in watch.lines], local)
    assert last["outwatch"]["names"] == [ptr(GOOD, confirmed=True)]


@pytest.mark.security
def test_with_no_dns_no_server_is_asked(machine: Machine, resolver: Resolver, caller: Callers) -> None:
    local = caller().call(PUBLIC)
    for silence in (["--no-dns"], ["--lookups", "off"], ["--lookups", "cached"]):
        assert "domain" not in of_port(machine.records("scan", *silence), local)["destination"]
    # The server's word comes late: this question is told after any that was asked before.
    assert of_port(machine.records("scan"), local)["destination"]["domain"] == GOOD
    assert (resolver.count("PTR", REVERSE), resolver.count("A", GOOD)) == (1, 1)


@pytest.mark.security
def test_private_addresses_are_asked_about_only_on_request(machine: Machine, resolver: Resolver, caller: Callers) -> None:
    local = caller().call(SERVER)
    assert "domain" not in of_port(machine.records("scan", "--all"), local)["destination"]
    machine.config.write_text(f"{_CONFIGURATION}\n[lookups.reverse_names]\nprivate = true\n")
    assert of_port(machine.records("scan", "--all"), local)["destination"]["domain"] == "server.good.example"
    assert resolver.count("PTR", REVERSE_SERVER) == 1


def test_a_name_from_the_hosts_file_needs_no_server(machine: Machine, resolver: Resolver, caller: Callers) -> None:
    client = caller()
    known, other = client.call(PUBLIC), client.call(SERVER_V6)
    machine.hosts.write_text(f"127.0.0.1 localhost\n{PUBLIC} intranet.example intranet # ours\n")
    for silence in ([], ["--no-dns"]):
        record = of_port(machine.records("scan", *silence), known)
        assert record["destination"]["domain"] == "intranet.example"
        names = [{"name": name, "origin": "hosts", "confirmed": True} for name in ("intranet.example", "intranet")]
        assert record["outwatch"]["names"] == names
    assert of_port(machine.records("scan"), other)["destination"]["domain"] == SIX
    assert resolver.count("PTR", REVERSE) == 0
    assert resolver.count("PTR", REVERSE_SIX) == 2


def test_a_name_that_comes_late_issues_the_record_again(machine: Machine, caller: Callers) -> None:
    server = machine.name_server("held")
    local = caller().call(PUBLIC)
    watch = machine.watcher()
    first = json.loads(watch.line(lambda line: json.loads(line).get("source", {}).get("port") == local))
    assert "domain" not in first["destination"]
    server.line(lambda line: line == f"PTR {REVERSE}.")
    server.tell("answer")
    later = json.loads(watch.line(lambda line: json.loads(line).get("destination", {}).get("domain") == GOOD))
    assert watch.end(signal.SIGINT) == 0
    assert later["id"] == first["id"]
    assert later["revision"] > first["revision"]
    assert "domain" not in first["destination"]


@pytest.mark.security
@pytest.mark.parametrize(
    ("manner", "why"),
    [
        ("silent", {"name server did not answer"}),
        ("60 kB", {"name server did not answer", "name server gave no usable answer"}),
        ("garbage", {"name server did not answer", "name server gave no usable answer"}),
        ("wrong id", {"name server did not answer"}),
        ("another question", {"name server did not answer"}),
        ("truncated", {"name server gave no usable answer"}),
        ("servfail", {"name server gave no usable answer"}),
        ("closed", {"name server gave no usable answer"}),
    ],
)
def test_whatever_a_server_does_the_scan_ends_and_says_what_is_missing(
    machine: Machine, caller: Callers, manner: str, why: set[str]
) -> None:
    server = machine.name_server(manner) if manner != "closed" else None
    local = caller().call(PUBLIC)
    records = machine.records("scan")
    record = of_port(records, local)
    assert "domain" not in record["destination"]
    assert "names" not in record["outwatch"]
    (reason,) = records[-1]["not_checked"]
    late = {"out of time"} if "name server did not answer" in why else set()  # on a busy machine
    assert reason in why | late
    assert records[-1]["not_checked"][reason] == 1
    assert not records[-1].get("problems")
    assert not records[-1].get("lost")
    if server is not None:
        server.end()
        assert set(server.lines[1:]) == {f"PTR {REVERSE}."}, "it was asked, and nothing else was"


@pytest.mark.security
def test_a_hundred_and_fifty_addresses_nobody_tells_about_take_no_longer_than_one(machine: Machine, caller: Callers) -> None:
    machine.name_server("silent")
    client = caller()
    ports = client.ask([("tcp", f"203.0.113.{number}", 443) for number in range(100, 250)])
    records = machine.records("scan")  # one after the other they would take longer than a test may
    assert set(ports) <= {one["source"]["port"] for one in records if one["kind"] == "connection"}
    assert sum(records[-1]["not_checked"].values()) == 150


@pytest.mark.security
def test_names_full_of_escapes_reach_no_terminal(machine: Machine, caller: Callers) -> None:
    machine.name_server("hostile names")
    local = caller().call(PUBLIC)
    record = of_port(machine.records("scan"), local)
    assert "domain" not in record["destination"]
    assert record["outwatch"]["names"]
    assert not any(one["confirmed"] for one in record["outwatch"]["names"])
    for how in ([], ["--plain"], ["--all"]):
        done = machine.outwatch("scan", *how)
        assert done.returncode == 0
        assert not any(mark in done.stdout + done.stderr for mark in ("\x1b", "\x00", "\x07", "\x08"))
        assert "evil.example" not in done.stdout, "what was not confirmed is not shown as the name"


@pytest.mark.security
def test_our_own_questions_are_shown_as_our_own_and_lead_to_no_more(
    machine: Machine, caller: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTWATCH_SENSORS__POLLING__INTERVAL", "0.02")
    machine.config.write_text('[scope]\npublic = ["192.0.2.0/24", "198.51.100.0/24"]\n')
    server = machine.name_server("silent")
    local = caller().call(PUBLIC)
    watch = machine.watcher()
    own = json.loads(watch.line(lambda line: json.loads(line).get("destination", {}).get("port") == 53))
    assert own["outwatch"]["own"] is True
    assert own["process"]["pid"] == watch.pid
    assert (own["destination"]["ip"], own["network"]["scope"]) == (SERVER, "public")
    watch.line(lambda line: json.loads(line).get("event", {}).get("action") == "close")
    assert watch.end(signal.SIGINT) == 0
    assert "own" not in of_port([json.loads(line) for line in watch.lines], local)["outwatch"]
    server.end()
    assert set(server.lines[1:]) == {f"PTR {REVERSE}."}
