"""What both ends of a connection say together: the Community ID that other tools have for it too, and the name of the service."""

from msgspec.structs import replace

from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, Destination, Network, Source
from outwatch.net.addresses import packed
from outwatch.net.community_id import community_id
from outwatch.net.services import service

_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_UNSPECIFIED = frozenset({bytes(4), bytes(16)})


class Endpoints:
    """Sets ``network.community_id`` where both ends and their ports are known, and ``destination.service``; what is there stays."""

    def __init__(self, _config: PartConfig) -> None:
        """Need nothing."""

    def enrich(self, connection: Connection) -> Connection:
        """Give the connection with both facts, as far as they can be had."""
        network, destination = connection.network, connection.destination
        if network.transport not in _PROTOCOLS:
            return connection
        changes: dict[str, object] = {}
        if network.community_id is None and (found := _community_id(network, connection.source, destination)):
            changes["network"] = replace(network, community_id=found)
        if destination.service is None and (name := service(destination.port, network.transport)):
            changes["destination"] = replace(destination, service=name)
        return replace(connection, **changes) if changes else connection


def _community_id(network: Network, source: Source, destination: Destination) -> str | None:
    """Give the id of what the packets of a connection carry: with NAT64 its own addresses, not the IPv4 address in them."""
    if not source.port or not destination.port or source.ip is None or destination.ip is None:
        return None
    here, there = packed(source.address or source.ip), packed(destination.address or destination.ip)
    if here is None or there is None or len(here) != len(there) or here in _UNSPECIFIED or there in _UNSPECIFIED:
        return None
    return community_id(_PROTOCOLS[network.transport or ""], here, there, (source.port, destination.port))


PART = Part(name="endpoints", config=PartConfig, build=Endpoints)
