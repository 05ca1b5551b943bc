"""Container and service of a process, from the path of its cgroup: ``/proc/PID/cgroup`` (cgroups(7), systemd.slice(5)).

The kernel keeps these paths, and a process can't leave its own. Below ``user@1000.service`` that user makes the names, so
what is found there is that user's word: ``Place.user``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MOST = 1 << 16  # bytes that are read
_MOST_LINES = 64
_ID = r"([0-9a-f]{64})"
# What a step of the path looks like, and which runtime writes it so. The first that fits the innermost step counts.
_SCOPES = (
    ("docker", re.compile(rf"docker-{_ID}\.scope")),
    ("podman", re.compile(rf"libpod-{_ID}\.scope")),
    ("podman", re.compile(rf"libpod-(?:payload-)?{_ID}")),
    ("containerd", re.compile(rf"cri-containerd-{_ID}\.scope")),
    ("containerd", re.compile(rf"(?:[^:]+:)?cri-containerd:{_ID}")),
    ("containerd", re.compile(rf"nerdctl-{_ID}\.scope")),
    ("cri-o", re.compile(rf"crio-{_ID}(?:\.scope)?")),
    ("lxc", re.compile(r"lxc(?:\.payload)?[./]([\w.-]+)")),
    ("systemd-nspawn", re.compile(r"machine-([\w.\\-]+)\.scope")),
    ("systemd-nspawn", re.compile(r"systemd-nspawn@([\w.\\-]+)\.service")),
)
_BARE = re.compile(rf"{_ID}\Z")  # below a folder that says whose it is
_FOLDERS = {"docker": "docker", "libpod_parent": "podman", "crio": "cri-o", "garden": "garden", "buildkit": "buildkit"}
_CONMON = "libpod-conmon-"
_UUID = "[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}"
_POD = re.compile(rf"(?:kubepods\S*-)?pod({_UUID}|[0-9a-f]{{32}})(?:\.slice)?(?:\Z|:)")
_UNIT = re.compile(r"[^/]+\.(?:service|scope|socket|mount|swap)\Z")
_MANAGER = re.compile(r"user@(\d+)\.service\Z")
_SESSION = re.compile(r"session-([A-Za-z0-9]+)\.scope\Z")
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the machine a process belongs; ``user`` is the uid of the user whose own manager made the innermost name."""

    container: str | None = None
    runtime: str | None = None
    pod: str | None = None
    unit: str | None = None
    user_unit: str | None = None
    session: str | None = None
    user: str | None = None


NOWHERE = Place()


def place_of(cgroup: str) -> Place:
    """Read the text of ``/proc/PID/cgroup``, of version 2 or 1; what it does not say is ``None``."""
    paths = _paths(cgroup[:_MOST])
    if not paths:
        return NOWHERE
    unit = user_unit = session = user = None
    for path in paths[:2]:  # of version 2, and systemd's own of version 1
        unit, user_unit, session, user = _unit_of(path)
        if unit is not None:
            break
    for path in paths:
        container, runtime, pod = _container_of(path)
        if container is not None or pod is not None:
            return Place(container, runtime, pod, unit, user_unit, session, _user_of(path))
    return Place(unit=unit, user_unit=user_unit, session=session, user=user)


def _paths(text: str) -> list[str]:
    """List the paths, those of the managers of services first: ``0::/path``, ``1:name=systemd:/path``, ``4:memory:/path``."""
    found: list[tuple[int, str]] = []  # rank and path
    for line in text.splitlines()[:_MOST_LINES]:
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not (number.isdigit() and colon and path.startswith("/")) or path == "/":
            continue
        while path.startswith("/.."):  # above the root of our own cgroup namespace
            path = path.removeprefix("/..")
        rank = 0 if not controllers else 1 if controllers == "name=systemd" else 2
        found.append((rank, path))
    return [path for _, path in sorted(found, key=lambda one: one[0])]


def _steps(path: str) -> list[str]:
    return [step for step in path.removesuffix(" (deleted)").split("/") if step]


def _container_of(path: str) -> tuple[str | None, str | None, str | None]:
    """Give container, runtime and pod of one path: of containers inside of each other the innermost."""
    steps = _steps(path)
    pod = next((_pod_uid(found[1]) for step in reversed(steps) if (found := _POD.search(step))), None)
    for at in range(len(steps) - 1, -1, -1):
        step, above = steps[at], steps[at - 1] if at else ""
        if step.startswith(_CONMON):  # its keeper, outside of it
            continue
        for runtime, shape in _SCOPES:
            found = shape.fullmatch(step)
            if found is not None:
                return _plain(found[1]), runtime, pod
        if _BARE.match(step):
            if pod is not None and _POD.search(above):
                return step, None, pod  # any runtime of Kubernetes
            if above in _FOLDERS:
                return step, _FOLDERS[above], pod
        if above == "lxc":
            return step, "lxc", pod
    return None, None, pod


def _pod_uid(text: str) -> str:
    """Spell a pod's uid as Kubernetes does: slices have underscores, static pods no dashes at all."""
    return text.replace("_", "-")


def _unit_of(path: str) -> tuple[str | None, str | None, str | None, str | None]:
    """Give the unit of the system's manager, that of a user's own, the session and that user.

    Units stand directly in slices. What lies below a unit was named by whoever runs in it.
    """
    unit, below = _first_unit(_steps(path))
    if unit is None:
        return None, None, None, None
    manager, found = _MANAGER.match(unit), _SESSION.match(unit)
    if manager is not None:
        return unit, _outside(_first_unit(below)[0] or ""), None, manager[1]
    return _outside(unit), None, found[1] if found else None, None


def _first_unit(steps: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Give the unit that a path leads to through slices, and the steps below it."""
    for at, step in enumerate(steps):
        if not step.endswith(".slice"):
            return (_plain(step), steps[at + 1 :]) if _UNIT.match(step) else (None, ())
    return None, ()


def _outside(unit: str) -> str | None:
    """Leave out the scope that a runtime makes for one container: its name is the container's."""
    return None if not unit or any(shape.fullmatch(unit) for _, shape in _SCOPES) else unit


def _user_of(path: str) -> str | None:
    """Give the user below whose manager a path lies."""
    return next((found[1] for step in _steps(path) if (found := _MANAGER.match(step))), None)


def _plain(name: str) -> str:
    r"""Undo systemd's escapes in a name (``\x2d``), where that gives visible text."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if 0x20 < int(found[1], 16) < 0x7F else found[0], name)  # noqa: PLR2004 - ASCII
