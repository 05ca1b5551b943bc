"""What records are made of, in the words of the Elastic Common Schema: frozen branches, and the values in them."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

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

Text = Annotated[str, msgspec.Meta(min_length=1)]
"""What is not known is left out, never empty: a line that holds empty texts is mended when it is read (``wire.py``)."""
Fact = Text | int | float | bool | tuple[str, ...]

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Branch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A branch of a record."""


class Boot(Branch, frozen=True, kw_only=True):
    """Which start of the machine: ``id`` changes at every boot."""

    id: Text | None = None


class Host(Branch, frozen=True, kw_only=True):
    """The machine a record comes from."""

    name: Text | None = None
    id: Text | None = None
    boot: Boot | None = None


class Event(Branch, frozen=True, kw_only=True):
    """What happened and when the connection opened and closed, where that was seen."""

    action: Action | None = None
    start: Time | None = None
    end: Time | None = None


class Network(Branch, frozen=True, kw_only=True):
    """Transport (``tcp``, ``udp``, ``icmp``, ``raw:253`` …), who opened it, and where the other end lives."""

    transport: Text | None = None
    direction: Direction | None = None
    community_id: Text | None = None
    scope: Scope | None = None
    namespace: Text | None = None


class Source(Branch, frozen=True, kw_only=True):
    """The end that opened the connection, and the application bytes it sent.

    ``address`` holds the address as it was seen, where its canonical form in ``ip`` looks different.
    """

    ip: Text | None = None
    port: Port | None = None
    bytes: Count | None = None
    address: Text | None = None


class Organization(Branch, frozen=True, kw_only=True):
    """Who runs a network."""

    name: Text | None = None


class AutonomousSystem(Branch, frozen=True, kw_only=True):
    """The network an address belongs to."""

    number: Count | None = None
    organization: Organization | None = None


class Geo(Branch, frozen=True, kw_only=True):
    """Country of an address, ISO 3166-1 alpha-2."""

    country_iso_code: Text | None = None


class Destination(Branch, frozen=True, kw_only=True):
    """The end that was called, with its best known name; ``bytes`` are those it sent."""

    ip: Text | None = None
    port: Port | None = None
    bytes: Count | None = None
    address: Text | None = None
    domain: Text | None = None
    service: Text | None = None
    as_: AutonomousSystem | None = msgspec.field(default=None, name="as")
    geo: Geo | None = None


class Hash(Branch, frozen=True, kw_only=True):
    """Checksums of an executable, lower-case hexadecimal."""

    sha256: Text | None = None


class Process(Branch, frozen=True, kw_only=True):
    """A process and, through ``parent``, those it descends from.

    ``entity_id`` names one process for good: a reused pid gets another (identity is pid and start time).
    """

    pid: Count | None = None
    name: Text | None = None
    executable: Text | None = None
    args: tuple[str, ...] | None = None
    start: Time | None = None
    entity_id: Text | None = None
    hash: Hash | None = None
    working_directory: Text | None = None
    parent: "Process | None" = None


class User(Branch, frozen=True, kw_only=True):
    """The account a process runs as."""

    id: Text | None = None
    name: Text | None = None


class Container(Branch, frozen=True, kw_only=True):
    """The container a process runs in, and what runs that (``docker``, ``podman`` …)."""

    id: Text | None = None
    name: Text | None = None
    runtime: Text | None = None


class TlsClient(Branch, frozen=True, kw_only=True):
    """What a TLS client said at its hello."""

    server_name: Text | None = None
    ja4: Text | None = None


class Tls(Branch, frozen=True, kw_only=True):
    """TLS facts of a connection."""

    client: TlsClient | None = None


class DnsQuestion(Branch, frozen=True, kw_only=True):
    """The name and record type asked for."""

    name: Text | None = None
    type: Text | None = None


class DnsAnswer(Branch, frozen=True, kw_only=True):
    """What was answered, and for how many seconds that holds: an address, or (``CNAME``) the name that ``name`` stands for."""

    name: Text | None = None
    type: Text | None = None
    data: Text | None = None
    ttl: Count | None = None


class Dns(Branch, frozen=True, kw_only=True):
    """A DNS question and what came back."""

    question: DnsQuestion | None = None
    response_code: Text | None = None
    resolved_ip: tuple[str, ...] | None = None
    answers: tuple[DnsAnswer, ...] | None = None
