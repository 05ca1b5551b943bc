"""The slow lane: what takes time is asked here, once for each thing, and detection never waits for it."""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from outwatch.engine.health import Health
from outwatch.engine.waiting import Question, Waiting
from outwatch.errors import LookupFailed, LookupPostponed
from outwatch.model.interfaces import Lookup, Rationed
from outwatch.model.records import Connection, Record

_LONGEST_PAUSE = 2.0  # seconds: another process may have changed meanwhile how much may be asked


class Standing(NamedTuple):
    """How far a rationed look-up is: things found, still to be found, and the seconds until it may go on."""

    title: str
    found: int
    left: int
    pause: float


class _Line:
    """The questions of one look-up: those that wait, and those being asked."""

    def __init__(self, lookup: Lookup, capacity: int) -> None:
        self.lookup = lookup
        self.rationed = lookup if isinstance(lookup, Rationed) else None
        self.waiting = Waiting(capacity)
        self.running: dict[Hashable, Question] = {}
        self.at_work = 0  # tasks, also those that pass an answer on
        self.found = 0
        self.changed = asyncio.Event()
        self.paused_until = 0.0  # of the loop's clock

    def question(self, key: Hashable) -> Question | None:
        return self.running.get(key) or self.waiting.get(key)


class SlowLane:
    """Runs look-ups beside the pipeline; when one is answered, the connections that asked are issued again.

    Look-ups don't wait for each other: each has its own line, and asks as many things at once as it says (``Lookup.at_once``), the most
    suspicious first. A ``Rationed`` one says when it may ask at all.
    """

    def __init__(
        self,
        lookups: Sequence[Lookup],
        answered: Callable[[Iterable[str]], Awaitable[None]],
        health: Health,
        *,
        capacity: int = 20_000,
    ) -> None:
        """Keep at most ``capacity`` questions of each look-up waiting; more are counted as not checked."""
        self._lines = [_Line(lookup, capacity) for lookup in lookups]
        self._missing = [(line, line.lookup.missing) for line in self._lines]
        self._answered = answered
        self._health = health
        self._moved = asyncio.Event()
        self._deadline = math.inf
        self._pending: Counter[str] = Counter()

    def offer(self, records: Iterable[Record]) -> None:
        """Look through freshly judged records for what is missing; never blocks."""
        if not self._lines:
            return
        for record in records:
            if isinstance(record, Connection):
                for line, missing in self._missing:
                    try:
                        key = missing(record)
                    except Exception as error:  # noqa: BLE001 - the fence
                        self._health.part_failed(type(line.lookup).__name__, error)
                        continue
                    if key is not None:
                        self._ask(line, key, record)

    def is_pending(self, identity: str) -> bool:
        """Tell whether an answer about this connection is still awaited."""
        return self._pending[identity] > 0

    def standing(self) -> list[Standing]:
        """Say how far each rationed look-up is."""
        now = asyncio.get_running_loop().time()
        return [
            Standing(line.rationed.title, line.found, len(line.waiting) + len(line.running), max(0.0, line.paused_until - now))
            for line in self._lines
            if line.rationed is not None
        ]

    def _ask(self, line: _Line, key: Hashable, connection: Connection) -> None:
        """Let a connection wait for an answer."""
        level = connection.outwatch.score or 0
        question = line.question(key)
        if question is None:
            question = Question(connection, level=level)
            if not self._wait(line, key, question):
                return
            line.changed.set()
        elif key not in line.running:
            line.waiting.renew(key, level)
        if connection.id not in question.ids:
            question.ids[connection.id] = None
            self._pending[connection.id] += 1

    def _wait(self, line: _Line, key: Hashable, question: Question) -> bool:
        """Let a question wait; false if there is no room for it."""
        dropped = line.waiting.add(key, question)
        if dropped is not None:
            self._health.not_checked["queue full"] += 1
            self._let_go(dropped.ids)
        return dropped is not question

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(self._serve(line, group))

    async def drain(self, patience: float) -> None:
        """Wait until nothing is left to ask, at most ``patience`` seconds; what is left then is given up and counts as not checked.

        It ends sooner if nothing that is left may be asked within that time.
        """
        self._deadline = asyncio.get_running_loop().time() + patience
        while not self._settled(self._deadline):
            self._moved.clear()
            try:
                async with asyncio.timeout_at(self._deadline):
                    await self._moved.wait()
            except TimeoutError:
                break
        await self._give_up()

    def hurry(self, patience: float) -> None:
        """Let ``drain``, if it waits, wait no longer than that."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + patience)
        self._moved.set()

    async def _serve(self, line: _Line, group: asyncio.TaskGroup) -> None:
        """Begin one question after another, as many at once as the look-up says, whenever it may ask."""
        loop = asyncio.get_running_loop()
        while True:
            line.changed.clear()
            pause = math.inf
            if line.waiting and line.at_work < line.lookup.at_once:
                pause = self._pause(line)
                line.paused_until = loop.time() + pause
                self._moved.set()
            if not pause:
                key, question = line.waiting.pop()
                line.running[key] = question
                line.at_work += 1
                group.create_task(self._work(line, key, question))
                continue
            try:
                async with asyncio.timeout(min(pause, _LONGEST_PAUSE) if line.waiting else None):
                    await line.changed.wait()
            except TimeoutError:
                continue

    def _pause(self, line: _Line) -> float:
        """Give the seconds until a line may ask one thing more."""
        if line.rationed is None:
            return 0.0
        try:
            return line.rationed.turn()
        except Exception as error:  # noqa: BLE001 - the fence
            self._health.part_failed(type(line.lookup).__name__, error)
            return math.inf

    async def _work(self, line: _Line, key: Hashable, question: Question) -> None:
        """Ask one thing and pass on that there is an answer; a question that is postponed waits again."""
        try:
            postponed = False
            try:
                await line.lookup.find(key, question.connection)
            except LookupPostponed:
                postponed = True
            except LookupFailed as error:
                self._health.not_checked[error.reason] += 1
            except Exception as error:  # noqa: BLE001 - the fence
                name = type(line.lookup).__name__
                self._health.part_failed(name, error)
                self._health.not_checked[f"{name} failed"] += 1
            finally:
                del line.running[key]
            if postponed:
                self._wait(line, key, question)
            else:
                line.found += 1
                await self._answer(question.ids)
        finally:
            line.at_work -= 1
            line.paused_until = 0.0  # what was found may have changed when it may go on
            line.changed.set()
            self._moved.set()

    async def _answer(self, ids: dict[str, None]) -> None:
        self._let_go(ids)
        await self._answered(ids)

    def _let_go(self, ids: Iterable[str]) -> None:
        """Note that these connections wait for one answer less."""
        for identity in ids:
            self._pending[identity] -= 1
            if not self._pending[identity]:
                del self._pending[identity]

    def _settled(self, deadline: float) -> bool:
        """Tell whether nothing is left to ask, or nothing that may be asked before the deadline."""
        if any(line.at_work for line in self._lines):
            return False
        return all(not line.waiting or line.paused_until > deadline for line in self._lines)

    async def _give_up(self) -> None:
        """Count what is left; of rationed look-ups, issue the connections again, because they know now what they did not get and why."""
        given_up: dict[str, None] = {}
        for line in self._lines:
            if line.rationed is None:
                left = len(line.waiting) + len(line.running)
                if left:
                    self._health.not_checked["out of time"] += left
                continue
            for key, question in line.running.items():
                self._health.not_checked[line.rationed.give_up(key)] += 1
                given_up |= question.ids
            while line.waiting:
                key, question = line.waiting.pop()
                self._health.not_checked[line.rationed.give_up(key)] += 1
                self._let_go(question.ids)
                given_up |= question.ids
        if given_up:
            await self._answered(given_up)
