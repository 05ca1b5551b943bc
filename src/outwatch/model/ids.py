"""Ids of new records."""

import os

_AT_ONCE = 256


class RecordIds:
    """Gives ids that never repeat: 16 random hexadecimal digits each; the system is asked for many at once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._digits, self._at = "", 0

    def next(self) -> str:
        """Give the next id."""
        if self._at >= len(self._digits):
            self._digits, self._at = os.urandom(8 * _AT_ONCE).hex(), 0
        self._at += 16
        return self._digits[self._at - 16 : self._at]
