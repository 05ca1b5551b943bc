"""How many recorded connections a second the fast lane handles on one core: JSON line in, enrich, detect, verdict, JSON line out.

Measured: ``wire.decode``, ``Pipeline.process`` with the enrichers of recordings and all detectors as configured by default, and
``wire.encode``, in batches as a watch makes them. Every round is a new process with empty caches, pinned to one core, over 50,000
connections that all differ; in the recording that counts, each also has a destination and a name of its own, so that no cache can
help. A second recording, with 4,000 destinations, is more like real traffic. Rival: ``json.loads`` and ``json.dumps`` of the same
lines. Bound: 50,000 connections a second. The whole program (``outwatch replay FILE --jsonl --all``, start to end) is measured as
well, without a bound.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measuring import Bounds, interleave, parser
from measuring.recording import lines
from outwatch.app import App
from outwatch.engine.config import Config, Settings
from outwatch.engine.health import Health
from outwatch.engine.pipeline import Pipeline
from outwatch.engine.request import Request
from outwatch.engine.verdict import Judge
from outwatch.model import wire
from outwatch.model.records import Connection, Summary

CONNECTIONS, USUAL = 50_000, 4_000
BATCH = 256
LEAST = 50_000
LANE, RIVAL, PROGRAM = "fast lane", "json.loads and json.dumps", "outwatch replay, whole program"


def pipeline(health: Health) -> Pipeline:
    """Build the fast lane of a replay, without any configuration file."""
    app = App(Config(Settings(), {}), health)
    request = Request(paths=("recording",))
    offers: dict[str, object] = {"health": health, "host": app.host, "scopes": app._scopes(request)}
    return Pipeline(enrichers=app._enrichers(request, offers), detectors=app.detectors(), judge=Judge(), health=health)


def lane(recorded: Sequence[bytes]) -> float:
    """Give the seconds of the fast lane."""
    health = Health(tell=print)
    fast = pipeline(health)
    began = time.perf_counter()
    written: list[bytes] = []
    for start in range(0, len(recorded), BATCH):
        seen = [record for line in recorded[start : start + BATCH] if (record := wire.decode(line)) and not isinstance(record, Summary)]
        written += [wire.encode(record) for record in fast.process(seen)]
    taken = time.perf_counter() - began
    judged = [record for line in written if isinstance(record := wire.decode(line), Connection) and record.outwatch.verdict]
    if len(judged) != len(recorded) or health.problems or not fast.tally.verdicts["low"]:
        raise RuntimeError(f"{len(judged)} of {len(recorded)} connections were judged; {health.problems}")
    return taken


def rival(recorded: Sequence[bytes]) -> float:
    """Give the seconds of reading and writing the same lines as plain JSON."""
    began = time.perf_counter()
    written = [json.dumps(json.loads(line), separators=(",", ":")).encode() for line in recorded]
    taken = time.perf_counter() - began
    if len(written) != len(recorded):
        raise RuntimeError("lines are missing")
    return taken


def one_round(what: str, recording: str) -> None:
    """Do one run in this new process and print its seconds."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    recorded = Path(recording).read_bytes().splitlines()
    gc.collect()
    print(lane(recorded) if what == LANE else rival(recorded))


def in_new_process(what: str, recording: Path) -> float:
    done = subprocess.run([sys.executable, __file__, "--run", what, str(recording)], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def whole_program(recording: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "outwatch", "replay", str(recording), "--jsonl", "--all"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    options = parser(__doc__, rounds=5)
    options.add_argument("--run", nargs=2, metavar=("WHAT", "FILE"), help="one round in this process; used by the script itself")
    chosen = options.parse_args()
    if chosen.run:
        one_round(*chosen.run)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OUTWATCH_STATE_DIR"] = folder
        recordings = {}
        for name, destinations in (("each its own destination", CONNECTIONS), (f"{USUAL:,} destinations", USUAL)):
            recorded = lines(CONNECTIONS, destinations)
            size = sum(map(len, recorded)) / len(recorded)
            recordings[f"{name}, {size:,.0f} bytes a line"] = path = Path(folder, f"{destinations}.jsonl")
            path.write_bytes(b"\n".join(recorded) + b"\n")
        return compare(recordings, chosen.rounds)


def compare(recordings: dict[str, Path], count: int) -> int:
    bounds = Bounds()
    runs = {f"{what}; {name}": partial(in_new_process, what, path) for name, path in recordings.items() for what in (LANE, RIVAL)}
    counting, path = next(iter(recordings.items()))
    runs[f"{PROGRAM}; {counting}"] = partial(whole_program, path)
    rounds = interleave(runs, count, warm_up=0)
    print(f"{CONNECTIONS:,} connections, {count} rounds, each cold; {LANE} and rival on one core")
    rounds.show()
    for name in recordings:
        mine, other = f"{LANE}; {name}", f"{RIVAL}; {name}"
        rate = CONNECTIONS / rounds.median(mine)
        if name == counting:
            bounds.at_least(mine, rate, LEAST, "connections a second")
        else:
            print(f"      {mine}: {rate:,.0f} connections a second (no bound)")
        print(f"      {LANE} / {RIVAL}: {rounds.ratio(mine, other):.2f} times as long")
    print(f"      {PROGRAM}: {CONNECTIONS / rounds.median(f'{PROGRAM}; {counting}'):,.0f} connections a second (no bound)")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
