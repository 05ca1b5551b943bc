import contextlib
import gc
from collections.abc import Iterator

import pytest

from outwatch.engine.uncollected import uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_the_collector_rests_and_works_again_whatever_happens() -> None:
    seen = []
    with contextlib.suppress(KeyError), uncollected():
        seen.append(gc.isenabled())
        raise KeyError
    assert [*seen, gc.isenabled()] == [False, True]


def test_a_collector_that_somebody_switched_off_stays_off() -> None:
    gc.disable()
    with uncollected():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_what_was_made_meanwhile_is_never_looked_at_again() -> None:
    with uncollected():
        made = [[number] for number in range(2)]
    looked_at = {id(one) for one in gc.get_objects()}
    assert not {id(made), *map(id, made)} & looked_at
