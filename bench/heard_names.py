"""Names that were heard: what joining them adds to a connection while the tables are full, and the memory of a million answers.

Measured: ``enrichers.names`` on connections whose process asked for the name itself, for whom another process asked, who said a name in
their hello, and of whom nothing is known; then the whole fast lane of a recording with this part and without it, which is the rival, each
batch a moment after its answers, as programs call who they have just asked for.
Before that it has learned 200,000 answers, so that every table is full. Memory: what a new process holds more when it has learned a million
answers that all differ, beside one that makes the same answers and learns nothing: from 400 processes, and the worst that can be sent,
names of 253 characters of which every address has as many as are kept. Bounds: 5 µs for a connection, alone and in the lane, and 64 MB.
"""

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address

import psutil

from fast_lane import pipeline
from measuring import Bounds, Run, interleave, parser
from outwatch.engine.health import Health
from outwatch.engine.pipeline import Pipeline
from outwatch.enrichers.names import Names, NamesConfig
from outwatch.model.records import (
    Connection,
    Destination,
    Dns,
    DnsAnswer,
    DnsQuestion,
    Event,
    Findings,
    Name,
    Network,
    Process,
    Question,
    Source,
)

CONNECTIONS, LEARNED, ANSWERS, BATCH = 20_000, 200_000, 1_000_000, 256
PROCESSES = 400
MOST_MICROSECONDS, MOST_MB = 5, 64
WITH, WITHOUT = "fast lane that joins", "fast lane, names there"
RESOLVER, STRANGER = "198.19.0.53", "198.19.0.54"
_FIRST = int(IPv4Address("198.18.0.0"))
_WHEN = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)
_LABELS = ".".join(["x" * 60] * 4)  # with the number in front a name of 253 characters
Answers = Callable[[int], Iterator[Question]]


def address(number: int) -> str:
    return str(IPv4Address(_FIRST + number))


def name(number: int) -> str:
    return f"host-{number}.service.example"


def question(number: int, asked: str, held: str, server: str = RESOLVER) -> Question:
    return Question(
        id=f"q{number}",
        timestamp=_WHEN,
        network=Network(transport="udp", direction="egress"),
        destination=Destination(ip=server, port=53),
        process=Process(pid=number % PROCESSES, entity_id=f"entity-{number % PROCESSES}"),
        dns=Dns(question=DnsQuestion(name=asked, type="A"), response_code="NOERROR", answers=(DnsAnswer(data=held, ttl=300),)),
    )


def usual(count: int) -> Iterator[Question]:
    """Make answers about a name and an address each."""
    return (question(number, name(number), address(number)) for number in range(count))


def worst(count: int) -> Iterator[Question]:
    """Make answers with the longest names, several in a row about each address; every fifth address is a strange server's word."""
    for number in range(count):
        place = number // 8
        yield question(number, f"{number:09d}.{_LABELS}", address(place), RESOLVER if place % 5 else STRANGER)


KINDS: dict[str, Answers] = {"a million answers": usual, "the worst million": worst}


def part() -> Names:
    return Names(NamesConfig(), resolvers=lambda: {RESOLVER}, namespace=None)


def connection(kind: str, place: int, process: int, said: str | None = None) -> Connection:
    names = (Name(name=said, origin="sni"),) if said else None
    return Connection(
        id=f"{kind} {place}",
        timestamp=_WHEN,
        event=Event(action="connect", start=_WHEN),
        network=Network(transport="tcp", direction="egress", scope="private"),
        source=Source(ip="198.19.255.7", port=32_768 + place % 28_232),
        destination=Destination(ip=address(place), port=443),
        process=Process(pid=process, entity_id=f"entity-{process}", executable="/usr/bin/curl", args=("curl",), name="curl"),
        outwatch=Findings(sensor="ebpf", attribution="exact", names=names),
    )


def connections() -> dict[str, list[Connection]]:
    """Make connections of four kinds; of the answers the last ones are remembered."""
    places = range(LEARNED - CONNECTIONS, LEARNED)
    return {
        "its process asked": [connection("asked", place, place % PROCESSES) for place in places],
        "another asked": [connection("another", place, PROCESSES) for place in places],
        "said and answered": [connection("said", place, place % PROCESSES, said=name(place)) for place in places],
        "unknown": [connection("unknown", place + LEARNED, PROCESSES) for place in places],
    }


def joining(names: Names, seen: Sequence[Connection]) -> float:
    """Give the seconds for one connection."""
    began = time.process_time()
    for one in seen:
        names.enrich(one)
    return (time.process_time() - began) / len(seen)


def lane(make: Callable[[], Pipeline], names: Names, seen: Sequence[Connection], first: int) -> float:
    """Give the seconds for one connection from observation to verdict; a moment before each batch its answers are heard."""
    made, taken, records = make(), 0.0, 0
    for start in range(0, len(seen), BATCH):
        for place in range(first + start // 4, first + (start + BATCH) // 4):
            names.learn(question(place, name(place), address(place)))
        began = time.process_time()
        records += len(made.process(seen[start : start + BATCH]))
        taken += time.process_time() - began
    if records != len(seen):
        raise RuntimeError(f"{records} records of {len(seen)} connections")
    return taken / len(seen)


def with_names(names: Names) -> Pipeline:
    made = pipeline(Health(tell=print))
    made._enrichers = [*made._enrichers, (names.enrich, "names")]
    return made


def check(names: Names, kinds: dict[str, list[Connection]]) -> None:
    """See that the names are found, so that nothing else is measured."""
    for kind, seen in kinds.items():
        found = [one.destination.domain for one in map(names.enrich, seen)]
        wanted = [None if kind == "unknown" else name(one) for one in range(LEARNED - CONNECTIONS, LEARNED)]
        if found != wanted:
            raise RuntimeError(f"{kind}: not the names that were asked for")


def resident() -> float:
    """Give what this process holds in memory, in MB."""
    return psutil.Process().memory_info().rss / 1e6


def hold(kind: str, *, learns: bool) -> float:
    """Give the MB that a process holds more after a million answers."""
    names = part()
    for one in KINDS[kind](1):
        names.learn(one)
    before = resident()
    for one in KINDS[kind](ANSWERS):
        if learns:
            names.learn(one)
    return resident() - before


def in_new_process(kind: str, learns: str) -> float:
    done = subprocess.run([sys.executable, __file__, "--hold", kind, learns], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> int:
    options = parser(__doc__, rounds=9)
    options.add_argument("--hold", nargs=2, metavar=("KIND", "LEARNS"), help="memory of this process; used by the script itself")
    chosen = options.parse_args()
    if chosen.hold:
        print(hold(chosen.hold[0], learns=chosen.hold[1] == "learns"))
        return 0
    bounds, names, kinds = Bounds(), part(), connections()
    began = time.process_time()
    for one in usual(LEARNED):
        names.learn(one)
    print(f"learning: {(time.process_time() - began) / LEARNED * 1e6:.1f} µs an answer, with making it up (no bound)")
    check(names, kinds)
    gc.collect()
    gc.freeze()  # else one lane or the other, as it falls, pays for a pass over all that was made up above
    mixed = [one for four in zip(*kinds.values(), strict=True) for one in four][: 2 * CONNECTIONS]
    first = LEARNED - CONNECTIONS
    runs: dict[str, Run] = {kind: partial(joining, names, seen) for kind, seen in kinds.items()}
    there = [names.enrich(one) for one in mixed]
    runs[WITH] = partial(lane, partial(with_names, names), names, mixed, first)
    runs[WITHOUT] = partial(lane, partial(pipeline, Health(tell=print)), names, there, first)
    rounds = interleave(runs, chosen.rounds)
    print(f"{CONNECTIONS:,} connections of each kind, {chosen.rounds} rounds; for one connection")
    rounds.show(1e6, "µs")
    for kind in kinds:
        bounds.at_most(f"joining, {kind}", rounds.median(kind) * 1e6, MOST_MICROSECONDS, "µs")
    bounds.at_most("what names add to the fast lane", rounds.excess(WITH, WITHOUT) * 1e6, MOST_MICROSECONDS, "µs")
    for kind in KINDS:
        learned, made = in_new_process(kind, "learns"), in_new_process(kind, "forgets")
        bounds.at_most(f"memory after {kind}", learned - made, MOST_MB, "MB")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
