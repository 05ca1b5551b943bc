"""Which machine this is."""

import hashlib
import hmac
import socket
from pathlib import Path

from outwatch.guard.text import cleaned
from outwatch.model.records import Boot, Host

# The key that makes our host id another one than the machine id: machine-id(5) asks programs not to show it to others.
_APPLICATION = b"outwatch host.id"


def this_host() -> Host:
    """Give name, a stable id derived from the machine id, and the boot id, as far as this system has them."""
    machine = _read("/etc/machine-id") or _read("/var/lib/dbus/machine-id")
    if machine == "uninitialized":  # machine-id(5): an image that has not been started yet
        machine = None
    boot = _read("/proc/sys/kernel/random/boot_id")
    return Host(
        name=cleaned(socket.gethostname(), 255) or None,
        id=hmac.new(machine.encode(), _APPLICATION, hashlib.sha256).hexdigest()[:32] if machine else None,
        boot=Boot(id=boot) if boot else None,
    )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text("ascii", "replace").strip() or None
    except OSError:
        return None
