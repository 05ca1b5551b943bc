"""Display filters that show the packets of a row in Wireshark (wireshark-filter(4))."""

import re
from ipaddress import IPv6Address

from outwatch.net.addresses import on_the_wire

_WITH_PORTS = frozenset({"tcp", "udp", "sctp"})
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}  # IANA, assigned internet protocol numbers
_RAW = re.compile(r"raw:([0-9]{1,3})\Z")
_ICMP, _ICMP_V6 = 1, 58
_LAST_PROTOCOL, _LAST_PORT = 255, 65535


def display_filter(ip: str | None, port: int | None, transport: str | None) -> str | None:
    """Give the filter for an address and what is talked to there; ``None`` if there is no address to ask for.

    IPv6 has no protocol field: there the next header is compared (RFC 8200, 3).
    """
    address = on_the_wire(ip) if ip else None
    if address is None:
        return None
    version6 = isinstance(address, IPv6Address)
    host = f"{'ipv6' if version6 else 'ip'}.addr == {address}"
    if transport in _WITH_PORTS and port is not None and 0 <= port <= _LAST_PORT:
        return f"{host} && {transport}.port == {port}"
    number = _protocol(transport, version6=version6)
    if number is None:
        return host
    return f"{host} && {'ipv6.nxt' if version6 else 'ip.proto'} == {number}"


def _protocol(transport: str | None, *, version6: bool) -> int | None:
    if transport == "icmp":
        return _ICMP_V6 if version6 else _ICMP
    raw = _RAW.match(transport or "")
    number = int(raw[1]) if raw else _PROTOCOLS.get(transport or "")
    return number if number is not None and number <= _LAST_PROTOCOL else None
