"""Domain names as labels."""

import re
from collections.abc import Iterator

_MOST = 253  # RFC 1035, 2.3.4: 255 octets on the wire are 253 characters
_HOSTNAME = re.compile(r"(?=.*[a-z_])([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")


def canonical(name: str) -> str | None:
    """Give a name in lower case without its final dot, or ``None`` if it can't be a domain name.

    Underscores and non-ASCII letters are left alone: names are data here, not orders to a resolver.
    """
    name = name.strip().rstrip(".").lower()
    if not name or len(name) > _MOST or ".." in name or name.startswith(".") or len(name.split(None, 1)) > 1:
        return None
    return name


def suffixes(name: str) -> Iterator[str]:
    """Yield the name itself and then each of its parents: ``a.b.c``, ``b.c``, ``c``."""
    while True:
        yield name
        dot = name.find(".")
        if dot < 0:
            return
        name = name[dot + 1 :]


def labels(name: str) -> list[str]:
    """Split a canonical name into its labels, leftmost first."""
    return name.split(".")


def hostname(name: str) -> str | None:
    """Give the canonical form of a name that a machine may have, or ``None``: letters, digits, hyphens, underscores (RFC 1123, 2.1)."""
    canon = canonical(name)
    return canon if canon is not None and _HOSTNAME.match(canon) else None
