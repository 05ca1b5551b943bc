"""Every error that some caller acts on differently; there are no others.

::

    OutwatchError
    ├── ConfigError         bad key or value            the command ends with exit code 2
    ├── FileRefused         a file that is not safe     exit code 1; ConfigError when it was configuration
    ├── OutputError         disk full, no folder        exit code 1; that sink pauses, the others go on
    ├── SensorUnavailable   can't run here              the next sensor is taken, and that is said
    ├── SensorFailed        died while running          restarted with back-off
    ├── LookupFailed        nobody answered             stays in the slow lane: "not checked"
    ├── LookupPostponed     not just now                the question waits in the slow lane for another turn
    ├── ReplyUnusable       a service answered nonsense counts as not checked, with the reason
    ├── StoreError          a database: disk, schema    its user goes on without it, and that is said
    └── RuleError           bad rule, pattern or entry  skipped and listed

What is lost is not an error but a record (``EventsLost``), and a process that has vanished is ``None``.
"""

from pathlib import Path
from typing import Self


class OutwatchError(Exception):
    """The root: its text is one line that a user can act on."""


class ConfigError(OutwatchError):
    """A configuration key or value that can't be used: where it stands, which key, and what would be right."""

    def __init__(self, path: str, key: str, hint: str) -> None:
        """Name the source ``path`` (a file or a variable), the dotted ``key`` and the remedy."""
        super().__init__(f"{path}: {key}: {hint}" if key else f"{path}: {hint}")
        self.path, self.key, self.hint = path, key, hint


class FileRefused(OutwatchError):
    """A file or folder that must not be trusted or written: someone else could own or redirect it."""

    def __init__(self, path: Path | str, reason: str, remedy: str) -> None:
        """Name the path, why it is refused and what would mend it."""
        super().__init__(f"{path}: {reason}; {remedy}")
        self.path, self.reason, self.remedy = path, reason, remedy


class OutputError(OutwatchError):
    """Something could not be written; what was there before is untouched."""

    def __init__(self, path: Path | str, reason: str) -> None:
        """Name what was to be written and the system's reason."""
        super().__init__(f"can't write {path}: {reason}")
        self.path, self.reason = path, reason


class SensorUnavailable(OutwatchError):
    """A sensor can't run on this machine or with these rights."""

    def __init__(self, reason: str, remedy: str) -> None:
        """Say why, and what the user can do about it."""
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class SensorFailed(OutwatchError):
    """A sensor died while it was running."""


class LookupFailed(OutwatchError):
    """Something could not be looked up just now; it counts as not checked."""

    def __init__(self, reason: str) -> None:
        """Say why, in words that fit every look-up that fails like this: they are counted under it."""
        super().__init__(reason)
        self.reason = reason


class LookupPostponed(OutwatchError):
    """A service asks for patience: the question is put back, and asked when its look-up says that it may be."""


class ReplyUnusable(OutwatchError):
    """A service's reply is not what the service documents; ``reason`` fits every reply that fails like this."""

    def __init__(self, reason: str) -> None:
        """Say what is wrong with it, without repeating anything from it."""
        super().__init__(reason)
        self.reason = reason


class StoreError(OutwatchError):
    """A database in the state folder that can't be used."""

    def __init__(self, path: Path | str, reason: str) -> None:
        """Name the file and what stands in the way."""
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class RuleError(OutwatchError):
    """One rule, pattern or list entry that can't be used; everything else of its list still is."""

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        """Name the file, the line (``None`` if it can't be told) and the reason."""
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
        self.path, self.line, self.reason = path, line, reason

    @classmethod
    def at_key(cls, key: str, _value: str, reason: str) -> Self:
        """Make the error for a rule that is in no file yet: the key takes the file's place."""
        return cls(key, None, reason)
