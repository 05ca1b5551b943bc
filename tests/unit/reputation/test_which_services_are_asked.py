"""Which services are asked, which are not and why, and what would be sent."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from outwatch.engine.health import Health
from outwatch.model.records import Connection, Findings, Network
from outwatch.net.addresses import Scopes
from outwatch.reputation.abuseipdb import AbuseIpdb
from outwatch.reputation.internetdb import InternetDb
from outwatch.reputation.service import Offered, Services, usable
from outwatch.reputation.settings import ProviderConfig
from outwatch.reputation.virustotal import VirusTotal

MAKE = Callable[..., Connection]
OFF, ON, UNSET = (ProviderConfig(enabled=enabled) for enabled in (False, True, None))
VT_KEY = {"VT_API_KEY": "canary-5a1f0c3e"}


def services(folder: Path, health: Health, environ: Mapping[str, str], *configs: ProviderConfig, **how: Any) -> Services:
    """Offer VirusTotal, AbuseIPDB and InternetDB, which needs no key, with these settings."""
    vt, abuse, internet = (*configs, *([UNSET] * 3))[:3]
    offered: list[Offered] = [(VirusTotal(vt), vt), (AbuseIpdb(abuse), abuse), (InternetDb(internet), internet)]
    return Services(offered, folder, health, Scopes(), environ=environ, **how)


def asked(of: Services) -> list[str]:
    names = [desk.name for desk in of.desks]
    of.close()
    return names


@pytest.mark.parametrize(
    ("environ", "configs", "names"),
    [
        ({}, (), []),
        (VT_KEY, (), ["virustotal"]),
        (VT_KEY, (OFF,), []),
        (VT_KEY, (ON, UNSET, ON), ["virustotal", "internetdb"]),
        ({}, (ON, ON, ON), ["internetdb"]),
        ({}, (UNSET, ProviderConfig(api_key="k")), ["abuseipdb"]),
    ],
)
def test_a_service_is_asked_if_it_has_a_key_or_needs_none_and_was_switched_on(
    tmp_path: Path, environ: dict[str, str], configs: tuple[ProviderConfig, ...], names: list[str]
) -> None:
    assert asked(services(tmp_path, Health(), environ, *configs)) == names


def test_what_is_not_asked_for_want_of_a_key_is_said_once_and_makes_nothing_incomplete(tmp_path: Path) -> None:
    health = Health()
    of = services(tmp_path, health, {})
    of.tell()
    assert health.blind == ["what virustotal and abuseipdb know of destinations (no key)"]
    assert health.problems == []
    health = Health()
    services(tmp_path, health, {}, OFF).tell()
    assert health.blind == ["what abuseipdb knows of destinations (no key)"]


def test_a_service_that_was_switched_on_and_has_no_key_is_a_problem(tmp_path: Path) -> None:
    health = Health()
    services(tmp_path, health, {}, ON, OFF).tell()
    assert health.problems == ["VirusTotal is not asked: no key"]
    assert health.blind == []


@pytest.mark.security
def test_a_key_file_that_can_not_be_trusted_is_a_problem_and_the_others_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("canary-5a1f0c3e")
    file.chmod(0o644)
    health = Health()
    of = services(tmp_path / "state", health, {"ABUSE_API_KEY": "k"}, ProviderConfig(api_key_file=str(file)))
    of.tell()
    assert asked(of) == ["abuseipdb"]
    (problem,) = health.problems
    assert problem == f"VirusTotal is not asked: {file}: others may read the key in it; chmod 600 {file}"


@pytest.mark.security
def test_a_report_is_told_why_nobody_was_asked_without_the_paths_of_this_machine(tmp_path: Path) -> None:
    of = services(tmp_path, Health(), {}, ProviderConfig(api_key_file=str(tmp_path / "key")))
    assert of.unasked() == {"virustotal": "no usable key", "abuseipdb": "no key", "internetdb": "not switched on"}


def test_without_any_service_nothing_is_written(tmp_path: Path) -> None:
    services(tmp_path / "state", Health(), {}).close()
    assert not (tmp_path / "state").exists()


def test_standings_tell_where_keys_come_from_where_requests_go_and_what_is_used(tmp_path: Path) -> None:
    of = services(tmp_path, Health(), VT_KEY, UNSET, ProviderConfig(base_url="https://lab.test"))
    vt, abuse, internet = of.standings()
    assert (vt.name, vt.key_origin, vt.base, vt.why_not) == ("virustotal", "the variable VT_API_KEY", "https://www.virustotal.com", None)
    assert [(count, limit.count) for count, limit in vt.used] == [(0, 4), (0, 500)]
    assert (abuse.why_not, abuse.lacks_key, abuse.base) == ("no key", True, "https://lab.test")
    assert "ABUSE_API_KEY" in abuse.key_places
    assert (internet.why_not, internet.lacks_key) == ("not switched on", False)
    of.close()


def test_errands_name_each_public_destination_once_and_how_long_the_quota_makes_them_take(tmp_path: Path, connection: MAKE) -> None:
    of = services(tmp_path, Health(), {**VT_KEY, "ABUSE_API_KEY": "k"})
    seen = [connection(id=str(number), ip=f"8.8.8.{number % 10}") for number in range(30)]
    seen += [
        connection(ip="10.0.0.1", network=Network(scope="private", direction="egress")),
        connection(ip="8.8.4.4", network=Network(scope="public", direction="ingress")),
        connection(ip="8.8.4.4", outwatch=Findings(own=True)),
    ]
    vt, abuse = of.errands(seen)
    assert [indicator.value for indicator in vt.indicators] == [f"8.8.8.{number}" for number in range(10)]
    assert vt.seconds == 120, "four at once, four after a minute, two after another"
    assert abuse.seconds == 0
    of.close()


def test_nothing_is_told_twice_and_all_is_closed_at_the_end(tmp_path: Path) -> None:
    async def use() -> None:
        async with services(tmp_path, Health(), VT_KEY) as of:
            assert of.unanswered() == ({}, 0.0)

    asyncio.run(use())


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://www.virustotal.com", True),
        ("http://127.0.0.1:8080/vt", True),
        ("https://user:pass@host.test", False),
        ("https://host.test/?key=1", False),
        ("https://host.test/#a", False),
        ("host.test", False),
        ("", False),
    ],
)
def test_a_base_url_has_no_place_for_keys(url: str, right: bool) -> None:
    assert usable(url) == right
