"""A turn of the polling sensor over 5,000 sockets, all the way to observations, against listing the sockets alone.

Measured: ``Polling.look()`` as the first look (every connection is new and gets its record and its process), as a later one in which
nothing has changed, and as a busy one in which a tenth of the connections has closed and been replaced. Rival A is one bare
``psutil.net_connections("inet")``, which any portable program has to call; rival B the other usual way, ``net_connections`` of each
process of ``process_iter``. Bound: 1.3 times rival A for every look.
"""

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Collection, Iterator

import psutil

from measuring import Bounds, interleave, parser
from measuring.sockets import held
from outwatch.engine.host import this_host
from outwatch.enrichers.process import Processes
from outwatch.model.interfaces import PartConfig
from outwatch.sensors.polling import PollingConfig
from outwatch.sensors.polling.sensor import Polling

CONNECTIONS, HOLDERS = 2_500, 10
REPLACED = CONNECTIONS // HOLDERS
MOST = 1.3
BARE, BY_PROCESS = "psutil.net_connections", "process_iter and net_connections of each"
FIRST, LATER, BUSY = "outwatch, first look", "outwatch, later look", "outwatch, busy look"


def sensor() -> Polling:
    host = this_host()
    boot = (host.boot.id if host.boot else None) or ""
    return Polling(PollingConfig(), processes=Processes(PartConfig(), boot=boot), host=host)


def timed(work: Callable[[], Collection[object]], least: int) -> float:
    """Give the seconds of a piece of work, and make sure that it saw what there was to see."""
    gc.collect()  # what earlier runs left behind is not this one's work
    began = time.perf_counter()
    found = work()
    taken = time.perf_counter() - began
    if len(found) < least:
        raise RuntimeError(f"saw {len(found)} sockets of at least {least}")
    return taken


def by_process() -> list[object]:
    found: list[object] = []
    for process in psutil.process_iter():
        try:
            found += process.net_connections("inet")
        except psutil.Error:
            continue
    return found


@contextlib.contextmanager
def turnover() -> Iterator[Callable[[], None]]:
    """Hold a tenth of the connections, and give what replaces them by others."""
    with contextlib.ExitStack() as stack:

        def replace() -> None:
            stack.close()
            stack.enter_context(held(REPLACED, 1))

        replace()
        yield replace


def main() -> int:
    options = parser(__doc__, rounds=21).parse_args()
    least = 2 * CONNECTIONS
    with held(CONNECTIONS - REPLACED, HOLDERS - 1), turnover() as replace:
        known = sensor()
        timed(known.look, least)

        def later() -> float:
            known.look()  # what the busy look of the round before left over is no part of this
            return timed(known.look, 0)

        def busy() -> float:
            replace()
            return timed(known.look, 4 * REPLACED)  # two sockets each have closed, two are new

        rounds = interleave(
            {
                BARE: lambda: timed(lambda: psutil.net_connections("inet"), least),
                FIRST: lambda: timed(sensor().look, least),
                LATER: later,
                BUSY: busy,
                BY_PROCESS: lambda: timed(by_process, least),
            },
            options.rounds,
        )
    print(f"{least:,} sockets held by {HOLDERS} processes, {options.rounds} rounds")
    rounds.show()
    bounds = Bounds()
    for look in (FIRST, LATER, BUSY):
        bounds.at_most(f"{look} / {BARE}", rounds.ratio(look, BARE), MOST, "times")
        print(f"      {look} / {BY_PROCESS}: {rounds.ratio(look, BY_PROCESS):.2f} times (no bound)")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
