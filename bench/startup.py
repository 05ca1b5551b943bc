"""What starting costs: ``outwatch --version`` and ``outwatch scan``, from the start of the process to its end.

Measured: wall time of the installed command. ``--version`` against bare Python (``python -c pass``): at most 80 ms more. ``scan``, with 100
sockets open on loopback and an empty state folder, against Python that only imports psutil: at most 250 ms more.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from measuring import Bounds, interleave, parser
from measuring.sockets import held

SOCKETS = 100
VERSION, SCAN = "outwatch --version", f"outwatch scan, {SOCKETS} sockets"
BARE, PSUTIL = "python -c pass", 'python -c "import psutil"'
MOST_VERSION, MOST_SCAN = 80, 250  # ms


def command() -> str:
    """Give the installed ``outwatch`` of this very Python."""
    path = Path(sysconfig.get_path("scripts"), "outwatch.exe" if sys.platform == "win32" else "outwatch")
    if not path.exists():
        raise SystemExit(f"{path}: not installed; run make test or pip install . first")
    return str(path)


def run(arguments: Sequence[str]) -> tuple[float, bytes]:
    """Give the seconds from start to end of a program, which remembers nothing, and its output."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = {**os.environ, "OUTWATCH_STATE_DIR": folder}
        began = time.perf_counter()
        done = subprocess.run(arguments, check=True, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        return time.perf_counter() - began, done.stdout


def timed(arguments: Sequence[str], expected: bytes = b"") -> float:
    """Give the seconds of a program whose output holds what is expected."""
    taken, said = run(arguments)
    if expected not in said:
        raise RuntimeError(f"{' '.join(arguments)} did not say {expected!r}")
    return taken


def main() -> int:
    options = parser(__doc__, rounds=21).parse_args()
    program = command()
    with held(SOCKETS // 2, processes=2) as holders:
        listed = run([program, "scan", "--all", "--plain"])[1].split()
        if not all(listed.count(b"%d" % pid) >= SOCKETS // len(holders) for pid in holders):
            raise RuntimeError("the scan does not show the sockets that are held open")
        rounds = interleave(
            {
                BARE: partial(timed, [sys.executable, "-c", "pass"]),
                VERSION: partial(timed, [program, "--version"], b"outwatch "),
                PSUTIL: partial(timed, [sys.executable, "-c", "import psutil"]),
                SCAN: partial(timed, [program, "scan"], b"connection"),
            },
            options.rounds,
        )
    print(f"{options.rounds} rounds, wall time")
    rounds.show()
    bounds = Bounds()
    for mine, rival, most in ((VERSION, BARE, MOST_VERSION), (SCAN, PSUTIL, MOST_SCAN)):
        bounds.at_most(f"{mine} over {rival}", 1e3 * rounds.excess(mine, rival), most, "ms more")
        print(f"      {mine} / {rival}: {rounds.ratio(mine, rival):.1f} times (no bound)")
    return bounds.code


if __name__ == "__main__":
    sys.exit(main())
