"""Reads recorded traffic instead of watching: files, folders, ``.gz``, or a pipe on standard input."""

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import ClassVar

from outwatch.errors import RuleError, SensorUnavailable
from outwatch.model.interfaces import Part, PartConfig
from outwatch.model.records import Observation
from outwatch.sensors.replay import jsonl

STDIN = "-"
_ENDINGS = (".jsonl", ".json", ".ndjson", ".log")
_BATCH = 256
_PIECE = 1 << 16
_PATIENCE = 0.2  # seconds that a silent pipe is waited for before looking whether to stop


class Replay:
    """Gives the observations of recordings, in the order of the files; what is no record is named and passed over."""

    name: ClassVar[str] = "replay"
    live: ClassVar[bool] = False

    def __init__(self, _config: PartConfig, *, paths: Sequence[str], broken: Callable[[RuleError], None]) -> None:
        """Take paths of files and folders, or ``-`` for standard input; ``broken`` is told of every line that is no record."""
        self._paths = paths
        self._broken = broken

    def check(self) -> None:
        """Raise ``SensorUnavailable`` if a path can't be read."""
        for path in self._paths:
            if path == STDIN:
                if sys.stdin is None:
                    raise SensorUnavailable("standard input is closed", "name a file instead of -")
            elif not os.access(path, os.R_OK):
                reason = "no right to read it" if os.path.exists(path) else "no such file or folder"
                raise SensorUnavailable(f"{path}: {reason}", "name a recording made with --jsonl")

    def observe(self, stop: Event) -> Iterator[Sequence[Observation]]:
        """Yield what the recordings hold, in batches; from a pipe at once what it has."""
        batch: list[Observation] = []
        for path in self._files():
            for observation in self._read(path, stop):
                if observation is not None:
                    batch.append(observation)
                if len(batch) >= _BATCH or (observation is None and batch):
                    yield batch
                    batch = []
                if stop.is_set():
                    return
        if batch:
            yield batch

    def blind(self) -> Sequence[str]:
        """Say what a recording can't show."""
        return ["a recording shows only what was recorded; nothing was asked of this machine"]

    def _files(self) -> Iterator[str]:
        for path in self._paths:
            if path != STDIN and Path(path).is_dir():
                found = sorted(one for one in Path(path).rglob("*") if one.is_file() and _is_recording(one))
                if not found:
                    self._broken(RuleError(path, None, f"holds no recording ({', '.join(_ENDINGS)}, also .gz)"))
                yield from map(str, found)
            else:
                yield path

    def _read(self, path: str, stop: Event) -> Iterator[Observation | None]:
        if path == STDIN:
            yield from jsonl.observations(_pieces(sys.stdin.fileno(), stop), "stdin", self._broken)
            return
        try:
            with open(path, "rb", buffering=0) as file:
                yield from jsonl.observations(_pieces(file.fileno(), stop), path, self._broken)
        except OSError as error:
            self._broken(RuleError(path, None, error.strerror or str(error)))


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


PART = Part(name="replay", config=PartConfig, build=Replay)
