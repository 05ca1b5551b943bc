"""Reads what ``outwatch capture`` sees: another process with the rights that this one lacks (``docs/decisions/0013-capture.md``).

Its words are taken as any sensor's, with its own name on them, and judged here. A line that is no record is counted and skipped.
"""

import contextlib
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from threading import Event as StopEvent
from typing import ClassVar

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import FileRefused, OutwatchError, SensorFailed, SensorUnavailable
from outwatch.guard.sockets import connected
from outwatch.model import wire
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Connection, Event, EventsLost, Judged, Observation, Process, Record, Summary

SOCKET = "/run/outwatch/capture.sock"
BROKEN = "capture socket record"
"""The name under which lines that are no records are counted."""

_PIECE = 1 << 18
_PATIENCE = 10.0  # seconds that a capture has to say its first word
_LOOK_UP = 0.2  # seconds after which a silent capture is left to see whether to stop
_AT_THE_END, _QUIET = 1.0, 0.1  # seconds that are read on when it is to stop, and after which nothing more is on its way
_MOST = 200_000  # connections of a picture, or remembered as open
_MOST_PROCESSES = 2_000
_OVER = frozenset({"close", "failed"})


class RemoteConfig(PartConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``socket``: where ``outwatch capture`` listens."""

    socket: str = SOCKET


class Framing:
    """Cuts bytes into lines. Of a line that is too long for a record nothing is kept; ``too_long`` counts them."""

    def __init__(self, most: int = wire.MOST) -> None:
        """Take the bytes that a line may have."""
        self.too_long = 0
        self._most = most
        self._begun = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> list[bytes]:
        """Give the lines that end in ``data``, without their ends."""
        lines = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._extend(end)
            if not self._skips:
                lines.append(bytes(self._begun))
            self._begun.clear()
            self._skips = False
        self._extend(rest)
        return lines

    def _extend(self, piece: bytes) -> None:
        if not self._skips and len(self._begun) + len(piece) > self._most:
            self._skips = True
            self.too_long += 1
            self._begun.clear()
        if not self._skips:
            self._begun += piece


class Following:
    """The connections that a capture says are open, over all its pictures: what it can't tell apart after a pause is settled here."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: OrderedDict[str, Connection] = OrderedDict()
        self._renamed: dict[str, str] = {}
        self._processes: OrderedDict[str, Process] = OrderedDict()

    def picture(self, records: Sequence[Judged]) -> list[Observation]:
        """Take a picture that replaces what was known, and give it, with the ends of what it does not show any more.

        A capture that was started anew has new ids: a connection with the same ends and process keeps the one it had here. One that has
        gone meanwhile is closed; when, nobody knows.
        """
        self._renamed.clear()
        there = {record.id for record in records}
        missing = {identity: record for identity, record in self._open.items() if identity not in there}
        by_ends = {ends: identity for identity, record in missing.items() if (ends := _ends(record)) is not None}
        told: list[Observation] = []
        for record in records:
            known = None if record.id in self._open else by_ends.pop(_ends(record), None)
            if known is not None:
                self._renamed[record.id] = known
                del missing[known]
            told.append(self.seen(record))
        for identity, record in missing.items():
            del self._open[identity]
            told.append(replace(record, event=Event(action="close", start=record.event.start)))
        return told

    def seen(self, record: Judged) -> Judged:
        """Take note of a record, and give it under the id that it has here."""
        known = self._renamed.get(record.id)
        if known is not None:
            record = replace(record, id=known)
        if not isinstance(record, Connection) or record.event.action in _OVER:
            self._open.pop(record.id, None)
            return record
        self._open[record.id] = record = self._sharing(record)
        if len(self._open) > _MOST:
            self._open.popitem(last=False)
        return record

    def _sharing(self, record: Connection) -> Connection:
        """Keep a process and its parents once for all its connections: most of a record is these."""
        process = record.process
        if process is None or process.entity_id is None:
            return record
        known = self._processes.get(process.entity_id)
        if known == process:
            return replace(record, process=known)
        self._processes[process.entity_id] = process
        if len(self._processes) > _MOST_PROCESSES:
            self._processes.popitem(last=False)
        return record


def _ends(record: Judged) -> Hashable | None:
    """Say what makes a connection the same for two captures; ``None`` where that can't be told."""
    network, source, destination, process = record.network, record.source, record.destination, record.process
    if source.port is None or destination.port is None or process is None or process.entity_id is None:
        return None
    return (network.transport, network.namespace, source.ip, source.port, destination.ip, destination.port, process.entity_id)


def observed(record: Record) -> Observation | None:
    """Take from a record what a sensor may say: no verdict, no revision; ``None`` for a summary."""
    if isinstance(record, Summary | EventsLost):
        return None if isinstance(record, Summary) else record
    findings = replace(record.outwatch, verdict=None, score=None, reasons=None, reputation=None)
    return replace(record, revision=0, outwatch=findings)


class Remote:
    """Follows the records of a capture, from its picture of now on."""

    name: ClassVar[str] = "remote"
    live: ClassVar[bool] = True

    def __init__(self, config: RemoteConfig, *, health: Health) -> None:
        """Take the path of the socket, and where to count what is broken; nothing is opened yet."""
        self._path = Path(config.socket)
        self._health = health
        self._capture: socket.socket | None = None
        self._following = Following()
        self._blind: Sequence[str] = ("what the capture can't see is known when it is watched",)

    def check(self) -> None:
        """Connect and wait for the first word; ``SensorUnavailable`` says what stands in the way."""
        if self._capture is None:
            self._capture = _listened(self._path)

    def observe(self, stop: StopEvent) -> Iterator[Sequence[Observation]]:
        """Yield the picture, then what the capture tells; ``SensorFailed`` when it is gone."""
        try:
            self.check()
        except SensorUnavailable as error:  # it may come back
            raise SensorFailed(str(error)) from error
        if self._capture is None:
            return
        with contextlib.closing(self._capture) as capture:
            self._capture = None
            picture: list[Observation] | None = []
            for lines in self._lines(capture, stop):
                batch = []
                for record in self._records(lines):
                    if picture is not None and isinstance(record, Summary):
                        yield self._whole(picture)
                        picture = None
                    seen = observed(record)
                    if picture is not None and seen is not None:
                        picture.append(seen)
                        _require_bounded(picture)
                    elif seen is not None:
                        batch.append(self._following.seen(seen) if isinstance(seen, Judged) else seen)
                if batch:
                    yield batch

    def blind(self) -> Sequence[str]:
        """Say what the capture said it can't see."""
        return self._blind

    def _whole(self, picture: Sequence[Observation]) -> list[Observation]:
        losses = [one for one in picture if isinstance(one, EventsLost)]
        return [*self._following.picture([one for one in picture if isinstance(one, Judged)]), *losses]

    def _records(self, lines: Sequence[bytes]) -> Iterator[Record]:
        for line in lines:
            try:
                record = wire.decode(line)
            except wire.WireError:
                self._health.lose(BROKEN, 1)
                continue
            if isinstance(record, Summary):
                self._blind = record.blind or ("the capture does not say what it can't see",)
            if record is not None:
                yield record

    def _lines(self, capture: socket.socket, stop: StopEvent) -> Iterator[list[bytes]]:
        """Yield lines as they come; when it is to stop, also what is on its way then."""
        framing, too_long = Framing(), 0
        until: float | None = None
        while until is None or time.monotonic() < until:
            if stop.is_set() and until is None:
                until = time.monotonic() + _AT_THE_END
            capture.settimeout(_LOOK_UP if until is None else _QUIET)
            try:
                data = capture.recv(_PIECE)
            except TimeoutError:
                if until is None:
                    continue
                return
            except OSError as error:
                raise SensorFailed(f"the capture at {self._path} can't be read ({error.strerror})") from error
            if not data:
                raise SensorFailed(f"the capture at {self._path} has ended")
            yield framing.feed(data)
            if framing.too_long > too_long:
                self._health.lose(BROKEN, framing.too_long - too_long)
                too_long = framing.too_long


def _require_bounded(picture: Sequence[Observation]) -> None:
    if len(picture) > 2 * _MOST:
        raise SensorFailed("the capture's first picture has no end")


def _listened(path: Path) -> socket.socket:
    """Connect, and wait until the capture says its first word."""
    if sys.platform != "linux":
        raise SensorUnavailable("outwatch capture is Linux's", "use --sensor polling")
    with contextlib.ExitStack() as undo:
        try:
            capture = undo.enter_context(connected(path))
            capture.settimeout(_PATIENCE)
            speaks = bool(capture.recv(1, socket.MSG_PEEK))
        except FileRefused as error:
            raise SensorUnavailable(f"{error.path}: {error.reason}", error.remedy) from error
        except TimeoutError as error:
            raise SensorUnavailable(f"the capture at {path} says nothing", "see what it says on its standard error") from error
        except PermissionError as error:
            remedy = f"become a member of the group of {path.parent} and log in anew"
            raise SensorUnavailable(f"no right to read the capture at {path}", remedy) from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise SensorUnavailable(f"no capture listens at {path}", "start outwatch capture as root") from error
        except (OSError, OutwatchError) as error:
            raise SensorUnavailable(f"the capture at {path} can't be read ({error})", "choose another socket") from error
        if not speaks:
            raise SensorUnavailable(f"the capture at {path} refused us", "see what it says on its standard error")
        undo.pop_all()
    return capture


PART = Part(name="remote", config=RemoteConfig, build=Remote)
