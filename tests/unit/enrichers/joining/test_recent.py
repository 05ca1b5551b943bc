"""What is remembered of the latest connections."""

from outwatch.enrichers.names.recent import Recent


def test_the_latest_half_is_always_there_and_never_more_than_all() -> None:
    recent: Recent[int] = Recent(20)
    for number in range(95):
        recent.put(str(number), number)
        assert len(recent) <= 20
        for near in range(max(0, number - 9), number + 1):
            assert recent.get(str(near)) == near
    assert recent.get("0") is None


def test_what_is_dropped_is_gone_wherever_it_was() -> None:
    recent: Recent[int] = Recent(4)
    for number in range(3):
        recent.put(str(number), number)
    recent.drop("0")
    recent.drop("2")
    recent.drop("no such")
    assert [recent.get(str(number)) for number in range(3)] == [None, 1, None]
    assert len(recent) == 1
