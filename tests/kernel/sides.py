"""Which records are of the lab's own namespaces: others may use the same addresses and ports on this machine at the same time."""

import os
from collections.abc import Iterable

from integration.lab import Lab

from .watch import Record


def number(name: str) -> str:
    """Give the number by which records call a network namespace."""
    return str(os.stat(f"/run/netns/{name}").st_ino)


def ours(lab: Lab, records: Iterable[Record]) -> list[Record]:
    """Leave out what is not of this lab."""
    own = {number(lab.here), number(lab.there)}
    return [one for one in records if one["network"].get("namespace") in own]
