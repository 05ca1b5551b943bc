"""Keys of services: from a file, the configuration, a systemd credential, the environment, or the system's keyring, in this order.

A key is never an argument, never printed and never part of a message; it leaves this program in the header of a request alone.
"""

import contextlib
import importlib
import importlib.util
import os
import stat
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from outwatch.errors import FileRefused, OutwatchError
from outwatch.guard.files import read_trusted
from outwatch.reputation.settings import ProviderConfig

_VARIABLES: dict[str, tuple[str, ...]] = {
    "virustotal": ("VT_API_KEY",),
    "abuseipdb": ("ABUSE_API_KEY", "ABUSEIPDB_API_KEY"),
    "ipinfo": ("IPINFO_TOKEN",),
}
_MOST = 4096  # bytes of a file with a key
_LONGEST = 512  # characters of a key
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_KEYRING_SECONDS = 2.0


class Key:
    """A key and where it comes from; it shows itself to nobody but ``header``."""

    __slots__ = ("_secret", "origin")

    def __init__(self, secret: str, origin: str) -> None:
        """Take the key, and the words that name its place to people. ``OutwatchError`` for what can't be a key."""
        secret = secret.strip()
        if not secret:
            raise OutwatchError(f"{origin} is empty")
        if len(secret) > _LONGEST or not secret.isascii() or not secret.isprintable() or " " in secret:
            raise OutwatchError(f"{origin} holds something else than a key")
        self._secret, self.origin = secret, origin

    def header(self, form: str) -> str:
        """Give the value of the header that carries the key."""
        return form.format(self._secret)

    def __repr__(self) -> str:
        return f"<key from {self.origin}>"

    def __reduce__(self) -> str:
        raise TypeError("a key stays in its process")


def variables(provider: str) -> tuple[str, ...]:
    """Name the environment variables that may hold a provider's key."""
    return _VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))


def find(provider: str, config: ProviderConfig, environ: Mapping[str, str] | None = None, keyring: "Keyring | None" = None) -> Key | None:
    """Give the key of a provider, or ``None`` if there is none. ``OutwatchError`` for one that can't be used, without showing it."""
    environ = os.environ if environ is None else environ
    if config.api_key_file is not None:
        path = Path(config.api_key_file).expanduser()
        return Key(_text(path, others_may_read=False), f"the file {path}")
    if config.api_key is not None:
        return Key(config.api_key, f"the setting reputation.{provider}.api_key")
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if credentials and Path(credentials, provider).exists():
        return Key(_text(Path(credentials, provider), others_may_read=True), f"the systemd credential {provider}")
    for name in variables(provider):
        if environ.get(name, "").strip():
            return Key(environ[name], f"the variable {name}")
    found = keyring.password(provider) if keyring else None
    return Key(found, "the system's keyring") if found else None


def _text(path: Path, *, others_may_read: bool) -> str:
    try:
        data = read_trusted(path, _MOST)
        mode = os.stat(path).st_mode  # it belongs to root or this user, so nobody else changes it meanwhile
    except OSError as error:
        raise OutwatchError(f"{path}: {error.strerror or error}") from error
    if sys.platform != "win32" and mode & _OTHERS and not others_may_read:
        raise FileRefused(path, "others may read the key in it", f"chmod 600 {path}")
    return data.decode("utf-8-sig", "replace")


class Keyring:
    """The system's keyring, if the package ``keyring`` is there: the passwords of the users named as the providers, for ``outwatch``."""

    def __init__(self, providers: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        """Take the names of all that will be asked for, so that it is opened once."""
        self._providers = providers
        self._environ = os.environ if environ is None else environ
        self._found: dict[str, str] | None = None

    def password(self, provider: str) -> str | None:
        """Give the password of a provider, or ``None``."""
        if self._found is None:
            self._found = self._opened() if self._is_there() else {}
        return self._found.get(provider)

    def _is_there(self) -> bool:
        """Tell whether it makes sense to ask: on Linux keyrings live on the session bus, and servers have none."""
        if sys.platform == "linux" and not self._environ.get("DBUS_SESSION_BUS_ADDRESS"):
            return False
        return importlib.util.find_spec("keyring") is not None

    def _opened(self) -> dict[str, str]:
        """Ask for all passwords in a thread that is waited for some seconds: a locked keyring asks its owner, who may not be there."""
        found: dict[str, str] = {}

        def ask() -> None:
            try:
                keyring: Any = importlib.import_module("keyring")
                errors: Any = importlib.import_module("keyring.errors")
                with contextlib.suppress(errors.KeyringError):
                    found.update({name: text for name in self._providers if (text := keyring.get_password("outwatch", name))})
            except (AttributeError, ImportError, OSError, RuntimeError, ValueError):  # what its back ends raise where there is no desktop
                return

        thread = threading.Thread(target=ask, name="keyring", daemon=True)
        thread.start()
        thread.join(_KEYRING_SECONDS)
        return dict(found)
