"""Reads recorded traffic instead of watching: files, folders, ``.gz``, or a pipe on standard input."""

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from threading import Event
from typing import ClassVar

from outwatch.errors import RuleError, SensorUnavailable
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Observation
from outwatch.net.addresses import Scopes
from outwatch.sensors.replay import Form, jsonl, pcap
from outwatch.sensors.replay.captured import Captures
from outwatch.sensors.replay.unpacked import FAILURES, unpacked

STDIN = "-"
_ENDINGS = (".jsonl", ".json", ".ndjson", ".log", ".pcap", ".pcapng", ".cap")
_MAGIC = 4  # bytes that tell a capture
_BATCH = 256
_PIECE = 1 << 16
_PATIENCE = 0.2  # seconds that a silent pipe is waited for before looking whether to stop


class Replay:
    """Gives the observations of recordings, in the order of the files; what is no record is named and passed over."""

    name: ClassVar[str] = "replay"
    live: ClassVar[bool] = False

    def __init__(
        self,
        _config: PartConfig,
        *,
        paths: Sequence[str],
        broken: Callable[[RuleError], None],
        form: Form = "auto",
        scopes: Scopes | None = None,
    ) -> None:
        """Take paths of files and folders, or ``-`` for standard input; ``broken`` is told of every line or packet that can't be used.

        ``form`` says what the recordings are; ``scopes``, who of a capture is inside.
        """
        self._paths = paths
        self._broken = broken
        self._form = form
        self._scopes = scopes or Scopes()
        self._captures: Captures | None = None

    def check(self) -> None:
        """Raise ``SensorUnavailable`` if a path can't be read."""
        for path in self._paths:
            if path == STDIN:
                if sys.stdin is None:
                    raise SensorUnavailable("standard input is closed", "name a file instead of -")
            elif not os.access(path, os.R_OK):
                reason = "no right to read it" if os.path.exists(path) else "no such file or folder"
                raise SensorUnavailable(f"{path}: {reason}", "name a recording made with --jsonl, or a capture")

    def observe(self, stop: Event) -> Iterator[Sequence[Observation]]:
        """Yield what the recordings hold, in batches; from a pipe at once what it has."""
        batch: list[Observation] = []
        for observation in self._observations(stop):
            if observation is not None:
                batch.append(observation)
            if len(batch) >= _BATCH or (observation is None and batch):
                yield batch
                batch = []
        if batch:
            yield batch

    def blind(self) -> Sequence[str]:
        """Say what a recording can't show."""
        blind = ["a recording shows only what was recorded; nothing was asked of this machine"]
        if self._captures is not None:
            blind.append("a capture of packets does not show which processes sent them")
            blind += [self._captures.blind] if self._captures.blind else []
        return blind

    def _files(self) -> Iterator[str]:
        for path in self._paths:
            if path != STDIN and Path(path).is_dir():
                found = sorted(one for one in Path(path).rglob("*") if one.is_file() and _is_recording(one))
                if not found:
                    self._broken(RuleError(path, None, f"holds no recording ({', '.join(_ENDINGS)}, also .gz)"))
                yield from map(str, found)
            else:
                yield path

    def _observations(self, stop: Event) -> Iterator[Observation | None]:
        """Yield what all recordings hold; nothing more once ``stop`` is set."""

        def broken(problem: RuleError) -> None:
            if not stop.is_set():  # what was left off in its middle is not broken
                self._broken(problem)

        self._captures = None
        for path in self._files():
            for observation in self._read(path, stop, broken):
                yield observation
                if stop.is_set():
                    break
            if stop.is_set():
                break
        if self._captures is not None:
            yield from self._captures.finish()

    def _read(self, path: str, stop: Event, broken: Callable[[RuleError], None]) -> Iterator[Observation | None]:
        try:
            if path == STDIN:
                yield from self._of_its_form(_pieces(sys.stdin.fileno(), stop), "stdin", broken)
                return
            with open(path, "rb", buffering=0) as file:
                yield from self._of_its_form(_pieces(file.fileno(), stop), path, broken)
        except OSError as error:
            broken(RuleError(path, None, error.strerror or str(error)))

    def _of_its_form(self, pieces: Iterator[bytes | None], name: str, broken: Callable[[RuleError], None]) -> Iterator[Observation | None]:
        rest = unpacked(pieces)
        head = b""
        try:
            while self._form == "auto" and len(head) < _MAGIC:
                piece = next(rest)
                if piece is None:
                    yield None
                else:
                    head += piece
        except StopIteration:
            pass  # a short one
        except FAILURES as error:
            broken(RuleError(name, 1, f"reading ends here: {error}"))
            return
        whole = chain([head], rest)
        if self._form == "pcap" or head[:_MAGIC] in pcap.MAGICS:
            if self._captures is None:
                self._captures = Captures(self._scopes, broken)
            yield from self._captures.read(whole, name)
        else:
            yield from jsonl.observations(whole, name, broken)


def _pieces(descriptor: int, stop: Event) -> Iterator[bytes | None]:
    """Read to the end, or until ``stop``; ``None`` whenever a pipe has nothing to give."""
    waits = sys.platform != "win32" and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    while not stop.is_set():
        if waits and not select.select([descriptor], [], [], 0)[0]:
            yield None
            while not select.select([descriptor], [], [], _PATIENCE)[0]:
                if stop.is_set():
                    return
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return
        yield piece


def _is_recording(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(_ENDINGS)
