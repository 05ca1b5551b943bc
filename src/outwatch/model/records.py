"""The records: what outwatch says, in the words of the Elastic Common Schema.

A record is one tree of frozen structs with the shape of its JSON line, so nothing has to be translated on the way
out (``docs/decisions/0003-records-are-their-wire-form.md``). What is not known is ``None`` and absent on the wire;
times are aware UTC. The contract of the keys: ``docs/reference/records.md``.
"""

from typing import Literal

import msgspec

from outwatch.model.branches import (
    Action,
    AutonomousSystem,
    Band,
    Boot,
    Container,
    Count,
    Destination,
    Direction,
    Dns,
    DnsAnswer,
    DnsQuestion,
    Event,
    Fact,
    Family,
    FileState,
    Geo,
    Hash,
    Host,
    NameOrigin,
    Network,
    Organization,
    PackageManager,
    Port,
    Process,
    Scope,
    ScriptKind,
    Source,
    StartedBy,
    Text,
    Time,
    Tls,
    TlsClient,
    User,
    WhyUnknown,
)
from outwatch.model.findings import (
    Changed,
    Detection,
    Findings,
    Listed,
    Login,
    Name,
    Package,
    ProgramFile,
    Reputation,
    Script,
    Unknown,
)

__all__ = [
    "NO_DESTINATION",
    "NO_EVENT",
    "NO_FINDINGS",
    "NO_NETWORK",
    "NO_SOURCE",
    "SCHEMA",
    "Action",
    "AutonomousSystem",
    "Band",
    "Boot",
    "Changed",
    "Connection",
    "Container",
    "Count",
    "Destination",
    "Detection",
    "Direction",
    "Dns",
    "DnsAnswer",
    "DnsQuestion",
    "Event",
    "EventsLost",
    "Fact",
    "Family",
    "FileState",
    "Findings",
    "Geo",
    "Hash",
    "Host",
    "Judged",
    "Listed",
    "Login",
    "Name",
    "NameOrigin",
    "Network",
    "Observation",
    "Organization",
    "Package",
    "PackageManager",
    "Port",
    "Process",
    "ProgramFile",
    "Question",
    "Record",
    "Reputation",
    "Scope",
    "Script",
    "ScriptKind",
    "Source",
    "StartedBy",
    "Summary",
    "Text",
    "Time",
    "Tls",
    "TlsClient",
    "Unknown",
    "User",
    "WhyUnknown",
    "asked_name",
    "stands_for",
]

SCHEMA = "outwatch/1"


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
    id: Text
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
    sensor: Text | None = None


class EventsLost(_Note, frozen=True, kw_only=True, tag="loss"):
    """Events that happened between ``from`` and ``until`` and that ``layer`` could not keep: ``count`` of them."""

    layer: Text
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
