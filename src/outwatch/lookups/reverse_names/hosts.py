"""The names that the administrator gave to addresses (hosts(5))."""

import sys
from pathlib import Path

from outwatch.net import domains
from outwatch.net.addresses import parse

_MOST = 4 << 20  # bytes; block lists of some 100,000 names live in such files
_MOST_NAMES = 4  # of one address


class HostsFile:
    """The system's hosts file, read again when it has changed."""

    def __init__(self, path: Path | None = None) -> None:
        """Take the file; the system's if none is given."""
        self._path = path or _system_path()
        self._names: dict[str, tuple[str, ...]] = {}
        self._changed: tuple[int, int] | None = None

    def names(self, ip: str) -> tuple[str, ...]:
        """Give the names of a canonical address, in the order of the file."""
        return self._names.get(ip, ())

    def refresh(self) -> None:
        """Read the file if it has changed; without a readable file there are no names."""
        try:
            facts = self._path.stat()
            if (facts.st_mtime_ns, facts.st_size) == self._changed:
                return
            with open(self._path, "rb") as file:
                data = file.read(_MOST)
            if len(data) == _MOST:  # the last line may have been cut
                data = data[: data.rfind(b"\n")]
            self._changed = facts.st_mtime_ns, facts.st_size
        except OSError:
            data, self._changed = b"", None
        self._names = _read(data)


def _read(data: bytes) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        address, *names = line.partition("#")[0].split()[: _MOST_NAMES + 1] or [""]
        host = parse(address) if names else None
        if host is not None:
            known = found.get(str(host), ())
            if len(known) == _MOST_NAMES:
                continue
            fresh = (name for name in map(domains.hostname, names) if name is not None)
            found[str(host)] = tuple(dict.fromkeys((*known, *fresh)))[:_MOST_NAMES]
    return found


def _system_path() -> Path:
    return Path(r"C:\Windows\System32\drivers\etc\hosts" if sys.platform == "win32" else "/etc/hosts")
