"""A million indicators: what an index of them costs to make, to open, to hold and to ask, against a prefix tree and a dict of names.

Half are IPv4 addresses, a tenth IPv4 networks, a tenth IPv6 addresses and networks, three tenths names; a tenth of them say when they were
seen, each at another time. Rival: pytricia, one tree for each version of IP, and a dict that is asked for each suffix of a name, filled
from a text file of the same entries; it keeps of each entry the list's name alone. Each run is a process of its own. Memory is what it has
resident more than before it began to load, the look-ups included. A look-up is of one address and one name, no two the same, and one in ten
is listed. Bounds: 60 MB, half a second, 10 µs at the median.

The rival is left out where pytricia is not installed (``pip install pytricia``; it needs a C compiler).
"""

import importlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Bounds, parser
from outwatch.intel.entries import Entry
from outwatch.intel.index import Index
from outwatch.intel.indexing import build
from outwatch.intel.layout import ListFacts

ENTRIES, LOOKUPS, CHECKED = 1_000_000, 20_000, 2_000
MINE, RIVAL = "index", "pytricia and a dict of names"
MOST_MB, MOST_SECONDS, MOST_MICROSECONDS = 60, 0.5, 10
_V4, _V6 = int(IPv4Address("10.0.0.0")), int(IPv6Address("2001:db8::"))
_BEGAN = 1_700_000_000


def entries() -> Iterator[Entry]:
    """Make up indicators, all different, in no order."""
    chance = random.Random(6)
    numbers = chance.sample(range(1 << 23), ENTRIES)
    for at, number in enumerate(numbers):
        seen = _BEGAN + at if at % 10 == 0 else None
        match at % 20:
            case 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9:
                yield Entry("ip", str(IPv4Address(_V4 + number)), first_seen=seen)
            case 10 | 11:
                yield Entry("network", f"{IPv4Address(_V4 + (1 << 23) + (number << 8) % (1 << 31))}/24", first_seen=seen)
            case 12:
                yield Entry("ip", str(IPv6Address(_V6 + (number << 40) + 1)), first_seen=seen)
            case 13:
                yield Entry("network", f"{IPv6Address(_V6 + (1 << 95) + (number << 64))}/64", first_seen=seen)
            case _:
                yield Entry("domain", f"n{number}.host{number % 997}.example", first_seen=seen)


def questions(path: Path) -> list[tuple[str, str]]:
    """Make up addresses and names to ask for: of each ten one that is listed, or lies in or below what is."""
    listed = [line.split("/")[0] for line in path.read_text().splitlines()[:: ENTRIES // (LOOKUPS // 5)]]
    chance = random.Random(7)
    asked = []
    for at in range(LOOKUPS):
        ip, name = str(IPv4Address(chance.getrandbits(32))), f"www.n{at}.service{at % 97}.example"
        known = chance.choice(listed)
        if at % 10 == 0 and known[-1].isalpha() and "." in known and ":" not in known:
            name = f"www.{known}"
        elif at % 10 == 0:
            ip = known
        asked.append((ip, name))
    return asked


class Tree:
    """The usual way: a prefix tree of addresses, and a dict of names."""

    def __init__(self, path: Path) -> None:
        tree = importlib.import_module("pytricia").PyTricia  # no requirement of outwatch's
        self._v4, self._v6, self._names = tree(32), tree(128), dict[str, str]()
        for line in path.open():
            text = line.rstrip()
            if text[-1].isalpha() and ":" not in text:
                self._names[text] = "list"
            else:
                (self._v6 if ":" in text else self._v4)[text] = "list"
        self._v4.freeze()
        self._v6.freeze()

    def find(self, ip: str, name: str) -> tuple[str | None, str | None]:
        """Give the longest prefix around an address, and the longest suffix of a name."""
        tree = self._v6 if ":" in ip else self._v4
        suffix: str | None = name
        while suffix is not None and suffix not in self._names:
            _, dot, rest = suffix.partition(".")
            suffix = rest if dot else None
        return tree.get_key(ip), suffix


def resident() -> float:
    """Give the megabytes of this process that lie in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


def one_round(what: str, folder: Path) -> dict[str, float]:
    """Load, look up and measure in this new process."""
    asked = questions(folder / "entries.txt")
    if what == RIVAL:
        importlib.import_module("pytricia")  # its code is not what its entries cost
    before = resident()
    began = time.perf_counter()
    held: Any = Index.open(folder / "index") if what == MINE else Tree(folder / "entries.txt")
    loaded = time.perf_counter() - began
    loaded_mb = resident() - before
    each: dict[bool, list[float]] = {True: [], False: []}
    for at, (ip, name) in enumerate(asked):
        began = time.perf_counter()
        held.find(ip, name)
        each[at % 10 == 0].append(time.perf_counter() - began)
    figures = {"load": loaded, "all": median(each[True] + each[False]), "listed": median(each[True])}
    return figures | {"mb": resident() - before, "loaded_mb": loaded_mb}


def in_new_process(what: str, folder: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--run", what, str(folder)], check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def agree(folder: Path) -> None:
    """Raise unless both find the same."""
    mine, rival = Index.open(folder / "index"), Tree(folder / "entries.txt")
    some = questions(folder / "entries.txt")[:CHECKED]
    found = 0
    for ip, name in some:
        hits = [one.entry for one in mine.find(ip, name).indicators]
        prefix, suffix = rival.find(ip, name)
        theirs = {prefix.removesuffix("/32").removesuffix("/128") if prefix else None, suffix} - {None}
        found += bool(hits)
        if not theirs <= set(hits) or bool(theirs) != bool(hits):
            raise RuntimeError(f"the two don't agree about {ip} and {name}: {hits}, {theirs}")
    if not found:
        raise RuntimeError("nothing is listed")


def prepare(folder: Path) -> None:
    """Write the index and the text file, and say what that took."""
    began, cpu = time.perf_counter(), time.process_time()
    built = build(folder / "index", [(ListFacts(name="list", confidence=80), entries())])
    took, used = time.perf_counter() - began, time.process_time() - cpu
    with (folder / "entries.txt").open("w") as file:
        file.writelines(f"{entry.value}\n" for entry in entries())
    size, text = ((folder / name).stat().st_size / 1e6 for name in ("index", "entries.txt"))
    print(
        f"{built.entries[0]:,} entries: made in {took:.1f} s ({used:.1f} s of processor time), {size:.1f} MB on disk; as text {text:.1f} MB"
    )


def main() -> int:
    options = parser(__doc__, rounds=3)
    options.add_argument("--run", nargs=2, metavar=("WHAT", "FOLDER"), help="one round in this process; used by the script itself")
    chosen = options.parse_args()
    if chosen.run:
        print(json.dumps(one_round(chosen.run[0], Path(chosen.run[1]))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        whats = [MINE]
        if importlib.util.find_spec("pytricia"):
            agree(folder)
            whats.append(RIVAL)
        else:
            print("pytricia is not installed, so it is left out: pip install pytricia")
        return compare({what: partial(in_new_process, what, folder) for what in whats}, chosen.rounds)


def compare(runs: dict[str, Callable[[], dict[str, float]]], count: int) -> int:
    rounds: dict[str, list[dict[str, float]]] = {what: [] for what in runs}
    for _ in range(count):
        for what, run in runs.items():
            rounds[what].append(run())

    def of(what: str, key: str) -> float:
        return median(one[key] for one in rounds[what])

    print(f"{count} rounds, each a process of its own")
    for what in runs:
        mb, before, load, every, listed = (of(what, key) for key in ("mb", "loaded_mb", "load", "all", "listed"))
        print(f"  {what}: {mb:.1f} MB resident ({before:.1f} before the look-ups), loaded in {load * 1e3:,.0f} ms")
        print(f"      look-up {every * 1e6:.1f} µs, of what is listed {listed * 1e6:.1f} µs")
    if RIVAL in rounds:
        for key, words in (
            ("mb", "memory"),
            ("load", "time to load"),
            ("all", "time to look up"),
            ("listed", "time to look up what is listed"),
        ):
            ratio = median(mine[key] / other[key] for mine, other in zip(rounds[MINE], rounds[RIVAL], strict=True))
            print(f"      {MINE} / {RIVAL}: {ratio:.3g} times the {words}")
    bounds = Bounds()
    bounds.at_most("memory resident", of(MINE, "mb"), MOST_MB, "MB")
    bounds.at_most("load", of(MINE, "load"), MOST_SECONDS, "s")
    bounds.at_most("look-up of an address and a name, median", of(MINE, "all") * 1e6, MOST_MICROSECONDS, "µs")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
