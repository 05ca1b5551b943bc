"""What outwatch itself adds to a record: where its facts come from, what was found, and how it was judged."""

from typing import Annotated, Literal

import msgspec

from outwatch.model.branches import (
    AutonomousSystem,
    Band,
    Branch,
    Count,
    Fact,
    Family,
    FileState,
    Geo,
    NameOrigin,
    PackageManager,
    Process,
    ScriptKind,
    StartedBy,
    Text,
    Time,
    WhyUnknown,
)


class Detection(Branch, frozen=True, kw_only=True):
    """One reason: which detector, how many points (0 to 100, negative lowers), why, and on what evidence.

    ``techniques`` are MITRE ATT&CK ids, ``source`` says where the knowledge comes from. Within a ``family``
    only the strongest reason counts (``engine/verdict.py``).
    """

    detector: Text
    points: float
    reason: Text
    family: Family | None = None
    evidence: dict[str, Fact] = msgspec.field(default_factory=dict)
    techniques: tuple[str, ...] = ()
    source: Text | None = None


class Name(Branch, frozen=True, kw_only=True):
    """A name of the destination, where it comes from, and whether that was confirmed."""

    name: Text
    origin: NameOrigin | None = None
    confirmed: bool | None = None


class Unknown(Branch, frozen=True, kw_only=True):
    """Why the process of a connection can't be named."""

    unknown: WhyUnknown


class Reputation(Branch, frozen=True, kw_only=True):
    """What one provider knows of a destination; ``why`` belongs to ``not_checked``.

    ``score`` is the service's own number, as its page shows it. Of its ``engines`` so many call the destination ``malicious`` or
    ``suspicious``; ``reports`` is how often others complained; ``allow_listed`` that the service vouches for it.
    """

    provider: Text
    state: Literal["malicious", "suspicious", "clean", "no_data", "not_checked"]
    why: Text | None = None
    score: float | None = None
    checked_at: Time | None = None
    link: Text | None = None
    malicious: Count | None = None
    suspicious: Count | None = None
    engines: Count | None = None
    reports: Count | None = None
    allow_listed: bool | None = None
    tags: tuple[str, ...] | None = None
    as_: AutonomousSystem | None = msgspec.field(default=None, name="as")
    geo: Geo | None = None


class Listed(Branch, frozen=True, kw_only=True):
    """An entry of an indicator list, or of a list of well-known things, that covers the destination: which list, and its very words.

    ``confidence`` is 0 to 100; ``note`` is what the list says of the entry.
    """

    list_: Text = msgspec.field(name="list")
    entry: Text
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    first_seen: Time | None = None
    last_seen: Time | None = None
    note: Text | None = None


class Script(Branch, frozen=True, kw_only=True):
    """What an interpreter or a wrapper was told to run: a file, a module, or inline code by its checksum's first digits.

    It stands in the arguments, so whoever runs the process chose it, and may have changed it since. ``loads`` is other code that they name
    to be run first, such as a Java agent.
    """

    kind: ScriptKind | None = None
    name: Text | None = None
    loads: tuple[str, ...] | None = None


class Package(Branch, frozen=True, kw_only=True):
    """The package that an executable belongs to, and whether the file still is what the package brought."""

    name: Text | None = None
    version: Text | None = None
    manager: PackageManager | None = None
    matches: bool | None = None


class ProgramFile(Branch, frozen=True, kw_only=True):
    """The very file that a process executed, in the kernel's words; a name or a link may lead elsewhere by now.

    ``device`` is spelled ``major:minor`` as in ``/proc/PID/mountinfo``, ``mount_namespace`` is the number of that in which it was executed.
    """

    device: Text | None = None
    inode: Text | None = None
    mount_namespace: Text | None = None


class Changed(Branch, frozen=True, kw_only=True):
    """Another file was at the executable's path before: its checksum, when it was seen last, and when the present one was seen first.

    ``by_package`` is true if a package brought the present one, unchanged: an update.
    """

    sha256: Text | None = None
    last_seen: Time | None = None
    first_seen: Time | None = None
    by_package: bool | None = None


class Login(Branch, frozen=True, kw_only=True):
    """Who logged in, and from where; it stays the same through ``su`` and ``sudo``. ``user`` is the account's name, ``id`` its number."""

    id: Text | None = None
    user: Text | None = None
    address: Text | None = None


class Findings(Branch, frozen=True, kw_only=True):
    """What outwatch itself adds to a record (the ``outwatch.*`` keys).

    ``count`` is how many connections the record stands for (absent: one), ``shared_with`` names other processes that used its socket.
    ``own`` is true for outwatch's own traffic, ``open_files`` are those its process holds open (only if asked for),
    ``last_seen`` is when a connection that had not ended was seen last (rows of reports).
    ``indicators`` are entries of lists of bad things that cover the destination, ``warnings`` those of lists of well-known ones.
    ``encrypted_dns`` is the resolver that a connection asks so that nobody can listen, ``no_name`` why a name is missing.
    ``executable`` says what is odd about the executable's file: ``deleted``, ``memfd``, ``replaced`` (the path leads to another
    file now), ``other_namespace`` (the path belongs to another mount namespace). ``verdict`` is absent where nothing was judged.
    ``file`` is that file itself, as the kernel knows it, ``changed`` what was at its path before.
    ``cgroup`` is the group of processes that it was in when it called, as a path of cgroups(7), version 2.
    ``subject`` is the program across runs, ``unit`` the service or session of the system's manager that it belongs to, ``user_unit``
    that of the user's own, ``pod`` a Kubernetes pod's uid, ``started_by`` what began it in the end.
    """

    sensor: Text | None = None
    attribution: Literal["exact", "inferred"] | Unknown | None = None
    count: Count | None = None
    subject: Text | None = None
    shared_with: tuple[Process, ...] | None = None
    executable: FileState | None = None
    file: ProgramFile | None = None
    changed: Changed | None = None
    cgroup: Text | None = None
    script: Script | None = None
    package: Package | None = None
    unit: Text | None = None
    user_unit: Text | None = None
    pod: Text | None = None
    started_by: StartedBy | None = None
    login: Login | None = None
    open_files: tuple[str, ...] | None = None
    own: bool | None = None
    last_seen: Time | None = None
    names: tuple[Name, ...] | None = None
    encrypted_dns: Text | None = None
    no_name: Text | None = None
    verdict: Band | None = None
    score: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    reasons: tuple[Detection, ...] | None = None
    reputation: tuple[Reputation, ...] | None = None
    indicators: tuple[Listed, ...] | None = None
    warnings: tuple[Listed, ...] | None = None
