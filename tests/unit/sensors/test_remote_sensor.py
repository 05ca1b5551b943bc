"""What is believed of another process that captures: records, but no verdicts, no lines that are none, and no end that nobody saw."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.engine.health import Health
from outwatch.errors import SensorUnavailable
from outwatch.model import wire
from outwatch.model.records import (
    Connection,
    Detection,
    Event,
    EventsLost,
    Findings,
    Hash,
    Name,
    Network,
    Process,
    Question,
    Reputation,
    Source,
    Summary,
)
from outwatch.sensors.remote import BROKEN, Following, Framing, Remote, RemoteConfig, observed

Make = Callable[..., Connection]


def remote(health: Health) -> Remote:
    return Remote(RemoteConfig(socket="/nonexistent/capture.sock"), health=health)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_come(size: int) -> None:
    data = b"one\ntwo\n\n" + b"long" * 30 + b"\nlast\nbegun"
    framing = Framing(most=100)
    found = [line for at in range(0, len(data), size) for line in framing.feed(data[at : at + size])]
    assert found == [b"one", b"two", b"", b"last"]
    assert framing.too_long == 1
    assert framing.feed(b" and ended\n") == [b"begun and ended"]


@pytest.mark.parametrize(("length", "taken"), [(99, True), (100, True), (101, False), (100_000, False)])
def test_a_line_may_be_as_long_as_a_record_and_no_longer(length: int, *, taken: bool) -> None:
    framing = Framing(most=100)
    assert framing.feed(b"x" * length + b"\nnext\n") == ([b"x" * length, b"next"] if taken else [b"next"])
    assert framing.too_long == (not taken)


@pytest.mark.security
def test_of_a_line_without_end_nothing_is_kept() -> None:
    framing = Framing(most=1000)
    for _ in range(10_000):
        assert framing.feed(b"x" * 999) == []
    assert len(framing._begun) <= 1000
    assert framing.too_long == 1
    assert framing.feed(b"\nnext\n") == [b"next"]


@pytest.mark.security
@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"null", b"[]", b"\0", b"\xff\xfe", b'{"kind":"connection"}', b'{"kind":"nothing"}', b'{"kind":"summary","seen":"x"}',
        b'{"kind":"loss","layer":"x","count":-1}', b"[" * 100_000, b'{"kind":"connection","id":"a","@timestamp":"2025-13-45T00:00:00Z"}',
        b'{"kind":"connection","id":"a","@timestamp":"2025-01-01T00:00:00Z","outwatch":{"count":NaN}}', b"x" * (wire.MOST + 1),
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_counted_and_costs_no_other(connection: Make, line: bytes) -> None:
    health = Health()
    good = connection(id="good")
    read = list(remote(health)._records([wire.encode(good), line, wire.encode(good)]))
    assert read == [good, good]
    assert health.lost == {BROKEN: 1}


@pytest.mark.parametrize("kind", ["alert", "hunt"])
def test_kinds_that_are_no_observation_are_passed_over(kind: str) -> None:
    health = Health()
    assert list(remote(health)._records([f'{{"kind":"{kind}","id":"x"}}'.encode()])) == []
    assert not health.lost


@pytest.mark.security
def test_a_verdict_that_comes_with_a_record_is_not_believed(connection: Make) -> None:
    findings = Findings(
        sensor="ebpf",
        attribution="exact",
        executable="memfd",
        names=(Name(name="a.example", origin="dns"),),
        verdict="allowed",
        score=0,
        reasons=(Detection(detector="allow_list", points=-100, reason="trust me"),),
        reputation=(Reputation(provider="virustotal", state="clean"),),
    )
    seen = observed(connection(outwatch=findings, revision=7))
    assert isinstance(seen, Connection)
    assert seen.revision == 0
    assert seen.outwatch == replace(findings, verdict=None, score=None, reasons=None, reputation=None)


def test_losses_and_questions_pass_and_a_summary_is_no_observation(connection: Make) -> None:
    loss = EventsLost(layer="kernel ring", count=3)
    question = Question(id="q", timestamp=connection().timestamp)
    assert observed(loss) is loss
    assert observed(question) == question
    assert observed(Summary()) is None


def test_what_the_capture_can_not_see_is_what_this_can_not_see() -> None:
    sensor = remote(Health())
    assert sensor.blind()
    list(sensor._records([wire.encode(Summary(blind=("the dark side",)))]))
    assert list(sensor.blind()) == ["the dark side"]


def test_without_a_capture_the_remedy_is_said() -> None:
    with pytest.raises(SensorUnavailable, match="outwatch capture"):
        remote(Health()).check()


def of(make: Make, identity: str, port: int, **changes: Any) -> Connection:
    given: dict[str, Any] = {"source": Source(ip="192.0.2.1", port=port), "revision": 0, **changes}
    return make(id=identity, **given)


def ended(record: Connection) -> Connection:
    return replace(record, event=Event(action="close", start=record.event.start))


def test_the_first_picture_is_given_as_it_is(connection: Make) -> None:
    picture = [of(connection, "a", 1), of(connection, "b", 2)]
    assert Following().picture(picture) == picture


def test_what_a_later_picture_does_not_show_is_closed_and_its_end_is_not_made_up(connection: Make) -> None:
    following = Following()
    stays, goes = of(connection, "a", 1), of(connection, "b", 2)
    following.picture([stays, goes])
    assert following.picture([stays]) == [stays, ended(goes)]
    assert ended(goes).event.end is None
    assert following.picture([stays]) == [stays], "once"


def test_what_was_told_to_be_over_is_not_closed_again(connection: Make) -> None:
    following = Following()
    following.picture([of(connection, "a", 1)])
    following.seen(of(connection, "b", 2))
    for identity, action in (("a", "close"), ("b", "failed")):
        following.seen(of(connection, identity, 1, event=Event(action=action)))  # type: ignore[arg-type]
    assert following.picture([]) == []


def test_a_connection_keeps_its_id_when_the_capture_begins_anew(connection: Make) -> None:
    following = Following()
    following.picture([of(connection, "old", 1)])
    (known,) = following.picture([of(connection, "new", 1, event=Event(action="existing"))])
    assert isinstance(known, Connection)
    assert (known.id, known.event.action) == ("old", "existing")
    assert following.seen(of(connection, "new", 1)).id == "old"
    (again,) = following.picture([of(connection, "newest", 1)])
    assert isinstance(again, Connection)
    assert again.id == "old"
    assert following.seen(ended(of(connection, "newest", 1))).id == "old"
    assert following.seen(replace(ended(of(connection, "newest", 1)), tls=None)).id == "old", "also what comes after its end"
    assert following.picture([]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"source": Source(ip="192.0.2.1", port=2)},
        {"source": Source(ip="192.0.2.2", port=1)},
        {"network": Network(transport="udp", direction="egress")},
        {"network": Network(transport="tcp", direction="egress", namespace="7")},
        {"process": Process(pid=77, entity_id="e2")},
        {"process": Process(pid=77)},
        {"process": None},
        {"source": Source(ip="192.0.2.1")},
    ],
)
def test_another_connection_does_not_take_its_place(connection: Make, change: dict[str, Any]) -> None:
    following = Following()
    network = Network(transport="tcp", direction="egress")
    old, new = of(connection, "old", 1, network=network), replace(of(connection, "new", 1, network=network), **change)
    following.picture([old])
    assert following.picture([new]) == [new, ended(old)]


def test_two_that_look_alike_do_not_both_become_the_one_that_was(connection: Make) -> None:
    following = Following()
    following.picture([of(connection, "old", 1)])
    twins = following.picture([of(connection, "n1", 1), of(connection, "n2", 1)])
    assert sorted(one.id for one in twins if isinstance(one, Connection)) == ["n2", "old"]


def test_a_process_is_kept_once_for_all_its_connections_while_it_is_the_same(connection: Make) -> None:
    following = Following()
    parent = Process(pid=1, name="init", entity_id="e0")
    lines = [wire.encode(of(connection, f"c{number}", number, process=Process(pid=7, entity_id="e", parent=parent))) for number in (1, 2)]
    lines.append(wire.encode(of(connection, "c3", 3, process=Process(pid=7, entity_id="e", name="hashed", hash=Hash(sha256="a" * 64)))))
    read = list(remote(Health())._records(lines))
    first, second, third = (following.seen(one) for one in read if isinstance(one, Connection))
    assert [first, second, third] == read
    assert first.process is second.process
    assert third.process is not first.process
