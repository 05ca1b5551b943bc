"""Looking a connection up in an allow list of 20,000 entries, against going through the list entry by entry.

The list holds addresses, networks of several lengths and names, as ``allow import`` would make it; a quarter of the connections is on it.
Measured: ``AllowList.inspect``. Rival: the usual white list script, which reads the list once and then asks of every entry in turn
whether it holds the address (``ipaddress``), or is the name or above it. Both must give the same answers. There is no bound.
"""

import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from measuring import interleave, parser
from outwatch.detectors.allow_list import AllowList, AllowListConfig, Entry
from outwatch.errors import RuleError
from outwatch.model.records import Connection, Destination, Event, Findings, Network
from outwatch.net import addresses

ENTRIES, LOOKUPS = 20_000, 2_000
RIVAL_LOOKUPS = 100  # of the same connections; more would take minutes
MINE, RIVAL = "AllowList.inspect", "entry by entry with ipaddress"
_V4, _V6 = int(IPv4Address("198.18.0.0")), int(IPv6Address("2001:db8::"))  # ranges for benchmarks and for documentation
_WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)


def entries(chance: random.Random) -> list[str]:
    """Make a list of which two fifths are addresses, two fifths networks and one fifth names, in no order."""
    fifth = ENTRIES // 5
    found = [str(IPv4Address(_V4 + number)) for number in chance.sample(range(1 << 16), fifth)]
    found += [str(IPv6Address(_V6 + (number << 64) + 1)) for number in chance.sample(range(1 << 20), fifth)]
    found += [
        str(IPv4Network((_V4 + (1 << 16) + (number << 4), chance.choice((28, 29, 30)))))
        for number in chance.sample(range(1 << 12), 1 << 11)
    ]
    found += [str(IPv6Network((_V6 + (1 << 95) + (number << 80), chance.choice((48, 56, 64))))) for number in range(2 * fifth - (1 << 11))]
    found += [f"n{number}.service.example" for number in range(fifth)]
    chance.shuffle(found)
    return found


def connections(listed: Sequence[str], chance: random.Random) -> list[Connection]:
    """Make connections of which each has one chance in four to be on the list."""
    made = []
    for number in range(LOOKUPS):
        entry = chance.choice(listed) if number % 4 == 0 else None
        ip, domain = str(IPv4Address(_V4 + (1 << 17) + number)), f"n{number}.elsewhere.example"  # beside everything listed
        if entry and entry.endswith(".example"):
            domain = f"www.{entry}"
        elif entry:
            ip = entry.partition("/")[0]
        made.append(
            Connection(
                id=f"c{number}",
                timestamp=_WHEN,
                event=Event(action="connect", start=_WHEN),
                network=Network(transport="tcp", direction="egress", scope="public"),
                destination=Destination(ip=ip, port=443, domain=domain),
                outwatch=Findings(sensor="replay", attribution="exact"),
            )
        )
    return made


class EntryByEntry:
    """The usual script: a list read once, and a loop over it for each connection."""

    def __init__(self, listed: Sequence[str]) -> None:
        self._networks, self._names = [], []
        for text in listed:
            try:
                self._networks.append(ip_network(text))
            except ValueError:
                self._names.append(text)

    def covers(self, seen: Connection) -> bool:
        """Tell whether an entry holds the address, or is the name or above it."""
        address = ip_address(seen.destination.ip or "")
        if any(address in network for network in self._networks):
            return True
        domain = seen.destination.domain or ""
        return any(domain == name or domain.endswith(f".{name}") for name in self._names)


def main() -> int:
    options = parser(__doc__, rounds=7).parse_args()
    chance = random.Random(3)
    listed = entries(chance)
    began = time.perf_counter()
    mine = AllowList(AllowListConfig(entries=tuple(Entry(destination=text) for text in listed)), place=RuleError.at_key)
    built = time.perf_counter() - began
    rival = EntryByEntry(listed)
    asked = connections(listed, chance)
    some = asked[:RIVAL_LOOKUPS]
    expected = [rival.covers(seen) for seen in some]
    if mine.problems or [bool(mine.inspect(seen)) for seen in some] != expected or not 0 < sum(expected) < len(expected):
        raise RuntimeError(f"the two don't agree, or nothing is on the list: {mine.problems[:1]}")

    def look_up() -> float:
        addresses._parse.cache_clear()
        began = time.perf_counter()
        for seen in asked:
            mine.inspect(seen)
        return (time.perf_counter() - began) / len(asked)

    def go_through() -> float:
        began = time.perf_counter()
        for seen in some:
            rival.covers(seen)
        return (time.perf_counter() - began) / len(some)

    rounds = interleave({MINE: look_up, RIVAL: go_through}, options.rounds)
    print(f"{len(listed):,} entries, {options.rounds} rounds; the list was built in {built * 1e3:,.0f} ms; for one look-up")
    rounds.show(1e6, "µs")
    print(f"      {RIVAL} / {MINE}: {rounds.ratio(RIVAL, MINE):,.0f} times as long (no bound)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
