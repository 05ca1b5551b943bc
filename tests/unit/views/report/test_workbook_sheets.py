"""The workbook as a whole: its sheets, what they add up, and how they filter, scroll and print."""

import gc
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from outwatch.errors import OutputError
from outwatch.model.records import (
    AutonomousSystem,
    Connection,
    Destination,
    Event,
    Findings,
    Geo,
    Host,
    Listed,
    Network,
    Organization,
    Process,
    Reputation,
    Scope,
    Source,
    Summary,
    Unknown,
)
from outwatch.views.report import Report, grid, render
from outwatch.views.report.columns import COLUMNS
from outwatch.views.report.fold import Row

Make = Callable[..., Connection]
Read = Callable[..., Workbook]
SHEETS = ["Summary", "Connections", "Processes", "Destinations", "Not Checked", "Legend"]
TABLES = {"Connections": 2, "Processes": 2, "Destinations": 2, "Not Checked": 1}


def values(sheet: Worksheet) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in sheet.iter_rows(values_only=True)]


def told(book: Workbook, sheet: str = "Summary") -> dict[Any, Any]:
    """Give what the second column says of the first."""
    return {row[0]: row[1] for row in values(book[sheet]) if row[0] is not None and row[1] is not None}


def footer_of(data: bytes, sheet: int = 1) -> str:
    """Give the footer as it is in the file."""
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        root = ET.fromstring(book.read(f"xl/worksheets/sheet{sheet + 1}.xml"))
    return root.findtext(".//{*}oddFooter") or ""


@pytest.fixture
def busy(connection: Make) -> list[Connection]:
    """Give records, worst first: five connections of two processes to two destinations, and one of nobody."""
    updater = Process(pid=9, name="updater", executable="/tmp/updater", entity_id="e9")
    bad = Findings(verdict="high", score=70)
    normal = Findings(verdict="normal", score=0)
    return [
        connection(id="c1", process=updater, outwatch=bad, source=Source(ip="192.0.2.10", bytes=100)),
        connection(id="c2", ip="203.0.113.10", process=updater, outwatch=normal),
        connection(id="c3", outwatch=normal, source=Source(ip="192.0.2.10", bytes=7)),
        connection(id="c4", outwatch=normal),
        connection(id="c5", outwatch=normal, destination=Destination(ip="203.0.113.9", port=80)),
        connection(id="c6", ip="203.0.113.10", process=None, outwatch=Findings(attribution=Unknown(unknown="exited"), verdict="normal")),
    ]


def test_the_sheets_are_those_of_the_contract_in_its_order_and_the_summary_is_in_front(busy: list[Connection], workbook: Read) -> None:
    book = workbook(busy)
    assert book.sheetnames == SHEETS
    assert book.active is book["Summary"]
    assert {sheet.sheet_state for sheet in book.worksheets} == {"visible"}


def test_the_connections_are_the_columns_of_the_contract_and_a_row_for_each(busy: list[Connection], workbook: Read) -> None:
    heading, *rows = values(workbook(busy)["Connections"])
    assert heading == tuple(column.heading for column in COLUMNS)
    at = {name: heading.index(name) for name in ("IP", "Port", "Process", "Connections", "Bytes Sent", "Verdict")}
    unknown = "unattributed: its process has gone or let go of it"
    assert [tuple(row[place] for place in at.values()) for row in rows] == [
        ("203.0.113.9", 443, "updater", 1, 100, "high"),
        ("203.0.113.10", 443, "updater", 1, "not measured", "normal"),
        ("203.0.113.9", 443, "curl", 2, 7, "normal"),
        ("203.0.113.9", 80, "curl", 1, "not measured", "normal"),
        ("203.0.113.10", 443, unknown, 1, "not measured", "normal"),
    ]


def test_processes_and_destinations_add_their_rows_up_worst_first(busy: list[Connection], workbook: Read) -> None:
    book = workbook(busy)
    heading, *rows = values(book["Processes"])
    shown = [{name: row[heading.index(name)] for name in ("Process", "PID", "Verdict", "Connections", "Destinations")} for row in rows]
    assert shown[:2] == [
        {"Process": "updater", "PID": 9, "Verdict": "high", "Connections": 2, "Destinations": "203.0.113.9, 203.0.113.10"},
        {"Process": "curl", "PID": 77, "Verdict": "normal", "Connections": 3, "Destinations": "203.0.113.9"},
    ]
    heading, *rows = values(book["Destinations"])
    assert [
        (row[0], row[heading.index("Connections")], row[heading.index("Verdict")], row[heading.index("Bytes Sent")]) for row in rows
    ] == [
        ("203.0.113.9", 4, "high", 107),
        ("203.0.113.10", 2, "normal", "not measured"),
    ]
    assert rows[0][heading.index("Processes (Port)")] == "updater (443), curl (443), curl (80)"


def test_the_summary_tells_counts_top_programs_and_what_is_not_known(busy: list[Connection], workbook: Read) -> None:
    began = datetime(2025, 7, 10, 17, 42, tzinfo=UTC)
    watched = Summary(
        host=Host(name="box"),
        sensor="polling",
        event=Event(start=began, end=began + timedelta(minutes=2)),
        unattributed=1,
        unattributed_why={"exited": 1},
        lost={"queue": 12},
        not_checked={"out of time": 3},
        blind=("short connections",),
        broken_lines=2,
        problems=("a part failed",),
    )
    book = workbook(busy, watched, hidden={"loopback": 4})
    said = told(book)
    assert (said["Host"], said["Seen by"], said["Rows"], said["Connections"]) == ("box", "polling", 5, 6)
    assert said["Watched (UTC)"] == "2025-07-10 17:42:00 to 2025-07-10 17:44:00"
    assert (said["high"], said["normal"], said["critical"], said["allowed"]) == (1, 4, 0, 0)
    assert (said["curl"], said["updater"], said["203.0.113.9"]) == (3, 2, 4)
    assert said["Left out, connections"] == 4
    not_checked = values(book["Not Checked"])
    assert not_checked[0] == ("What", "How Many", "Why")
    for wanted in [
        ("VirusTotal, destinations", 2, "no look-up"),
        ("AbuseIPDB, destinations", 2, "no look-up"),
        ("Not looked up", 3, "out of time"),
        ("Events lost", 12, "queue"),
        ("Lines of the input", 2, "broken, passed over"),
        ("Not seen", None, "short connections"),
        ("Problem", None, "a part failed"),
        ("Connections without a process", 1, "its process has gone or let go of it"),
    ]:
        assert wanted in not_checked
        assert wanted in [row[:3] for row in values(book["Summary"])]


def _of(sheet: Worksheet, heading: str, name: str) -> dict[str, Any]:
    """Give the row of a sheet that begins with ``name``, by the headings of the part that begins with ``heading``."""
    rows = values(sheet)
    first = next(at for at, row in enumerate(rows) if row[0] == heading)
    row = next(row for row in rows[first:] if row[0] == name)
    return dict(zip([str(one) for one in rows[first]], row, strict=True))


def test_the_summary_adds_up_what_services_said_of_each_destination(connection: Make, workbook: Read) -> None:
    def seen(last: int, *said: Reputation, scope: Scope = "public") -> Connection:
        network = Network(transport="tcp", direction="egress", scope=scope)
        return connection(id=f"c{last}{said}", ip=f"203.0.113.{last}", network=network, outwatch=Findings(reputation=said or None))

    def engines(state: Any, why: str | None = None) -> Reputation:
        return Reputation(provider="virustotal", state=state, why=why)

    records = [
        seen(1, engines("not_checked", "quota")),
        replace(seen(1, engines("malicious")), process=Process(pid=5, name="other")),  # the same destination: it was answered all the same
        seen(2, engines("clean"), Reputation(provider="otx", state="no_data")),
        seen(3, engines("not_checked", "quota")),
        seen(4, engines("not_checked", "timeout")),
        seen(5),
        seen(6, scope="private"),
    ]
    book = workbook(records, unasked={"virustotal": "no key"})
    summary = book["Summary"]
    row = _of(summary, "Services, by destination", "VirusTotal")
    assert row == {
        "Services, by destination": "VirusTotal", "Answered": 2, "Their opinion": "1 malicious, 1 clean", "Not checked": 4,
        "Why not": "quota: 1; timeout: 1; no key: 1; 1 more on Not Checked",
    }  # fmt: skip
    abuse = _of(summary, "Services, by destination", "AbuseIPDB")
    assert (abuse["Answered"], abuse["Their opinion"], abuse["Not checked"]) == (0, "nobody answered", 6)
    assert _of(summary, "Services, by destination", "AlienVault OTX")["Their opinion"] == "1 without opinion"
    not_checked = values(book["Not Checked"])
    reasons = (("quota", 1), ("timeout", 1), ("no key", 1), ("private address", 1))
    assert [("VirusTotal, destinations", count, why) in not_checked for why, count in reasons] == [True] * 4


@pytest.mark.security
def test_endless_reasons_and_services_are_told_apart_only_so_far(connection: Make, workbook: Read) -> None:
    records = [
        connection(
            id=f"c{at}", ip=f"203.0.{at >> 8}.{at & 255}",
            outwatch=Findings(reputation=(
                Reputation(provider="virustotal", state="not_checked", why=f"reason {at}"), Reputation(provider=f"p{at}", state="clean"),
            )),
        )
        for at in range(300)
    ]  # fmt: skip
    rows = values(workbook(records)["Not Checked"])[1:]
    mine = [row for row in rows if row[0] == "VirusTotal, destinations"]
    assert len(mine) == 51
    assert max(mine, key=lambda row: row[1])[1:] == (250, "other reasons")
    assert len({row[0] for row in rows}) == 20


def test_destinations_say_what_is_known_of_them_by_any_of_their_connections(connection: Make, workbook: Read) -> None:
    known = Findings(
        verdict="normal",
        score=0,
        reputation=(Reputation(provider="virustotal", state="suspicious", score=2, checked_at=datetime(2025, 7, 10, 18, tzinfo=UTC)),),
        indicators=(Listed(list_="ipsum", entry="203.0.113.9", confidence=80),),
    )
    place = Destination(
        ip="203.0.113.9", port=443, geo=Geo(country_iso_code="NL"),
        as_=AutonomousSystem(number=64_500, organization=Organization(name="Example Net")),
    )  # fmt: skip
    worst = connection(id="c1", destination=place, process=Process(pid=1, name="a"), outwatch=Findings(verdict="low", score=20))
    heading, row = values(workbook([worst, connection(id="c2", destination=place, outwatch=known)])["Destinations"])
    shown = dict(zip(heading, row, strict=True))
    assert {name: shown[name] for name in ("Verdict", "Country", "AS Name", "AS Number", "VT Score", "Listed In", "Known As")} == {
        "Verdict": "low", "Country": "NL", "AS Name": "Example Net", "AS Number": 64_500, "VT Score": 2,
        "Listed In": "ipsum: 203.0.113.9 (confidence 80)", "Known As": None,
    }  # fmt: skip
    assert shown["Checked At"] == datetime(2025, 7, 10, 18)  # noqa: DTZ001 - as cells have it


def test_the_legend_says_whom_to_thank_for_countries_and_networks(workbook: Read) -> None:
    text = " ".join(str(cell) for row in values(workbook([])["Legend"]) for cell in row if cell)
    assert all(whom in text for whom in ("routeviews.org", "db-ip.com", "nro.net", "CC BY 4.0"))


def test_the_legend_explains_every_column_and_every_verdict(workbook: Read) -> None:
    legend = told(workbook([]), "Legend")
    assert {column.heading for column in COLUMNS} <= legend.keys()
    assert {"critical", "high", "medium", "low", "normal", "allowed"} <= legend.keys()
    assert "Grey is not green" in str(legend["grey, with the reason"])


@pytest.mark.parametrize("empty", [False, True], ids=["rows", "no rows"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_a_filter_and_its_heading_and_first_columns_stay_in_view(
    busy: list[Connection], workbook: Read, name: str, *, empty: bool
) -> None:
    sheet = workbook([] if empty else busy)[name]
    last = max(sheet.max_row, 2)
    assert sheet.auto_filter.ref == f"A1:{sheet.cell(last, sheet.max_column).coordinate}"
    assert sheet.freeze_panes == sheet.cell(2, TABLES[name] + 1).coordinate
    assert sheet.print_title_rows == "$1:$1"


@pytest.mark.parametrize("name", SHEETS)
def test_every_sheet_prints_on_a4_landscape_with_host_and_range_at_the_foot(
    busy: list[Connection], workbook: Read, written: Callable[..., bytes], name: str
) -> None:
    sheet = workbook(busy)[name]
    assert sheet.page_setup.orientation == "landscape"
    assert int(sheet.page_setup.paperSize or 0) == 9
    fitting = sheet.sheet_properties.pageSetUpPr
    assert fitting is not None
    assert (sheet.page_setup.fitToHeight, fitting.fitToPage) == (0, True)
    footer = footer_of(written(busy, "workbook", Summary(host=Host(name="box"))), SHEETS.index(name))
    assert "box" in footer
    assert "2025-07-10 17:42:01 to 2025-07-10 17:42:01" in footer
    assert footer.endswith("&R&P / &N")


def test_columns_are_as_wide_as_their_texts_within_bounds(connection: Make, workbook: Read) -> None:
    widths = workbook([connection(process=Process(name="p" * 500), domain="a.example")])["Connections"].column_dimensions
    assert 40 <= widths["E"].width <= 42
    assert len("a.example") < widths["B"].width < 20
    assert widths["C"].width >= 8


@pytest.mark.security
@pytest.mark.parametrize(
    "name", ["AT&T & sons", "&G", "&[Picture]", "a&[Picture]b", "&", "&" * 300, "&L&R&C", "box&12", "😀" * 200, "<x>&amp;"]
)
def test_a_hostile_host_name_is_a_text_at_the_foot(connection: Make, written: Callable[..., bytes], name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = written([connection(host=Host(name=name))], "workbook")
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert not [part for part in book.namelist() if "media" in part or "vml" in part.lower()]
    raw = footer_of(data)
    assert len(raw.encode("utf-16-le")) // 2 <= 255
    assert raw.startswith("&L")
    assert raw.endswith("&R&P / &N")
    inside = raw.removeprefix("&L").removesuffix("&R&P / &N")
    assert "&" not in inside.replace("&&", ""), "every & of the name stands for itself"
    assert not inside.replace("&&", "").startswith("&")
    assert "2025-07-10" in inside


def test_rows_that_a_sheet_can_not_hold_are_counted(connection: Make, workbook: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "MOST_ROWS", 3)
    book = workbook([connection(id=f"c{port}", destination=Destination(ip="203.0.113.9", port=port)) for port in range(5)])
    assert book["Connections"].max_row == 4
    assert values(book["Not Checked"])[1][:2] == ("Rows", 2)
    assert told(book)["Rows"] == 5


@pytest.mark.security
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()], ids=["Ctrl+C", "memory"])
def test_what_goes_wrong_on_the_way_is_raised_and_leaves_no_scratch_behind(
    connection: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    when = datetime(2025, 7, 10, tzinfo=UTC)

    def rows() -> Iterator[Row]:
        for _ in range(10_000):
            yield Row(connection(), 1, when, when)
        raise error

    with pytest.raises(type(error)):
        render(Report(rows=rows(), summary=Summary(), made=when), "workbook", io.BytesIO())
    assert list(scratch.iterdir()) == []


@pytest.mark.security
def test_without_room_for_temporary_files_their_folder_is_named(
    connection: Make, written: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(OutputError, match=r"gone.*No such file"):
        written([connection()], "workbook")


class _Full(io.BytesIO):
    """A disk with room for so many bytes."""

    room = 5_000

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


@pytest.mark.security
def test_a_full_disk_is_an_error_of_the_system_and_nothing_else_is_said(
    connection: Make, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    when = datetime(2025, 7, 10, tzinfo=UTC)
    with pytest.raises(OSError, match="No space left"):
        render(Report(rows=[Row(connection(), 1, when, when)], summary=Summary(), made=when), "workbook", _Full())
    gc.collect()
    assert [str(one.message) for one in recwarn] == []
    assert capsys.readouterr().err == ""


def test_a_private_address_and_an_accepted_connection_are_rows_like_any_other(connection: Make, workbook: Read) -> None:
    private = Network(transport="tcp", direction="egress", scope="private")
    accepted = Network(transport="tcp", direction="ingress", scope="private")
    sheet = workbook([connection(id="p", ip="10.0.0.1", network=private), connection(id="i", network=accepted)])["Connections"]
    assert [(row[0], row[12]) for row in values(sheet)[1:]] == [("10.0.0.1", "not judged"), ("192.0.2.10", "not judged (accepted)")]
