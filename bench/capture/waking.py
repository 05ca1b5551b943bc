"""What all tools that look at connections can do, and how to wait until one looks."""

import sys
import time
from typing import Protocol

from capture.judging import Told
from capture.lab import PROGRAMS, THERE, Lab

CALLS = str(PROGRAMS / "calls.py")
_AWAKE = 30.0


class Looking(Protocol):
    """What shows connections."""

    name: str

    def sees(self, port: int) -> bool:
        """Tell whether a connection with this local port was shown so far."""


class Tool(Looking, Protocol):
    """What shows connections in a way that can be compared."""

    def stop(self) -> list[Told]:
        """End it in order; gives what it showed."""

    def kill(self) -> None:
        """End it at once."""


def awaken(tool: Looking, lab: Lab) -> None:
    """Connect to the one who answers until the tool tells a connection that was opened under its eyes, so that it misses no beginning."""
    limit = time.monotonic() + _AWAKE
    with lab.running(lab.here, [sys.executable, "-S", CALLS, "probe", THERE]) as probe:
        while time.monotonic() < limit:
            probe.tell()
            port = int(probe.line())
            time.sleep(0.2)
            probe.tell()
            time.sleep(0.2)
            if tool.sees(port):
                return
    raise RuntimeError(f"{tool.name}: shows nothing after {_AWAKE:.0f} s")
