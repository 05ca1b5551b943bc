"""Canonical addresses and their scope: every later part sees one spelling of each address."""

from msgspec.structs import replace

from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection
from outwatch.net.addresses import Scopes


class Addresses:
    """Gives both ends their canonical form and says where the far one lives (``network.scope``)."""

    def __init__(self, _config: PartConfig, *, scopes: Scopes) -> None:
        """Take the table of scopes, with what the user declares in it."""
        self._place = scopes.place

    def enrich(self, connection: Connection) -> Connection:
        """Set ``network.scope`` (of the end that is not this host), ``*.ip``, and ``*.address`` where the spelling changed."""
        source, destination, network = connection.source, connection.destination, connection.network
        ingress = network.direction == "ingress"
        scope = "unclassified"
        changes: dict[str, object] = {}
        if source.ip is not None:
            ip, place = self._place(source.ip)
            if ip != source.ip:
                changes["source"] = replace(source, ip=ip, address=source.address or source.ip)
            if ingress:
                scope = place
        if destination.ip is not None:
            ip, place = self._place(destination.ip)
            if ip != destination.ip:
                changes["destination"] = replace(destination, ip=ip, address=destination.address or destination.ip)
            if not ingress:
                scope = place
        if scope != network.scope:
            changes["network"] = replace(network, scope=scope)
        return replace(connection, **changes) if changes else connection


PART = Part(name="addresses", config=PartConfig, build=Addresses)
