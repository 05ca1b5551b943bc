"""What was found out about an object, by the very object: another that looks the same may stand for something else by now."""

from collections import OrderedDict
from typing import Generic, TypeVar

_One = TypeVar("_One")
_Value = TypeVar("_Value")


class Remembered(Generic[_One, _Value]):
    """Values of objects, of the last ``most`` of them. The objects are held, so that no other one gets the number of one of them."""

    __slots__ = ("_most", "_table")

    def __init__(self, most: int) -> None:
        """Begin with nothing."""
        self._most = most
        self._table: OrderedDict[int, tuple[_One, _Value]] = OrderedDict()

    def __len__(self) -> int:
        """Count the objects."""
        return len(self._table)

    def get(self, one: _One) -> _Value | None:
        """Give what is known of an object."""
        known = self._table.get(id(one))
        return known[1] if known is not None else None

    def put(self, one: _One, value: _Value) -> _Value:
        """Remember something of an object, and give it back; if there are too many, the one goes that has been there for longest."""
        self._table[id(one)] = one, value
        if len(self._table) > self._most:
            self._table.popitem(last=False)
        return value
