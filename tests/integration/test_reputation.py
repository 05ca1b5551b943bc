"""Reputation over real HTTP: who is asked what, what bad answers make of it, quotas, keys, and going on later."""

import base64
import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from outwatch.model import wire
from outwatch.model.records import Connection, Process

from .asking import KEY, Asking
from .child import LONG
from .services import Fault, Manner, Services

pytestmark = pytest.mark.integration
MAKE = Callable[..., Connection]
THREE = ("virustotal", "abuseipdb", "ipinfo")
BAD, GOOD, NEW = "203.0.113.9", "203.0.113.10", "203.0.113.11"
MANNER = Manner(key=KEY)


@pytest.fixture(scope="module")
def running() -> Iterator[Services]:
    with Services() as services:
        yield services


@pytest.fixture
def services(running: Services) -> Services:
    running.reset()
    for name in THREE:
        running.behave(name, MANNER)
    running.answer("virustotal", BAD, "malicious", malicious=12)
    running.answer("abuseipdb", BAD, "malicious")
    running.answer("virustotal", NEW, "no_data")
    return running


@pytest.fixture
def asking(services: Services, tmp_path: Path) -> Asking:
    return Asking(services, tmp_path)


@pytest.fixture
def recording(tmp_path: Path, connection: MAKE) -> Callable[..., Path]:
    """Write a recording of connections to addresses; one that is marked runs from a temporary folder."""

    def write(*ips: str, suspicious: str = "") -> Path:
        path = tmp_path / "recorded.jsonl"
        lines = []
        for number, ip in enumerate(ips):
            program = "/tmp/updater" if ip == suspicious else "/usr/bin/curl"
            record = connection(
                id=f"c{number}",
                ip=ip,
                process=Process(pid=77, name="curl", executable=program, entity_id=f"e{number}"),
            )
            lines.append(wire.encode(record))
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write


def reported(path: Path) -> dict[str, dict[str, Any]]:
    """Give what a report in lines says of each destination, by provider."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {
        one["destination"]["ip"]: {said["provider"]: said for said in one["outwatch"].get("reputation", [])}
        for one in rows
        if one["kind"] == "connection"
    }


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


@pytest.mark.parametrize("fault", ["401", "403"])
def test_a_refused_key_is_named_by_its_place_and_the_service_is_asked_no_more(asking: Asking, services: Services, fault: Fault) -> None:
    services.behave("virustotal", replace(MANNER, fault=fault))
    asking.configure(settings={"virustotal": "at_once = 1"})
    done = asking.outwatch("lookup", BAD, GOOD, NEW, "--jsonl", "--strict")
    assert done.returncode == 4
    assert f"the setting reputation.virustotal.api_key holds a key that the service refuses ({fault})" in done.stderr
    assert KEY not in done.stderr
    assert services.count("virustotal") == 1
    for line in done.stdout.splitlines()[:3]:
        said = {one["provider"]: one for one in json.loads(line)["outwatch"]["reputation"]}
        assert said["virustotal"]["why"] == f"key refused ({fault})"
        assert said["ipinfo"]["state"] == "no_data"
    assert json.loads(done.stdout.splitlines()[-1])["not_checked"] == {f"virustotal: key refused ({fault})": 3}


def test_a_small_quota_goes_to_the_most_suspicious_and_the_rest_says_when_it_could_go_on(
    asking: Asking, services: Services, recording: Callable[..., Path]
) -> None:
    services.behave("virustotal", replace(MANNER, quotas=((4, 60.0),)))
    ips = [f"198.51.100.{number}" for number in range(40)]
    done = asking.outwatch(
        "report", "--from", str(recording(*ips, suspicious=ips[7])), "--no-dns", "-o", "out.jsonl", "--wait", "2s", "--strict"
    )
    assert done.returncode == 4, done.stderr
    asked = services.asked("virustotal")
    assert len(asked) == 4
    assert ips[7] in asked
    assert services.refused("virustotal") == 0
    rows = reported(asking.folder / "out.jsonl")
    whys = [rows[ip]["virustotal"].get("why", "") for ip in ips if ip not in asked]
    assert len(whys) == 36
    assert all(why.startswith("quota: 4 a minute, free again at ") for why in whys)
    assert all(rows[ip]["ipinfo"]["state"] == "no_data" for ip in ips)
    assert "36 (virustotal: quota: 4 a minute)" in done.stderr
    assert "answers that are missing: VirusTotal 36; outwatch report --resume goes on" in done.stderr


def test_nobody_waits_for_a_quota_that_is_not_free_in_time(asking: Asking, services: Services) -> None:
    asking.configure(["virustotal"], {"*": "per_day = 2\nper_minute = 0"})
    began = time.monotonic()
    asking.looked_up(*(f"198.51.100.{number}" for number in range(6)), "--wait", "10m")
    assert time.monotonic() - began < LONG, "the day's quota is free tomorrow"
    assert services.count("virustotal") == 2


def test_a_refusal_is_waited_for_as_long_as_the_service_says_and_all_is_answered(asking: Asking, services: Services) -> None:
    services.behave("virustotal", replace(MANNER, quotas=((5, 1.0),), told=("retry-after",)))
    asking.configure(["virustotal"], {"*": "per_minute = 0\nper_day = 0\nat_once = 3"})
    ips = [f"198.51.100.{number}" for number in range(12)]
    found = asking.looked_up(*ips)
    assert {found[ip]["virustotal"]["state"] for ip in ips} == {"clean"}
    answered = [one.indicator for one in services.requests("virustotal") if one.status == 200]
    assert sorted(answered) == sorted(ips), "each is answered once"


def test_a_quota_that_only_the_headers_tell_is_kept(asking: Asking, services: Services) -> None:
    services.behave("virustotal", replace(MANNER, quotas=((5, 1.5),), told=("x-ratelimit",)))
    asking.configure(["virustotal"], {"*": "per_minute = 0\nper_day = 0\nat_once = 1"})
    ips = [f"198.51.100.{number}" for number in range(12)]
    found = asking.looked_up(*ips)
    assert {found[ip]["virustotal"]["state"] for ip in ips} == {"clean"}
    assert services.refused("virustotal") == 0


def test_runs_at_the_same_time_share_one_quota_and_one_memory(asking: Asking, services: Services) -> None:
    services.behave("virustotal", replace(MANNER, quotas=((6, 60.0),), latency=0.05))
    asking.configure(["virustotal"], {"*": "per_minute = 6\nper_day = 0"})
    ips = [f"198.51.100.{number}" for number in range(30)]
    children = [asking.started("lookup", *ips[start::3], "--wait", "1s", "--jsonl") for start in range(3)]
    for child in children:
        with child:
            child.line(lambda line: '"summary"' in line)
            assert child.end() == 0
    assert services.refused("virustotal") == 0
    assert services.count("virustotal") == 6


def test_going_on_asks_only_what_is_missing(asking: Asking, services: Services) -> None:
    asking.configure(["virustotal"], {"*": "per_day = 2\nper_minute = 0"})
    first = asking.outwatch("lookup", BAD, GOOD, NEW, "198.51.100.1", "--jsonl")
    assert "VirusTotal 2; outwatch lookup --resume goes on, best from " in first.stderr
    asked = set(services.asked("virustotal"))
    services.forget()
    asking.configure(["virustotal"], {"*": "per_day = 0\nper_minute = 0"})
    found = asking.looked_up("--resume")
    assert {ip: by["virustotal"]["state"] for ip, by in found.items()} == {
        BAD: "malicious", GOOD: "clean", NEW: "no_data", "198.51.100.1": "clean",
    }  # fmt: skip
    assert set(services.asked("virustotal")) == {BAD, GOOD, NEW, "198.51.100.1"} - asked
    done = asking.outwatch("lookup", "--resume")
    assert done.returncode == 1
    assert "nothing to go on with" in done.stderr


def test_a_report_goes_on_in_its_own_file_with_what_was_seen_then(
    asking: Asking, services: Services, recording: Callable[..., Path]
) -> None:
    asking.configure(["virustotal"], {"*": "per_day = 1\nper_minute = 0"})
    first = asking.outwatch("report", "--from", str(recording(BAD, GOOD, NEW)), "--no-dns", "-o", "out.jsonl")
    assert first.returncode == 0, first.stderr
    (asked,) = services.asked("virustotal")
    (asking.folder / "recorded.jsonl").unlink()
    before = json.loads((asking.folder / "out.jsonl").read_text().splitlines()[-1])
    asking.configure(["virustotal"], {"*": "per_day = 0\nper_minute = 0"})
    done = asking.outwatch("report", "--resume", "--no-dns")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(asking.folder / "out.jsonl")
    rows = reported(asking.folder / "out.jsonl")
    assert {ip: by["virustotal"]["state"] for ip, by in rows.items()} == {BAD: "malicious", GOOD: "clean", NEW: "no_data"}
    assert services.asked("virustotal")[asked] == 1
    after = json.loads((asking.folder / "out.jsonl").read_text().splitlines()[-1])
    assert (after["seen"], after["event"], after["sensor"]) == (before["seen"], before["event"], before["sensor"])
    assert before["not_checked"] == {"virustotal: quota: 1 a day": 2}
    assert after["not_checked"] == {}
    assert after["verdicts"] != before["verdicts"] or asked == BAD


def test_a_report_that_was_changed_since_is_not_replaced(asking: Asking, recording: Callable[..., Path]) -> None:
    asking.configure(["virustotal"], {"*": "per_day = 1\nper_minute = 0"})
    asking.outwatch("report", "--from", str(recording(BAD, GOOD)), "--no-dns", "-o", "out.csv")
    with open(asking.folder / "out.csv", "a", encoding="utf-8") as file:
        file.write("a note of mine\n")
    done = asking.outwatch("report", "--resume", "--no-dns")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) != asking.folder / "out.csv"
    assert Path(done.stdout.strip()).exists()
    assert (asking.folder / "out.csv").read_text("utf-8").endswith("a note of mine\n")


def test_a_preview_names_what_would_be_sent_to_whom_and_sends_nothing(
    asking: Asking, services: Services, recording: Callable[..., Path]
) -> None:
    asking.looked_up(GOOD)
    services.forget()
    ips = [f"198.51.100.{number}" for number in range(11)]
    path = str(recording(*ips, GOOD, "10.0.0.1"))
    done = asking.outwatch("report", "--preview", "--from", path)
    assert done.returncode == 0, done.stderr
    assert f"VirusTotal ({services.base_url('virustotal')}): 11 addresses; 1 known already; its quota makes that take 2 min" in done.stdout
    assert f"AbuseIPDB ({services.base_url('abuseipdb')}): 11 addresses; 1 known already\n" in done.stdout
    assert "  198.51.100.3\n" in done.stdout
    assert "10.0.0.1" not in done.stdout
    assert "not asked: GreyNoise" in done.stdout
    assert done.stdout.endswith("Nothing was sent.\n")
    assert services.count() == 0
    assert not (asking.folder / "network_results.xlsx").exists()
    found = json.loads(asking.outwatch("report", "--preview", "--from", path, "--json", "--no-dns").stdout)
    (vt,) = (one for one in found["services"] if one["provider"] == "virustotal")
    assert (sorted(vt["indicators"]), vt["known"]) == (sorted(ips), 1)
    assert 115 < vt["seconds"] <= 180
    assert found["name_servers"]["addresses"] == []


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


@pytest.mark.security
@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
def test_a_run_that_is_killed_has_kept_what_was_answered_and_what_was_spent(asking: Asking, services: Services) -> None:
    services.behave("virustotal", replace(MANNER, hang_every=4))
    asking.configure(["virustotal"], {"*": "per_minute = 0\nper_day = 9\nat_once = 1\nseconds = 60.0"})
    ips = [f"198.51.100.{number}" for number in range(8)]
    with asking.started("lookup", *ips) as child:
        while services.count("virustotal") < 4:
            assert child.process.poll() is None
            time.sleep(0.02)
        child.process.kill()
    services.behave("virustotal", MANNER)
    asked = set(services.asked("virustotal"))
    found = asking.looked_up(*ips, "--lookups", "cached")
    assert sum(by["virustotal"]["state"] == "clean" for by in found.values()) == 3
    asking.looked_up(*ips)
    assert services.count("virustotal") == 9, "four were spent, so five of nine are left, which is what is missing"
    assert len(asked) == 4
    assert {count for ip, count in services.asked("virustotal").items() if ip not in asked} == {1}


def _spellings(secret: str) -> list[bytes]:
    return [secret.encode(), base64.b64encode(secret.encode()), secret.encode().hex().encode(), secret[::-1].encode()]


@pytest.mark.security
def test_a_key_is_in_no_output_file_database_log_or_list_of_processes(
    asking: Asking, services: Services, recording: Callable[..., Path]
) -> None:
    canaries = {"virustotal": "canary-vt-7f3a9c", "abuseipdb": "canary-abuse-51be02", "ipinfo": "canary-ipinfo-e9d4"}
    for name, canary in canaries.items():
        services.behave(name, Manner(key=canary))
    file = asking.folder / "vt.key"
    file.write_text(canaries["virustotal"] + "\n")
    file.chmod(0o600)
    tables = {
        "virustotal": f"api_key_file = {json.dumps(str(file))}",
        "abuseipdb": f'api_key = "{canaries["abuseipdb"]}"',
        "ipinfo": "",
    }
    asking.configure(settings=tables, key="")
    secrets = asking.folder / "secrets.toml"
    asking.config.rename(secrets)
    asking.config = secrets
    asking.env = {"IPINFO_TOKEN": canaries["ipinfo"], "PYTHONASYNCIODEBUG": "1"}
    path = str(recording(BAD, GOOD))
    loud = "import logging, sys; logging.basicConfig(level=logging.DEBUG); from outwatch.cli.group import run; sys.exit(run(sys.argv[1:]))"
    told: list[bytes] = []

    def heard(*arguments: str) -> None:
        command = [sys.executable, "-X", "dev", "-c", loud, *arguments, "--config", str(asking.config)]
        from .child import Child

        with Child(command, env=asking.surroundings(), cwd=str(asking.folder)) as child:
            seen = set()
            while child.process.poll() is None:
                seen.add(Path(f"/proc/{child.pid}/cmdline").read_bytes() if os.path.exists(f"/proc/{child.pid}/cmdline") else b"")
                time.sleep(0.01)
            child.end()
            told.extend([*seen, child.errors.encode(), "\n".join(child.lines).encode()])
        done = asking.outwatch(*arguments)
        told.extend([done.stdout.encode(), done.stderr.encode()])

    for ending in ("xlsx", "csv", "json", "jsonl"):
        heard("report", "--from", path, "--no-dns", "-v", "--force", "-o", f"out.{ending}", "--log", "bad.log")
    assert services.count("virustotal") == 2, "it was asked with its key"
    assert services.count("ipinfo") == 2
    for name in THREE:
        services.behave(name, Manner(key="another"))
    heard("lookup", "198.51.100.1", "--json", "-v")
    assert b"holds a key that the service refuses" in b"".join(told)
    heard("config", "show")
    heard("config", "show", "--origin")
    heard("doctor")
    heard("report", "--preview", "--from", path)
    with open(asking.config, "a", encoding="utf-8") as config:
        config.write("nonsense = 1\n")
    heard("scan")
    kept = [one for one in asking.folder.rglob("*") if one.is_file() and one not in {file, secrets}]
    assert any(one.name == "reputation.sqlite3" for one in kept)
    for canary in canaries.values():
        for spelled in _spellings(canary):
            assert not any(spelled in text for text in told)
            assert not [one for one in kept if spelled in one.read_bytes()]


def test_doctor_tells_whom_outwatch_asks_with_whose_key_and_what_is_used(asking: Asking, services: Services) -> None:
    asking.looked_up(GOOD)
    told = asking.outwatch("doctor").stdout
    lines = {line.partition(":")[0]: line for line in told.splitlines()}
    assert (
        "is asked, key from the setting reputation.virustotal.api_key; 1 of 4 a minute used, 1 of 500 a day used"
        in lines["service virustotal"]
    )
    assert "not asked: no key; put one into reputation.otx.api_key_file or the variable OTX_API_KEY" in lines["service otx"]
    assert f"to VirusTotal ({services.base_url('virustotal')})" in told
    assert "--lookups off sends nothing" in told


def test_settings_that_can_not_be_right_are_found(asking: Asking) -> None:
    for wrong, hint in (
        ('base_url = "https://user:canary@host.test"', "without user, password and query"),
        ('base_url = "host.test"', "write it like https://example.org/path"),
        ('api_keyfile = "/x"', "did you mean 'api_key_file'?"),
        ("per_minute = -1", ">= 0"),
    ):
        asking.config.write_text(f"[reputation.virustotal]\n{wrong}\n")
        done = asking.outwatch("config", "check")
        assert done.returncode == 2
        assert f"{asking.config}: reputation.virustotal." in done.stderr
        assert hint in done.stderr
        assert "canary" not in done.stderr


def test_a_memory_that_can_not_be_opened_costs_only_itself(asking: Asking, services: Services) -> None:
    (asking.state / "reputation.sqlite3").mkdir(parents=True)
    os.chmod(asking.state, 0o700)
    done = asking.outwatch("lookup", BAD, "--jsonl", "--strict")
    assert done.returncode == 4
    assert "is remembered for this run only" in done.stderr
    said = {one["provider"]: one["state"] for one in json.loads(done.stdout.splitlines()[0])["outwatch"]["reputation"]}
    assert said == {"virustotal": "malicious", "abuseipdb": "malicious", "ipinfo": "no_data"}


def test_the_systems_proxy_is_used(asking: Asking, services: Services) -> None:
    asking.env = {"http_proxy": f"http://{services.address}"}
    found = asking.looked_up(BAD)
    assert found[BAD]["virustotal"]["state"] == "malicious"
    assert all(one.by_proxy for one in services.requests())


def test_a_database_of_a_newer_version_is_left_alone(asking: Asking) -> None:
    asking.looked_up(GOOD)
    with closing(sqlite3.connect(asking.state / "reputation.sqlite3")) as database:
        database.execute("PRAGMA user_version=99")
    done = asking.outwatch("lookup", GOOD, "--jsonl")
    assert "a newer version has written it" in done.stderr
    with closing(sqlite3.connect(asking.state / "reputation.sqlite3")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (99,)
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (3,)


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
