"""500 addresses, asked of three reputation services that take 200 ms for an answer, and of one with a quota.

Measured: the way of ``outwatch lookup`` from the records to the last answer, with the providers for VirusTotal, AbuseIPDB and IPinfo as
they are, in a new process for each run and over real HTTP to a local service in another process. Rival: the same questions one after
another over one connection to each service, taken on 10 addresses and reckoned for 500. Bounds: at least 50 times sooner without quotas,
also if one request in ten is never answered, for which the rival is taken to wait as long as outwatch at most does; a second run asks
nothing; with a quota of 40 requests in any 6 s (that of a free VirusTotal key, 4 a minute, scaled) nothing is refused, and all takes at
most 5 % longer than the quota alone makes it.
"""

import http.client
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from measuring import Bounds, parser
from outwatch.app import App
from outwatch.engine import config as configuration
from outwatch.engine.health import Health
from outwatch.engine.request import Outcome, Request
from outwatch.model.reputation import Indicator, Limit, ReputationProvider
from outwatch.reputation.service import Offered
from outwatch.reputation.settings import ProviderConfig
from outwatch.reputation.virustotal import VirusTotal

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from integration.services import Manner, Services

ADDRESSES = [f"198.51.{third}.{fourth}" for third in (100, 101) for fourth in range(250)]
PROVIDERS = ("virustotal", "abuseipdb", "ipinfo")
LATENCY, KEY = 0.2, "a-key-for-nothing"
QUOTA = Limit(40, 6.0)
SAMPLE = 10  # addresses that are asked about one after another
LEAST, MOST_LONGER = 50, 5.0


class Scaled(VirusTotal):
    """VirusTotal with a quota that fits into a benchmark."""

    limits: ClassVar[tuple[Limit, ...]] = (QUOTA,)


class Limited(App):
    """outwatch with one provider, whose quota is the scaled one."""

    def offered(self) -> list[Offered]:
        """Offer the one provider."""
        (config,) = (table for part, table in self.every_part("reputation") if part.name == "virustotal")
        provider: ReputationProvider = Scaled(config)
        return [(provider, config)]


def settings(services: Services, folder: Path, providers: Sequence[str], quotas: str) -> Path:
    """Write the configuration of a run; the names of the providers are those of the services."""
    tables = []
    for name in PROVIDERS:
        place = f'api_key = "{KEY}"\nbase_url = "{services.base_url(name)}"'
        tables.append(f"[reputation.{name}]\n{place}\n{quotas if name in providers else 'enabled = false'}\n")
    path = folder / "config.toml"
    path.write_text(f'state_dir = "{folder}"\n[scope]\npublic = ["198.51.100.0/23"]\n' + "".join(tables))
    path.chmod(0o600)
    return path


def look_up(kind: type[App], path: Path) -> tuple[float, Outcome]:
    """Ask about all addresses in this process, and give the seconds."""
    app = kind(configuration.load(path), Health(tell=print))
    records = app.named(Indicator("ip", address) for address in ADDRESSES)
    began = time.perf_counter()
    outcome = app.run(Request(records=records, only=frozenset(), patience=600))
    return time.perf_counter() - began, outcome


def in_new_process(path: Path, kind: type[App] = App) -> float:
    """Do that in a new process; gives its own seconds."""
    argv = [sys.executable, __file__, "--run", kind.__name__, "--settings", str(path)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def one_after_another(services: Services) -> float:
    """Ask every service about some addresses, one request after another, and reckon the seconds for all."""
    began = time.perf_counter()
    for name, path, header in (
        ("virustotal", "/api/v3/ip_addresses/{}", "x-apikey"),
        ("abuseipdb", "/api/v2/check?ipAddress={}&maxAgeInDays=90", "Key"),
        ("ipinfo", "/lite/{}", "Authorization"),
    ):
        base = urlsplit(services.base_url(name))
        connection = http.client.HTTPConnection(base.netloc, timeout=30)
        for address in ADDRESSES[:SAMPLE]:
            connection.request("GET", base.path + path.format(address), headers={header: f"Bearer {KEY}" if name == "ipinfo" else KEY})
            reply = connection.getresponse()
            reply.read()
            if reply.status != http.client.OK:
                raise RuntimeError(f"{name} answered with {reply.status}")
        connection.close()
    return (time.perf_counter() - began) * len(ADDRESSES) / SAMPLE


def check_all_answered(services: Services, missing_of_each: int) -> None:
    for name in PROVIDERS:
        asked = services.asked(name)
        if set(asked) != set(ADDRESSES) or max(asked.values()) > 1:
            raise RuntimeError(f"{name}: {len(asked)} addresses asked about, {services.count(name)} requests")
        unanswered = sum(one.status == 0 for one in services.requests(name))
        if unanswered != missing_of_each:
            raise RuntimeError(f"{name}: {unanswered} requests were not answered, not {missing_of_each}")


def compare(rounds: int) -> int:
    bounds = Bounds()
    with Services() as services, tempfile.TemporaryDirectory() as place:
        manner = Manner(key=KEY, latency=LATENCY)
        for number in range(rounds):
            for name in PROVIDERS:
                services.behave(name, manner)
            rival = one_after_another(services)
            print(f"round {number + 1}: one request after another takes {rival:,.0f} s")
            for what, behaves, missing in (
                ("all answered", manner, 0),
                ("one in ten never answered", replace(manner, hang_every=10), len(ADDRESSES) // 10),
            ):
                for name in PROVIDERS:
                    services.behave(name, behaves)
                services.forget()
                folder = Path(tempfile.mkdtemp(dir=place))
                path = settings(services, folder, PROVIDERS, "per_minute = 0\nper_day = 0")
                taken = in_new_process(path)
                check_all_answered(services, missing)
                waits = rival + missing * len(PROVIDERS) * ProviderConfig().seconds
                spared = f" ({rival / taken:,.0f} times if the rival is answered always)" if missing else ""
                bounds.at_least(f"{what}: {taken:.1f} s{spared}", waits / taken, LEAST, "times sooner")
                services.forget()
                again = in_new_process(path)
                bounds.holds(f"the second run asks nothing, and takes {again:.2f} s", kept=services.count() == 0)
        with_quota(services, Path(tempfile.mkdtemp(dir=place)), bounds)
    return bounds.code


def with_quota(services: Services, folder: Path, bounds: Bounds) -> None:
    services.behave("virustotal", Manner(key=KEY, latency=LATENCY, quotas=((QUOTA.count, QUOTA.seconds),)))
    services.forget()
    taken = in_new_process(settings(services, folder, ["virustotal"], ""), Limited)
    alone = (math.ceil(len(ADDRESSES) / QUOTA.count) - 1) * QUOTA.seconds
    if set(services.asked("virustotal")) != set(ADDRESSES):
        raise RuntimeError("not all addresses were asked about")
    bounds.at_most(
        f"a quota of {QUOTA.count} in {QUOTA.seconds:g} s: {taken:.1f} s instead of {alone:.0f}",
        100 * (taken / alone - 1),
        MOST_LONGER,
        "% longer",
    )
    bounds.holds(f"{services.refused('virustotal')} requests were refused", kept=not services.refused("virustotal"))


def main() -> int:
    options = parser(__doc__, rounds=1)
    options.add_argument("--run", choices=("App", "Limited"), help="one run in this process; used by the script itself")
    options.add_argument("--settings", type=Path, help="its configuration")
    chosen = options.parse_args()
    if chosen.run:
        print(look_up(App if chosen.run == "App" else Limited, chosen.settings)[0])
        return 0
    return compare(chosen.rounds)


if __name__ == "__main__":
    sys.exit(main())
