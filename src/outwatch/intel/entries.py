"""What a list says: one entry for each address, network or domain."""

from typing import Literal, NamedTuple

EntryKind = Literal["ip", "network", "domain"]


class Entry(NamedTuple):
    """One line of a list in canonical form.

    ``value`` is an address, a network (``10.0.0.0/8``, host bits zero) or a domain (lower case, A-labels, no dot at its end), which
    stands for itself and all names below it. ``confidence`` is 0 to 100 (``None``: the list does not say), times are seconds since
    the epoch; after ``expires`` the entry counts no more. ``note`` is what the list says of it, such as a malware's name.
    """

    kind: EntryKind
    value: str
    confidence: int | None = None
    first_seen: int | None = None
    last_seen: int | None = None
    expires: int | None = None
    note: str | None = None
