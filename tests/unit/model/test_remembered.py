"""What is remembered of objects, by the very object."""

from outwatch.model.records import Process
from outwatch.model.remembered import Remembered


def test_another_object_that_looks_the_same_is_not_known() -> None:
    known: Remembered[Process, str] = Remembered(10)
    one, other = Process(pid=1), Process(pid=1)
    assert known.put(one, "first") == "first"
    assert (known.get(one), known.get(other)) == ("first", None)
    known.put(one, "second")
    assert (known.get(one), len(known)) == ("second", 1)


def test_the_oldest_goes_and_no_other_object_takes_its_place() -> None:
    known: Remembered[Process, int] = Remembered(100)
    kept = [Process(pid=number) for number in range(3)]
    for one in kept:
        known.put(one, 0)
    for number in range(1000):  # each is gone as soon as it is forgotten, and its number free for the next
        one = Process(pid=number)
        assert known.get(one) is None
        known.put(one, number)
    assert len(known) == 100
    assert [known.get(one) for one in kept] == [None, None, None]
