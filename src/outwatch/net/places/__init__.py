"""Where addresses are: country and network, from files alone. Nobody is asked."""

from typing import NamedTuple


class Place(NamedTuple):
    """Country (ISO 3166-1 alpha-2) of an address, number of its network (autonomous system), and who runs that."""

    country: str | None = None
    number: int | None = None
    organization: str | None = None


NOWHERE = Place()
FOLDER = "geo"
"""The folder below that of the state in which files lie that were fetched."""


def completed(one: Place, other: Place) -> Place:
    """Add to a place what it does not know; a network's name only to the network that it belongs to."""
    country = one.country or other.country
    if one.number is None:
        return Place(country, other.number, other.organization)
    return Place(country, one.number, one.organization or (other.organization if other.number == one.number else None))
