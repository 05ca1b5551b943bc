"""Quotas over real HTTP: kept, shared, spent where it matters, waited for, and gone on with later."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from outwatch.model.records import Connection

from .asking import BAD, GOOD, MANNER, NEW, Asking, reported
from .child import LONG
from .services import Services

pytestmark = pytest.mark.integration
MAKE = Callable[..., Connection]


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
