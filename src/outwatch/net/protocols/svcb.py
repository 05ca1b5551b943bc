"""What HTTPS and SVCB records say (RFC 9460, 2.2): where a service is to be found, and how."""

import struct
from typing import NamedTuple

from outwatch.guard.text import cleaned

_PARAMETER = struct.Struct("!2H")
_ALPN, _IPV4_HINT, _ECH, _IPV6_HINT = 1, 4, 5, 6
_MOST = 32  # parameters, protocols, addresses of a kind: nobody needs more
_V4_OCTETS, _V6_OCTETS = 4, 16


class Parameters(NamedTuple):
    """Of a record: application protocols, addresses as octets, and whether the name of the server can be asked for under cover."""

    alpn: tuple[str, ...]
    hints: tuple[bytes, ...]
    has_ech: bool


def parameters(data: bytes) -> Parameters | None:
    """Read the parameters behind priority and target; ``None`` if their lengths lie or their order is wrong: clients then use none."""
    alpn: tuple[str, ...] = ()
    hints: list[bytes] = []
    has_ech = False
    at, last = 0, -1
    for _ in range(_MOST):
        if at + _PARAMETER.size > len(data):
            break
        key, length = _PARAMETER.unpack_from(data, at)
        if key <= last:
            return None
        last = key
        at += _PARAMETER.size
        value = data[at : at + length]
        at += length
        if key == _ALPN:
            alpn = _protocols(value)
        elif key in {_IPV4_HINT, _IPV6_HINT}:
            octets = _V4_OCTETS if key == _IPV4_HINT else _V6_OCTETS
            if not value or length % octets:
                return None
            hints += (value[start : start + octets] for start in range(0, min(length, _MOST * octets), octets))
        has_ech = has_ech or key == _ECH
    # Too far: a length that lies; not there yet: too many, or too little for one more.
    return Parameters(alpn, tuple(hints), has_ech) if at == len(data) else None


def _protocols(data: bytes) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while at < len(data) and len(found) < _MOST:
        length = data[at]
        found.append(cleaned(data[at + 1 : at + 1 + length]))
        at += 1 + length
    return tuple(one for one in found if one)
