"""The enricher with a name server of its own, and a clock that stands still."""

import pytest

from outwatch.engine.health import Health
from outwatch.enrichers.names import Names, NamesConfig

from .heard import HOME, OURS, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def names(clock: Clock, health: Health) -> Names:
    return Names(NamesConfig(), resolvers=lambda: {OURS, "fe80::53%eth0", "127.0.0.0/8"}, namespace=HOME, health=health, clock=clock)
