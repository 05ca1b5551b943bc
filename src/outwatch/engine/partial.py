"""What a command could not finish, kept in the state folder so that it can go on later."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from outwatch.errors import OutwatchError
from outwatch.guard.files import new_file, private_folder, require_own_file
from outwatch.model import wire
from outwatch.model.records import Judged, Summary

_FORM = 1  # of the file; a later one is not read


class Kept(NamedTuple):
    """The records, their summary, and what the command wants to know again."""

    records: list[Judged]
    summary: Summary
    facts: Mapping[str, str | int | bool]


class _Head(msgspec.Struct):
    """The first line."""

    form: int
    facts: dict[str, str | int | bool]


class Partial:
    """One command's unfinished work; there is one of each name, the last one."""

    def __init__(self, folder: Path, name: str) -> None:
        """Take the state folder and the command's name."""
        self._folder = folder
        self.path = folder / f"partial_{name}.jsonl"

    def save(self, records: Iterable[Judged], summary: Summary, facts: Mapping[str, str | int | bool]) -> None:
        """Keep it in the place of what was kept before; ``OutwatchError`` if it can't be."""
        private_folder(self._folder)
        with new_file(self.path, replaces=True) as file:
            file.write(msgspec.json.encode(_Head(_FORM, dict(facts))) + b"\n")
            file.writelines(wire.encode(record) + b"\n" for record in records)
            file.write(wire.encode(summary) + b"\n")

    def load(self) -> Kept | None:
        """Give what was kept last; ``None`` if there is nothing. ``OutwatchError`` for a file that can't be used."""
        if not self.path.exists():
            return None
        private_folder(self._folder)
        require_own_file(self.path)
        records: list[Judged] = []
        summary: Summary | None = None
        try:
            with open(self.path, "rb") as file:
                head = msgspec.json.decode(file.readline(), type=_Head)
                for line in file:
                    record = wire.decode(line.rstrip(b"\n"))
                    if isinstance(record, Judged):
                        records.append(record)
                    elif isinstance(record, Summary):
                        summary = record
        except (OSError, ValueError) as error:
            raise OutwatchError(f"{self.path}: what was not finished can't be read: {error}") from error
        if summary is None or head.form != _FORM:
            raise OutwatchError(f"{self.path}: what was not finished is not whole, or of another version")
        return Kept(records, summary, head.facts)

    def clear(self) -> None:
        """Forget it: there is nothing left to finish."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
