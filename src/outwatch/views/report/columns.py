"""The columns of a report, and what stands in each cell: a value, or why there is none."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from outwatch.model.records import Band, Judged, Process, Question, Reputation, Unknown, asked_name
from outwatch.net.addresses import parse
from outwatch.net.services import service
from outwatch.views.report.fold import Row
from outwatch.views.report.wireshark import display_filter
from outwatch.views.terminal.words import UNATTRIBUTED

_MOST_PARENTS = 8
_MOST_NAMES = 5
_PAGES = (
    ("virustotal", "https://www.virustotal.com/gui/ip-address/{}"),
    ("abuseipdb", "https://www.abuseipdb.com/check/{}"),
    ("ipinfo", "https://ipinfo.io/{}"),
)


class Unchecked(NamedTuple):
    """A value that nobody knows, and why: shown grey."""

    why: str


class Rated(NamedTuple):
    """What a service said: its number and what it thinks of it."""

    value: float | str
    state: Literal["malicious", "suspicious", "clean"]


class Verdict(NamedTuple):
    """A verdict, shown in its colour."""

    band: Band


class Linked(NamedTuple):
    """A value with a link of our own making."""

    cell: "str | Unchecked | Rated"
    url: str


class Styled(NamedTuple):
    """A text in a style of the workbook, such as a heading."""

    text: str
    style: int


Cell = str | int | float | datetime | Unchecked | Rated | Verdict | Linked | Styled | None
"""``None`` is a value that does not exist, such as the container of a process that is in none."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, the most characters it may be wide, what it says, and what that means."""

    heading: str
    widest: int
    read: Callable[[Row], Cell]
    meaning: str


def far_ip(record: Judged) -> str | None:
    """Give the address of the other end."""
    return record.source.ip if record.network.direction == "ingress" else record.destination.ip


def pages(record: Judged) -> dict[str, str]:
    """Give the pages of reputation services about a public address, by service; an address can't lead elsewhere."""
    return _pages(far_ip(record) or "") if record.network.scope == "public" else {}


@lru_cache(maxsize=4096)
def _pages(ip: str) -> dict[str, str]:
    address = parse(ip)
    return {service: page.format(address) for service, page in _PAGES} if address is not None else {}


def verdict(record: Judged) -> Cell:
    """Give the verdict; what was accepted from outside has none."""
    if record.outwatch.verdict is not None:
        return Verdict(record.outwatch.verdict)
    return Unchecked("not judged (accepted)" if record.network.direction == "ingress" else "not judged")


def process_name(record: Judged) -> Cell:
    """Name the process, or say why that can't be done."""
    process, attribution = record.process, record.outwatch.attribution
    if process is not None and (process.name or process.executable):
        name = process.name or process.executable or ""
        return f"{name} (outwatch itself)" if record.outwatch.own else name
    if isinstance(attribution, Unknown):
        return Unchecked(f"unattributed: {UNATTRIBUTED[attribution.unknown]}")
    return Unchecked("unattributed")


def reputation(record: Judged, provider: str) -> Cell:
    """Give what a service said of the destination, or why it was not asked; never more than it said."""
    said = next((one for one in record.outwatch.reputation or () if one.provider == provider), None)
    if said is None:
        scope = record.network.scope
        return Unchecked("not checked: no look-up" if scope in {"public", None} else f"not checked: {scope} address")
    if said.state in {"not_checked", "no_data"}:
        return Unchecked(f"not checked: {said.why or 'no reason given'}" if said.state == "not_checked" else "no data")
    return _rated(said)


def _rated(said: Reputation) -> Rated:
    state = said.state if said.state in {"malicious", "suspicious"} else "clean"
    score = said.score
    if score is None:
        return Rated(said.state, state)
    return Rated(int(score) if score % 1 == 0 else score, state)


def executable(record: Judged) -> Cell:
    """Give the path, and what is odd about its file."""
    process, state = record.process, record.outwatch.executable
    if process is None or not process.executable:
        return Unchecked("not known")
    return f"{process.executable} [{state.replace('_', ' ')}]" if state else process.executable


def sha256(record: Judged) -> Cell:
    """Give the checksum of the executable."""
    process = record.process
    return (process.hash.sha256 if process and process.hash else None) or Unchecked("not checked")


def parents(process: Process | None) -> Iterator[Process]:
    """Yield the parents, the nearest first."""
    while process is not None and process.parent is not None:
        process = process.parent
        yield process


def user(record: Judged) -> Cell:
    """Name the account."""
    return (record.user.name or record.user.id) if record.user else Unchecked("not known")


def domain(row: Row) -> Cell:
    """Give the best name known."""
    return asked_name(row.record) or Unchecked("no confirmed name" if row.record.outwatch.names else "not known")


def parent(row: Row) -> Cell:
    """Name the processes it descends from."""
    named = [
        f"{one.name or one.executable or 'unknown'} ({one.pid})"
        for one, _ in zip(parents(row.record.process), range(_MOST_PARENTS), strict=False)
    ]
    return " ← ".join(named) or Unchecked("not known")


def _origin(row: Row) -> Cell:
    if isinstance(row.record, Question):
        return "asked"
    names = row.record.outwatch.names or ()
    said = []
    for one in names[:_MOST_NAMES]:
        trust = "" if one.confirmed is None else ", confirmed" if one.confirmed else ", not confirmed"
        shown = "" if one.name == row.record.destination.domain else f"{one.name}: "
        said.append(f"{shown}{one.origin or 'unknown'}{trust}")
    if len(names) > _MOST_NAMES:
        said.append(f"{len(names) - _MOST_NAMES} more")
    return "; ".join(said) or None


def reasons(row: Row) -> Cell:
    """Tell why the verdict is what it is."""
    return "; ".join(f"{reason.reason} ({reason.points:+g})" for reason in row.record.outwatch.reasons or ()) or None


def _files(row: Row) -> Cell:
    files = row.record.outwatch.open_files
    return "; ".join(files) if files else Unchecked("none seen")


def country(row: Row) -> Cell:
    """Give the country of the address."""
    geo = row.record.destination.geo
    return (geo.country_iso_code if geo else None) or Unchecked("not looked up")


def network(row: Row) -> Cell:
    """Say who runs the network."""
    of = row.record.destination.as_
    if of is None or (of.number is None and of.organization is None):
        return Unchecked("not looked up")
    name = of.organization.name if of.organization else None
    return name or f"AS{of.number}"


def container(row: Row) -> Cell:
    """Name the container."""
    container = row.record.container
    return (container.name or container.id) if container else None


def _links(row: Row) -> Cell:
    return " ".join(pages(row.record).values()) or None


def _checked_at(row: Row) -> Cell:
    times = [one.checked_at for one in row.record.outwatch.reputation or () if one.checked_at is not None]
    return max(times).astimezone(UTC) if times else Unchecked("not checked")


def count_of_bytes(number: int | None) -> Cell:
    """Give a number of bytes, if somebody counted."""
    return number if number is not None else Unchecked("not measured")


def pid(row: Row) -> Cell:
    """Give the process id."""
    process = row.record.process
    return process.pid if process and process.pid is not None else Unchecked("not known")


def _service(row: Row) -> Cell:
    destination = row.record.destination
    return destination.service or service(destination.port, row.record.network.transport)


def _filter(row: Row) -> Cell:
    record = row.record
    far = record.source if record.network.direction == "ingress" else record.destination
    return display_filter(far.address or far.ip, record.destination.port, record.network.transport) or Unchecked("no address to ask for")


COLUMNS: tuple[Column, ...] = (
    Column("IP", 40, lambda row: far_ip(row.record) or Unchecked("not known"), "address of the other end"),
    Column("Domain", 40, domain, "best name known; a reverse name only if it leads back to the address"),
    Column("Port", 8, lambda row: row.record.destination.port, "port that was called; none for protocols without ports"),
    Column("Service", 16, _service, "IANA's name for that port, whatever is really spoken there"),
    Column("Process", 40, lambda row: process_name(row.record), "name that the process gives itself"),
    Column("PID", 10, pid, "process id"),
    Column("Country", 12, country, "country of the address, ISO 3166-1"),
    Column("AS Name", 28, network, "who runs the network"),
    Column("VT Score", 30, lambda row: reputation(row.record, "virustotal"), "VirusTotal: engines that call the address malicious"),
    Column("AbuseIPDB Score", 30, lambda row: reputation(row.record, "abuseipdb"), "AbuseIPDB: confidence of abuse, 0 to 100"),
    Column("Wireshark Filter", 44, _filter, "display filter for exactly these packets"),
    Column("Accessed Files", 30, _files, "files that the process held open, if they were asked for (--files)"),
    Column("Verdict", 12, lambda row: verdict(row.record), "the worst verdict of these connections"),
    Column("Score", 8, lambda row: row.record.outwatch.score, "0 to 100; from 20 low, 40 medium, 60 high, 80 critical"),
    Column("Reasons", 60, reasons, "why, with the points of each reason"),
    Column("Name Origin", 26, _origin, "where the name comes from: ptr (reverse DNS), hosts, dns, sni, http, quic"),
    Column("Protocol", 10, lambda row: row.record.network.transport, "transport"),
    Column("Executable", 40, lambda row: executable(row.record), "program file, and what is odd about it"),
    Column("SHA-256", 66, lambda row: sha256(row.record), "checksum of the program file"),
    Column("Parent", 40, parent, "processes it descends from, the nearest first"),
    Column("User", 14, lambda row: user(row.record), "account of the process"),
    Column("Container", 16, container, "container of the process, if any"),
    Column("First Seen", 20, lambda row: row.first, "UTC"),
    Column("Last Seen", 20, lambda row: row.last, "UTC"),
    Column("Bytes Sent", 14, lambda row: count_of_bytes(row.record.source.bytes), "application bytes sent by who opened it"),
    Column("Bytes Received", 14, lambda row: count_of_bytes(row.record.destination.bytes), "application bytes that came back"),
    Column("Connections", 13, lambda row: row.connections, "how many connections this row stands for"),
    Column("Links", 12, _links, "pages of services about the address; opening one tells the service of your interest"),
    Column("Checked At", 20, _checked_at, "when the services were asked (UTC)"),
)
"""The columns of the contract, in its order."""

_WITHOUT_FILES = tuple(
    replace(column, read=lambda _row: Unchecked("not collected (--files)")) if column.heading == "Accessed Files" else column
    for column in COLUMNS
)


def columns(*, files: bool) -> tuple[Column, ...]:
    """Give the columns of a report for which open files were collected, or not."""
    return COLUMNS if files else _WITHOUT_FILES
