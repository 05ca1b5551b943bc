"""The table as it is drawn, and the explanation of a verdict."""

import io
import re
import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from outwatch.engine.verdict import combine
from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Destination,
    Detection,
    Findings,
    Geo,
    Hash,
    Listed,
    Name,
    Network,
    Organization,
    Process,
    Reputation,
    Source,
    Summary,
    Unknown,
    User,
)
from outwatch.views.terminal.explain import explanation
from outwatch.views.terminal.plain import plain
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


NETWORK = AutonomousSystem(number=64_500, organization=Organization(name="Example Net"))


def known(make: Make, *said: Reputation, **lists: Any) -> Connection:
    """Make a record of a destination in a network, of which services and lists know something."""
    record = make(destination=Destination(ip="203.0.113.9", port=443, geo=Geo(country_iso_code="NL"), as_=NETWORK))
    return replace(record, outwatch=Findings(verdict="normal", score=0, reputation=said or None, **lists))


def column(lines: Sequence[str], title: str, width: int = 30) -> list[str]:
    """Give what stands in a column of the first rows."""
    at = lines[0].index(title)
    return [line[at : at + width].split("  ")[0].strip() for line in lines[1:] if line.startswith(("normal", "critical", "medium", "low"))]


def test_country_and_network_stand_in_columns_of_their_own(connection: Make) -> None:
    lines = drawn([known(connection), connection(id="c2", ip="192.0.2.1", outwatch=Findings(verdict="normal"))])
    assert column(lines, "WHERE") == ["NL", ""]
    assert column(lines, "NETWORK") == ["Example Net", ""]
    number = Destination(ip="203.0.113.9", port=443, as_=AutonomousSystem(number=64_500))
    assert column(drawn([judged(connection, destination=number)]), "NETWORK") == ["AS64500"]


def test_what_services_and_lists_say_stands_in_few_words(connection: Make) -> None:
    rows = [
        known(
            connection,
            Reputation(provider="abuseipdb", state="suspicious", score=41.0),
            Reputation(provider="greynoise", state="malicious"),
            Reputation(provider="virustotal", state="malicious", score=11),
            Reputation(provider="internetdb", state="no_data"),
            indicators=(Listed(list_="a", entry="x"), Listed(list_="a", entry="y"), Listed(list_="b", entry="x")),
        ),
        known(connection, Reputation(provider="virustotal", state="clean", score=0), Reputation(provider="abuseipdb", state="not_checked")),
        known(connection, Reputation(provider="virustotal", state="no_data"), warnings=(Listed(list_="cdn", entry="x"),)),
        known(connection),
    ]
    lines = drawn(
        [replace(row, id=f"c{at}", source=Source(ip="192.0.2.1", port=at), process=None) for at, row in enumerate(rows)], width=250
    )
    assert column(lines, "REPUTATION") == ["2 lists · VT 11 · abuse 41 · …", "VT 0 · abuse ?", "VT – · known: cdn", ""]


def test_columns_that_nobody_could_fill_are_not_there(connection: Make) -> None:
    header = drawn([known(connection, Reputation(provider="virustotal", state="not_checked", why="no key"))])[0]
    assert "REPUTATION" not in header
    assert "WHERE" in header
    assert not {"WHERE", "NETWORK", "REPUTATION"} & set(drawn([judged(connection)])[0].split())


@pytest.mark.security
@pytest.mark.parametrize("state", ["not_checked", "no_data", "clean", "suspicious", "malicious"])
@pytest.mark.parametrize("score", [None, 0, 4])
def test_green_is_only_what_a_service_knows_and_has_nothing_against(connection: Make, state: Any, score: float | None) -> None:
    said = Reputation(provider="virustotal", state=state, score=score)
    console = Console(record=True, width=200, file=io.StringIO(), color_system="standard", force_terminal=True)
    listed = (Listed(list_="cdn", entry="x"),)  # so that the column is there
    show(console, picture([known(connection, said, warnings=listed)], Summary(), width=200))
    text = console.export_text(styles=True)
    shown = re.search(r"\x1b\[([0-9;]*)m(VT [^\x1b]*)", text) or re.search(r"()(VT \S+)", text)
    assert shown is not None
    green = "32" in shown[1].split(";")
    assert green == (state == "clean" and not score), shown.groups()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_reputation_and_country_leave_room_for_the_reason(connection: Make, width: int) -> None:
    said = (Reputation(provider="virustotal", state="malicious", score=11), Reputation(provider="abuseipdb", state="malicious", score=93))
    record = replace(known(connection, *said), process=Process(name="n" * 60, pid=4_000_000, entity_id="e"))
    record = replace(record, outwatch=replace(record.outwatch, reasons=(PATH,)))
    lines = drawn([record], width=width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "runs from" in text
    assert ("REPUTATION" in lines[0]) == (width >= 100)


def test_on_a_narrower_screen_the_least_important_columns_go_first(connection: Make) -> None:
    organization = Organization(name="A network of quite a long name")
    place = Destination(ip="203.0.113.9", port=443, domain="www.example.org", as_=AutonomousSystem(number=1, organization=organization))
    before: set[str] = set()
    for width in range(60, 200, 4):
        header = drawn([judged(connection, PATH, destination=place)], width=width)[0].split()
        there = [title in header for title in ("SCORE", "PID", "USER", "NETWORK", "PROTO", "STATE")]
        assert there == sorted(there, reverse=True), (width, header)
        assert before <= set(header), "a wider screen shows no less"
        before = set(header)
    assert "STATE" in before


@pytest.mark.security
def test_hostile_names_of_networks_services_and_lists_are_shown_as_text(connection: Make) -> None:
    name = "[bold]x[/] \x1b[31m\n"
    record = known(
        connection,
        Reputation(provider=name, state="malicious", tags=(name,), why=name),
        indicators=(Listed(list_=name, entry=name, note=name),),
        warnings=(Listed(list_=name, entry=name),),
    )
    hostile = AutonomousSystem(number=1, organization=Organization(name=name))
    record = replace(record, destination=Destination(ip="203.0.113.9", geo=Geo(country_iso_code=name), as_=hostile))
    for text in ("\n".join(drawn([record], width=250)), explanation(record)):
        assert "\x1b" not in text
        assert "[bold]x[/]" in text
    assert all(line.isprintable() for line in explanation(record).splitlines())
    assert (plain(record) or b"").count(b"\n") == 0


def test_an_explanation_tells_where_it_is_and_what_is_known(connection: Make) -> None:
    when = datetime(2025, 7, 10, 17, 43, tzinfo=UTC)
    record = known(
        connection,
        Reputation(provider="virustotal", state="malicious", score=11, malicious=11, suspicious=1, engines=94, checked_at=when),
        Reputation(provider="abuseipdb", state="not_checked", why="quota used up", link="https://evil.example/"),
        Reputation(provider="greynoise", state="clean", allow_listed=True, link="https://evil.example/"),
        indicators=(Listed(list_="ipsum", entry="203.0.113.0/24", confidence=80, last_seen=when),),
        warnings=(Listed(list_="cdn", entry="203.0.113.0/25"),),
    )
    lines = explanation(record).splitlines()
    page = "https://www.virustotal.com/gui/ip-address/203.0.113.9"
    for line in (
        "  where: NL, AS64500 Example Net",
        f"  VirusTotal: malicious; 11 of 94 engines call it malicious; 1 suspicious; asked 2025-07-10 17:43 UTC; {page}",
        "  AbuseIPDB: not checked: quota used up",
        "  GreyNoise: clean; it vouches for the address; https://viz.greynoise.io/ip/203.0.113.9",
        "  listed in ipsum: 203.0.113.0/24 (confidence 80, last seen 2025-07-10)",
        "  known as cdn: 203.0.113.0/25",
    ):
        assert line in lines
    assert "evil.example" not in "".join(lines)


@pytest.mark.security
@pytest.mark.parametrize(
    ("scope", "direction", "told"), [("public", "egress", True), ("private", "egress", False), ("public", "ingress", False)]
)
def test_that_no_service_was_asked_is_said_of_public_destinations(connection: Make, scope: Any, direction: Any, *, told: bool) -> None:
    record = connection(network=Network(transport="tcp", direction=direction, scope=scope))
    assert ("services: none was asked about it; that is no clean bill" in explanation(record)) is told
