"""A desk and what it says something of."""

from collections.abc import Callable
from pathlib import Path

import pytest

from outwatch.model.records import Connection

from .office import IP, MAKE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def seen(connection: MAKE) -> Callable[..., Connection]:
    """Make a connection to a public address."""
    return lambda ip=IP.value, **changes: connection(ip=ip, **changes)
