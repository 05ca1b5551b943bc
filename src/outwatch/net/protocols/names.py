"""Names of hosts as they come on the wire, as text in which nothing can hide."""

LONGEST = 253
"""Characters that a domain name can have (RFC 1035, 2.3.4: 255 octets with the length of each label and the root)."""

_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_PLAIN_OR_DOT = _PLAIN + b"."
_SPELLINGS = tuple(chr(octet).lower() if octet in _PLAIN else f"\\{octet:03d}" for octet in range(256))


def label(octets: bytes) -> str:
    r"""Spell one label: in lower case; octets that a host's name does not have become ``\DDD`` (RFC 1035, 5.1), also a dot."""
    return octets.decode("ascii").lower() if not octets.translate(None, _PLAIN) else _escaped(octets)


def host(octets: bytes) -> str | None:
    r"""Spell a name with its dots, as TLS and HTTP carry it; ``None`` for an empty one.

    Lower case, without one last dot, other octets as ``\DDD``. What is longer than a name can be is cut and ends in ``…``, so that it is
    neither that name nor below it.
    """
    octets = octets.removesuffix(b".")
    if not octets:
        return None
    cut = len(octets) > LONGEST
    if cut:
        octets = octets[: LONGEST - 1]
    is_plain = not octets.translate(None, _PLAIN_OR_DOT)
    spelled = octets.decode("ascii").lower() if is_plain else ".".join(map(_escaped, octets.split(b".")))
    return f"{spelled}…" if cut else spelled


def _escaped(octets: bytes) -> str:
    return "".join(map(_SPELLINGS.__getitem__, octets))
