"""One spelling for each address, and the scope of the end that is not this host."""

from collections.abc import Callable

import pytest

from outwatch.enrichers.addresses import Addresses
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Destination, Network, Source
from outwatch.net.addresses import Scopes, parse_network

Make = Callable[..., Connection]


@pytest.fixture
def addresses() -> Addresses:
    """Give the enricher with IANA's table."""
    return Addresses(PartConfig(), scopes=Scopes())


@pytest.mark.security
@pytest.mark.parametrize(
    ("seen", "canonical", "scope"),
    [
        ("203.0.113.9", "203.0.113.9", "unclassified"),
        ("8.8.8.8", "8.8.8.8", "public"),
        ("::ffff:10.1.2.3", "10.1.2.3", "private"),
        ("::FFFF:127.0.0.1", "127.0.0.1", "loopback"),
        ("64:ff9b::a01:203", "10.1.2.3", "private"),
        ("FE80::1%eth0", "fe80::1", "link_local"),
        ("[2001:0DB8::0001]", "2001:db8::1", "unclassified"),
        ("100.64.1.1", "100.64.1.1", "private"),
        ("fec0::1", "fec0::1", "private"),
        ("224.0.0.251", "224.0.0.251", "multicast"),
        ("not an address\x1b[m", "not an address\x1b[m", "unclassified"),
    ],
)
def test_every_disguise_becomes_one_spelling_and_keeps_the_one_seen(
    addresses: Addresses, connection: Make, seen: str, canonical: str, scope: str
) -> None:
    record = connection(destination=Destination(ip=seen, port=443), network=Network(direction="egress"))
    found = addresses.enrich(record)
    assert (found.destination.ip, found.network.scope) == (canonical, scope)
    assert found.destination.address == (None if seen == canonical else seen)
    assert addresses.enrich(found) == found


def test_of_an_accepted_connection_the_callers_place_counts(addresses: Addresses, connection: Make) -> None:
    ends = {"source": Source(ip="::ffff:8.8.8.8", port=5), "destination": Destination(ip="10.0.0.1", port=80)}
    called = addresses.enrich(connection(**ends, network=Network(direction="ingress")))
    assert (called.network.scope, called.source.ip, called.source.address) == ("public", "8.8.8.8", "::ffff:8.8.8.8")
    calling = addresses.enrich(connection(**ends, network=Network(direction="egress")))
    assert calling.network.scope == "private"


def test_a_scope_that_somebody_wrote_into_a_recording_is_not_believed(addresses: Addresses, connection: Make) -> None:
    record = connection(ip="8.8.8.8", network=Network(direction="egress", scope="loopback"))
    assert addresses.enrich(record).network.scope == "public"
    assert addresses.enrich(connection(ip=None, network=Network(direction="egress", scope="private"))).network.scope == "unclassified"


def test_what_the_user_declares_stands_over_the_table(connection: Make) -> None:
    laboratory, office = parse_network("10.9.0.0/16"), parse_network("8.8.8.0/24")
    assert laboratory
    assert office
    addresses = Addresses(PartConfig(), scopes=Scopes([laboratory], [office]))
    scopes = [addresses.enrich(connection(ip=ip)).network.scope for ip in ("10.9.1.1", "10.8.1.1", "8.8.8.8", "8.8.9.8")]
    assert scopes == ["public", "private", "private", "public"]


def test_a_record_that_needs_nothing_is_given_back_itself(addresses: Addresses, connection: Make) -> None:
    record = connection(network=Network(direction="egress", scope="unclassified"))
    assert addresses.enrich(record) is record
