"""The name that was asked for stands in the record: real resolvers, real clients, and where the name comes from."""

import json
import shutil

import pytest

from integration.lab import PUBLIC, SERVER, SERVER_V6
from kernel.watch import Record, Watch

from .names_lab import BEHIND, LATE, OWN, PLAIN, SECURE, STUB, ZONE, NamesLab, to_port, told

pytestmark = [pytest.mark.integration, pytest.mark.root]

_RESOLVE = "import socket, sys; socket.getaddrinfo(sys.argv[1], 80, socket.AF_INET)"
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[-2], int(sys.argv[-1]))).close()"


@pytest.fixture(scope="module")
def dnsmasq(lab_with_names: NamesLab) -> int:
    """Start a resolver on the machine itself, and give its pid."""
    if shutil.which("dnsmasq") is None:
        pytest.skip("dnsmasq is not installed")
    options = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root", "--pid-file"]
    where = [f"--listen-address={STUB}", f"--server={OWN}", "--cache-size=0", "--log-facility=-"]
    resolver = lab_with_names.child(lab_with_names.lab.here, ["dnsmasq", *options, *where])
    resolver.wait_for_error("started")
    return resolver.pid


@pytest.fixture(scope="module")
def unbound(lab_with_names: NamesLab) -> None:
    """Start a resolver over there that asks another."""
    if shutil.which("unbound") is None:
        pytest.skip("unbound is not installed")
    path = lab_with_names.folder / "unbound.conf"
    path.write_text(
        f"""server:
  interface: {BEHIND}
  access-control: 0.0.0.0/0 allow
  chroot: ""
  username: ""
  use-syslog: no
  pidfile: ""
  module-config: "iterator"
  do-daemonize: no
  verbosity: 1
forward-zone:
  name: "."
  forward-addr: {OWN}
"""
    )
    resolver = lab_with_names.child(lab_with_names.lab.there, ["unbound", "-d", "-c", str(path)])
    resolver.wait_for_error("start of service")


@pytest.mark.parametrize("resolver", ["own", "unbound", "dnsmasq"])
@pytest.mark.parametrize("name", ["www.example", "alias.example"])
def test_curl_is_told_with_the_name_that_it_asked_for(
    lab_with_names: NamesLab, watched: Watch, request: pytest.FixtureRequest, resolver: str, name: str
) -> None:
    if resolver != "own":
        request.getfixturevalue(resolver)
    server = {"own": OWN, "unbound": BEHIND, "dnsmasq": STUB}[resolver]
    pid = lab_with_names.curl(f"http://{name}:{PLAIN}/", "-4", server=server)
    (one,) = to_port(watched, pid, PLAIN)
    assert told(one) == (name, [(name, "dns", True), (name, "http", True)])
    assert one["destination"]["ip"] == PUBLIC


def test_a_question_to_a_resolver_on_the_machine_is_the_askers_and_its_own_question_is_the_resolvers(
    lab_with_names: NamesLab, watched: Watch, dnsmasq: int
) -> None:
    pid = lab_with_names.python(_RESOLVE, "one.example", server=STUB)
    (asked,) = watched.asked(pid, "one.example")
    (passed_on,) = watched.asked(dnsmasq, "one.example")
    assert (asked["destination"]["ip"], passed_on["destination"]["ip"]) == (STUB, OWN)
    assert passed_on["process"]["executable"] == shutil.which("dnsmasq", path="/usr/sbin:/usr/bin")
    assert asked["dns"]["resolved_ip"] == passed_on["dns"]["resolved_ip"] == [PUBLIC]


def test_a_name_that_another_process_asked_for_is_told_of_the_connection(lab_with_names: NamesLab, watched: Watch) -> None:
    lab_with_names.python(_RESOLVE, "proxy.example")
    pid = lab_with_names.python(_CONNECT, SERVER, str(PLAIN))
    assert told(to_port(watched, pid, PLAIN)[0]) == ("proxy.example", [("proxy.example", "dns", True)])


def test_two_names_of_one_address_in_one_process_stay_apart(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.curl(*(f"http://{name}.example:{PLAIN}/" for name in ("one", "two", "www")), "-o", "/dev/null", "-o", "/dev/null")
    found = to_port(watched, pid, PLAIN, 3)
    assert [one["destination"]["domain"] for one in found] == ["one.example", "two.example", "www.example"]
    asked = [{name["name"] for one in watched.history if one["id"] == last["id"] for name in one["outwatch"]["names"]} for last in found]
    assert asked == [{"one.example"}, {"two.example"}, {"www.example"}]  # at no time another's


def test_two_processes_that_asked_for_two_names_of_one_address_have_each_its_own(lab_with_names: NamesLab, watched: Watch) -> None:
    pids = {name: lab_with_names.curl(f"http://{name}.example:{PLAIN}/") for name in ("one", "two")}
    assert {name: to_port(watched, pid, PLAIN)[0]["destination"]["domain"] for name, pid in pids.items()} == {
        "one": "one.example",
        "two": "two.example",
    }


def test_a_name_over_ipv6_is_told(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.curl("-6", f"http://six.example:{PLAIN}/")
    (one,) = to_port(watched, pid, PLAIN)
    assert (one["destination"]["ip"], one["destination"]["domain"]) == (SERVER_V6, "six.example")


def test_a_name_of_an_ipv4_address_that_is_called_in_its_ipv6_form_is_told(lab_with_names: NamesLab, watched: Watch) -> None:
    connect = "one = socket.socket(socket.AF_INET6)\none.connect((sys.argv[2], int(sys.argv[3])))\none.close()"
    pid = lab_with_names.python(f"{_RESOLVE}\n{connect}", "one.example", f"::ffff:{PUBLIC}", str(PLAIN))
    (one,) = to_port(watched, pid, PLAIN)
    assert (one["destination"]["ip"], one["destination"]["domain"]) == (PUBLIC, "one.example")


def test_an_answer_that_does_not_fit_into_a_datagram_is_heard_over_tcp(lab_with_names: NamesLab, watched: Watch) -> None:
    pid = lab_with_names.python(f"{_RESOLVE}\n{_CONNECT}", "big.example", PUBLIC, str(PLAIN))
    (one,) = to_port(watched, pid, PLAIN)
    assert told(one) == ("big.example", [("big.example", "dns", True)])
    asked = watched.asked(pid, "big.example")
    assert {one["network"]["transport"]: len(one["dns"].get("resolved_ip", [])) for one in asked} == {
        "udp": 0,
        "tcp": len(ZONE["big.example."]["A"]),
    }


def test_a_name_that_comes_after_the_connection_is_told_in_a_later_revision(lab_with_names: NamesLab, watched: Watch) -> None:
    with lab_with_names.lab.caller() as caller:
        port = caller.call(LATE)

        def of_caller(records: list[Record]) -> list[Record]:
            return [one for one in records if one["source"].get("port") == port and one.get("process", {}).get("pid") == caller.pid]

        (before,) = watched.wait(of_caller)
        assert told(before) == (None, [])
        lab_with_names.python(_RESOLVE, "late.example")
        (after,) = watched.wait(lambda records: [one for one in of_caller(records) if "domain" in one["destination"]])
    assert told(after) == ("late.example", [("late.example", "dns", True)])
    assert after["id"] == before["id"]
    assert after["revision"] > before["revision"]


def test_a_name_that_there_is_not_names_nothing(lab_with_names: NamesLab, watched: Watch) -> None:
    code = """
import socket, sys
try:
    socket.getaddrinfo("no.such.example", 80)
except socket.gaierror:
    socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
"""
    pid = lab_with_names.python(code, SERVER_V6, str(SECURE))
    (one,) = to_port(watched, pid, SECURE)
    assert "no.such.example" not in json.dumps(one["outwatch"].get("names", []))
    assert {one["dns"]["response_code"] for one in watched.asked(pid, "no.such.example")} == {"NXDOMAIN"}
