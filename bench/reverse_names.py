"""500 reverse look-ups against a name server that takes 50 ms for an answer and gives none about one address in ten.

Measured: ``ReverseNames`` as configured by default behind the slow lane of a watch, from the moment in which 500 connections to as
many addresses are offered until the last answer was passed on, in a new process with empty caches; each name is looked up forward,
too, before it counts. Rival: ``socket.gethostbyaddr`` in 30 threads, which asks the same server half as much, with the C library's
defaults. Bound: at least 8 times sooner.

Everything runs in a network namespace with a ``resolv.conf`` and a hosts file of its own, so nothing outside is asked or changed; that
needs root, or a system on which everybody may make namespaces.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from measuring import Bounds, interleave, parser
from measuring.name_server import ADDRESS, LATENCY, answers, name, serving
from outwatch.engine.health import Health
from outwatch.engine.slow_lane import SlowLane
from outwatch.lookups.reverse_names import ReverseNames, ReverseNamesConfig
from outwatch.model.records import Connection, Destination, Network

ADDRESSES = [f"198.51.{third}.{fourth}" for third in (100, 101) for fourth in range(250)]
THREADS, LEAST, PATIENCE = 30, 8, 60.0
OURS, RIVAL = "outwatch", f"socket.gethostbyaddr in {THREADS} threads"
_INSIDE = 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


async def _look_up() -> tuple[float, dict[str, str | None]]:
    """Give the seconds and the names of the addresses, by the real parts."""
    health = Health(tell=print)
    seen = [
        Connection(
            id=address,
            timestamp=datetime.now(UTC),
            network=Network(direction="egress", scope="public"),
            destination=Destination(ip=address),
        )
        for address in ADDRESSES
    ]

    async def answered(_ids: Iterable[str]) -> None:
        """Issue nothing again: that is the fast lane's time."""

    names = ReverseNames(ReverseNamesConfig())
    began = time.perf_counter()
    lane = SlowLane([names], answered, health)
    running = asyncio.create_task(lane.run())
    lane.offer(seen)
    await lane.drain(PATIENCE)
    taken = time.perf_counter() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    if health.problems or "out of time" in health.not_checked:
        raise RuntimeError(f"not everything was asked: {health.problems} {health.not_checked}")
    return taken, {one.id: names.enrich(one).destination.domain for one in seen}


def ours() -> float:
    taken, found = asyncio.run(_look_up())
    _check(found)
    return taken


def rival() -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(ADDRESSES, pool.map(_host, ADDRESSES), strict=True))
    taken = time.perf_counter() - began
    _check(found)
    return taken


def _host(address: str) -> str | None:
    try:
        return socket.gethostbyaddr(address)[0]
    except OSError:
        return None


def _check(found: dict[str, str | None]) -> None:
    wrong = {address: said for address, said in found.items() if said != (name(address) if answers(address) else None)}
    if wrong:
        raise RuntimeError(f"{len(wrong)} addresses without their name, or with a wrong one: {dict(list(wrong.items())[:5])}")


def in_new_process(what: str) -> float:
    done = subprocess.run([sys.executable, __file__, "--run", what], check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def inside(arguments: list[str]) -> int:
    """Run this script again in namespaces of its own, which end with it."""
    programs = [program for program in ("unshare", "ip", "mount") if shutil.which(program) is None]
    unshare = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount", "--"]
    if programs or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        print(f"SKIP  {programs[0]} is not installed" if programs else "SKIP  no right to make namespaces")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        resolv, hosts = Path(folder, "resolv.conf"), Path(folder, "hosts")
        resolv.write_text(f"nameserver {ADDRESS}\n")
        hosts.write_text("127.0.0.1 localhost\n")
        program = [sys.executable, __file__, "--inside", *arguments]
        return subprocess.run([*unshare, "sh", "-c", _INSIDE, "sh", str(resolv), str(hosts), *program], check=False).returncode


def compare(count: int) -> int:
    with serving():
        rounds = interleave({what: partial(in_new_process, what) for what in (OURS, RIVAL)}, count, warm_up=0)
    mute = sum(not answers(address) for address in ADDRESSES)
    print(f"{len(ADDRESSES)} addresses, {mute} of them unanswered, answers after {1e3 * LATENCY:.0f} ms, {count} rounds")
    rounds.show(scale=1, unit="s")
    bounds = Bounds()
    ratio = rounds.ratio(OURS, RIVAL)
    print(f"      {1 / ratio:.1f} times sooner (at least {LEAST})")
    bounds.at_most(f"{OURS} / {RIVAL}", 100 * ratio, 100 / LEAST, "% of its time")
    return bounds.code


def main() -> int:
    options = parser(__doc__, rounds=2)
    options.add_argument("--inside", action="store_true", help="the namespaces are there; used by the script itself")
    options.add_argument("--run", choices=(OURS, RIVAL), help="one round in this process; used by the script itself")
    chosen = options.parse_args()
    if chosen.run:
        print(ours() if chosen.run == OURS else rival())
        return 0
    return compare(chosen.rounds) if chosen.inside else inside(["--rounds", str(chosen.rounds)])


if __name__ == "__main__":
    sys.exit(main())
