"""The kernel's own list of sockets (Linux, netlink): faster than polling, with bytes, and told of each socket that closes.

What opens and closes between two looks is still seen, with its final bytes, where the kernel tells of closed sockets (older
ones tell only those with CAP_NET_ADMIN). ``rows`` reads messages, ``netlink`` asks and hears, ``owners`` finds processes,
``table`` compares looks, ``closing`` reads last counters.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from threading import Event as StopEvent
from typing import Annotated, ClassVar, Protocol

import msgspec

from outwatch.engine.health import Health
from outwatch.engine.pace import Pace
from outwatch.errors import SensorUnavailable
from outwatch.guard.rights import sees_other_users
from outwatch.model.interfaces import Part, PartConfig, ProcessTable
from outwatch.model.records import Connection, Host
from outwatch.sensors.sock_diag.owners import Owners
from outwatch.sensors.sock_diag.rows import Row
from outwatch.sensors.sock_diag.table import Table

LAYER = "netlink"
"""The name under which is counted what the kernel could not tell."""

_LATE = 1.0  # seconds that a look may be late because so many sockets close
_HEARD_EVERY = 0.1  # seconds between two times of reading what has closed
_AT_ONCE = 4096  # closed sockets that are told in one batch


class SockDiagConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``interval``: seconds between looks, growing as for polling; ``buffer_mib``: room for what closes until it is read."""

    interval: Annotated[float, msgspec.Meta(ge=0.01, le=3600)] = 0.5
    buffer_mib: Annotated[int, msgspec.Meta(ge=1, le=256)] = 16


class Kernel(Protocol):
    """What is asked of the kernel (``netlink.py``). ``missing`` names the tables that it does not have."""

    missing: set[str]

    @property
    def tells_ends(self) -> bool:
        """Tell whether the kernel says which sockets close."""

    def probe(self) -> None:
        """Ask for nothing; ``OSError`` if the kernel does not answer that."""

    def sockets(self) -> Iterator[Row]:
        """Give all sockets."""

    def remains(self, row: Row) -> int | None:
        """Give the state in which the kernel remembers a connection that has closed, or ``None``."""

    def ended(self, most: int) -> list[Row]:
        """Give the sockets that have closed, at most about so many; the others can wait."""

    def stop_hearing(self) -> None:
        """Hear no more of sockets that close from now on."""

    def lost(self) -> int:
        """Count what the kernel could not tell, or could not be read, since the last call."""


class SockDiag:
    """Lists the kernel's sockets again and again, and hears in between which of them close."""

    name: ClassVar[str] = "sock_diag"
    live: ClassVar[bool] = True

    def __init__(
        self,
        config: SockDiagConfig,
        *,
        processes: ProcessTable,
        host: Host,
        health: Health,
        kernel: Callable[[], AbstractContextManager[Kernel]] | None = None,
    ) -> None:
        """Take who knows processes and where losses are counted; ``kernel`` opens the way to another kernel than this one."""
        self._pace = Pace(config.interval)
        self._health = health
        self._kernel = kernel or (lambda: _kernel(config.buffer_mib << 20))
        self._sees_all = sees_other_users()
        self._table = Table(Owners(processes), host=host, sees_all=self._sees_all)
        self._tells_ends = False
        self._missing: set[str] = set()

    def check(self) -> None:
        """Raise ``SensorUnavailable`` where the kernel does not list its sockets."""
        try:
            with self._kernel() as kernel:
                kernel.probe()
                self._tells_ends = kernel.tells_ends
        except OSError as error:
            reason = f"the kernel does not list its sockets over netlink ({error.strerror or error})"
            raise SensorUnavailable(reason, "load the module tcp_diag or allow AF_NETLINK sockets, or use --sensor polling") from error

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Connection]]:
        """Yield what is there, then what opens, changes and closes; a last look when it is to stop."""
        with self._kernel() as kernel:
            self._tells_ends = kernel.tells_ends
            ending = False
            while not ending:
                ending = stop.is_set()  # a last look tells what happened since the one before
                began = time.monotonic()
                changes = self._table.look(kernel.sockets(), tells_ends=kernel.tells_ends, last=ending)
                self._missing = kernel.missing
                took = time.monotonic() - began
                yield changes
                yield from self._closing(kernel, stop, time.monotonic() + self._pace.pause(took))

    def _closing(self, kernel: Kernel, stop: StopEvent, until: float) -> Iterator[list[Connection]]:
        """Yield what closes up to the next look, or until something was lost: then it is time to look."""
        while True:
            if stop.is_set():
                kernel.stop_hearing()
            lost = 0
            while rows := kernel.ended(_AT_ONCE):
                lost += self._count_losses(kernel)
                yield self._table.ended(rows, kernel.remains)
                if time.monotonic() >= until + _LATE and not stop.is_set():
                    break  # they close faster than they can be read; what finds no room is counted
            lost += self._count_losses(kernel)
            left = until - time.monotonic()
            if lost or stop.is_set() or left <= 0:
                return
            stop.wait(min(left, _HEARD_EVERY) if kernel.tells_ends else left)

    def _count_losses(self, kernel: Kernel) -> int:
        lost = kernel.lost()
        if lost:
            self._health.lose(LAYER, lost)
        return lost

    def blind(self) -> Sequence[str]:
        """Say what this can't see."""
        if self._table.looks == 1:
            said = ["one look: what is not open just now is missed"]
        elif self._tells_ends:
            said = [
                f"looked every {self._pace}: of shorter connections the process is not known, and how they began",
                "of connections that were refused or reset by this end in between, the far port and the bytes are not known",
            ]
        else:
            said = [f"looked every {self._pace}: shorter connections are missed (this kernel tells of them only with CAP_NET_ADMIN)"]
        unconnected = f" ({self._table.unconnected} such sockets)" if self._table.unconnected else ""
        said += [
            "names that were asked for (of the destinations only reverse names are known)",
            f"unconnected UDP has no destination{unconnected}",
            "bytes of UDP are not known, nor whether a connected socket sent any",
            "only TCP and UDP, and only this network namespace (no containers)",
        ]
        said += [f"{what} is not listed by this kernel" for what in sorted(self._missing)]
        if not self._sees_all:
            said.append("processes of other users are not visible without root")
        return said


def _kernel(buffer: int) -> AbstractContextManager[Kernel]:
    if sys.platform == "linux":
        from outwatch.sensors.sock_diag.netlink import Netlink  # noqa: PLC0415 - only where netlink is

        return Netlink(buffer)
    raise SensorUnavailable("the kernel's list of sockets is Linux's", "use --sensor polling")


PART = Part(name="sock_diag", config=SockDiagConfig, build=SockDiag)
