"""Every column of the contract is there, says what is known, and where nothing is known says why."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace

from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Container,
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
    Scope,
    Source,
    Unknown,
    User,
    WhyUnknown,
)
from outwatch.views.known import pages
from outwatch.views.report import FORMS, form_of, free_name
from outwatch.views.report.columns import COLUMNS, Cell, Rated, Unchecked, Verdict, columns
from outwatch.views.report.fold import folded

Make = Callable[..., Connection]
HEADINGS = [
    "IP", "Domain", "Port", "Service", "Process", "PID", "Country", "AS Name", "VT Score", "AbuseIPDB Score", "Wireshark Filter",
    "Accessed Files", "Verdict", "Score", "Reasons", "Name Origin", "Protocol", "Executable", "SHA-256", "Parent", "User", "Container",
    "First Seen", "Last Seen", "Bytes Sent", "Bytes Received", "Connections", "Links", "Checked At",
]  # fmt: skip
THREE_PAGES = [
    "https://www.virustotal.com/gui/ip-address/203.0.113.9", "https://www.abuseipdb.com/check/203.0.113.9", "https://ipinfo.io/203.0.113.9",
]  # fmt: skip
ADDED = ["AS Number", "Other Services", "Listed In", "Known As"]
NOTHING = {
    "Port",
    "Service",
    "Score",
    "Reasons",
    "Name Origin",
    "Protocol",
    "Container",
    "Links",
    "Other Services",
    "Listed In",
    "Known As",
}


def said(record: Connection, heading: str, *, files: bool = False) -> Cell:
    (row,) = folded([record])
    (column,) = [one for one in columns(files=files) if one.heading == heading]
    return column.read(row)


def test_the_columns_are_those_of_the_contract_in_its_order() -> None:
    assert [column.heading for column in COLUMNS[:29]] == HEADINGS
    assert len(HEADINGS) == 29
    assert [column.heading for column in COLUMNS[29:]] == ADDED, "more only at the end"


def test_of_a_record_that_knows_nothing_every_cell_is_empty_or_says_why() -> None:
    bare = Connection(id="x", timestamp=datetime(2025, 1, 1, tzinfo=UTC))
    for column in COLUMNS:
        cell = said(bare, column.heading, files=True)
        if column.heading in {"First Seen", "Last Seen", "Connections"}:
            assert cell in {bare.timestamp, 1}
        elif column.heading in NOTHING:
            assert cell is None
        else:
            assert isinstance(cell, Unchecked), column.heading
            assert cell.why


def test_a_full_record_fills_every_column(connection: Make) -> None:
    began = datetime(2025, 7, 10, 17, 42, 1, 250000, UTC)
    checked = datetime(2025, 7, 10, 19, 43, tzinfo=timezone(timedelta(hours=2)))
    shell = Process(pid=5, name="bash", parent=Process(pid=1, executable="/sbin/init"))
    full = connection(
        source=Source(ip="192.0.2.10", port=40000, bytes=12),
        destination=Destination(
            ip="203.0.113.9", port=443, bytes=34, domain="a.example", geo=Geo(country_iso_code="NL"),
            as_=AutonomousSystem(number=64500, organization=Organization(name="Example Net")),
        ),
        process=Process(pid=77, name="curl", executable="/usr/bin/curl", hash=Hash(sha256="ab" * 32), parent=shell),
        container=Container(id="c0ffee", name="web"),
        outwatch=Findings(
            verdict="medium", score=50, executable="deleted", open_files=("/a", "/b"),
            reasons=(Detection(detector="x", points=50, reason="bad place"), Detection(detector="y", points=-7.5, reason="known")),
            names=(Name(name="a.example", origin="ptr", confirmed=True), Name(name="b.example", origin="sni", confirmed=False)),
            reputation=(
                Reputation(provider="virustotal", state="malicious", score=11, checked_at=checked),
                Reputation(provider="abuseipdb", state="clean", score=0, checked_at=checked - timedelta(hours=1)),
                Reputation(provider="greynoise", state="clean", allow_listed=True, tags=("Example CDN",), checked_at=checked),
            ),
            indicators=(Listed(list_="ipsum", entry="203.0.113.9", confidence=80),),
            warnings=(Listed(list_="example-cloud", entry="203.0.113.0/24"),),
        ),
    )  # fmt: skip
    expected = [
        "203.0.113.9", "a.example", 443, "https", "curl", 77, "NL", "Example Net", Rated(11, "malicious"), Rated(0, "clean"),
        "ip.addr == 203.0.113.9 && tcp.port == 443", "/a; /b", Verdict("medium"), 50, "bad place (+50); known (-7.5)",
        "ptr, confirmed; b.example: sni, not confirmed", "tcp", "/usr/bin/curl [deleted]", "ab" * 32, "bash (5) ← /sbin/init (1)", "alice",
        "web", began, began, 12, 34, 1,
        " ".join((*THREE_PAGES, "https://viz.greynoise.io/ip/203.0.113.9")),
        datetime(2025, 7, 10, 17, 43, tzinfo=UTC), 64500, "GreyNoise: clean; it vouches for the address; Example CDN",
        Rated("ipsum: 203.0.113.9 (confidence 80)", "suspicious"), "example-cloud: 203.0.113.0/24",
    ]  # fmt: skip
    assert [said(full, heading, files=True) for heading in HEADINGS + ADDED] == expected


def test_open_files_are_told_only_if_they_were_asked_for(connection: Make) -> None:
    with_files = connection(outwatch=Findings(open_files=("/home/alice/secret",)))
    assert said(with_files, "Accessed Files") == Unchecked("not collected (--files)")
    assert said(with_files, "Accessed Files", files=True) == "/home/alice/secret"
    assert said(connection(), "Accessed Files", files=True) == Unchecked("none seen")


@pytest.mark.security
@pytest.mark.parametrize("provider", ["virustotal", "abuseipdb"])
@pytest.mark.parametrize(
    ("state", "why", "expected"),
    [
        ("not_checked", "quota used up", "not checked: quota used up"),
        ("not_checked", None, "not checked: no reason given"),
        ("no_data", None, "no data"),
    ],
)
def test_what_was_not_checked_is_never_a_score(connection: Make, provider: str, state: str, why: str | None, expected: str) -> None:
    # A score that came along by mistake must not turn a failed check green either.
    answer = Reputation(provider=provider, state=state, why=why, score=0)  # type: ignore[arg-type]
    heading = {"virustotal": "VT Score", "abuseipdb": "AbuseIPDB Score"}[provider]
    assert said(connection(outwatch=Findings(reputation=(answer,))), heading) == Unchecked(expected)


@pytest.mark.parametrize(("scope", "expected"), [("public", "not checked: no look-up"), ("private", "not checked: private address")])
def test_without_an_answer_the_cell_says_that_nobody_was_asked(connection: Make, scope: Scope, expected: str) -> None:
    record = connection(network=Network(transport="tcp", direction="egress", scope=scope))
    assert said(record, "VT Score") == Unchecked(expected)


@pytest.mark.parametrize("heading", ["Country", "AS Name", "AS Number"])
@pytest.mark.parametrize(
    ("scope", "expected"),
    [("public", "not known"), (None, "not known"), ("private", "private address"), ("link_local", "link-local address")],
)
def test_where_nothing_is_known_of_the_place_the_cell_says_why(connection: Make, heading: str, scope: Scope | None, expected: str) -> None:
    assert said(connection(network=Network(transport="tcp", direction="egress", scope=scope)), heading) == Unchecked(expected)


def test_a_network_without_a_name_is_shown_by_its_number(connection: Make) -> None:
    record = connection(destination=Destination(ip="203.0.113.9", port=443, as_=AutonomousSystem(number=64_500)))
    assert (said(record, "AS Name"), said(record, "AS Number")) == ("AS64500", 64_500)


def test_a_service_fills_country_and_network_that_no_file_knew(connection: Make) -> None:
    network = AutonomousSystem(number=64_500, organization=Organization(name="Example Net"))
    answer = Reputation(provider="ipinfo", state="no_data", geo=Geo(country_iso_code="NL"), as_=network)
    record = connection(outwatch=Findings(reputation=(answer,)))
    assert [said(record, heading) for heading in ("Country", "AS Name", "AS Number")] == ["NL", "Example Net", 64_500]
    mine = replace(record, destination=Destination(ip="203.0.113.9", geo=Geo(country_iso_code="DE"), as_=AutonomousSystem(number=1)))
    assert [said(mine, heading) for heading in ("Country", "AS Name", "AS Number")] == ["DE", "AS1", 1]


def test_why_a_service_was_not_asked_at_all_stands_in_every_cell_without_an_answer(connection: Make) -> None:
    shown = {one.heading: one for one in columns(files=True, unasked={"virustotal": "no key", "abuseipdb": "off"})}
    answered = connection(outwatch=Findings(reputation=(Reputation(provider="virustotal", state="clean", score=0),)))
    private = connection(network=Network(transport="tcp", direction="egress", scope="private"))
    rows = [folded([record])[0] for record in (connection(), answered, private)]
    assert [shown["VT Score"].read(row) for row in rows] == [
        Unchecked("not checked: no key"),
        Rated(0, "clean"),
        Unchecked("not checked: private address"),
    ]
    assert shown["AbuseIPDB Score"].read(rows[0]) == Unchecked("not checked: off")


@pytest.mark.parametrize(
    ("states", "kind"),
    [
        (("malicious", "clean"), "malicious"),
        (("clean", "suspicious"), "suspicious"),
        (("clean", "no_data"), None),
        (("no_data", "not_checked"), None),
        (("not_checked", "not_checked"), "grey"),
    ],
)
def test_what_other_services_say_is_coloured_by_the_worst_of_them(connection: Make, states: tuple[str, str], kind: str | None) -> None:
    answers = tuple(Reputation(provider=name, state=state) for name, state in zip(("otx", "greynoise"), states, strict=True))  # type: ignore[arg-type]
    cell = said(connection(outwatch=Findings(reputation=answers)), "Other Services")
    expected = {None: str, "grey": Unchecked}.get(kind, Rated)
    assert isinstance(cell, expected)
    text = cell.value if isinstance(cell, Rated) else cell.why if isinstance(cell, Unchecked) else cell
    assert str(text).startswith("GreyNoise: "), "the order is always the same"
    assert not isinstance(cell, Rated) or cell.state == kind


@pytest.mark.parametrize(("why", "expected"), [("exited", "its process has gone or let go of it"), ("no_rights", "other users' processes")])
def test_a_missing_process_is_named_by_its_reason(connection: Make, why: WhyUnknown, expected: str) -> None:
    record = connection(process=None, outwatch=Findings(attribution=Unknown(unknown=why)))
    assert said(record, "Process") == Unchecked(f"unattributed: {expected}")


def test_an_accepted_connection_shows_the_caller_and_no_verdict(connection: Make) -> None:
    record = connection(
        network=Network(transport="tcp", direction="ingress", scope="public"),
        source=Source(ip="203.0.113.50", port=55555),
        destination=Destination(ip="192.0.2.10", port=22),
    )
    assert (said(record, "IP"), said(record, "Port"), said(record, "Service")) == ("203.0.113.50", 22, "ssh")
    assert said(record, "Verdict") == Unchecked("not judged (accepted)")
    assert said(record, "Wireshark Filter") == "ip.addr == 203.0.113.50 && tcp.port == 22"


def test_an_unconfirmed_name_is_no_domain_but_is_told(connection: Make) -> None:
    record = connection(outwatch=Findings(names=(Name(name="google.com", origin="ptr", confirmed=False),)))
    assert said(record, "Domain") == Unchecked("no confirmed name")
    assert said(record, "Name Origin") == "google.com: ptr, not confirmed"


def test_a_user_without_a_name_is_shown_by_number(connection: Make) -> None:
    assert said(connection(user=User(id="1000")), "User") == "1000"


def test_endless_ancestors_and_names_are_cut(connection: Make) -> None:
    process = Process(pid=0, name="p")
    for number in range(1, 100):
        process = Process(pid=number, name="p", parent=process)
    names = tuple(Name(name=f"n{number}.example", origin="dns") for number in range(50))
    record = connection(process=process, outwatch=Findings(names=names))
    parents, origins = said(record, "Parent"), said(record, "Name Origin")
    assert isinstance(parents, str)
    assert parents.split(" ← ") == [f"p ({number})" for number in range(98, 90, -1)]
    assert isinstance(origins, str)
    assert origins.endswith("45 more")


@pytest.mark.security
@pytest.mark.parametrize("ip", ["192.168.0.1", "10.0.0.1", "127.0.0.1", "fe80::1"])
@pytest.mark.parametrize("scope", ["private", "loopback", "link_local", "multicast", "unclassified", None])
def test_only_public_addresses_have_pages(connection: Make, ip: str, scope: Scope | None) -> None:
    record = connection(ip=ip, network=Network(transport="tcp", direction="egress", scope=scope))
    assert pages(record) == {}
    assert said(record, "Links") is None


@pytest.mark.security
@pytest.mark.parametrize(
    "ip", ["evil.example/x", "1.2.3.4/../..", "1.2.3.4?x=y", "1.2.3.4#", "javascript:alert(1)", "@evil.example", "", None]
)
def test_what_is_no_address_has_no_page_even_if_it_is_called_public(connection: Make, ip: str | None) -> None:
    assert pages(connection(ip=ip)) == {}


@pytest.mark.security
def test_the_pages_of_an_address_with_a_zone_do_not_carry_the_zone(connection: Make) -> None:
    assert pages(connection(ip="2001:db8::1%evil.example"))["ipinfo"] == "https://ipinfo.io/2001:db8::1"


@pytest.mark.security
def test_links_that_a_record_brings_along_are_not_used(connection: Make) -> None:
    answer = Reputation(provider="virustotal", state="clean", score=0, link="https://evil.example/")
    record = connection(outwatch=Findings(reputation=(answer,)))
    assert "evil" not in str([said(record, heading) for heading in HEADINGS])


@pytest.mark.parametrize("form", FORMS)
def test_the_ending_decides_the_form_whatever_its_case(form: str) -> None:
    assert form_of(Path(f"a.b{form.upper()}")) == FORMS[form]


@pytest.mark.parametrize("name", ["a", "a.txt", "a.xlsx.exe", ".xlsx", "-", "a.xls", "a.xlsx "])
def test_other_endings_have_no_form(name: str) -> None:
    assert form_of(Path(name)) is None


def test_the_first_free_number_is_taken_and_a_dangling_link_is_not_free(tmp_path: Path) -> None:
    path = tmp_path / "r.xlsx"
    assert free_name(path) == path
    path.touch()
    (tmp_path / "r_1.xlsx").symlink_to(tmp_path / "nowhere")
    (tmp_path / "r_3.xlsx").touch()
    assert free_name(path) == tmp_path / "r_2.xlsx"


def test_a_row_for_many_names_its_worst_verdict(connection: Make) -> None:
    worst = connection(outwatch=Findings(verdict="critical", score=90))
    (row,) = folded([worst, replace(worst, id="c2", outwatch=Findings(verdict="low", score=20))])
    assert [column.read(row) for column in COLUMNS if column.heading in {"Verdict", "Score", "Connections"}] == [Verdict("critical"), 90, 2]
