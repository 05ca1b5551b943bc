"""Rounds, ratios and bounds: what all benchmarks share.

The machine under a benchmark is never quiet and never the same, so seconds alone say little. Each figure is taken against a rival
that ran in the same round; of the rounds the median counts.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Run = Callable[[], float]
"""Does the work once and gives the seconds that count, without its own preparations."""


@dataclass(frozen=True)
class Rounds:
    """The seconds of every run, by its name, one for each round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Give the median of a run's seconds."""
        return median(self.seconds[name])

    def ratio(self, name: str, rival: str) -> float:
        """Give the median of how many times as long as the rival it took in the same round."""
        return median(mine / other for mine, other in zip(self.seconds[name], self.seconds[rival], strict=True))

    def excess(self, name: str, rival: str) -> float:
        """Give the median of how many seconds longer than the rival it took in the same round."""
        return median(mine - other for mine, other in zip(self.seconds[name], self.seconds[rival], strict=True))

    def show(self, scale: float = 1e3, unit: str = "ms") -> None:
        """Print each run's median, fastest and slowest round."""
        width = max(map(len, self.seconds))
        for name, all_of in self.seconds.items():
            low, middle, high = (f"{scale * value:,.1f}" for value in (min(all_of), median(all_of), max(all_of)))
            print(f"  {name:{width}}  median {middle} {unit}  ({low} to {high})")


def interleave(runs: Mapping[str, Run], rounds: int, warm_up: int = 1) -> Rounds:
    """Run everything in turn (A B C, A B C, …), so that a busy moment of the machine meets all alike; the first rounds don't count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warm_up + rounds):
        for name, run in runs.items():
            taken = run()
            if number >= warm_up:
                seconds[name].append(taken)
    return Rounds(seconds)


class Bounds:
    """Holds figures against their bounds; ``code`` is 1 once one of them failed."""

    def __init__(self) -> None:
        self.code = 0

    def at_most(self, what: str, value: float, bound: float, unit: str) -> None:
        """Say whether a figure stays within a bound."""
        self._tell(what, f"{value:,.2f} {unit} (at most {bound:,g})", kept=value <= bound)

    def at_least(self, what: str, value: float, bound: float, unit: str) -> None:
        """Say whether a figure reaches a bound."""
        self._tell(what, f"{value:,.0f} {unit} (at least {bound:,g})", kept=value >= bound)

    def at_least_of(self, what: str, value: float, bound: float, unit: str) -> None:
        """Say whether a share reaches a bound."""
        self._tell(what, f"{value:,.3f} {unit} (at least {bound:g})", kept=value >= bound)

    def holds(self, what: str, *, kept: bool) -> None:
        """Say whether something is as it must be that has no single figure."""
        print(f"{'PASS' if kept else 'FAIL'}  {what}")
        if not kept:
            self.code = 1

    def _tell(self, what: str, figure: str, *, kept: bool) -> None:
        self.holds(f"{what}: {figure}", kept=kept)


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Make the parser of a benchmark's options, with the number of rounds that fits into a minute."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=_positive, default=rounds, help=f"rounds that count (default: {rounds})")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one round")
    return number
