"""A configuration file that commands keep, such as ``conf.d/allow.toml``: read, changed and written back whole."""

import tomllib
from pathlib import Path
from typing import Any

from outwatch.engine import config
from outwatch.errors import ConfigError, FileRefused, OutputError
from outwatch.guard.files import read_trusted, write_atomic
from outwatch.guard.text import printable

_HEADER = "# Kept by outwatch; your own settings are better placed in config.toml.\n\n"


class ManagedFile:
    """A list of tables under one dotted key of a file below ``conf.d``."""

    def __init__(self, name: str, key: tuple[str, ...], folder: Path | None = None) -> None:
        """Name the file and the key of its list."""
        self.path = (folder or config.editable_dir()) / "conf.d" / name
        self._key = key

    def read(self) -> list[dict[str, Any]]:
        """Give the entries; none if there is no file yet. ``ConfigError`` if it can't be understood."""
        tree: Any = self._whole()
        for key in self._key:
            tree = tree.get(key, {} if key != self._key[-1] else []) if isinstance(tree, dict) else None
        if not isinstance(tree, list) or not all(isinstance(one, dict) for one in tree):
            raise ConfigError(str(self.path), ".".join(self._key), "is no list of entries; remove the file or mend it")
        return tree

    def _whole(self) -> dict[str, Any]:
        try:
            return tomllib.loads(read_trusted(self.path).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except FileRefused as error:
            raise ConfigError(str(self.path), "", f"{error.reason}; {error.remedy}") from error
        except (ValueError, OSError, RecursionError) as error:
            raise ConfigError(str(self.path), "", f"can't be read: {printable(str(error))}") from error

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Replace the entries in one step; other settings in the file stay."""
        import tomli_w  # noqa: PLC0415 - only where a file is written

        whole = tree = self._whole()
        for key in self._key[:-1]:
            tree = tree.setdefault(key, {})
        tree[self._key[-1]] = entries
        shared = self.path.parent.is_relative_to(config.SYSTEM)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if shared else 0o700)
        except OSError as error:
            raise OutputError(self.path.parent, error.strerror or str(error)) from error
        write_atomic(self.path, (_HEADER + tomli_w.dumps(whole)).encode(), mode=0o644 if shared else 0o600)
