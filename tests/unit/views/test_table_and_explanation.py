"""The table as it is drawn, and the explanation of a verdict."""

import io
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from outwatch.engine.verdict import combine
from outwatch.model.records import (
    Connection,
    Destination,
    Detection,
    Findings,
    Hash,
    Name,
    Network,
    Process,
    Source,
    Summary,
    Unknown,
    User,
)
from outwatch.views.terminal.explain import explanation
from outwatch.views.terminal.table import picture, show

Make = Callable[..., Connection]
PATH = Detection(
    detector="executable_path",
    points=50,
    reason="runs from a temporary folder",
    family="process",
    evidence={"executable": "/tmp/x"},
    techniques=("T1036.005",),
)
HIDDEN = Detection(detector="executable_path", points=30, reason="runs from a hidden folder", family="process")
NAME = Detection(detector="domain_pattern", points=30, reason="dynamic-DNS name", family="name", source="the providers' lists")
ALLOW = Detection(detector="allow_list", points=-50, reason="allowed by an entry", family="rarity")


def judged(make: Make, *reasons: Detection, **changes: Any) -> Connection:
    """Make a record with the verdict of these reasons."""
    verdict = combine(reasons)
    findings = Findings(verdict=verdict.band, score=verdict.score, reasons=verdict.detections or None)
    return make(**{"outwatch": findings, **changes})


def drawn(records: Sequence[Connection], width: int = 200, **settings: Any) -> list[str]:
    """Draw a picture and give its lines."""
    console = Console(record=True, width=width, file=io.StringIO(), color_system=None)
    show(console, picture(records, Summary(sensor="polling", seen=len(records)), width=width, **settings))
    return console.export_text().splitlines()


def test_a_row_has_everything_in_its_column(connection: Make) -> None:
    header, row, *_ = drawn([judged(connection, PATH, HIDDEN, domain="example.com", id="0123456789abcdef")])
    titles = ["VERDICT", "SCORE", "PROCESS", "PID", "USER", "DESTINATION", "PROTO", "STATE", "WHY", "ID"]
    assert header.split() == titles
    values = {
        "VERDICT": "medium", "PROCESS": "curl", "USER": "alice", "DESTINATION": "example.com (203.0.113.9:443)",
        "PROTO": "tcp", "STATE": "connect", "WHY": "runs from a temporary folder (+1 more)", "ID": "01234567",
    }  # fmt: skip
    for title, value in values.items():
        assert row[header.rindex(title) :].startswith(value), title
    assert " 50 " in row
    assert " 77 " in row


def test_the_order_given_is_the_order_drawn(connection: Make) -> None:
    rows = [judged(connection, PATH, id="first"), judged(connection, NAME, id="second"), judged(connection, id="third")]
    assert [line.split()[0] for line in drawn(rows)[1:4]] == ["medium", "low", "normal"]


def test_hidden_rows_are_counted_by_why(connection: Make) -> None:
    def lying(scope: Any, direction: Any = "egress") -> Network:
        return Network(transport="tcp", direction=direction, scope=scope)

    records = [
        judged(connection, id="shown"),
        judged(connection, id="a", network=lying("private")),
        judged(connection, id="b", network=lying("loopback")),
        judged(connection, PATH, id="c", network=lying("link_local")),
        judged(connection, ALLOW, id="d"),
        connection(id="e", network=lying("public", "ingress"), outwatch=Findings()),
    ]
    text = drawn(records)
    assert len([line for line in text if "203.0.113.9" in line]) == 1
    (said,) = [line for line in text if line.startswith("not shown")]
    for what in ("1 private", "1 loopback", "1 link-local with verdict medium", "1 allowed", "1 accepted"):
        assert what in said
    everything = drawn(records, show_all=True)
    assert len([line for line in everything if "connect" in line.split()]) == 6
    assert not any(line.startswith("not shown") for line in everything)


def test_an_accepted_connection_shows_who_called(connection: Make) -> None:
    network = Network(transport="tcp", direction="ingress", scope="public")
    record = connection(network=network, source=Source(ip="2001:db8::7", port=5), outwatch=Findings())
    row = drawn([record], show_all=True)[1]
    assert "← [2001:db8::7]:5" in row
    assert row.startswith("not judged")


def test_more_rows_than_fit_are_counted(connection: Make) -> None:
    lines = drawn([judged(connection, id=f"c{at}", destination=Destination(ip=f"203.0.113.{at}", port=443)) for at in range(9)], most=4)
    assert len([line for line in lines if line.startswith("normal")]) == 4
    assert any("5 more rows" in line for line in lines)


def test_connections_that_differ_only_in_their_own_port_share_a_row_that_counts_them(connection: Make) -> None:
    def one(at: int) -> Connection:
        network = Network(transport="tcp", direction="egress", scope="public", community_id=f"1:{at}")
        return judged(connection, id=f"c{at}", source=Source(ip="192.0.2.10", port=40000 + at), network=network)

    lines = drawn([one(at) for at in range(40)])
    rows = [line for line in lines if line.startswith("normal")]
    assert len(rows) == 1
    assert "203.0.113.9:443 × 40" in rows[0]


@pytest.mark.parametrize("width", [60, 80, 100, 130])
def test_the_reason_and_the_id_have_room_on_every_screen(connection: Make, width: int) -> None:
    record = judged(connection, PATH, id="0123456789abcdef", process=Process(name="n" * 60, pid=4_000_000, entity_id="e"))
    text = "\n".join(drawn([record], width=width))
    assert "01234567" in text
    assert "WHY" in text
    assert "runs from" in text


def test_nothing_to_show_is_said(connection: Make) -> None:
    assert drawn([])[0] == "No connection."
    assert drawn([judged(connection, ALLOW)])[0] == "No connection to the outside."


@pytest.mark.security
def test_markup_and_escapes_in_data_are_shown_as_text(connection: Make) -> None:
    record = judged(connection, process=Process(name="[bold red]x[/] \x1b[31m"), user=User(name="[link=x]u"), domain=":smile:.test")
    text = "\n".join(drawn([record], width=250))
    assert "[bold red]x[/]" in text
    assert "[link=x]u" in text
    assert ":smile:.test" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [20, 40, 80, 500])
def test_a_table_is_drawn_on_any_width(connection: Make, width: int) -> None:
    lines = drawn([judged(connection, PATH, domain="a" * 63 + ".example.com")], width=width)
    assert max(map(len, lines)) <= width


def test_an_explanation_gives_reasons_points_and_what_would_change_it(connection: Make) -> None:
    text = explanation(judged(connection, PATH, HIDDEN, NAME, ALLOW, domain="x.duckdns.org"))
    # noisy-OR of process 50 and name 30 is 65; the allow entry takes 50 off
    assert "verdict: allowed (score 15 of 100; bands begin at 20, 40, 60, 80)" in text
    for reason in (
        "+50  runs from a temporary folder",
        "+30  runs from a hidden folder",
        "+30  dynamic-DNS name",
        "-50  allowed by an entry",
    ):
        assert reason in text
    assert "evidence: executable /tmp/x" in text
    assert "ATT&CK: T1036.005" in text
    assert "source: the providers' lists" in text
    assert "strongest of each family: process 50, name 30" in text
    assert "= 15" in text
    changes = text[text.index("what would change it") :]
    assert "“runs from a temporary folder” → allowed (1)" in changes  # 1 - 0.7 * 0.7 is 51
    assert "“runs from a hidden folder” → allowed (15)" in changes
    assert "“dynamic-DNS name” → allowed (0)" in changes
    assert "no allow entry: “allowed by an entry” → high (65)" in changes
    assert "outwatch allow add" not in changes


def test_without_an_allow_entry_it_says_how_to_make_one(connection: Make) -> None:
    assert "outwatch allow add x.test --comment" in explanation(judged(connection, NAME, domain="x.test"))
    assert "outwatch allow add 203.0.113.9 --comment" in explanation(judged(connection, NAME))


@pytest.mark.security
def test_the_command_it_proposes_can_be_pasted_without_harm(connection: Make) -> None:
    text = explanation(judged(connection, NAME, domain="x.test; rm -rf ~ $(id) `id`"))
    (proposed,) = [line for line in text.splitlines() if "outwatch allow add" in line]
    words = shlex.split(proposed.partition(": ")[2].partition(" (lowers")[0])
    assert words[:3] == ["outwatch", "allow", "add"]
    assert words[4] == "--comment"


def test_no_reason_and_no_judgement_are_told_apart(connection: Make) -> None:
    assert "no detector found a reason" in explanation(judged(connection))
    assert "not judged" in explanation(connection(outwatch=Findings()))


def test_an_explanation_shows_who_it_was(connection: Make) -> None:
    parents = Process(pid=5, name="bash", parent=Process(pid=1, executable="/sbin/init"))
    process = Process(
        pid=9, name="x", executable="/tmp/x", args=("x", "-c"), hash=Hash(sha256="ab" * 32), working_directory="/root", parent=parents
    )
    names = (Name(name="a.test", origin="dns", confirmed=True), Name(name="b.test", origin="ptr", confirmed=False), Name(name="c.test"))
    text = explanation(connection(process=process, outwatch=Findings(verdict="normal", score=0, executable="deleted", names=names)))
    for part in ("executable: /tmp/x", "file: deleted", "sha256: " + "ab" * 32, "arguments: x -c", "folder: /root", "user: alice"):
        assert part in text
    assert "started by: bash (5) ← /sbin/init (1)" in text
    assert "a.test (from dns, confirmed)" in text
    assert "b.test (from ptr, not confirmed)" in text
    assert "c.test (from an unnamed source, confirmation unknown)" in text


def test_an_unknown_owner_is_explained_too(connection: Make) -> None:
    record = connection(process=None, outwatch=Findings(verdict="normal", score=0, attribution=Unknown(unknown="no_rights")))
    assert "(no rights) 192.0.2.10:40000 → 203.0.113.9:443 tcp" in explanation(record)
