"""A pause for Python's collector of garbage while much is made at once."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector away while thousands of values are made that all stay: its passes over them would cost as much as making them.

    Nor does it look at them afterwards, or at anything else that is there by then: what nobody refers to any more goes without it.
    """
    works = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if works:
            gc.enable()
