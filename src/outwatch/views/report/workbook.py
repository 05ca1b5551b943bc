"""A report as an Excel workbook (ECMA-376), written row by row: memory does not grow with the number of connections.

Every text is written as a text, whatever it looks like; the only links are those made here, to pages about an address.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import BinaryIO, Self

from xlsxwriter import Workbook
from xlsxwriter.exceptions import FileCreateError

from outwatch import __version__
from outwatch.errors import OutputError
from outwatch.guard.text import printable
from outwatch.model.records import Judged
from outwatch.views import known
from outwatch.views.report import Report
from outwatch.views.report import columns as read
from outwatch.views.report.columns import Cell, Linked, Rated, Unchecked
from outwatch.views.report.grid import Grid, Heading, Styles
from outwatch.views.report.overview import Group, Overview, worst
from outwatch.views.report.streamed import StreamedSheet
from outwatch.views.report.summary_sheet import write_legend, write_summary

SHEETS = ("Summary", "Connections", "Processes", "Destinations", "Not Checked", "Legend")
"""The sheets of the contract, in its order."""

_LINKED = {"VT Score": "virustotal", "AbuseIPDB Score": "abuseipdb", "Links": "ipinfo", "Other Services": None}
_NAMES = frozenset({"Port", "PID", "AS Number"})  # numbers that are names: no thousands separator
_FROZEN = 2
_PAGES = 4  # sheets of paper that the connections are wide

_PROCESSES = (
    Heading("Process", 30), Heading("PID", 10, is_name=True), Heading("Verdict", 12), Heading("Score", 8), Heading("Reasons", 60),
    Heading("Connections", 13), Heading("Destinations", 50), Heading("Bytes Sent", 14), Heading("Bytes Received", 14),
    Heading("First Seen", 20), Heading("Last Seen", 20), Heading("Executable", 40), Heading("Arguments", 60), Heading("SHA-256", 66),
    Heading("Parent", 40), Heading("User", 14), Heading("Container", 16),
)  # fmt: skip
_DESTINATIONS = (
    Heading("IP", 40), Heading("Domain", 40), Heading("Verdict", 12), Heading("Score", 8), Heading("Connections", 13),
    Heading("Processes (Port)", 50), Heading("Country", 12), Heading("AS Name", 28), Heading("VT Score", 30),
    Heading("AbuseIPDB Score", 30), Heading("Bytes Sent", 14), Heading("Bytes Received", 14), Heading("First Seen", 20),
    Heading("Last Seen", 20), Heading("Checked At", 20), Heading("AS Number", 12, is_name=True), Heading("Other Services", 50),
    Heading("Listed In", 40), Heading("Known As", 40),
)  # fmt: skip
_NOT_CHECKED = (Heading("What", 42), Heading("How Many", 12), Heading("Why", 120))


def render(report: Report, out: BinaryIO) -> None:
    """Write the workbook; ``OSError`` when ``out`` does not take it, ``OutputError`` when there is no room for temporary files."""
    file = _Fallible(out)
    try:
        # A folder of its own, so that nothing is left behind whatever happens on the way.
        with tempfile.TemporaryDirectory(prefix="outwatch-", ignore_cleanup_errors=True) as scratch, file:
            book = Workbook(file, {"constant_memory": True, "tmpdir": scratch})
            book.use_zip64()
            try:
                _write(book, report)
                book.close()
            finally:
                for sheet in book.worksheets():
                    sheet._opt_close()  # noqa: SLF001 - else its file stays open when something fails on the way
    except (FileCreateError, OSError) as error:  # FileCreateError is XlsxWriter's name for any OSError at the end
        cause = error.args[0] if isinstance(error, FileCreateError) else error
        if file.refused:
            raise cause from error
        where = f"temporary files in {tempfile.gettempdir()} (TMPDIR names another folder)"
        raise OutputError(where, cause.strerror or str(cause)) from error


class _Fallible:
    """A file that takes nothing any more when something went wrong: the archive in it would be finished nevertheless.

    ``refused`` tells whether it was this file that did not take something.
    """

    def __init__(self, out: BinaryIO) -> None:
        self.refused = False
        self._out = out
        self._given_up = False
        self._at = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._given_up = kind is not None

    def write(self, data: bytes) -> int:
        if not self._given_up:
            try:
                self._out.write(data)
            except OSError:
                self.refused = True
                raise
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        if not self._given_up:
            self._at = self._out.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        if not self._given_up:
            self._out.flush()


def _write(book: Workbook, report: Report) -> None:
    styles, overview = Styles(book), Overview(report.summary, report.unasked)
    sheets = {name: book.add_worksheet(name, StreamedSheet) for name in SHEETS}
    shown = read.columns(files=report.files, unasked=report.unasked)
    wanted = [(column, column.heading in _LINKED) for column in shown]
    headings = [Heading(column.heading, column.widest, column.heading in _NAMES) for column in shown]
    main = Grid(sheets["Connections"], styles, headings, frozen=_FROZEN, pages=_PAGES)
    for row in overview.passing(iter(report.rows)):
        main.add([_linked(column.heading, column.read(row), row.record) if links else column.read(row) for column, links in wanted])
    host = printable(overview.host, 80)
    footer = f"outwatch {__version__} · {host} · {overview.period}"
    book.set_properties({"title": "outwatch report", "subject": host, "author": "outwatch", "created": report.made.replace(tzinfo=None)})
    main.finish(footer)
    for name, headings_of, groups, cells, wide in (
        ("Processes", _PROCESSES, overview.processes, _process_cells, 3),
        ("Destinations", _DESTINATIONS, overview.destinations, partial(_destination_cells, unasked=report.unasked), 2),
    ):
        grid = Grid(sheets[name], styles, headings_of, frozen=_FROZEN, pages=wide)
        for group in worst(groups):
            grid.add(cells(group))
        grid.finish(footer)
    unknown = Grid(sheets["Not Checked"], styles, _NOT_CHECKED, frozen=1)
    if main.left_out:
        unknown.add(["Rows", main.left_out, "more than a sheet can hold; write .csv or .jsonl to have them all"])
    for entry in overview.unknown():
        unknown.add(entry)
    unknown.finish(footer)
    write_summary(sheets["Summary"], styles, report, overview, footer)
    write_legend(sheets["Legend"], styles, shown, footer)


def _linked(heading: str, cell: Cell, record: Judged) -> Cell:
    """Add the link to a service's page about the address, if it has one; of several services that of the most worried."""
    service = _LINKED[heading] or known.most_worried(record, read.COLUMNS_OF_THEIR_OWN)
    url = known.pages(record).get(service or "")
    if url is None or not isinstance(cell, str | Unchecked | Rated):
        return cell
    return Linked("IPinfo" if service == "ipinfo" and heading == "Links" else cell, url)


def _process_cells(group: Group) -> Sequence[Cell]:
    record, row = group.speaker.record, group.speaker
    process = record.process
    return (
        read.process_name(record),
        read.pid(row),
        read.verdict(record),
        record.outwatch.score,
        read.reasons(row),
        group.connections,
        group.listing(),
        read.count_of_bytes(group.sent),
        read.count_of_bytes(group.received),
        group.first,
        group.last,
        read.executable(record),
        " ".join(process.args) if process and process.args else None,
        read.sha256(record),
        read.parent(row),
        read.user(record),
        read.container(row),
    )


def _destination_cells(group: Group, unasked: Mapping[str, str]) -> Sequence[Cell]:
    row = group.informed()
    record = row.record
    return (
        known.far_ip(record) or Unchecked("not known"),
        read.domain(row),
        read.verdict(record),
        record.outwatch.score,
        group.connections,
        group.listing(),
        read.country(row),
        read.network(row),
        _linked("VT Score", read.reputation(record, "virustotal", unasked), record),
        _linked("AbuseIPDB Score", read.reputation(record, "abuseipdb", unasked), record),
        read.count_of_bytes(group.sent),
        read.count_of_bytes(group.received),
        group.first,
        group.last,
        read.checked_at(row),
        read.network_number(row),
        _linked("Other Services", read.other_services(row), record),
        read.listed_in(row),
        read.known_as(row),
    )
