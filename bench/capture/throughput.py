"""What traffic costs that opens no connections: a TCP stream, and UDP packets of 64 bytes, with outwatch and without in turn.

``python -m capture.throughput`` from ``bench/``, as root. The stream runs through a cable between two network namespaces, and on loopback.
Bound: at least 0.97 of the bytes without outwatch. UDP has none: each packet passes the sensor's programs twice here, because both ends are
on this machine. Said beside it: the processor time of sender and receiver for each piece, which a busy machine disturbs less than what
gets through.
"""

import sys
from collections.abc import Callable
from functools import partial
from statistics import median

from capture.lab import THERE, Lab, laboratory
from capture.waking import awaken
from capture.watching import watching
from measuring import Bounds, parser

LEAST = 0.97
_SECONDS = 2.0
_PORT = "7001"
Measured = tuple[float, float]
"""Pieces (of 128 KiB, or packets) a second, and microseconds of processor time for each."""


def flood(lab: Lab, kind: str, namespace: str, address: str) -> Measured:
    """Send as much as goes through."""
    told = lab.run(lab.here, [lab.program("flood"), kind, f"/run/netns/{namespace}", address, _PORT, str(_SECONDS)])
    return told["pieces"] / told["seconds"], 1e6 * told["cpu"] / told["pieces"]


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
        ratio = median(watched[0] / without[0] for without, watched in pairs)
        dearer = median(watched[1] / without[1] for without, watched in pairs)
        (rate, each), (watched_rate, watched_each) = (tuple(map(median, zip(*half, strict=True))) for half in zip(*pairs, strict=True))
        print(f"      {name}: {rate:,.0f} a second without, {watched_rate:,.0f} with outwatch")
        print(f"      processor time of both ends: {each:.3f} µs a piece without, {watched_each:.3f} with: {dearer:.3f} times")
        if name.startswith("TCP"):
            bounds.at_least_of(f"{name}, with outwatch / without", ratio, LEAST, "times")
        else:
            print(f"      {name}, with outwatch / without: {ratio:.3f} times (no bound)")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
