"""What traffic costs that opens no connections: a TCP stream, and UDP packets of 64 bytes, with outwatch and without in turn.

``python -m capture.throughput`` from ``bench/``, as root. The stream runs through a cable between two network namespaces, and on loopback.
Bound: at least 0.97 of what gets through without outwatch in the best tenth of the time (of all rounds together, by tenths of a second).
Others on the machine only ever take away; and a stream on loopback has two speeds, of which one is nearly twice the other: which of them a
round gets is chance, with and without outwatch. UDP has no bound: each packet passes the sensor's programs twice here, for both ends are
on this machine. Said beside it: the processor time of sender and receiver for each piece.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from statistics import median, quantiles

from capture.lab import THERE, Lab, laboratory
from capture.waking import awaken
from capture.watching import watching
from measuring import Bounds, parser

LEAST = 0.97
_SECONDS = 2.0
_PORT = "7001"
Measured = tuple[list[float], float]
"""Pieces (of 128 KiB, or packets) a second in each tenth of a second, and microseconds of processor time for each."""


def flood(lab: Lab, kind: str, namespace: str, address: str) -> Measured:
    """Send as much as goes through."""
    told = lab.run(lab.here, [lab.program("flood"), kind, f"/run/netns/{namespace}", address, _PORT, str(_SECONDS)])
    return told["tenths"], 1e6 * told["cpu"] / told["pieces"]


def fastest(runs: Iterable[Measured]) -> float:
    """Give the rate that is reached in the best tenth of the time of all runs."""
    return quantiles(chain.from_iterable(tenths for tenths, _ in runs), n=10)[-1]


def rounds(lab: Lab, count: int) -> dict[str, list[tuple[Measured, Measured]]]:
    """Measure everything without and with outwatch, in turn; the order changes with each round."""
    runs: dict[str, Callable[[], Measured]] = {
        "TCP stream through the cable": partial(flood, lab, "tcp", lab.there, THERE),
        "TCP stream on loopback": partial(flood, lab, "tcp", lab.here, "127.0.0.1"),
        "UDP, 64 bytes": partial(flood, lab, "udp", lab.there, THERE),
    }
    found: dict[str, list[tuple[Measured, Measured]]] = {name: [] for name in runs}
    for number in range(count):
        without = {name: run() for name, run in runs.items()} if number % 2 else {}
        with watching(lab.folder / f"watch{number}", before=lab.inside(lab.here, [])) as watch:
            with lab.running(lab.there, [lab.program("answer")]) as answers:
                answers.line()
                awaken(watch, lab)
            watched = {name: run() for name, run in runs.items()}
            watch.finish()
        without = without or {name: run() for name, run in runs.items()}
        for name in runs:
            found[name].append((without[name], watched[name]))
    return found


def main() -> int:
    options = parser(__doc__, rounds=10)
    wanted = options.parse_args()
    bounds = Bounds()
    with laboratory() as lab:
        found = rounds(lab, wanted.rounds)
    print(f"{wanted.rounds} rounds of {_SECONDS:g} s")
    for name, pairs in found.items():
        without, watched = zip(*pairs, strict=True)
        rate, watched_rate = fastest(without), fastest(watched)
        ratio = watched_rate / rate
        each, watched_each = median(one[1] for one in without), median(one[1] for one in watched)
        dearer = median(mine[1] / other[1] for other, mine in pairs)
        print(f"      {name}: {rate:,.0f} a second without, {watched_rate:,.0f} with outwatch")
        print(f"      processor time of both ends: {each:.3f} µs a piece without, {watched_each:.3f} with: {dearer:.3f} times")
        if name.startswith("TCP"):
            bounds.at_least_of(f"{name}, with outwatch / without", ratio, LEAST, "times")
        else:
            print(f"      {name}, with outwatch / without: {ratio:.3f} times (no bound)")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
