"""What name servers answered, by who asked and by where the name led, within bounds: the oldest goes first."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from outwatch.model.records import Name

_MOST_OF_ONE = 8  # names that are remembered of one key


class Answer(Struct, frozen=True, gc=False):
    """A name that led to an address; ``asked`` is what a connection gets of it.

    ``heard`` is when, and ``before`` when it was heard for the last time before that, in seconds since the epoch, to be held against the
    start of connections. ``since`` and ``until``: from when to when it holds, in seconds of a clock that nobody sets.
    ``is_trusted``: a name server of this system said so.
    """

    name: str
    asked: Name
    heard: float
    before: float
    since: float
    until: float
    is_trusted: bool


class Answers:
    """Answers by some key, such as an address: of each key the last few names.

    ``get`` gives those of a key, the last one last, whether they still hold or not.
    """

    __slots__ = ("_count", "_most", "_table", "get")

    def __init__(self, most: int) -> None:
        """Bound the answers of all keys together."""
        self._most = most
        self._table: OrderedDict[str, tuple[Answer, ...]] = OrderedDict()
        self._count = 0
        self.get: Callable[[str], Sequence[Answer] | None] = self._table.get  # no function of our own around it: it is asked all the time

    def __len__(self) -> int:
        """Count the answers."""
        return self._count

    def add(self, key: str, answer: Answer) -> int:
        """Remember an answer in the place of what the same name led to before; gives how many that still hold had to go for it."""
        there = self._table.pop(key, ())
        before = len(there)
        for at, one in enumerate(there):
            if one.name == answer.name:
                answer = replace(answer, before=one.heard)
                there = there[:at] + there[at + 1 :]
                break
        gone = 0
        if len(there) >= _MOST_OF_ONE:
            gone = there[0].until >= answer.since
            there = there[1:]
        self._table[key] = there = (*there, answer)
        self._count += len(there) - before
        while self._count > self._most:
            _, oldest = self._table.popitem(last=False)
            self._count -= len(oldest)
            gone += sum(one.until >= answer.since for one in oldest)
        return gone


class AnswersOfProcesses:
    """Answers by who asked, and by where they led; a process drives out its own oldest, not those of others.

    ``of`` gives those of a process.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        """Bound the answers of all processes together, and those of one."""
        self._most, self._most_of_one = most, most_of_one
        self._table: OrderedDict[str, Answers] = OrderedDict()
        self._count = 0
        self.of: Callable[[str], Answers | None] = self._table.get

    def __len__(self) -> int:
        """Count the answers."""
        return self._count

    def add(self, asker: str, ip: str, answer: Answer) -> None:
        """Remember an answer; if there are too many, those go whose process has asked for nothing for longest."""
        there = self._table.pop(asker, None) or Answers(self._most_of_one)
        self._table[asker] = there
        self._count -= len(there)
        there.add(ip, answer)
        self._count += len(there)
        while self._count > self._most:
            _, oldest = self._table.popitem(last=False)
            self._count -= len(oldest)


def chosen(answers: Sequence[Answer], began: datetime, now: float, allowance: float | None = None) -> Answer | None:
    """Choose the one that a connection goes back to: heard last before it began, else first after that; of those that still hold.

    ``allowance``: seconds since it was heard that count instead of what the answer allows.
    """
    if len(answers) == 1:  # as nearly always
        one = answers[0]
        return one if (now <= one.until if allowance is None else now - one.since <= allowance) else None
    if allowance is None:
        holding = [one for one in answers if now <= one.until]
    else:
        holding = [one for one in answers if now - one.since <= allowance]
    if len(holding) <= 1:
        return holding[0] if holding else None
    start = began.timestamp()
    found, when = None, 0.0
    for one in holding:
        heard = one.heard if one.heard <= start else one.before
        if heard <= start and (found is None or heard >= when):
            found, when = one, heard
    return found or holding[0]
