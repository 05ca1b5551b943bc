"""A desk asks about what its service may know and what may leave this machine, and about nothing else."""

from typing import Any

import pytest

from outwatch.model.records import Findings, Network
from outwatch.model.reputation import NAMED, Indicator
from outwatch.reputation.settings import ProviderConfig

from .office import IP, MAKE, Bench, Oracle, word

LIMITED = ProviderConfig(per_minute=2)
HOUR, DAY = 3600.0, 86_400.0
PUBLIC = ("8.0.0.0/8",)


def test_only_outgoing_public_connections_that_are_not_our_own_are_asked_about(bench: Bench, seen: MAKE) -> None:
    desk = bench.desk()
    private = seen("10.0.0.1", network=Network(transport="tcp", direction="egress", scope="private"))
    heard = seen(network=Network(transport="tcp", direction="ingress", scope="public"))
    own = seen(outwatch=Findings(own=True))
    for record in (private, heard, own, seen(None)):
        assert desk.missing(record) is None
        assert desk.enrich(record) is record


@pytest.mark.security
@pytest.mark.parametrize(
    ("ip", "declared", "configured", "sent"),
    [
        ("8.8.8.8", False, False, True),
        ("203.0.113.9", True, False, False),
        ("203.0.113.9", True, True, True),
        ("10.0.0.1", False, True, False),
        ("10.0.0.1", True, False, False),
        ("10.0.0.1", True, True, True),
        ("127.0.0.1", False, True, False),
        ("169.254.169.254", False, True, False),
        ("fe80::1", False, True, False),
        ("::ffff:10.0.0.1", False, True, False),
        ("224.0.0.1", False, True, False),
    ],
)
def test_a_record_that_calls_itself_public_is_not_believed(
    bench: Bench, seen: MAKE, ip: str, declared: bool, configured: bool, sent: bool
) -> None:
    config = ProviderConfig(base_url="https://lab.test") if configured else None
    desk = bench.desk(config, public=[f"{ip}"] if declared else [])
    assert (desk.missing(seen(ip)) is not None) == sent
    assert word(desk, seen(ip)).why == ("no answer yet" if sent else "not a public address")


@pytest.mark.security
@pytest.mark.parametrize(
    ("name", "configured", "sent"),
    [
        ("example.com", False, True),
        ("intranet", False, False),
        ("server.corp", False, False),
        ("printer.local", False, False),
        ("nas.home.arpa", False, False),
        ("abcdef.onion", False, False),
        ("evil.example", False, False),
        ("evil.example", True, True),
    ],
)
def test_names_outside_of_the_public_tree_go_to_a_place_of_the_users_alone(
    bench: Bench, connection: MAKE, name: str, configured: bool, sent: bool
) -> None:
    desk = bench.desk(ProviderConfig(base_url="https://lab.test") if configured else None)
    named = connection(ip=None, domain=name, outwatch=Findings(sensor=NAMED))
    assert (desk.missing(named) == Indicator("domain", name)) == sent
    assert word(desk, named).why == ("no answer yet" if sent else "not a public name")


def test_the_name_of_an_ordinary_connection_is_not_sent(bench: Bench, connection: MAKE) -> None:
    assert bench.desk().missing(connection(ip=None, domain="example.com")) is None


def test_what_a_service_has_no_request_for_costs_no_quota_and_is_not_missing(bench: Bench, seen: MAKE) -> None:
    class OldOnly(Oracle):
        def request(self, indicator: Indicator) -> Any:
            return None if ":" in indicator.value else super().request(indicator)

    desk = bench.desk(provider=OldOnly())
    new = seen("2606:4700::1")
    assert desk.enrich(new) is new
    assert desk.missing(new) is None
    assert not desk.wants(Indicator("ip", "2606:4700::1"))
    assert not desk.answers(Indicator("ip", "2606:4700::1"))
    assert desk.missing(seen()) == IP


def test_a_service_that_knows_nothing_of_files_is_not_asked_about_them(bench: Bench, connection: MAKE) -> None:
    from outwatch.model.records import Hash, Process

    record = connection(ip=None, process=Process(hash=Hash(sha256="0" * 64)), outwatch=Findings(sensor=NAMED))
    desk = bench.desk()
    assert desk.missing(record) is None
    assert desk.enrich(record) is record
