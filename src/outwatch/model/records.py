"""The records: what outwatch says, in the words of the Elastic Common Schema.

A record is one tree of frozen structs with the shape of its JSON line, so nothing has to be translated on the way
out (``docs/decisions/0003-records-are-their-wire-form.md``). What is not known is ``None`` and absent on the wire;
times are aware UTC. The contract of the keys: ``docs/reference/records.md``.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

SCHEMA = "outwatch/1"

Action = Literal["connect", "existing", "traffic", "close", "failed"]
Direction = Literal["egress", "ingress"]
Scope = Literal["public", "private", "loopback", "link_local", "multicast", "unclassified"]
Band = Literal["allowed", "normal", "low", "medium", "high", "critical"]
Family = Literal["intelligence", "process", "name", "timing", "rarity", "tls"]
NameOrigin = Literal["dns", "sni", "http", "quic", "ptr", "hosts"]
WhyUnknown = Literal["exited", "no_rights", "kernel", "other_namespace"]
FileState = Literal["deleted", "memfd", "replaced", "other_namespace"]
ScriptKind = Literal["script", "module", "jar", "class", "code", "program", "applet", "stdin"]
StartedBy = Literal["cron", "systemd", "ssh", "desktop", "login", "container"]
PackageManager = Literal["dpkg", "rpm", "pacman", "apk"]
Fact = str | int | float | bool | tuple[str, ...]

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A branch of a record."""


class Boot(_Part, frozen=True, kw_only=True):
    """Which start of the machine: ``id`` changes at every boot."""

    id: str | None = None


class Host(_Part, frozen=True, kw_only=True):
    """The machine a record comes from."""

    name: str | None = None
    id: str | None = None
    boot: Boot | None = None


class Event(_Part, frozen=True, kw_only=True):
    """What happened and when the connection opened and closed, where that was seen."""

    action: Action | None = None
    start: Time | None = None
    end: Time | None = None


class Network(_Part, frozen=True, kw_only=True):
    """Transport (``tcp``, ``udp``, ``icmp``, ``raw:253`` …), who opened it, and where the other end lives."""

    transport: str | None = None
    direction: Direction | None = None
    community_id: str | None = None
    scope: Scope | None = None
    namespace: str | None = None


class Source(_Part, frozen=True, kw_only=True):
    """The end that opened the connection, and the application bytes it sent.

    ``address`` holds the address as it was seen, where its canonical form in ``ip`` looks different.
    """

    ip: str | None = None
    port: Port | None = None
    bytes: Count | None = None
    address: str | None = None


class Organization(_Part, frozen=True, kw_only=True):
    """Who runs a network."""

    name: str | None = None


class AutonomousSystem(_Part, frozen=True, kw_only=True):
    """The network an address belongs to."""

    number: Count | None = None
    organization: Organization | None = None


class Geo(_Part, frozen=True, kw_only=True):
    """Country of an address, ISO 3166-1 alpha-2."""

    country_iso_code: str | None = None


class Destination(_Part, frozen=True, kw_only=True):
    """The end that was called, with its best known name; ``bytes`` are those it sent."""

    ip: str | None = None
    port: Port | None = None
    bytes: Count | None = None
    address: str | None = None
    domain: str | None = None
    service: str | None = None
    as_: AutonomousSystem | None = msgspec.field(default=None, name="as")
    geo: Geo | None = None


class Hash(_Part, frozen=True, kw_only=True):
    """Checksums of an executable, lower-case hexadecimal."""

    sha256: str | None = None


class Process(_Part, frozen=True, kw_only=True):
    """A process and, through ``parent``, those it descends from.

    ``entity_id`` names one process for good: a reused pid gets another (identity is pid and start time).
    """

    pid: Count | None = None
    name: str | None = None
    executable: str | None = None
    args: tuple[str, ...] | None = None
    start: Time | None = None
    entity_id: str | None = None
    hash: Hash | None = None
    working_directory: str | None = None
    parent: "Process | None" = None


class User(_Part, frozen=True, kw_only=True):
    """The account a process runs as."""

    id: str | None = None
    name: str | None = None


class Container(_Part, frozen=True, kw_only=True):
    """The container a process runs in, and what runs that (``docker``, ``podman`` …)."""

    id: str | None = None
    name: str | None = None
    runtime: str | None = None


class TlsClient(_Part, frozen=True, kw_only=True):
    """What a TLS client said at its hello."""

    server_name: str | None = None
    ja4: str | None = None


class Tls(_Part, frozen=True, kw_only=True):
    """TLS facts of a connection."""

    client: TlsClient | None = None


class DnsQuestion(_Part, frozen=True, kw_only=True):
    """The name and record type asked for."""

    name: str | None = None
    type: str | None = None


class DnsAnswer(_Part, frozen=True, kw_only=True):
    """An address that was answered, and for how many seconds that holds."""

    data: str | None = None
    ttl: Count | None = None


class Dns(_Part, frozen=True, kw_only=True):
    """A DNS question and what came back."""

    question: DnsQuestion | None = None
    response_code: str | None = None
    resolved_ip: tuple[str, ...] | None = None
    answers: tuple[DnsAnswer, ...] | None = None


class Detection(_Part, frozen=True, kw_only=True):
    """One reason: which detector, how many points (0 to 100, negative lowers), why, and on what evidence.

    ``techniques`` are MITRE ATT&CK ids, ``source`` says where the knowledge comes from. Within a ``family``
    only the strongest reason counts (``engine/verdict.py``).
    """

    detector: str
    points: float
    reason: str
    family: Family | None = None
    evidence: dict[str, Fact] = {}
    techniques: tuple[str, ...] = ()
    source: str | None = None


class Name(_Part, frozen=True, kw_only=True):
    """A name of the destination, where it comes from, and whether that was confirmed."""

    name: str
    origin: NameOrigin | None = None
    confirmed: bool | None = None


class Unknown(_Part, frozen=True, kw_only=True):
    """Why the process of a connection can't be named."""

    unknown: WhyUnknown


class Reputation(_Part, frozen=True, kw_only=True):
    """What one provider knows of a destination; ``why`` belongs to ``not_checked``.

    ``score`` is the service's own number, as its page shows it. Of its ``engines`` so many call the destination ``malicious`` or
    ``suspicious``; ``reports`` is how often others complained; ``allow_listed`` that the service vouches for it.
    """

    provider: str
    state: Literal["malicious", "suspicious", "clean", "no_data", "not_checked"]
    why: str | None = None
    score: float | None = None
    checked_at: Time | None = None
    link: str | None = None
    malicious: Count | None = None
    suspicious: Count | None = None
    engines: Count | None = None
    reports: Count | None = None
    allow_listed: bool | None = None
    tags: tuple[str, ...] | None = None
    as_: AutonomousSystem | None = msgspec.field(default=None, name="as")
    geo: Geo | None = None


class Listed(_Part, frozen=True, kw_only=True):
    """An entry of an indicator list, or of a list of well-known things, that covers the destination: which list, and its very words.

    ``confidence`` is 0 to 100; ``note`` is what the list says of the entry.
    """

    list_: str = msgspec.field(name="list")
    entry: str
    confidence: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    first_seen: Time | None = None
    last_seen: Time | None = None
    note: str | None = None


class Script(_Part, frozen=True, kw_only=True):
    """What an interpreter or a wrapper was told to run: a file, a module, or inline code by its checksum's first digits.

    It stands in the arguments, so whoever runs the process chose it, and may have changed it since. ``loads`` is other code that they name
    to be run first, such as a Java agent.
    """

    kind: ScriptKind | None = None
    name: str | None = None
    loads: tuple[str, ...] | None = None


class Package(_Part, frozen=True, kw_only=True):
    """The package that an executable belongs to, and whether the file still is what the package brought."""

    name: str | None = None
    version: str | None = None
    manager: PackageManager | None = None
    matches: bool | None = None


class Login(_Part, frozen=True, kw_only=True):
    """Who logged in, and from where; it stays the same through ``su`` and ``sudo``. ``user`` is the account's name, ``id`` its number."""

    id: str | None = None
    user: str | None = None
    address: str | None = None


class Findings(_Part, frozen=True, kw_only=True):
    """What outwatch itself adds to a record (the ``outwatch.*`` keys).

    ``count`` is how many connections the record stands for (absent: one), ``shared_with`` names other processes that used its socket.
    ``own`` is true for outwatch's own traffic, ``open_files`` are those its process holds open (only if asked for),
    ``last_seen`` is when a connection that had not ended was seen last (rows of reports).
    ``indicators`` are entries of lists of bad things that cover the destination, ``warnings`` those of lists of well-known ones.
    ``encrypted_dns`` is the resolver that a connection asks so that nobody can listen, ``no_name`` why a name is missing.
    ``executable`` says what is odd about the executable's file: ``deleted``, ``memfd``, ``replaced`` (the path leads to another
    file now), ``other_namespace`` (the path belongs to another mount namespace). ``verdict`` is absent where nothing was judged.
    ``subject`` is the program across runs, ``unit`` the service or session of the system's manager that it belongs to, ``user_unit``
    that of the user's own, ``pod`` a Kubernetes pod's uid, ``started_by`` what began it in the end.
    """

    sensor: str | None = None
    attribution: Literal["exact", "inferred"] | Unknown | None = None
    count: Count | None = None
    subject: str | None = None
    shared_with: tuple[Process, ...] | None = None
    executable: FileState | None = None
    script: Script | None = None
    package: Package | None = None
    unit: str | None = None
    user_unit: str | None = None
    pod: str | None = None
    started_by: StartedBy | None = None
    login: Login | None = None
    open_files: tuple[str, ...] | None = None
    own: bool | None = None
    last_seen: Time | None = None
    names: tuple[Name, ...] | None = None
    encrypted_dns: str | None = None
    no_name: str | None = None
    verdict: Band | None = None
    score: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    reasons: tuple[Detection, ...] | None = None
    reputation: tuple[Reputation, ...] | None = None
    indicators: tuple[Listed, ...] | None = None
    warnings: tuple[Listed, ...] | None = None


def _schema() -> Literal["outwatch/1"]:
    """Give the schema's name through a factory, so that it is always written."""
    return SCHEMA  # type: ignore[return-value]


def _counts() -> dict[str, int]:
    return {}


NO_EVENT, NO_NETWORK, NO_SOURCE, NO_DESTINATION, NO_FINDINGS = Event(), Network(), Source(), Destination(), Findings()


class _JudgedRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="kind"):
    """What connections and questions have in common.

    ``revision`` 0 means "not yet issued": live sensors leave it there and the pipeline counts.
    """

    schema: Literal["outwatch/1"] = msgspec.field(default_factory=_schema)
    id: str
    revision: Count = msgspec.field(default_factory=int)  # a factory, so that 0 is written too
    timestamp: Time = msgspec.field(name="@timestamp")
    event: Event = NO_EVENT
    host: Host | None = None
    network: Network = NO_NETWORK
    source: Source = NO_SOURCE
    destination: Destination = NO_DESTINATION
    process: Process | None = None
    user: User | None = None
    container: Container | None = None
    dns: Dns | None = None
    outwatch: Findings = NO_FINDINGS


class Connection(_JudgedRecord, frozen=True, kw_only=True, tag="connection"):
    """One connection as far as it is known; a higher ``revision`` of the same ``id`` replaces what was said before."""

    tls: Tls | None = None


class Question(_JudgedRecord, frozen=True, kw_only=True, tag="dns"):
    """A DNS question by itself; ``destination`` is the resolver that was asked."""


class _Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What records about the watching itself have in common."""

    schema: Literal["outwatch/1"] = msgspec.field(default_factory=_schema)
    host: Host | None = None
    sensor: str | None = None


class EventsLost(_Note, frozen=True, kw_only=True, tag="loss"):
    """Events that happened between ``from`` and ``until`` and that ``layer`` could not keep: ``count`` of them."""

    layer: str
    count: Count
    from_: Time | None = msgspec.field(default=None, name="from")
    until: Time | None = None


class Summary(_Note, frozen=True, kw_only=True, tag="summary"):
    """The last line of a look: what was seen, and what could not be.

    ``seen`` counts connections, ``verdicts`` those judged by band, ``not_judged`` the rest (accepted ones);
    ``unattributed`` by why; ``lost`` by layer; ``not_checked`` by reason; ``without_fact`` by detector that had nothing
    to look at. ``broken_lines`` were in the input and no records; ``problems`` are parts and rules that could not be used.
    """

    event: Event | None = None
    seen: int = msgspec.field(default_factory=int)
    not_judged: int = msgspec.field(default_factory=int)
    verdicts: dict[str, int] = msgspec.field(default_factory=_counts)
    scopes: dict[str, int] = msgspec.field(default_factory=_counts)
    unattributed: int = msgspec.field(default_factory=int)
    unattributed_why: dict[str, int] = msgspec.field(default_factory=_counts)
    lost: dict[str, int] = msgspec.field(default_factory=_counts)
    blind: tuple[str, ...] = msgspec.field(default_factory=lambda: ())
    not_checked: dict[str, int] = msgspec.field(default_factory=_counts)
    without_fact: dict[str, int] = msgspec.field(default_factory=_counts)
    broken_lines: int = 0
    problems: tuple[str, ...] = ()


Judged = Connection | Question
Record = Connection | Question | EventsLost | Summary
Observation = Connection | Question | EventsLost


def stands_for(seen: Judged) -> int:
    """Give the connections that a record stands for: more than one when a storm was counted together."""
    count = seen.outwatch.count
    return 1 if count is None else count


def asked_name(seen: Judged) -> str | None:
    """Give the name a record is about: the best one of a connection's destination, or the one a question asks for."""
    if isinstance(seen, Question):
        return seen.dns.question.name if seen.dns and seen.dns.question else None
    return seen.destination.domain
