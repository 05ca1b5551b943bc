"""What lists say beside an indicator: how sure they are, when it was seen, what it is."""

import re
from datetime import UTC, datetime
from functools import lru_cache

from outwatch.guard.text import cleaned

_NOTE = 200  # characters
_MOST_PERCENT = 100
_EARLIEST, _LATEST = 631_152_000, 4_102_444_800  # 1990, 2100: seconds since the epoch
_MILLISECONDS = 100_000_000_000  # beyond this a number counts those
_EPOCH = re.compile(r"\d{9,14}(?:\.\d{1,9})?\Z")
_LONGEST = 40  # characters of a time


def percent(value: object) -> int | None:
    """Give a confidence of 0 to 100, from a number or its text; ``None`` for anything else."""
    if isinstance(value, str) and len(value) <= _LONGEST:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_PERCENT:
        return None
    return round(value)  # no NaN comes here: it is not between 0 and 100


def moment(value: object) -> int | None:
    """Give seconds since the epoch, from such a number, ISO 8601 or ``2021-01-17 07:44:46 UTC``; ``None`` if it is no credible time.

    What names no zone is UTC.
    """
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST * 1000:
        return None
    seconds = int(value) // 1000 if value > _MILLISECONDS else int(value)
    return seconds if _EARLIEST <= seconds < _LATEST else None


@lru_cache(maxsize=4096)  # rows of one day come together
def _read(text: str) -> float | None:
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if _EPOCH.match(text):
        return float(text)
    try:
        when = datetime.fromisoformat(text.removesuffix("UTC").rstrip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def note(*texts: object) -> str | None:
    """Join what a list says of an indicator, as bounded text."""
    said = dict.fromkeys(" ".join(cleaned(text[: 4 * _NOTE]).split()) for text in texts if isinstance(text, str))
    return cleaned(", ".join(filter(None, said)), _NOTE) or None
