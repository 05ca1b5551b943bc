"""The lists of well-known things that come with outwatch: clouds, CDNs, resolvers, shared platforms; and sinkholes and dynamic DNS.

They are made by ``packaging/warninglists.py`` from the MISP project's warninglists (CC0-1.0) and stand in an index of their own.
"""

from pathlib import Path

from outwatch.intel.index import Index

FILE = Path(__file__).with_name("warninglists.idx")


def shipped() -> Index:
    """Open the lists; ``StoreError`` if their file is damaged, or made for another kind of machine."""
    return Index.open(FILE)
