"""What is asked of reputation services, and what comes back before it is understood."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from outwatch.model.records import Reputation

IndicatorKind = Literal["ip", "domain", "sha256"]

NAMED = "lookup"
"""The sensor of records that stand for an indicator which somebody has named, not for a connection."""


class Indicator(msgspec.Struct, frozen=True, order=True):
    """Something a service may know: a public address, a domain, or a file's checksum, in canonical form."""

    kind: IndicatorKind
    value: str


class Limit(msgspec.Struct, frozen=True):
    """At most ``count`` requests in any span of ``seconds``."""

    count: int
    seconds: float


class LookupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One GET: ``path`` and ``params`` below the service's base URL, and headers beside that with the key."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class LookupReply(msgspec.Struct, frozen=True, kw_only=True):
    """What a service answered: HTTP's status, headers by their names in lower case, and the body."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


@runtime_checkable
class ReputationProvider(Protocol):
    """Knows how one service is asked and what its replies mean; it sends nothing itself and never sees the key.

    ``home`` is the base URL, ``limits`` are those of a free key. The key goes into the header ``key_header`` as ``key_form`` says
    (``"Bearer {}"``). Services that answer without a key have ``needs_key`` false.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    home: ClassVar[str]
    kinds: ClassVar[frozenset[IndicatorKind]]
    limits: ClassVar[tuple[Limit, ...]]
    needs_key: ClassVar[bool]
    key_header: ClassVar[str | None]
    key_form: ClassVar[str]

    def request(self, indicator: Indicator) -> LookupRequest | None:
        """Give the request for an indicator, or ``None`` if this service knows nothing of its kind."""

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        """Read a reply with status 200, 204 or 404; ``ReplyUnusable`` if it is not what the service documents.

        ``checked_at`` is left to the caller.
        """

    def link(self, indicator: Indicator) -> str | None:
        """Give the page for people about an indicator."""
