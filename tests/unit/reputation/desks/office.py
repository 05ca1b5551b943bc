"""A desk without a network: a provider and a client made for the purpose."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from outwatch.engine.health import Health
from outwatch.errors import LookupFailed, ReplyUnusable
from outwatch.model.records import Connection, Reputation
from outwatch.model.reputation import Indicator, IndicatorKind, Limit, LookupReply, LookupRequest
from outwatch.net.addresses import Scopes, parse_network
from outwatch.reputation.desk import Desk, Office
from outwatch.reputation.keys import Key
from outwatch.reputation.memory import Memory
from outwatch.reputation.settings import ProviderConfig

KEY = "canary-5a1f0c3e"
Answer = LookupReply | Exception | asyncio.Event
MAKE = Callable[..., Connection]


def at(number: int) -> Indicator:
    return Indicator("ip", f"8.8.8.{number}")


IP = at(1)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Oracle:
    """A provider whose replies are JSON: a state, or anything else for nonsense."""

    name: ClassVar[str] = "oracle"
    title: ClassVar[str] = "The Oracle"
    home: ClassVar[str] = "https://oracle.test"
    kinds: ClassVar[frozenset[IndicatorKind]] = frozenset({"ip", "domain"})
    limits: ClassVar[tuple[Limit, ...]] = ()
    needs_key: ClassVar[bool] = True
    key_header: ClassVar[str | None] = "x-key"
    key_form: ClassVar[str] = "Token {}"

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    def request(self, indicator: Indicator) -> LookupRequest | None:
        if self.fault is not None:
            raise self.fault
        return LookupRequest(path=f"/{indicator.value}", params=(("a", "1"),), headers=(("Accept", "x/y"),))

    def parse(self, indicator: Indicator, reply: LookupReply) -> Reputation:
        if reply.status != 200:
            return Reputation(provider="anybody", state="no_data")
        try:
            state: Any = msgspec.json.decode(reply.body)
        except ValueError:
            raise ReplyUnusable("broken JSON") from None
        if state == "raise":
            raise ZeroDivisionError
        return Reputation(provider="anybody", state=state, score=1.0, link=self.link(indicator))

    def link(self, indicator: Indicator) -> str | None:
        return f"https://oracle.test/about/{indicator.value}"


class FakeHttp:
    """Gives what it was told to give: a reply, an exception to raise, or an event to wait for."""

    def __init__(self) -> None:
        self.answers: defaultdict[str, list[Answer]] = defaultdict(list)
        self.asked: list[str] = []
        self.sent: list[Mapping[str, Any]] = []
        self.is_asked = asyncio.Event()

    async def get(self, url: str, **how: Any) -> LookupReply:
        self.asked.append(url)
        self.is_asked.set()
        self.sent.append(how)
        waiting = self.answers[url.rpartition("/")[2]] or self.answers["*"]
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            raise LookupFailed("released")
        if isinstance(answer, Exception):
            raise answer
        return answer


def says(state: str, **headers: str) -> LookupReply:
    """Give a reply of the oracle."""
    return LookupReply(status=200, headers=headers, body=msgspec.json.encode(state))


class Bench:
    """A desk and all that is around it."""

    def __init__(self, folder: Path, **office: Any) -> None:
        self.clock = Clock()
        self.http = FakeHttp()
        self.health = Health()
        self.folder = folder
        self.office = office

    def desk(self, config: ProviderConfig | None = None, provider: Any = None, public: Iterable[str] = (), **office: Any) -> Desk:
        """Open the desk of another run."""
        networks = [network for text in public if (network := parse_network(text)) is not None]
        shared = Office(
            memory=Memory(self.folder, self.health.problem, self.clock),
            http=self.http,  # type: ignore[arg-type]
            health=self.health,
            scopes=Scopes(networks),
            clock=self.clock,
            **{**self.office, **office},
        )
        return Desk(provider or Oracle(), config or ProviderConfig(), Key(KEY, "the variable ORACLE"), shared)


def ask(desk: Desk, *indicators: Indicator) -> list[Exception]:
    """Ask about indicators, one after another, as the slow lane does; gives what was raised."""
    raised: list[Exception] = []

    async def run() -> None:
        for indicator in indicators:
            assert desk.turn() == 0
            try:
                await desk.find(indicator, None)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - that is what is asked for
                raised.append(error)

    asyncio.run(run())
    return raised


Make = Callable[..., Bench]


def word(desk: Any, record: Connection) -> Reputation:
    """Give what a desk adds to a record."""
    (said,) = desk.enrich(record).outwatch.reputation
    assert isinstance(said, Reputation)
    return said
