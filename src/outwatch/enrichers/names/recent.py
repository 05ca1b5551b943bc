"""What is remembered of the latest connections: when there are too many, the older half goes at once."""

from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Recent(Generic[_Value]):
    """Values by id; at most ``most``, at least half of them the latest. A plain table takes half the time of one that keeps an order.

    ``get`` gives a value.
    """

    __slots__ = ("_most", "_table", "get")

    def __init__(self, most: int) -> None:
        """Begin with nothing."""
        self._most = most
        self._table: dict[str, _Value] = {}
        self.get: Callable[[str], _Value | None] = self._table.get  # no function of our own around it: it is asked all the time

    def __len__(self) -> int:
        """Count the values."""
        return len(self._table)

    def put(self, identity: str, value: _Value) -> None:
        """Remember a value."""
        table = self._table
        if len(table) >= self._most:
            for old in list(islice(table, self._most // 2)):
                del table[old]
        table[identity] = value

    def drop(self, identity: str) -> None:
        """Forget a value, if it is there."""
        self._table.pop(identity, None)
