"""One service's desk: it knows what the service has said, asks what it has not, within its quota, and says why an answer is missing."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeVar

from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import LookupFailed, LookupPostponed, ReplyUnusable
from outwatch.model.records import Connection, Reputation
from outwatch.model.reputation import Indicator, LookupReply, ReputationProvider
from outwatch.net.addresses import Scopes
from outwatch.net.http import Http
from outwatch.reputation.breaker import Breaker, Patience
from outwatch.reputation.keys import Key
from outwatch.reputation.memory import DAY, Known, Memory
from outwatch.reputation.quota import Pause, Quota, limits
from outwatch.reputation.settings import ProviderConfig
from outwatch.reputation.subjects import Outbound, indicator_of

Mode = Literal["auto", "cached", "off"]
_FOR = {"malicious": DAY, "suspicious": DAY, "clean": DAY}  # seconds that an answer stands
_FOR_NO_DATA = DAY / 4
_LASTING = frozenset({"malicious", "suspicious"})  # shown until there is a newer answer
_FIRST_AGAIN, _LONGEST_AGAIN = 60.0, 900.0  # seconds until what failed is asked again
_REMEMBERED = 20_000
_MOST = 5 << 20  # bytes of a reply
_READ = frozenset({200, 204, 404})
_REFUSED = frozenset({401, 403})
_TOO_MANY, _UNAVAILABLE, _BROKEN = 429, 503, 500  # from the last on the service itself has failed
_UNKNOWN = Known(None, 0.0)
_MOMENT = 0.2  # seconds
_NEAR = 20 * 3600.0  # seconds within which the time of day says it all
_Said = TypeVar("_Said")


class _Obstacle(NamedTuple):
    """Why a service is not asked, until when (0: that is not known), and the words for that."""

    why: str
    until: float = 0.0
    again: str = ""


_OUT_OF_TIME = _Obstacle("out of time")


@dataclass(frozen=True, kw_only=True)
class Office:
    """What all desks share. ``scopes`` holds what the user calls public and private.

    A desk in an office that ``keeps`` asks about no record that has an answer, however old that is.
    """

    memory: Memory
    http: Http
    health: Health
    scopes: Scopes
    mode: Mode = "auto"
    keeps: bool = False
    clock: Callable[[], float] = time.time


class Desk:
    """Adds one service's word to connections: its answer, or ``not_checked`` with the reason."""

    def __init__(self, provider: ReputationProvider, config: ProviderConfig, key: Key | None, office: Office) -> None:
        """Take what knows the service, its settings and its key."""
        self.name, self.title = provider.name, provider.title
        self.at_once = config.at_once
        self.base = (config.base_url or provider.home).rstrip("/")
        self._provider = provider
        self._anywhere = config.base_url is not None
        self._key = key
        self._source = self.name if self.base == provider.home.rstrip("/") else f"{self.name} {self.base}"
        self._memory, self._http, self._health = office.memory, office.http, office.health
        self._mode, self._keeps, self._clock = office.mode, office.keeps, office.clock
        self._seconds = config.seconds
        fixed = config.per_minute is not None or config.per_day is not None
        allowed = limits(provider.limits, config.per_minute, config.per_day)
        self.quota = Quota(office.memory, self._source, allowed, longest=config.seconds, fixed=fixed, clock=office.clock)
        self._breaker, self._patience = Breaker(office.clock), Patience(config.seconds)
        self._open: dict[asyncio.Timeout, float] = {}
        self._granted: deque[int] = deque()
        self._asking: set[Hashable] = set()
        self._outbound = Outbound(office.scopes)
        self._known: OrderedDict[Indicator, Known] = OrderedDict()
        self._given_up: dict[Indicator, str] = {}
        self._key_refused: str | None = None
        self._looked, self._found = -math.inf, _OUT_OF_TIME
        self.unanswered: set[Indicator] = set()
        """Those that nobody answered, although they could be asked about again."""

    def enrich(self, connection: Connection) -> Connection:
        """Add the service's word on the destination; one that is there is replaced by a newer answer only."""
        indicator = self._about(connection)
        if indicator is None:
            return connection
        said = self._word(indicator)
        there = connection.outwatch.reputation or ()
        before = next((one for one in there if one.provider == self.name), None)
        if said == before or (before is not None and not _is_newer(said, before)):
            return connection
        merged = (*there, said) if before is None else tuple(said if one is before else one for one in there)
        return replace(connection, outwatch=replace(connection.outwatch, reputation=merged))

    def _about(self, connection: Connection) -> Indicator | None:
        """Give what the service can say something of: the public destination of an outgoing connection that is not our own."""
        indicator = indicator_of(connection)
        return indicator if indicator is not None and self._can_know(indicator) else None

    def _can_know(self, indicator: Indicator) -> bool:
        """Tell whether the service has a request for an indicator; some know one version of IP only."""
        if indicator.kind not in self._provider.kinds:
            return False
        if indicator in self._known:
            return True
        return self._fenced(indicator, lambda: self._provider.request(indicator)) is not None

    def _word(self, indicator: Indicator) -> Reputation:
        """Give the answer that stands, or why there is none."""
        if self._mode == "off":
            return self._not_checked(indicator, "look-ups are off")
        known = self._recalled(indicator)
        now = self._clock()
        if known.reputation is not None and (known.until > now or known.reputation.state in _LASTING):
            return known.reputation
        return self._not_checked(indicator, self._why(indicator, known))

    def _not_checked(self, indicator: Indicator, why: str) -> Reputation:
        return Reputation(provider=self.name, state="not_checked", why=why, link=self._provider.link(indicator))

    def _why(self, indicator: Indicator, known: Known) -> str:
        if not self._may_be_sent(indicator):
            return f"not a public {'address' if indicator.kind == 'ip' else 'name'}"
        if known.reputation is None and known.why and known.until > self._clock():
            return f"{known.why}; asked again from {_clock_time(known.until, self._clock())}"
        if self._mode == "cached":
            return "not in the cache" if known.reputation is None else "the answer in the cache is too old"
        return self._given_up.get(indicator) or self._key_refused or "no answer yet"

    def _recalled(self, indicator: Indicator) -> Known:
        """Give what is known, from the database when it is asked for the first time."""
        known = self._known.get(indicator)
        if known is None:
            known = self._memory.get(self._source, indicator) or _UNKNOWN
            self._keep(indicator, known)
            self._count_missing(indicator, known)
        return known

    def _count_missing(self, indicator: Indicator, known: Known) -> None:
        """Count an indicator as not checked if it is not even going to be asked about."""
        if known.reputation is not None:
            return
        if known.until > self._clock():
            self.unanswered.add(indicator)
            self._health.not_checked[f"{self.name}: {known.why}"] += 1
        elif self._mode == "cached":
            self._health.not_checked[f"{self.name}: not in the cache"] += 1

    def _keep(self, indicator: Indicator, known: Known) -> None:
        self._known[indicator] = known
        self._known.move_to_end(indicator)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def missing(self, connection: Connection) -> Hashable | None:
        """Name the destination if the service is to be asked about it."""
        if self._mode != "auto":
            return None
        indicator = self._about(connection)
        if indicator is None or indicator in self._given_up or not self._may_be_sent(indicator):
            return None
        if self._recalled(indicator).until > self._clock():
            return None
        return None if self._keeps and self._has_answer(connection) else indicator

    def _has_answer(self, connection: Connection) -> bool:
        there = connection.outwatch.reputation or ()
        return any(one.provider == self.name and one.state != "not_checked" for one in there)

    def _may_be_sent(self, indicator: Indicator) -> bool:
        return self._outbound.may_be_sent(indicator, anywhere=self._anywhere)

    def turn(self) -> float:
        """Give the seconds until the service may be asked once more; after 0 that request is counted."""
        if self._key_refused:
            return math.inf
        pause = self._breaker.pause()
        if pause:
            return pause
        number = self.quota.take()
        if isinstance(number, Pause):
            return max(number.until - self._clock(), 0.001)
        self._breaker.begins()
        self._granted.append(number)
        return 0.0

    async def find(self, key: Hashable, connection: Connection) -> None:  # noqa: ARG002 - the indicator says it all
        """Ask the service, and remember what it says, also that it says nothing."""
        number = self._granted.popleft() if self._granted else None
        if not isinstance(key, Indicator):
            return
        known = self._memory.get(self._source, key)
        if known is not None and known.until > self._clock():  # another process has asked meanwhile
            self._keep(key, known)
            self._breaker.abandoned()
            if number is not None:
                self.quota.give_back(number)
            self._count_missing(key, known)
            return
        began = self._clock()
        self._asking.add(key)
        try:
            reply = await self._reply(key)
            self.quota.heard(reply.headers)
            self._understand(key, reply, began)
        except LookupFailed as error:
            raise LookupFailed(f"{self.name}: {error.reason}") from None
        finally:
            self._asking.discard(key)
            self._breaker.abandoned()
            if number is not None:
                self.quota.done(number)
            self._memory.flush()

    async def _reply(self, indicator: Indicator) -> LookupReply:
        """Send the request and give the reply; ``LookupFailed``, noted, if there is none."""
        asked = self._fenced(indicator, lambda: self._provider.request(indicator))
        if asked is None:
            raise self._failure(indicator, "knows nothing of this kind")
        headers = [*asked.headers, *self._authorization()]
        clock, began = asyncio.get_running_loop().time, self._clock()
        since = clock()
        try:
            async with asyncio.timeout(self._patience.seconds) as limit:
                self._open[limit] = since
                try:
                    reply = await self._http.get(
                        f"{self.base}{asked.path}", headers=headers, params=asked.params, most=_MOST, seconds=self._seconds
                    )
                finally:
                    del self._open[limit]
        except (LookupFailed, TimeoutError) as error:
            self._breaker.failed(began)
            raise self._failure(indicator, error.reason if isinstance(error, LookupFailed) else "timeout") from None
        self._patience.answered(clock() - since)
        for other, begun in self._open.items():
            if not other.expired():
                other.reschedule(min(other.when() or math.inf, begun + self._patience.seconds))
        return reply

    def _authorization(self) -> tuple[tuple[str, str], ...]:
        name = self._provider.key_header
        return ((name, self._key.header(self._provider.key_form)),) if self._key is not None and name is not None else ()

    def _understand(self, indicator: Indicator, reply: LookupReply, began: float) -> None:
        """Remember what a reply says; ``LookupPostponed`` or ``LookupFailed`` if it says nothing of the indicator."""
        if reply.status == _TOO_MANY or (reply.status == _UNAVAILABLE and "retry-after" in reply.headers):
            self._breaker.worked()
            self.quota.refused(reply.headers)
            raise LookupPostponed
        self.quota.accepted()
        if reply.status in _READ:
            try:
                said = self._fenced(indicator, lambda: self._provider.parse(indicator, reply))
            except ReplyUnusable as error:
                self._breaker.failed(began)
                raise self._failure(indicator, error.reason) from None
            self._breaker.worked()
            self._remember(indicator, said)
            return
        if reply.status >= _BROKEN:
            self._breaker.failed(began)
            raise self._failure(indicator, f"the service failed ({reply.status})")
        self._breaker.worked()
        if reply.status in _REFUSED and self._key is not None:
            self._key_refused = f"key refused ({reply.status})"
            self._health.problem(
                f"{self.title}: {self._key.origin} holds a key that the service refuses ({reply.status}); it is not asked any more"
            )
            raise LookupPostponed  # so it is counted at the end, as all the others
        raise self._failure(indicator, f"refused ({reply.status})")

    def _fenced(self, indicator: Indicator, ask: Callable[[], _Said]) -> _Said:
        """Call the provider; if it raises what it must not, that stands as a failure, so that it is not asked for ever."""
        before = self._known.get(indicator)
        failures = before.failures if before else 0
        self._keep(indicator, Known(None, self._clock() + _LONGEST_AGAIN, "its part failed", failures + 1))
        try:
            said = ask()
        except ReplyUnusable:
            self._put_back(indicator, before)
            raise
        self._put_back(indicator, before)
        return said

    def _put_back(self, indicator: Indicator, before: Known | None) -> None:
        if before is None:
            del self._known[indicator]
        else:
            self._keep(indicator, before)

    def _remember(self, indicator: Indicator, said: Reputation) -> None:
        now = self._clock()
        said = replace(said, provider=self.name, checked_at=datetime.fromtimestamp(now, UTC))
        known = Known(said, now + _FOR.get(said.state, _FOR_NO_DATA))
        self.unanswered.discard(indicator)
        self._keep(indicator, known)
        self._memory.put(self._source, indicator, known)

    def _failure(self, indicator: Indicator, reason: str) -> LookupFailed:
        """Note that there is no answer, and when to ask again: ever later, if that happens again and again."""
        before = self._known.get(indicator, _UNKNOWN)
        wait = min(_LONGEST_AGAIN, _FIRST_AGAIN * 2 ** min(before.failures, 10))
        lasting = before.reputation if before.reputation is not None and before.reputation.state in _LASTING else None
        known = Known(lasting, self._clock() + wait, reason, before.failures + 1)
        self.unanswered.add(indicator)
        self._keep(indicator, known)
        self._memory.put(self._source, indicator, known)
        return LookupFailed(reason)

    def give_up(self, key: Hashable) -> str:
        """Note why an indicator is not answered at the end, and when it could go on; gives what that is counted under."""
        obstacle = _OUT_OF_TIME if key in self._asking else self._obstacle()
        if isinstance(key, Indicator):
            again = f", {obstacle.again} {_clock_time(obstacle.until, self._clock())}" if obstacle.until else ""
            self._given_up[key] = f"{obstacle.why}{again}"
            self.unanswered.add(key)
        return f"{self.name}: {obstacle.why}"

    def _obstacle(self) -> _Obstacle:
        """Say what keeps the service from being asked just now, and until when; it holds for a moment, as thousands may be given up."""
        now = self._clock()
        if not 0 <= now - self._looked < _MOMENT:
            self._looked, self._found = now, self._look()
        return self._found

    def _look(self) -> _Obstacle:
        if self._key_refused:
            return _Obstacle(self._key_refused)
        if self._breaker.until is not None:
            return _Obstacle("the service does not answer", self._breaker.until, "asked again from")
        pause = self.quota.pause()
        return _OUT_OF_TIME if pause is None else _Obstacle(pause.why, pause.until, "free again at")

    def resumes(self) -> float:
        """Give the time from which the service may be asked again about one of those that are ``unanswered``."""
        first = min((self._known.get(one, _UNKNOWN).until for one in self.unanswered), default=0.0)
        return max(first, self._obstacle().until)

    def wants(self, indicator: Indicator) -> bool:
        """Tell whether the service would be asked about an indicator."""
        fits = self._can_know(indicator) and self._may_be_sent(indicator)
        return fits and self._recalled(indicator).until <= self._clock()

    def answers(self, indicator: Indicator) -> bool:
        """Tell whether an answer stands, so that nothing needs to be asked."""
        return self._can_know(indicator) and self._word(indicator).state != "not_checked"


def _is_newer(said: Reputation, before: Reputation) -> bool:
    """Tell whether one word replaces another: an answer that of before it, and anything the lack of one."""
    if before.state == "not_checked":
        return True
    if said.state == "not_checked" or said.checked_at is None:
        return False
    return before.checked_at is None or said.checked_at > before.checked_at


def _clock_time(until: float, now: float) -> str:
    """Spell a time for people, in their zone: without the day if it is near."""
    local = datetime.fromtimestamp(until).astimezone()
    return f"{local:%H:%M}" if until - now < _NEAR else f"{local:%Y-%m-%d %H:%M}"
