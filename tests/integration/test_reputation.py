"""Reputation over real HTTP: who is asked what, what bad answers make of it, quotas, keys, and going on later."""

import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outwatch.model.records import Connection

from .asking import BAD, GOOD, MANNER, NEW, THREE, Asking, reported
from .services import Fault, Services

pytestmark = pytest.mark.integration
MAKE = Callable[..., Connection]


def test_a_report_asks_each_service_once_about_each_destination_and_its_rows_say_what_it_answered(
    asking: Asking, services: Services, recording: Callable[..., Path]
) -> None:
    path = recording(BAD, GOOD, NEW, BAD, GOOD, NEW)
    done = asking.outwatch("report", "--from", str(path), "--no-dns", "-o", "out.jsonl")
    assert done.returncode == 0, done.stderr
    for name in THREE:
        assert dict(services.asked(name)) == {BAD: 1, GOOD: 1, NEW: 1}
    rows = reported(asking.folder / "out.jsonl")
    assert {ip: {name: said["state"] for name, said in by.items()} for ip, by in rows.items()} == {
        BAD: {"virustotal": "malicious", "abuseipdb": "malicious", "ipinfo": "no_data"},
        GOOD: {"virustotal": "clean", "abuseipdb": "clean", "ipinfo": "no_data"},
        NEW: {"virustotal": "no_data", "abuseipdb": "clean", "ipinfo": "no_data"},
    }
    assert rows[BAD]["virustotal"]["score"] == 12
    assert rows[BAD]["virustotal"]["checked_at"].startswith("20")
    assert "missing" not in done.stderr


def test_a_second_run_asks_nothing(asking: Asking, services: Services) -> None:
    first = asking.looked_up(BAD, GOOD)
    assert services.count() == 6
    services.forget()
    assert asking.looked_up(BAD, GOOD) == first
    assert services.count() == 0


def test_what_a_service_says_becomes_part_of_the_verdict_and_of_the_suspicious_log(asking: Asking, recording: Callable[..., Path]) -> None:
    done = asking.outwatch(
        "report", "--from", str(recording(BAD, GOOD)), "--no-dns", "-o", "out.jsonl", "--log", "bad.log", "--fail-on", "medium"
    )
    assert done.returncode == 3, done.stderr
    lines = (asking.folder / "bad.log").read_text("utf-8").splitlines()
    assert len(lines) == 1
    assert f"=> {BAD}:443" in lines[0]
    assert "VirusTotal" in lines[0]


_FAULTS: dict[Fault, str] = {
    "500": "the service failed (500)",
    "502": "the service failed (502)",
    "503": "the service failed (503)",
    "html": "HTML instead of JSON",
    "404 html": "HTML instead of JSON",
    "empty": "empty reply",
    "null": "the reply is not what the service documents",
    "list": "the reply is not what the service documents",
    "nested": "",
    "truncated": "broken JSON",
    "too short": "broken reply",
    "huge": "larger than 5 MB",
    "huge chunked": "larger than 5 MB",
    "gzip bomb": "larger than 5 MB",
    "broken gzip": "broken compression",
    "redirect loop": "redirected too often",
    "redirect to another host": "redirected to another host",
    "redirect to another port": "redirected to another port, or away from TLS",
    "reset": "connection lost",
    "closed": "connection lost",
    "drip": "timeout",
    "not http": "broken reply",
}


@pytest.mark.security
@pytest.mark.parametrize("fault", _FAULTS)
def test_bad_input_of_one_service_is_not_checked_with_the_reason_and_the_others_go_on(
    asking: Asking, services: Services, fault: Fault
) -> None:
    services.behave("virustotal", replace(MANNER, fault=fault))
    asking.configure(settings={"virustotal": "seconds = 1.0"})
    found = asking.looked_up(BAD)[BAD]
    assert found["virustotal"]["state"] == "not_checked"
    assert found["virustotal"]["why"].startswith(_FAULTS[fault])
    assert "; asked again from " in found["virustotal"]["why"]
    assert found["abuseipdb"]["state"] == "malicious"
    assert found["ipinfo"]["state"] == "no_data"
    assert services.count("elsewhere") == 0
    again = asking.looked_up(BAD)[BAD]
    assert again["virustotal"]["state"] == "not_checked"
    assert services.count("virustotal") == (4 if fault == "redirect loop" else 1), "it is left in peace for a minute"


@pytest.mark.parametrize(
    ("fault", "state"), [("204", "no_data"), ("gzip", "malicious"), ("redirect", "malicious"), ("too long", "malicious")]
)
def test_what_looks_odd_and_is_not_wrong_is_read(asking: Asking, services: Services, fault: Fault, state: str) -> None:
    services.behave("virustotal", replace(MANNER, fault=fault))
    assert asking.looked_up(BAD)[BAD]["virustotal"]["state"] == state


def test_a_service_that_does_not_exist_is_not_checked(asking: Asking) -> None:
    asking.configure(["virustotal"])
    text = asking.config.read_text().replace(asking.services.base_url("virustotal"), "http://127.0.0.1:1/virustotal")
    asking.config.write_text(text)
    assert asking.looked_up(BAD)[BAD]["virustotal"]["why"].startswith("connection refused; ")


def test_plain_http_where_tls_is_expected_is_broken_tls(asking: Asking) -> None:
    asking.configure(["virustotal"], {"*": "seconds = 5.0"})
    asking.config.write_text(asking.config.read_text().replace("http://", "https://"))
    assert asking.looked_up(BAD)[BAD]["virustotal"]["why"].startswith(("broken TLS; ", "timeout; "))


@pytest.mark.parametrize("mode", ["cached", "off"])
def test_without_look_ups_nothing_is_sent_and_the_cache_answers_if_it_may(asking: Asking, services: Services, mode: str) -> None:
    asking.looked_up(GOOD)
    services.forget()
    found = asking.looked_up(GOOD, BAD, "--lookups", mode)
    assert services.count() == 0
    assert found[BAD]["virustotal"]["why"] == ("not in the cache" if mode == "cached" else "look-ups are off")
    assert found[GOOD]["virustotal"]["state"] == ("clean" if mode == "cached" else "not_checked")


def test_recordings_are_judged_by_what_they_hold(asking: Asking, services: Services, recording: Callable[..., Path]) -> None:
    path = str(recording(BAD))
    for command in (("replay", path), ("scan", "--from", path), ("watch", "--from", path)):
        done = asking.outwatch(*command, "--jsonl", "--no-dns")
        (record, _summary) = map(json.loads, done.stdout.splitlines())
        assert "reputation" not in record["outwatch"]
    assert services.count() == 0


def test_domains_and_checksums_are_looked_up_where_somebody_knows_them(asking: Asking, services: Services) -> None:
    digest = "0123456789abcdef" * 4
    found = asking.looked_up("hxxps://Evil[.]example:8443/a?b", digest.upper(), "[2001:db8::1]")
    assert {value: set(by) for value, by in found.items()} == {
        "evil.example": {"virustotal"},
        digest: {"virustotal"},
        "2001:db8::1": {"virustotal", "abuseipdb", "ipinfo"},
    }
    assert {one.target.split("?")[0] for one in services.requests("virustotal")} == {
        "/virustotal/api/v3/domains/evil.example",
        f"/virustotal/api/v3/files/{digest}",
        "/virustotal/api/v3/ip_addresses/2001:db8::1",
    }


@pytest.mark.parametrize("text", ["", "not a thing", "10.0.0.0/8", "CVE-2021-44228", "d41d8cd98f00b204e9800998ecf8427e", "a\x1b[31m"])
def test_what_nobody_can_be_asked_about_is_a_usage_error(asking: Asking, services: Services, text: str) -> None:
    done = asking.outwatch("lookup", GOOD, text)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert services.count() == 0


@pytest.mark.security
@pytest.mark.parametrize("ip", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:192.168.1.1", "100.64.0.1"])
def test_a_private_address_is_not_sent_although_somebody_names_it(asking: Asking, services: Services, ip: str) -> None:
    (found,) = asking.looked_up(ip).values()
    assert {said["why"] for said in found.values()} == {"not a public address"}
    assert services.count() == 0


def test_the_forms_of_a_look_up(asking: Asking) -> None:
    table = asking.outwatch("lookup", BAD, GOOD)
    assert table.stdout.startswith(f"{BAD}  medium ")
    assert "  VirusTotal  malicious" in table.stdout
    assert "12 of 94 engines call it malicious" in table.stdout
    assert f"\n\n{GOOD}  normal 0" in table.stdout
    rows = [line.split("\t") for line in asking.outwatch("lookup", BAD, "--plain").stdout.splitlines()]
    assert {(row[0], row[1], row[4], row[5], row[6]) for row in rows} == {
        (BAD, "ip", "virustotal", "malicious", "12"),
        (BAD, "ip", "abuseipdb", "malicious", "100"),
        (BAD, "ip", "ipinfo", "no_data", "-"),
    }
    document = json.loads(asking.outwatch("lookup", BAD, GOOD, "--json").stdout)
    assert [one["indicator"] for one in document["records"]] == [{"type": "ip", "value": BAD}, {"type": "ip", "value": GOOD}]
    assert {one["schema"] for one in (document, *document["records"], document["summary"])} == {"outwatch/1"}
    assert document["records"][0]["outwatch"]["verdict"] == "medium"
    assert asking.outwatch("lookup", BAD, "--fail-on", "medium").returncode == 3
    assert asking.outwatch("lookup", GOOD, "--fail-on", "medium").returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_and_what_is_known_is_printed(asking: Asking, services: Services, number: int) -> None:
    services.behave("virustotal", replace(MANNER, hang_every=1))
    asking.configure(["virustotal", "ipinfo"], {"virustotal": "seconds = 60.0"})
    with asking.started("lookup", GOOD, "--jsonl", "--wait", "1h") as child:
        while not (services.count("virustotal") and services.count("ipinfo")):
            assert child.process.poll() is None
            time.sleep(0.02)
        began = time.monotonic()
        child.process.send_signal(number)
        record = json.loads(child.line())
        assert child.end() == 130
        assert time.monotonic() - began < 10
    said = {one["provider"]: one for one in record["outwatch"]["reputation"]}
    assert said["ipinfo"]["state"] == "no_data"
    assert said["virustotal"]["why"] == "out of time"


def test_the_systems_proxy_is_used(asking: Asking, services: Services) -> None:
    asking.env = {"http_proxy": f"http://{services.address}"}
    found = asking.looked_up(BAD)
    assert found[BAD]["virustotal"]["state"] == "malicious"
    assert all(one.by_proxy for one in services.requests())


@pytest.fixture
def held() -> Iterator[tuple[str, int]]:
    """Hold a connection to a loopback address of its own."""
    with socket.create_server(("127.0.0.77", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        accepted, _ = server.accept()
        with accepted:
            yield "127.0.0.77", ours.getsockname()[1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback has one address")
@pytest.mark.security
def test_a_live_watch_issues_connections_again_with_what_was_answered_and_asks_nothing_about_itself(
    asking: Asking, services: Services, held: tuple[str, int]
) -> None:
    ip, port = held
    services.behave("virustotal", replace(MANNER, latency=0.5))
    services.answer("virustotal", ip, "malicious", malicious=9)
    asking.configure(["virustotal"], {"*": "per_minute = 0\nper_day = 0"}, public=["127.0.0.0/8"])
    with asking.started("watch", "--jsonl", "--sensor", "polling", "--no-dns", "--all", "--log", "bad.log") as child:
        said: list[dict[str, Any]] = []
        while not said or said[-1]["outwatch"]["reputation"][0]["state"] == "not_checked":
            record = json.loads(child.line(lambda line: f'"port":{port}' in line and '"egress"' in line))
            said.append(record)
        if not any('"own":true' in line for line in child.lines):
            child.line(lambda line: '"own":true' in line)
        assert child.end(signal.SIGINT) == 0
    (first,), (last,) = said[0]["outwatch"]["reputation"], said[-1]["outwatch"]["reputation"]
    assert (first["state"], first["why"]) == ("not_checked", "no answer yet")
    assert (last["state"], last["score"]) == ("malicious", 9)
    assert said[-1]["revision"] > said[0]["revision"]
    assert said[-1]["outwatch"]["verdict"] == "medium"
    own = [one for one in map(json.loads, child.lines) if one["kind"] == "connection" and one["outwatch"].get("own")]
    assert own
    assert not [one for one in own if "reputation" in one["outwatch"]]
    assert services.asked("virustotal")[ip] == 1
    assert f"=> {ip}:" in (asking.folder / "bad.log").read_text("utf-8")
