"""Each cell is what it looks like: numbers and times are typed, colours say the truth, and a text is a text whatever it says."""

import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from openpyxl import Workbook

from outwatch.model.records import (
    AutonomousSystem,
    Band,
    Connection,
    Destination,
    Detection,
    Event,
    Findings,
    Geo,
    Listed,
    Network,
    Organization,
    Process,
    Reputation,
    Scope,
    Source,
)
from outwatch.views.report import streamed
from outwatch.views.report.cells import MOST

Make = Callable[..., Connection]
Cells = Callable[..., dict[str, Any]]
OTX = "https://otx.alienvault.com/"
HOSTS = ("https://www.virustotal.com/", "https://www.abuseipdb.com/", "https://ipinfo.io/")


def rated(state: Any, score: float | None = 5, why: str | None = None) -> Findings:
    return Findings(verdict="normal", score=0, reputation=(Reputation(provider="virustotal", state=state, score=score, why=why),))


def rgb(colour: Any) -> tuple[int, int, int]:
    return int(colour.rgb[2:4], 16), int(colour.rgb[4:6], 16), int(colour.rgb[6:8], 16)


def fill(cell: Any) -> tuple[int, int, int] | None:
    return rgb(cell.fill.fgColor) if cell.fill.fill_type == "solid" else None


def naive(moment: datetime) -> datetime:
    """Give a moment as cells have it: whole seconds, and no zone."""
    return moment.replace(tzinfo=None, microsecond=0)


def shown(value: str) -> str:
    """Give what a spreadsheet program shows of a text in the file: ``_x0041_`` is the character A (ECMA-376, 22.9.2.19)."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), value)


def is_green(colour: tuple[int, int, int] | None) -> bool:
    return colour is not None and colour[1] > colour[0] and colour[1] > colour[2]


def is_grey(colour: tuple[int, int, int]) -> bool:
    return max(colour) - min(colour) < 32 and 64 < sum(colour) / 3 < 192


def test_numbers_and_times_are_typed(connection: Make, cells: Cells) -> None:
    began = datetime(2025, 7, 10, 17, 42, 1, 999999, UTC)
    record = connection(
        timestamp=began,
        event=Event(action="close", start=began, end=began + timedelta(hours=7)),
        source=Source(ip="192.0.2.10", bytes=2**40),
        outwatch=replace(rated("clean", 2.5), count=12_345),
    )
    row = cells(record)
    wanted = {
        "Port": 443, "PID": 77, "Score": 0, "Bytes Sent": 2**40, "Connections": 12_345, "VT Score": 2.5,
        "First Seen": naive(began), "Last Seen": naive(began + timedelta(hours=7)),
    }  # fmt: skip
    assert {name: row[name].value for name in wanted} == wanted
    assert {row[name].data_type for name in wanted if "Seen" not in name} == {"n"}
    assert row["First Seen"].is_date
    assert row["Port"].number_format == row["PID"].number_format == "0"
    assert row["Bytes Sent"].number_format == "#,##0"


@pytest.mark.parametrize("number", [2**53, 10**15, 2**64, 10**30])
def test_numbers_that_a_cell_would_round_are_kept_as_texts(connection: Make, cells: Cells, number: int) -> None:
    cell = cells(connection(source=Source(ip="192.0.2.10", bytes=number)))["Bytes Sent"]
    assert (cell.data_type, cell.value) == ("s", str(number))


def test_the_largest_number_that_a_cell_keeps_is_a_number(connection: Make, cells: Cells) -> None:
    assert cells(connection(source=Source(ip="192.0.2.10", bytes=10**15 - 1)))["Bytes Sent"].value == 10**15 - 1


@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(1899, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1900, 2, 28, tzinfo=UTC)]
)
def test_times_before_the_calendar_of_cells_are_texts(connection: Make, cells: Cells, moment: datetime) -> None:
    cell = cells(connection(timestamp=moment, event=Event(action="close")))["First Seen"]
    assert cell.data_type == "s"
    assert re.fullmatch(rf"0*{moment.year}-{moment:%m-%d %H:%M:%S}", cell.value)


@pytest.mark.parametrize(
    "moment", [datetime(1900, 3, 1, tzinfo=UTC), datetime(2000, 2, 29, 12, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]
)
def test_every_other_time_is_exact_to_the_second(connection: Make, cells: Cells, moment: datetime) -> None:
    assert cells(connection(timestamp=moment, event=Event(action="close")))["First Seen"].value == moment.replace(
        tzinfo=None, microsecond=0
    )


def test_every_verdict_has_its_own_colour_and_only_the_harmless_are_green(connection: Make, cells: Cells) -> None:
    bands: tuple[Band, ...] = ("critical", "high", "medium", "low", "normal", "allowed")
    colours = {band: fill(cells(connection(outwatch=Findings(verdict=band)))["Verdict"]) for band in bands}
    assert len(set(colours.values())) == len(bands)
    assert None not in colours.values()
    assert [band for band in bands if is_green(colours[band])] == ["normal", "allowed"]


def test_checked_scores_are_red_amber_or_green(connection: Make, cells: Cells) -> None:
    scores = (("malicious", 11), ("suspicious", 2), ("clean", 0))
    red, amber, green = (fill(cells(connection(outwatch=rated(state, score)))["VT Score"]) for state, score in scores)
    assert red is not None
    assert amber is not None
    assert red[0] > red[1] + 64
    assert red[0] > red[2] + 64
    assert amber[0] > amber[1] > amber[2]
    assert amber[1] > red[1] + 32
    assert is_green(green)


@pytest.mark.security
@pytest.mark.parametrize(
    "answer",
    [
        Reputation(provider="virustotal", state="clean", score=4),
        Reputation(provider="virustotal", state="clean", score=0, malicious=4, engines=90),
        Reputation(provider="virustotal", state="clean", suspicious=1),
    ],
)
def test_what_engines_speak_against_is_not_green_even_if_it_is_called_clean(connection: Make, cells: Cells, answer: Reputation) -> None:
    colour = fill(cells(connection(outwatch=Findings(reputation=(answer,))))["VT Score"])
    assert colour is not None
    assert not is_green(colour)


@pytest.mark.security
@pytest.mark.parametrize("state", ["not_checked", "no_data"])
def test_other_services_that_know_nothing_are_not_green(connection: Make, cells: Cells, state: Any) -> None:
    answer = Reputation(provider="greynoise", state=state, why="timeout" if state == "not_checked" else None)
    row = cells(connection(outwatch=Findings(reputation=(answer,))))
    assert fill(row["Other Services"]) is None
    assert row["Other Services"].value == "GreyNoise: " + ("not checked: timeout" if state == "not_checked" else "no data")
    assert "not checked" in row["VT Score"].value


def test_what_others_say_leads_to_the_page_of_the_most_worried(connection: Make, cells: Cells) -> None:
    answers = (
        Reputation(provider="virustotal", state="malicious", score=60),
        Reputation(provider="greynoise", state="clean", link="https://evil.example/"),
        Reputation(provider="otx", state="suspicious", score=3, reports=3),
        Reputation(provider="somebody", state="clean"),
    )
    row = cells(connection(outwatch=Findings(reputation=answers)))
    assert row["Other Services"].hyperlink.target == "https://otx.alienvault.com/indicator/ip/203.0.113.9"
    assert row["Other Services"].value == "GreyNoise: clean; AlienVault OTX: suspicious; score 3; 3 reports; somebody: clean"
    assert fill(row["Other Services"]) == fill(cells(connection(outwatch=rated("suspicious")))["VT Score"])
    assert row["Links"].hyperlink.target == "https://ipinfo.io/203.0.113.9"


def test_the_number_of_a_network_is_a_name(connection: Make, cells: Cells) -> None:
    network = AutonomousSystem(number=4_199_999_999, organization=Organization(name="=Example"))
    row = cells(connection(destination=Destination(ip="203.0.113.9", port=443, as_=network, geo=Geo(country_iso_code="NL"))))
    assert (row["AS Number"].value, row["AS Number"].number_format) == (4_199_999_999, "0")
    assert (row["AS Name"].value, row["AS Name"].quotePrefix, row["Country"].value) == ("=Example", True, "NL")


@pytest.mark.security
@pytest.mark.parametrize("scope", ["public", "private"])
@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (rated("not_checked", 0, "quota used up"), "not checked: quota used up"),
        (rated("not_checked", None), "not checked: no reason given"),
        (rated("no_data", 0), "no data"),
        (Findings(), "not checked: "),
    ],
    ids=["quota", "no reason", "no data", "nobody asked"],
)
def test_what_was_not_checked_is_grey_with_its_reason_and_never_green(
    connection: Make, cells: Cells, findings: Findings, reason: str, scope: Scope
) -> None:
    row = cells(connection(outwatch=findings, network=Network(transport="tcp", direction="egress", scope=scope)))
    for cell in (row["VT Score"], row["AbuseIPDB Score"]):
        assert fill(cell) is None
        assert is_grey(rgb(cell.font.color))
    assert row["VT Score"].value.startswith(reason)


def test_a_malicious_address_without_a_number_is_red_all_the_same(connection: Make, cells: Cells) -> None:
    cell = cells(connection(outwatch=rated("malicious", None)))["VT Score"]
    assert cell.value == "malicious"
    assert fill(cell) == fill(cells(connection(outwatch=rated("malicious", 60)))["VT Score"])


def test_links_lead_to_the_pages_of_the_three_services_about_the_address(connection: Make, cells: Cells) -> None:
    row = cells(connection(ip="2001:db8::9", outwatch=rated("clean")))
    links = {name: cell.hyperlink.target for name, cell in row.items() if cell.hyperlink}
    assert links == {
        "VT Score": "https://www.virustotal.com/gui/ip-address/2001:db8::9",
        "AbuseIPDB Score": "https://www.abuseipdb.com/check/2001:db8::9",
        "Links": "https://ipinfo.io/2001:db8::9",
    }


@pytest.mark.security
@pytest.mark.parametrize("scope", ["private", "loopback", "link_local", "multicast", "unclassified", None])
def test_addresses_that_are_not_public_have_no_link(connection: Make, workbook: Callable[..., Workbook], scope: Scope | None) -> None:
    book = workbook([connection(ip="10.0.0.1", network=Network(transport="tcp", direction="egress", scope=scope))])
    assert [cell.coordinate for sheet in book.worksheets for row in sheet.iter_rows() for cell in row if cell.hyperlink] == []


def test_there_are_no_more_links_than_a_sheet_may_have(
    connection: Make, workbook: Callable[..., Workbook], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert streamed.MOST_LINKS == 65_530
    monkeypatch.setattr(streamed, "MOST_LINKS", 4)
    sheet = workbook([connection(id=f"c{last}", ip=f"203.0.113.{last}") for last in range(5)])["Connections"]
    linked = [cell for row in sheet.iter_rows(min_row=2) for cell in row if cell.hyperlink]
    assert len(linked) == 4
    last = {heading.value: cell.value for heading, cell in zip(sheet[1], sheet[6], strict=True)}
    assert last["IP"] == "203.0.113.4"
    assert "203.0.113.4" in str(last["Links"]), "a page that can't be a link is written out"


STRANGE = [
    "=1+1", '=HYPERLINK("http://evil.example")', "+1", "-1", "@x", "＝1", "{=1}", "=cmd|'/C calc'!A0",
    "http://evil.example/", "mailto:x@evil.example", "file:///etc/passwd", "internal:Sheet2!A1", "external:x.xlsx",
    "_x0041_", "_x005F_x0041_", "_x000D_", "_X0041_", "_x00g1_", "__x0041__", "_x0041", "a_x0041_b_x0042_",
    "<r><t>x</t></r>", "<r>x</r>", "</t></is></c>", "]]>", "<!--", "&amp;", "&", "<", '"', "'", "&#65;",
    "  two  spaces  ", " ", "1e5", "TRUE", "#N/A", "007", "2025-01-01", "12:30", "", "😀", "中文", "Zoë", "%s %n {0}", "[link=x]y[/link]",
]  # fmt: skip


@pytest.mark.security
@pytest.mark.parametrize("text", STRANGE)
def test_a_text_is_shown_as_it_is_and_stays_a_text(connection: Make, cells: Cells, text: str) -> None:
    record = connection(
        domain=text, process=Process(pid=1, name=text or None, executable=text),
        outwatch=Findings(
            verdict="low", score=20, open_files=(text,), reasons=(Detection(detector="x", points=20, reason=text),),
            reputation=(Reputation(provider="otx", state="suspicious", tags=(text,)),),
            indicators=(Listed(list_=text, entry=text, note=text),), warnings=(Listed(list_=text, entry=text),),
        ),
    )  # fmt: skip
    row = cells(record, files=True)
    if text:
        assert {shown(row[name].value) for name in ("Domain", "Process", "Executable", "Accessed Files")} == {text}
        assert {row[name].data_type for name in ("Domain", "Process", "Executable")} <= {"s", "inlineStr"}
        assert shown(row["Reasons"].value) == f"{text} (+20)"
        assert shown(row["Known As"].value) == f"{text}: {text}"
        assert shown(row["Listed In"].value) == f"{text}: {text} ({text})"
        assert shown(row["Other Services"].value) == f"AlienVault OTX: suspicious; {text}"
    assert not [name for name, cell in row.items() if cell.data_type == "f"]
    assert {cell.hyperlink.target[: cell.hyperlink.target.index("/", 9) + 1] for cell in row.values() if cell.hyperlink} == {*HOSTS, OTX}


@pytest.mark.security
@pytest.mark.parametrize("text", ["=1+1", " =1+1", "+1", "-1", "@x", "＝1", "＠x"])
def test_what_looks_like_a_formula_stays_a_text_also_when_somebody_edits_the_cell(connection: Make, cells: Cells, text: str) -> None:
    row = cells(connection(domain=text, process=Process(name="curl")))
    assert row["Domain"].quotePrefix
    assert not row["Process"].quotePrefix


@pytest.mark.parametrize(
    "text",
    ["a" * (MOST + 1), "😀" * (MOST // 2 + 1), "\x1b" * MOST, "_x0041_" * MOST, "&" * (MOST + 1)],
    ids=["a", "emoji", "ESC", "codes", "&"],
)
def test_a_text_beyond_a_cell_is_cut_visibly(connection: Make, cells: Cells, text: str) -> None:
    value = shown(cells(connection(process=Process(name=text)))["Process"].value)
    assert len(value.encode("utf-16-le")) // 2 <= MOST
    assert value.endswith(" … (cut)")


@pytest.mark.security
def test_the_file_holds_no_formula_and_no_character_that_xml_forbids(connection: Make, written: Callable[..., bytes]) -> None:
    name = "=1+1" + "".join(map(chr, range(0x20))) + "\ufffe\uffff\ud800\udcff<f>1</f>"
    data = written([connection(process=Process(name=name), domain=name)], "workbook")
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        for part in book.namelist():
            text = book.read(part).decode("utf-8")
            assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", text), part
            assert "<f>" not in text, part


def test_a_destination_that_is_only_ports_apart_has_its_links_in_every_row(connection: Make, workbook: Callable[..., Workbook]) -> None:
    records = [connection(id=f"c{port}", destination=Destination(ip="203.0.113.9", port=port)) for port in range(1, 4)]
    cells = [cell for (cell,) in workbook(records)["Connections"].iter_rows(min_row=2, min_col=28, max_col=28)]
    assert [cell.hyperlink and cell.hyperlink.target for cell in cells] == ["https://ipinfo.io/203.0.113.9"] * 3
