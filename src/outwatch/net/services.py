"""Names of services by port and transport, as IANA has them ("Service Name and Transport Protocol Port Number Registry").

``services.txt`` beside this file is the extract and says of which date. What really runs on a port is another matter.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_FILE = "services.txt"
_TRANSPORTS = {"t": "tcp", "u": "udp", "s": "sctp"}


def service(port: int | None, transport: str | None) -> str | None:
    """Give the registered name of a port of ``tcp``, ``udp`` or ``sctp``, or ``None``. The first call reads the extract."""
    names = _names().get(transport)
    return names.get(port) if names is not None else None


@cache
def _names() -> Mapping[str | None, Mapping[int | None, str]]:
    found: dict[str | None, dict[int | None, str]] = {transport: {} for transport in _TRANSPORTS.values()}
    for line in files(__package__).joinpath(_FILE).read_text("ascii").splitlines():
        if not line.startswith("#"):
            port, name, letters = line.split(" ")
            for letter in letters:
                found[_TRANSPORTS[letter]][int(port)] = name
    return MappingProxyType(found)
