"""The configuration: layers of TOML, each value with the place it comes from.

Order, later wins: defaults, ``/etc/outwatch/config.toml``, ``/etc/outwatch/conf.d/*.toml``, the user's ``config.toml`` and
``conf.d/*.toml``, ``--config``, ``OUTWATCH_*`` variables, options. Tables merge, values are replaced, lists of tables
(allow entries, patterns) add up. A key nobody knows is an error that names the file, the key and the nearest right one.
"""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from outwatch.engine.indicator_settings import IntelConfig
from outwatch.engine.mistakes import explained, line_of, nearest, text_of
from outwatch.engine.verdict import VerdictConfig
from outwatch.errors import ConfigError, FileRefused, RuleError
from outwatch.guard.files import read_trusted
from outwatch.guard.rights import is_root
from outwatch.guard.text import printable
from outwatch.model.interfaces import Part
from outwatch.model.records import Band
from outwatch.net.addresses import Network, parse_network

PREFIX = "OUTWATCH_"
DEFAULTS = "default"
SYSTEM = Path("/etc/outwatch")
_NOT_KEYS = frozenset({"CONFIG", "COMPLETE"})  # OUTWATCH_* variables that are no settings
_TEXTS = frozenset(
    {"state_dir", "log_dir", "file", "base_url", "api_key", "api_key_file"}
)  # settings that are text whatever they look like
_DEEPEST = 32  # tables within tables
_Config = TypeVar("_Config")
Table = dict[str, Any]


class ScopeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``public`` and ``private`` name networks that count as such whatever IANA's table says."""

    public: list[str] = []
    private: list[str] = []


class CaptureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``names``: copy the bytes of connections in which names stand, and nothing else of what they carry."""

    names: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set; the tables of parts are checked by the parts' own types.

    ``state_dir`` and ``log_dir`` are folders, ``log_level`` is the verdict from which the suspicious log has a line.
    """

    state_dir: str | None = None
    log_dir: str | None = None
    log_level: Band = "medium"
    capture: CaptureConfig = CaptureConfig()
    scope: ScopeConfig = ScopeConfig()
    intel: IntelConfig = IntelConfig()
    verdict: VerdictConfig = VerdictConfig()
    sensors: dict[str, Table] = {}
    enrichers: dict[str, Table] = {}
    lookups: dict[str, Table] = {}
    reputation: dict[str, Table] = {}
    detectors: dict[str, Table] = {}
    sinks: dict[str, Table] = {}


@dataclass(frozen=True)
class Config:
    """The settings in force, and for each dotted key where it comes from; ``unreadable`` files are not part of them."""

    settings: Settings = field(repr=False)  # keys of services are among them
    tree: Table = field(repr=False)
    origins: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()
    _texts: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def of(self, room: str, part: Part) -> Any:
        """Give a part's settings in the type it asks for; ``ConfigError`` if they don't fit."""
        table = getattr(self.settings, room).get(part.name, {})
        return self.convert(table, part.config, f"{room}.{part.name}")

    def convert(self, table: object, kind: type[_Config], prefix: str = "") -> _Config:
        """Turn a table into ``kind``; a ``ConfigError`` names file, key and what would be right."""
        try:
            return msgspec.convert(table, kind, strict=True)
        except msgspec.ValidationError as error:
            key, hint = explained(str(error), table, kind)
            dotted = ".".join(filter(None, [prefix, key]))
            raise ConfigError(self.origin(dotted), dotted, hint) from error

    def check_names(self, room: str, known: list[str]) -> None:
        """Raise ``ConfigError`` for a table of a part that does not exist."""
        for name in getattr(self.settings, room):
            if name not in known:
                key = f"{room}.{name}"
                raise ConfigError(self.origin(key), key, f"no such part{nearest(name, known)}")

    def origin(self, key: str) -> str:
        """Say where a dotted key, or the nearest table around it, was set."""
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return DEFAULTS

    def rule_error(self, key: str, value: str, reason: str) -> RuleError:
        """Place a value that can't be used: the file it comes from, and the line if its text is found there."""
        origin = self.origin(key)
        if origin not in self._texts:  # read once: thousands of entries of one file may be wrong
            self._texts[origin] = text_of(origin)
        return RuleError(origin, line_of(value, self._texts[origin]), reason)

    def networks(self, key: str) -> list[Network]:
        """Give the networks of ``scope.public`` or ``scope.private``."""
        found: list[Network] = []
        for at, text in enumerate(getattr(self.settings.scope, key)):
            network = parse_network(text)
            if network is None:
                dotted = f"scope.{key}[{at}]"
                raise ConfigError(self.origin(dotted), dotted, f"{printable(text)!r} is no address or network such as 10.0.0.0/8")
            found.append(network)
        return found

    @property
    def state_dir(self) -> Path:
        """The folder for what is remembered between runs."""
        if self.settings.state_dir:
            return Path(self.settings.state_dir).expanduser()
        if is_root():
            return Path("/var/lib/outwatch")
        return _user_folder("state")

    @property
    def log_dir(self) -> Path:
        """The folder for logs that are not named by a path."""
        if self.settings.log_dir:
            return Path(self.settings.log_dir).expanduser()
        return Path("/var/log/outwatch") if is_root() else _user_folder("state")


def user_config_dir() -> Path:
    """Give the folder of the user's own configuration (``$XDG_CONFIG_HOME/outwatch`` or the system's counterpart)."""
    return _user_folder("config")


def editable_dir() -> Path:
    """Give the folder in which commands such as ``allow add`` keep their file."""
    return SYSTEM if is_root() and sys.platform != "win32" else user_config_dir()


def sources(extra: Path | None = None) -> list[Path]:
    """List the configuration files that would be read, in their order, whether or not they exist.

    A ``conf.d`` that may not be listed stands for its files.
    """
    found: list[Path] = []
    for folder in dict.fromkeys((SYSTEM, user_config_dir())):
        found.append(folder / "config.toml")
        try:
            found += [folder / "conf.d" / name for name in sorted(os.listdir(folder / "conf.d")) if name.endswith(".toml")]
        except PermissionError:
            found.append(folder / "conf.d")
        except OSError:
            continue  # there is none
    if extra is None:
        return found
    return [*(path for path in found if not _same(path, extra)), extra]


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def load(extra: Path | None = None, environ: Mapping[str, str] | None = None, options: Table | None = None) -> Config:
    """Read all layers; ``extra`` is the file of ``--config`` and must exist. ``ConfigError`` names the first thing wrong."""
    tree: Table = {}
    origins: dict[str, str] = {}
    files: list[Path] = []
    unreadable: list[Path] = []
    for path in sources(extra):
        try:
            layer = _read(path, required=path == extra)
        except PermissionError:
            unreadable.append(path)
            continue
        if layer is not None:
            files.append(path)
            _merge(tree, layer, str(path), origins)
    for name, layer in _from_environment(os.environ if environ is None else environ):
        _merge(tree, layer, name, origins)
    _merge(tree, options or {}, "option", origins)
    unchecked = Config(Settings(), tree, origins)
    config = Config(unchecked.convert(tree, Settings), tree, origins, tuple(files), tuple(unreadable))
    config.networks("public")
    config.networks("private")
    return config


def _user_folder(kind: str) -> Path:
    import platformdirs  # noqa: PLC0415 - root and configured folders need none of it

    of = platformdirs.user_config_path if kind == "config" else platformdirs.user_state_path
    return of("outwatch", appauthor=False)


def _read(path: Path, *, required: bool) -> Table | None:
    """Read a layer; ``None`` if there is none. ``PermissionError`` for a file that need not be there: it is meant for others."""
    try:
        return tomllib.loads(read_trusted(path).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(str(path), "", "no such file") from None
        return None
    except FileRefused as error:
        raise ConfigError(str(path), "", f"{error.reason}; {error.remedy}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), "", f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ConfigError(str(path), "", "nested too deeply") from error
    except ValueError as error:
        raise ConfigError(str(path), "", f"not TOML: {printable(str(error))}") from error
    except OSError as error:
        if not required and isinstance(error, PermissionError):
            raise
        raise ConfigError(str(path), "", error.strerror or str(error)) from error


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Table]]:
    """Yield a layer for each ``OUTWATCH_A__B=value``; the value is read as TOML and taken as text if it is none."""
    for name, value in sorted(environ.items()):
        path = name.removeprefix(PREFIX)
        if path == name or path in _NOT_KEYS or not path:
            continue
        keys = path.lower().split("__")
        if len(keys) > _DEEPEST:
            raise ConfigError(name, "", "nested too deeply")
        layer: Any = value if keys[-1] in _TEXTS else _toml_value(value)
        for key in reversed(keys):
            layer = {key: layer}
        yield name, layer


def _toml_value(text: str) -> object:
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tree["value"] if tree.keys() == {"value"} else text


def _merge(into: Table, layer: Table, origin: str, origins: dict[str, str], prefix: str = "", depth: int = 0) -> None:
    """Lay one layer over what is there; ``ConfigError`` where a table meets what is none."""
    if depth > _DEEPEST:
        raise ConfigError(origin, "", "nested too deeply")
    for key, value in layer.items():
        dotted = f"{prefix}{key}"
        there = into.get(key)
        if isinstance(value, dict):
            if there is None:
                there = into[key] = {}
                origins[dotted] = origin
            elif not isinstance(there, dict):
                raise ConfigError(origins.get(dotted, origin), dotted, f"must be a table, as it is in {origin}")
            _merge(there, value, origin, origins, f"{dotted}.", depth + 1)
        elif value and isinstance(value, list) and all(isinstance(item, dict) for item in value):
            kept = there if isinstance(there, list) else []
            for at in range(len(kept), len(kept) + len(value)):
                origins[f"{dotted}[{at}]"] = origin
            origins.setdefault(dotted, origin)
            into[key] = [*kept, *value]
        else:
            origins[dotted] = origin
            into[key] = value
