"""What both ends say together: Community ID and the service's name, and neither where something is not known."""

from collections.abc import Callable
from typing import Any

import pytest

from outwatch.enrichers.endpoints import Endpoints
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection, Destination, Network, Source

Make = Callable[..., Connection]
PUBLISHED = "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


def enriched(make: Make, transport: str | None, source: dict[str, Any], destination: dict[str, Any]) -> Connection:
    record = make(network=Network(transport=transport), source=Source(**source), destination=Destination(**destination))
    return Endpoints(PartConfig()).enrich(record)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ({"ip": "128.232.110.120", "port": 34855}, {"ip": "66.35.250.204", "port": 80}),
        ({"ip": "66.35.250.204", "port": 80}, {"ip": "128.232.110.120", "port": 34855}),
        ({"ip": "128.232.110.120", "port": 34855, "address": "::ffff:128.232.110.120"}, {"ip": "66.35.250.204", "port": 80}),
    ],
)
def test_a_connection_gets_the_published_id_whoever_opened_it(
    connection: Make, source: dict[str, Any], destination: dict[str, Any]
) -> None:
    assert enriched(connection, "tcp", source, destination).network.community_id == PUBLISHED


def test_through_nat64_the_id_is_that_of_the_packets_not_of_the_address_inside(connection: Make) -> None:
    source = {"ip": "2001:db8::1", "port": 40000}
    through = enriched(connection, "tcp", source, {"ip": "192.0.2.1", "address": "64:ff9b::c000:201", "port": 443})
    same = enriched(connection, "tcp", source, {"ip": "64:ff9b::192.0.2.1", "port": 443})
    assert through.network.community_id == same.network.community_id
    assert through.network.community_id is not None


@pytest.mark.parametrize(
    ("transport", "source", "destination"),
    [
        pytest.param("tcp", {"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "port": 443}, id="no source port"),
        pytest.param("tcp", {"port": 40000}, {"ip": "192.0.2.2", "port": 443}, id="no source"),
        pytest.param("tcp", {"ip": "192.0.2.1", "port": 40000}, {"ip": "192.0.2.2"}, id="no destination port"),
        pytest.param("udp", {"ip": "0.0.0.0", "port": 40000}, {"ip": "192.0.2.2", "port": 53}, id="a socket without an address"),
        pytest.param("tcp", {"ip": "192.0.2.1", "port": 40000}, {"ip": "2001:db8::1", "port": 443}, id="two families"),
        pytest.param("tcp", {"ip": "192.0.2.1", "port": 40000}, {"ip": "nowhere", "port": 443}, id="no address"),
        pytest.param("raw:47", {"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, id="no ports"),
        pytest.param(None, {"ip": "192.0.2.1", "port": 40000}, {"ip": "192.0.2.2", "port": 443}, id="no transport"),
    ],
)
def test_without_all_of_both_ends_there_is_no_id(
    connection: Make, transport: str | None, source: dict[str, Any], destination: dict[str, Any]
) -> None:
    assert enriched(connection, transport, source, destination).network.community_id is None


@pytest.mark.parametrize(
    ("transport", "port", "name"),
    [
        ("tcp", 443, "https"),
        ("udp", 443, "https"),
        ("udp", 53, "domain"),
        ("sctp", 3868, "diameter"),
        ("icmp", 443, None),
        ("tcp", 65000, None),
    ],
)
def test_the_destination_gets_the_name_of_its_service(connection: Make, transport: str, port: int, name: str | None) -> None:
    record = enriched(connection, transport, {"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "port": port})
    assert record.destination.service == name


def test_what_a_record_says_already_stays(connection: Make) -> None:
    given = connection(
        network=Network(transport="tcp", community_id="1:other"), destination=Destination(ip="192.0.2.2", port=443, service="mine")
    )
    assert Endpoints(PartConfig()).enrich(given) == given
