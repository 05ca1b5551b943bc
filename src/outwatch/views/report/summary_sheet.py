"""The sheets that are read first and last: the summary, and the legend."""

from collections.abc import Sequence

from outwatch import __version__
from outwatch.engine.verdict import BANDS
from outwatch.model.records import Band
from outwatch.net.places.shipped import facts
from outwatch.views import known
from outwatch.views.report import Report
from outwatch.views.report.columns import Cell, Column, Rated, Styled, Unchecked, Verdict, domain, process_name, verdict
from outwatch.views.report.grid import Pen, Styles, set_up_print
from outwatch.views.report.overview import Overview, busiest
from outwatch.views.report.streamed import StreamedSheet

_TOP = 10
_WIDTHS = (40, 20, 46, 14, 60)
_REASONS = 3  # of a service, on this sheet
_OPINIONS = {"malicious": "malicious", "suspicious": "suspicious", "clean": "clean", "no_data": "without opinion"}
_ORDER: tuple[Band, ...] = ("critical", "high", "medium", "low", "normal", "allowed")
_BAND_MEANING: dict[Band, str] = {
    "critical": "several independent reasons to worry: look at it now",
    "high": "a strong reason, or several: look at it today",
    "medium": "worth a look: unusual, and not explained",
    "low": "a weak hint; normal programs have some of these",
    "normal": "nothing speaks against it, as far as it was checked",
    "allowed": "an entry of your allow list covers it",
}


class _Page:
    """Writes a sheet from top to bottom."""

    def __init__(self, sheet: StreamedSheet, styles: Styles, footer: str) -> None:
        self._pen, self._styles, self._row = Pen(sheet, styles), styles, 0
        for column, width in enumerate(_WIDTHS):
            sheet.set_column(column, column, width)
        set_up_print(sheet, footer)

    def title(self, text: str) -> None:
        self.row(Styled(text, self._styles.title))
        self._row += 1

    def section(self, *texts: str) -> None:
        """Begin a part, after an empty row."""
        self._row += 1
        self.row(*(Styled(text, self._styles.section) for text in texts))

    def row(self, *cells: Cell) -> None:
        self._pen.row(self._row, cells)
        self._row += 1


def write_summary(sheet: StreamedSheet, styles: Styles, report: Report, overview: Overview, footer: str) -> None:
    """Say what was watched, what was found, who talks most, and what is not known."""
    summary = report.summary
    page = _Page(sheet, styles, footer)
    page.title("What talks to the outside")
    page.row("Host", overview.host)
    page.row("Watched (UTC)" if summary.host else "Recorded (UTC)", overview.period)
    page.row("Seen by", summary.sensor or Unchecked("not known"))
    page.row("Report made (UTC)", report.made)
    page.row("outwatch", __version__)
    page.row("Rows", overview.rows)
    page.row("Connections", overview.connections)
    for why, hidden in report.hidden.items():
        page.row("Left out, connections", hidden, Unchecked(f"{why} (--all has them)"))
    page.section("Verdict", "Rows", "", "", "")
    for band in _ORDER:
        page.row(Verdict(band), overview.verdicts[band], _BAND_MEANING[band])
    if overview.verdicts[None]:
        page.row(Unchecked("not judged"), overview.verdicts[None])
    page.section("Programs with most connections", "Connections", "Destinations", "Verdict", "")
    for group in busiest(overview.processes, _TOP):
        record = group.speaker.record
        page.row(process_name(record), group.connections, group.listing(), verdict(record))
    page.section("Destinations with most connections", "Connections", "Domain", "Verdict", "Called by")
    for group in busiest(overview.destinations, _TOP):
        record = group.speaker.record
        far = known.far_ip(record) or Unchecked("not known")
        page.row(far, group.connections, domain(group.speaker), verdict(record), group.listing())
    _write_services(page, overview)
    page.section("Not known", "How many", "Why", "", "")
    for what, count, why in overview.unknown():
        page.row(what, count, Unchecked(why))


def _write_services(page: _Page, overview: Overview) -> None:
    """Say of each service how many destinations it was asked about with success, what it thinks of them, and why of others nothing."""
    page.section("Services, by destination", "Answered", "Their opinion", "Not checked", "Why not")
    for service in overview.services:
        opinions = ", ".join(f"{service.answers[state]} {text}" for state, text in _OPINIONS.items() if service.answers[state])
        reasons = "; ".join(f"{why}: {count:,}" for why, count in service.not_checked.most_common(_REASONS))
        left_out = len(service.not_checked) - _REASONS
        reasons += f"; {left_out} more on Not Checked" if left_out > 0 else ""
        answered = service.answers.total()
        page.row(
            service.title,
            answered,
            opinions or Unchecked("nobody answered"),
            service.not_checked.total(),
            Unchecked(reasons) if reasons else None,
        )


def write_legend(sheet: StreamedSheet, styles: Styles, shown: Sequence[Column], footer: str) -> None:
    """Explain colours and columns."""
    page = _Page(sheet, styles, footer)
    page.title("How to read this")
    page.section("Verdict", "From score", "", "", "")
    lowest = {band: str(score) for score, band in BANDS}
    for band in _ORDER:
        page.row(Verdict(band), lowest.get(band, "any"), _BAND_MEANING[band])
    page.section("Score of a service", "", "", "", "")
    page.row(Rated("red", "malicious"), "the service calls it malicious")
    page.row(Rated("amber", "suspicious"), "the service has some doubt")
    page.row(Rated("pale", "hint"), "the service is not worried, though something was said against it")
    page.row(Rated("green", "clean"), "the service knows it and has nothing at all against it")
    page.row(Unchecked("grey, with the reason"), "not checked: nobody was asked, or nobody answered. Grey is not green.")
    page.row("no data", "the service was asked and knows nothing of it. That is not green either.")
    page.section("Column", "Meaning", "", "", "")
    for column in shown:
        page.row(column.heading, column.meaning)
    page.section("Links", "", "", "", "")
    page.row("VT Score, AbuseIPDB Score", "lead to that service's page about the address")
    page.row("Links", "leads to IPinfo's page. Opening a page tells the service that you are interested.")
    page.row("Other Services", "leads to the page of the service that is most worried")
    shipped = facts()
    if shipped is not None:
        page.section("Country and network", "From", "", "", "")
        page.row("first", "your own MMDB files, then those that were fetched (enrichers.geo), then:")
        for origin in shipped.origins:
            page.row(origin.gives, f"{origin.name}, {origin.date}; {origin.licence}")
            page.row("", f"thanks to {origin.credit}")
