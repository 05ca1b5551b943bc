"""Keys are sent to their service and shown to nobody; and what is wrong with settings and memory is said."""

import base64
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from outwatch.model.records import Connection

from .asking import BAD, GOOD, KEY, MANNER, NEW, THREE, Asking
from .services import Fault, Manner, Services

pytestmark = pytest.mark.integration
MAKE = Callable[..., Connection]


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


def test_a_database_of_a_newer_version_is_left_alone(asking: Asking) -> None:
    asking.looked_up(GOOD)
    with closing(sqlite3.connect(asking.state / "reputation.sqlite3")) as database:
        database.execute("PRAGMA user_version=99")
    done = asking.outwatch("lookup", GOOD, "--jsonl")
    assert "a newer version has written it" in done.stderr
    with closing(sqlite3.connect(asking.state / "reputation.sqlite3")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (99,)
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (3,)
