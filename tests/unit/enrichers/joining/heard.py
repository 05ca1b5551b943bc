"""Answers of name servers and connections to order, and a clock that moves when it is told to."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Literal

from outwatch.model.records import (
    Connection,
    Destination,
    Dns,
    DnsAnswer,
    DnsQuestion,
    Event,
    Findings,
    Name,
    NameOrigin,
    Network,
    Process,
    Question,
)

Make = Callable[..., Connection]
WHEN = datetime(2025, 7, 10, 12, tzinfo=UTC)
OURS, STRANGE = "192.0.2.53", "198.51.100.53"
HOME, CONTAINER = "4026531840", "4026532999"
IP, OTHER = "203.0.113.9", "203.0.113.10"
ME, SOMEBODY, STRANGER = (Process(pid=pid, entity_id=entity) for pid, entity in enumerate(("me", "somebody", "stranger"), 1))
Action = Literal["connect", "traffic", "close"]


class Clock:
    """The seconds since the machine was started, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def question(
    name: str,
    *ips: str,
    ttl: int = 300,
    process: Process | None = ME,
    resolver: str = OURS,
    at: datetime = WHEN,
    namespace: str | None = HOME,
) -> Question:
    return Question(
        id="q",
        timestamp=at,
        network=Network(transport="udp", direction="egress", namespace=namespace),
        destination=Destination(ip=resolver, port=53),
        process=process,
        dns=Dns(question=DnsQuestion(name=name, type="A"), answers=tuple(DnsAnswer(data=ip, ttl=ttl) for ip in ips) or None),
    )


_IDS = count()


def call(
    make: Make,
    *,
    ip: str = IP,
    process: Process | None = ME,
    at: datetime = WHEN,
    said: tuple[Name, ...] = (),
    name: str | None = None,
    namespace: str | None = HOME,
    action: Action = "connect",
) -> Connection:
    """Make a connection that was never seen before, unless it is given a name of its own."""
    return make(
        id=name or f"c{next(_IDS)}",
        ip=ip,
        process=process,
        timestamp=at,
        event=Event(action=action, start=at),
        network=Network(transport="tcp", direction="egress", namespace=namespace),
        outwatch=Findings(names=said or None),
    )


def best(connection: Connection) -> tuple[str | None, list[tuple[str, NameOrigin | None, bool | None]]]:
    return connection.destination.domain, [(one.name, one.origin, one.confirmed) for one in connection.outwatch.names or ()]
