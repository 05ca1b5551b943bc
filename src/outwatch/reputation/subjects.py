"""What services are asked about, and what of it may leave this machine at all."""

from outwatch.model.records import Connection
from outwatch.model.reputation import NAMED, Indicator
from outwatch.net import domains
from outwatch.net.addresses import Scopes

_NOT_PUBLIC, _AT_HOME = frozenset({"onion"}), ".home.arpa"  # RFC 7686, RFC 8375
_HARMLESS = frozenset({"public", "unclassified"})


class Outbound:
    """Decides what may be sent, whatever a record says of itself: a recording may be made up."""

    def __init__(self, declared: Scopes) -> None:
        """Take the networks that the user calls public and private."""
        self._declared, self._scopes = declared, Scopes()

    def may_be_sent(self, indicator: Indicator, *, anywhere: bool) -> bool:
        """Tell whether an indicator may be sent to a service; ``anywhere``: the user has said where that lives.

        Private addresses are never sent. Those that only the user calls public, addresses that nobody owns, and names below no known
        top-level domain go to a place of the user's alone.
        """
        if indicator.kind == "sha256":
            return True
        if indicator.kind == "domain":
            return anywhere or _is_public(indicator.value)
        called = self._declared.place(indicator.value)[1]
        if anywhere:
            return called in _HARMLESS
        return called == "public" and self._scopes.place(indicator.value)[1] == "public"


def indicator_of(connection: Connection) -> Indicator | None:
    """Give what services are asked about a connection: its public destination, or what the user has named; nothing of our own traffic."""
    if connection.network.direction == "ingress" or connection.outwatch.own:
        return None
    named = connection.outwatch.sensor == NAMED
    if connection.destination.ip is not None:
        return Indicator("ip", connection.destination.ip) if named or connection.network.scope == "public" else None
    if not named:
        return None
    if connection.destination.domain is not None:
        return Indicator("domain", connection.destination.domain)
    digest = connection.process.hash.sha256 if connection.process and connection.process.hash else None
    return Indicator("sha256", digest) if digest is not None else None


def _is_public(name: str) -> bool:
    """Tell whether a name belongs to the public tree of names: its top-level domain exists, and it is not set aside for use at home."""
    top = name.rpartition(".")[2]
    return domains.is_suffix(top, private=False) and top not in _NOT_PUBLIC and not f".{name}".endswith(_AT_HOME)
