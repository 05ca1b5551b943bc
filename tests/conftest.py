"""What all tests share: records to start from, and folders that keep a test away from this machine's configuration."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from msgspec.structs import replace

from outwatch.engine import config as configuration
from outwatch.errors import RuleError
from outwatch.model.records import Connection, Destination, Event, Findings, Network, Process, Source, User

# The same examples every time, however busy the machine is: chance is for make fuzz.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

KERNEL = "tests/kernel/"

WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of the kernel sensor in one worker, one after another: it sees the storms of all others on this machine.

    By their place, for the marks of groups get lost between pytest 9.2 and pytest-xdist 3.8 (``--dist loadgroup``).
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = lambda node: KERNEL if node.startswith(KERNEL) else node
    return scheduler


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep configuration and state of each test in its own folder, also in programs it starts."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("OUTWATCH_STATE_DIR", str(home / "state"))
    # No test asks the name servers of the machine it runs on; those that bring their own switch this on again.
    monkeypatch.setenv("OUTWATCH_LOOKUPS__REVERSE_NAMES__ENABLED", "false")
    # The kernel sensor sees every namespace of this machine, those of other tests too: tests of it switch it on again.
    monkeypatch.setenv("OUTWATCH_SENSORS__EBPF__ENABLED", "false")
    # No test sends anything to a service with the keys, or through the proxy, of whoever runs it.
    keys = ("VT_API_KEY", "ABUSE_API_KEY", "ABUSEIPDB_API_KEY", "IPINFO_TOKEN", "GREYNOISE_API_KEY", "OTX_API_KEY", "CREDENTIALS_DIRECTORY")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", *keys, *proxies):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(configuration, "SYSTEM", home / "etc")
    return home


@pytest.fixture
def connection() -> Callable[..., Connection]:
    """Make a connection from curl to a documentation address; keyword arguments replace its branches."""

    def make(*, ip: str | None = "203.0.113.9", domain: str | None = None, **changes: Any) -> Connection:
        record = Connection(
            id="c1",
            revision=1,
            timestamp=WHEN,
            event=Event(action="connect", start=WHEN),
            network=Network(transport="tcp", direction="egress", scope="public"),
            source=Source(ip="192.0.2.10", port=40000),
            destination=Destination(ip=ip, port=443, domain=domain),
            process=Process(pid=77, name="curl", executable="/usr/bin/curl", args=("curl",), entity_id="e1", start=WHEN),
            user=User(id="1000", name="alice"),
            outwatch=Findings(sensor="replay", attribution="exact"),
        )
        return replace(record, **changes)

    return make


@pytest.fixture
def place() -> Callable[[str, str, str], RuleError]:
    """Place a problem of a rule as the configuration does."""
    return lambda key, _value, reason: RuleError(key, None, reason)
