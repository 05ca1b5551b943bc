"""Look-ups, asked as the slow lane asks them."""

import asyncio

from outwatch.model.interfaces import Lookup
from outwatch.model.records import Connection


def answered(lookup: Lookup, record: Connection) -> Connection:
    """Look a connection up, and give it with what is known then."""
    key = lookup.missing(record)
    if key is not None:
        asyncio.run(lookup.find(key, record))
    return lookup.enrich(record)
