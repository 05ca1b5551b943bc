"""How a process came to run: who logged in and from where, and what began it: cron, systemd, ssh, a desktop, a container.

Units and sessions are the system's own word (cgroups, systemd, the audit id that a login leaves on all that follows from it).
Where there are none, the programs above in the chain of parents have to do.
"""

import ipaddress
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from outwatch.enrichers.identity.units import Place
from outwatch.guard.text import cleaned
from outwatch.model.records import Process, StartedBy

_UNSET = "4294967295"  # loginuid and sessionid of what nobody's login began
_UTMP = struct.Struct("<hxxi32s4s32s256shhiii16s20x")  # utmp(5) on 64-bit Linux, and on 32-bit x86: 384 bytes
_USER_PROCESS = 7
_MOST_UTMP = 4096  # entries
_EARLY = 1.0  # seconds that an entry may seem older than its process

_CRON = frozenset({"cron", "crond", "anacron", "atd", "fcron", "dcron"})
_SSH = frozenset({"sshd", "sshd-session", "dropbear"})
_CRON_UNIT = re.compile(r"(?:cron|crond|anacron|atd|fcron|cronie)\.service\Z")
_SSH_UNIT = re.compile(r"(?:sshd?|dropbear)(?:@.*)?\.service\Z")
_DESKTOP_SERVICE = re.compile(r"(?:gdm|lightdm|sddm|xdm|kdm|lxdm|ly|greetd)")
_GRAPHICAL = frozenset({"x11", "wayland", "mir"})
_DESKTOP_UNIT = re.compile(r"(?:app-|gnome-|plasma-|kde|xdg-|org\.(?:gnome|kde)\.|dbus-:)")
_DESKTOP = frozenset(
    {"gnome-shell", "gnome-session-binary", "plasmashell", "ksmserver", "xfce4-session", "cinnamon-session", "mate-session"}
)
_SYSTEM = ("/usr/", "/sbin/", "/bin/", "/lib/", "/opt/")
_MOST_PARENTS = 64


@dataclass(frozen=True, slots=True)
class Session:
    """What the system tells of one login session."""

    uid: str | None = None
    user: str | None = None
    address: str | None = None
    service: str | None = None
    kind: str | None = None


def audit_id(text: str) -> str | None:
    """Read ``/proc/PID/loginuid`` or ``sessionid`` (audit(8)): a number, or nothing if no login began this process."""
    text = text.strip()
    return text if text.isascii() and text.isdigit() and len(text) < len(_UNSET) + 1 and text != _UNSET else None


def session_of(text: str) -> Session:
    """Read a session's file of systemd-logind (``/run/systemd/sessions/ID``): lines ``KEY=value``, quoted as C does at need."""
    values: dict[str, str] = {}
    for line in text.splitlines()[:200]:
        key, sign, value = line.partition("=")
        if sign:
            values[key] = value.strip('"')
    uid = values.get("UID", "")
    return Session(
        uid=uid if uid.isdigit() else None,
        user=values.get("USER") or None,
        address=_address(values["REMOTE_HOST"]) if values.get("REMOTE") == "1" and values.get("REMOTE_HOST") else None,
        service=values.get("SERVICE") or None,
        kind=values.get("TYPE") or None,
    )


def login_in_utmp(data: bytes, process: Process) -> Session | None:
    """Find the login that a process descends from in the file of logins: the entry of one of its parents."""
    logins: dict[int, tuple[str, str, bytes, int]] = {}
    usable = len(data) - len(data) % _UTMP.size
    for kind, pid, _, _, user, host, _, _, _, seconds, _, address in _UTMP.iter_unpack(data[: min(usable, _MOST_UTMP * _UTMP.size)]):
        if kind == _USER_PROCESS:
            logins[pid] = (_text(user), _text(host), address, seconds)
    for one in _upwards(process):
        found = logins.get(one.pid or 0)
        if found is None or one.start is None or found[3] + _EARLY < one.start.timestamp():  # else the pid belonged to somebody before
            continue
        user, host, raw, _ = found
        return Session(user=user or None, address=_raw_address(raw) or (_address(host) if host else None))
    return None


def started_by(place: Place, session: Session | None, process: Process) -> StartedBy | None:
    """Say what began a process in the end."""
    if place.container is not None or place.pod is not None:
        return "container"
    service, kind = (session.service or "", session.kind or "") if session else ("", "")
    if service in _CRON:
        return "cron"
    if service in _SSH:
        return "ssh"
    if kind in _GRAPHICAL or _DESKTOP_SERVICE.match(service):
        return "desktop"
    if service in {"login", "remote"}:
        return "login"
    return _by_unit(place) or _by_parents(process)


def _by_unit(place: Place) -> StartedBy | None:
    unit = place.unit
    if unit is None or place.session is not None or unit == "init.scope":
        return None
    if place.user is not None:
        return "desktop" if place.user_unit is not None and _DESKTOP_UNIT.match(place.user_unit) else "systemd"
    if _CRON_UNIT.match(unit):
        return "cron"
    return "ssh" if _SSH_UNIT.match(unit) else "systemd"


def _by_parents(process: Process) -> StartedBy | None:
    """Take the nearest parent that is known to begin what others want; only if it seems to be where such programs are installed."""
    for one in _upwards(process.parent):
        path = one.executable or ""
        name = path.rpartition("/")[2]
        if not path.startswith(_SYSTEM):
            continue
        if name in _CRON:
            return "cron"
        if name in _SSH:
            return "ssh"
        if name in _DESKTOP:
            return "desktop"
    return None


def _upwards(process: Process | None) -> Iterator[Process]:
    for _ in range(_MOST_PARENTS):
        if process is None:
            return
        yield process
        process = process.parent


def _address(text: str) -> str | None:
    """Give the address or name that a login came from; a terminal of X11 (``:0``) is none."""
    text = cleaned(text, 255)
    return None if text.startswith(":") and not text.startswith("::") else text


def _raw_address(raw: bytes) -> str | None:
    if not any(raw):
        return None
    return str(ipaddress.ip_address(raw if any(raw[4:]) else raw[:4]))


def _text(raw: bytes) -> str:
    return cleaned(raw.partition(b"\0")[0], 255)
