"""What one process did with one port of one destination is one row; nothing of what it stands for gets lost."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from outwatch.model.records import (
    Connection,
    Destination,
    Dns,
    DnsQuestion,
    Event,
    Findings,
    Host,
    Listed,
    Name,
    Network,
    Process,
    Question,
    Reputation,
    Source,
    Unknown,
)
from outwatch.views.report.fold import folded

Make = Callable[..., Connection]
SECOND = timedelta(seconds=1)
WHEN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)


def test_connections_of_one_process_to_one_port_are_one_row_with_their_number(connection: Make) -> None:
    (row,) = folded([connection(id=f"c{number}") for number in range(7)])
    assert (row.connections, row.record.outwatch.count) == (7, 7)


DIFFERENT: dict[str, dict[str, Any]] = {
    "process": {"process": Process(pid=77, name="curl", entity_id="e2")},
    "process without an entity id": {"process": Process(pid=78, name="curl")},
    "address": {"ip": "203.0.113.10"},
    "port": {"destination": Destination(ip="203.0.113.9", port=444)},
    "no port": {"destination": Destination(ip="203.0.113.9")},
    "transport": {"network": Network(transport="udp", direction="egress", scope="public")},
    "direction": {"network": Network(transport="tcp", direction="ingress", scope="public")},
    "host": {"host": Host(id="other")},
    "no process": {"process": None, "outwatch": Findings(attribution=Unknown(unknown="exited"))},
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_what_differs_in_a_part_of_the_key_is_a_row_of_its_own(connection: Make, changes: dict[str, Any]) -> None:
    rows = folded([connection(), connection(id="c2", **changes), connection(id="c3")])
    assert [row.connections for row in rows] == [2, 1]


def test_local_port_source_address_and_time_make_no_row_of_their_own(connection: Make) -> None:
    first = connection()
    other = connection(id="c2", source=Source(ip="192.0.2.11", port=40001), timestamp=first.timestamp + SECOND)
    assert len(folded([first, other])) == 1


def test_unattributed_connections_are_told_apart_by_why(connection: Make) -> None:
    reasons = (Unknown(unknown="exited"), Unknown(unknown="kernel"))
    lost = [connection(id=f"{why}{number}", process=None, outwatch=Findings(attribution=why)) for why in reasons for number in range(2)]
    assert [(row.connections, row.record.outwatch.attribution) for row in folded(lost)] == [
        (2, Unknown(unknown="exited")),
        (2, Unknown(unknown="kernel")),
    ]


def test_accepted_connections_from_one_caller_are_one_row_whatever_its_ports(connection: Make) -> None:
    incoming = Network(transport="tcp", direction="ingress", scope="public")
    rows = folded(
        connection(id=f"{ip}{port}", network=incoming, source=Source(ip=ip, port=port), destination=Destination(ip="192.0.2.10", port=22))
        for ip in ("203.0.113.1", "203.0.113.2")
        for port in (40000, 40001)
    )
    assert [(row.record.source.ip, row.connections) for row in rows] == [("203.0.113.1", 2), ("203.0.113.2", 2)]


def test_rows_keep_the_order_and_the_verdict_of_their_worst_record(connection: Make) -> None:
    worst_first = [
        connection(id="c1", outwatch=Findings(verdict="high", score=70)),
        connection(id="c2", ip="203.0.113.10", outwatch=Findings(verdict="medium", score=50)),
        connection(id="c3", outwatch=Findings(verdict="normal", score=0)),
    ]
    assert [(row.record.outwatch.verdict, row.record.outwatch.score) for row in folded(worst_first)] == [("high", 70), ("medium", 50)]


def test_counts_of_records_that_stand_for_many_are_added(connection: Make) -> None:
    (row,) = folded([connection(outwatch=Findings(count=500)), connection(id="c2"), connection(id="c3", outwatch=Findings(count=20))])
    assert row.connections == row.record.outwatch.count == 521


def test_a_single_record_is_passed_on_as_it_is(connection: Make) -> None:
    alone = connection(outwatch=Findings(count=500, sensor="replay"))
    (row,) = folded([alone])
    assert row.record == alone
    assert row.connections == 500


@pytest.mark.parametrize(("sizes", "total"), [((5, 7), 12), ((None, 7), 7), ((5, None), 5), ((None, None), None), ((0, 0), 0)])
def test_bytes_are_added_and_unknown_stays_unknown(connection: Make, sizes: tuple[int | None, int | None], total: int | None) -> None:
    (row,) = folded(
        connection(
            id=f"c{number}",
            source=Source(ip="192.0.2.10", bytes=size),
            destination=Destination(ip="203.0.113.9", port=443, bytes=size),
        )
        for number, size in enumerate(sizes)
    )
    assert (row.record.source.bytes, row.record.destination.bytes) == (total, total)


def test_the_local_port_stays_only_if_all_had_the_same(connection: Make) -> None:
    same = folded([connection(), connection(id="c2")])[0].record.source.port
    different = folded([connection(), connection(id="c2", source=Source(ip="192.0.2.10", port=5))])[0].record.source.port
    assert (same, different) == (40000, None)


def test_names_and_files_of_all_are_brought_together_once_each(connection: Make) -> None:
    one, other = Name(name="a.example", origin="dns"), Name(name="b.example", origin="ptr", confirmed=True)
    (row,) = folded(
        [
            connection(outwatch=Findings(names=(one,), open_files=("/a",))),
            connection(id="c2", outwatch=Findings(names=(one, other), open_files=("/b", "/a")), domain="b.example"),
        ]
    )
    assert row.record.outwatch.names == (one, other)
    assert row.record.outwatch.open_files == ("/a", "/b")
    assert row.record.destination.domain == "b.example"


def closed(record: Connection, seconds: int) -> Connection:
    end = record.timestamp + seconds * SECOND
    return replace(record, event=Event(action="close", start=record.event.start, end=end))


def test_a_row_reaches_from_the_first_beginning_to_the_last_end(connection: Make) -> None:
    middle = connection()
    early = connection(id="c2", event=Event(action="connect", start=middle.timestamp - SECOND), timestamp=middle.timestamp)
    (row,) = folded([closed(middle, 5), early, closed(connection(id="c3"), 3)])
    assert (row.first, row.last) == (middle.timestamp - SECOND, middle.timestamp + 5 * SECOND)


def test_what_was_open_at_the_end_of_a_watch_was_seen_until_then_and_what_had_closed_was_not(connection: Make) -> None:
    still, over = connection(), closed(connection(id="c2", ip="203.0.113.10"), 5)
    failed = replace(connection(id="c3", ip="203.0.113.11"), event=Event(action="failed"))
    until = still.timestamp + 60 * SECOND
    assert [row.last for row in folded([still, over, failed], until)] == [until, over.event.end, failed.timestamp]


def test_a_row_has_an_end_only_when_all_of_it_has(connection: Make) -> None:
    over = [closed(connection(id="c1"), 1), closed(connection(id="c2"), 2)]
    assert folded(over)[0].record.event.end == over[1].event.end
    assert folded([*over, connection(id="c3")])[0].record.event.end is None


def test_questions_for_different_names_are_rows_of_their_own(connection: Make) -> None:
    def question(identity: str, name: str) -> Question:
        base = connection()
        return Question(
            id=identity,
            timestamp=base.timestamp,
            network=base.network,
            destination=Destination(ip="192.0.2.53", port=53),
            process=base.process,
            dns=Dns(question=DnsQuestion(name=name)),
        )

    rows = folded([question("q1", "a.example"), question("q2", "b.example"), question("q3", "a.example")])
    assert [row.connections for row in rows] == [2, 1]


def test_what_services_and_lists_say_of_any_connection_stands_in_the_row(connection: Make) -> None:
    early, late = WHEN, WHEN + SECOND

    def said(state: Any, provider: str = "virustotal", at: datetime | None = None, **more: Any) -> Reputation:
        return Reputation(provider=provider, state=state, checked_at=at, **more)

    one, other = Listed(list_="a", entry="x"), Listed(list_="b", entry="x")
    records = [
        connection(id="c1", outwatch=Findings(verdict="high", score=70, reputation=(said("not_checked", why="quota"),), indicators=(one,))),
        connection(
            id="c2", outwatch=Findings(reputation=(said("clean", at=early, score=0), said("no_data", "otx")), indicators=(one, other))
        ),
        connection(id="c3", outwatch=Findings(reputation=(said("suspicious", at=late, score=2),), warnings=(other,))),
        connection(id="c4", outwatch=Findings(reputation=(said("suspicious", at=early, score=1),))),
    ]
    (row,) = folded(records)
    findings = row.record.outwatch
    assert findings.reputation is not None
    assert {one.provider: (one.state, one.score) for one in findings.reputation} == {
        "virustotal": ("suspicious", 2),
        "otx": ("no_data", None),
    }
    assert (findings.indicators, findings.warnings) == ((one, other), (other,))
    assert (findings.verdict, findings.score) == ("high", 70)


@pytest.mark.security
def test_a_destination_with_endless_services_and_lists_keeps_some_of_them(connection: Make) -> None:
    records = [
        connection(
            id=f"c{at}",
            outwatch=Findings(reputation=(Reputation(provider=f"p{at}", state="clean"),), indicators=(Listed(list_=f"l{at}", entry="x"),)),
        )
        for at in range(500)
    ]
    findings = folded(records)[0].record.outwatch
    assert len(findings.reputation or ()) == len(findings.indicators or ()) == 50
