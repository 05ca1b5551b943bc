"""Whatever the way takes and whenever a service counts a request, it never sees more than it allows."""

import heapq
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.model.reputation import Limit
from outwatch.reputation.memory import Memory
from outwatch.reputation.quota import Pause, Quota

LONGEST = 10.0
seconds = st.floats(0.001, LONGEST, allow_nan=False)
parts = st.floats(0.0, 1.0, allow_nan=False)
limits = st.lists(st.builds(Limit, st.integers(1, 6), st.sampled_from([1.0, 6.0, 30.0, 60.0])), min_size=1, max_size=2)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def most_within(arrivals: Sequence[float], span: float) -> int:
    """Count the requests in the fullest window, as a service does that looks back from each request."""
    return max(sum(at - span < other <= at for other in arrivals) for at in arrivals)


@given(limits, st.lists(st.tuples(seconds, parts), min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_no_window_of_the_service_is_ever_exceeded(allowed: list[Limit], ways: list[tuple[float, float]], runs: int, at_once: int) -> None:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        quotas = [Quota(Memory(Path(folder), lambda _said: None, clock), "s", allowed, longest=LONGEST, clock=clock) for _ in range(runs)]
        open_: list[tuple[float, int, Quota]] = []
        arrivals: list[float] = []
        for at, (takes, counted) in enumerate(ways):
            quota = quotas[at % runs]
            while True:
                number = quota.take() if len(open_) < at_once else None
                if isinstance(number, int):
                    break
                until = number.until if isinstance(number, Pause) else float("inf")
                if open_ and open_[0][0] <= until:
                    clock.now, done, owner = heapq.heappop(open_)
                    owner.done(done)
                    owner._memory.flush()
                else:
                    clock.now = until
            heapq.heappush(open_, (clock.now + takes, number, quota))
            arrivals.append(clock.now + takes * counted)
        assert len(arrivals) == len(ways), "everything is asked in the end"
        for limit in allowed:
            assert most_within(arrivals, limit.seconds) <= limit.count
        for quota in quotas:
            quota._memory.close()
