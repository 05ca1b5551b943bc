"""The parts of a JSON document, each decoded when it is its turn: a document of many megabytes never becomes objects as a whole.

What is not of the kind that is asked for is empty; a part that can't be decoded says nothing.
"""

from typing import Any

import msgspec

UNUSABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding JSON may raise."""


def array(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """Give the items of an array."""
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw]) if raw is not None else []
    except UNUSABLE:
        return []


def branches(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    """Give the values of an object by their keys."""
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) if raw is not None else {}
    except UNUSABLE:
        return {}


def decoded(raw: msgspec.Raw | None) -> Any:
    """Give a part as it is, with everything in it."""
    try:
        return msgspec.json.decode(raw) if raw is not None else None
    except UNUSABLE:
        return None
