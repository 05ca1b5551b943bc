"""The columns of a report, and what stands in each cell: a value, or why there is none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

from outwatch.model.records import Band, Judged, Process, Question, Unknown, asked_name
from outwatch.net.services import service
from outwatch.views import known
from outwatch.views.report.fold import Row
from outwatch.views.report.wireshark import display_filter
from outwatch.views.terminal.words import UNATTRIBUTED

_MOST_PARENTS = 8
_MOST_NAMES = 5
COLUMNS_OF_THEIR_OWN = ("virustotal", "abuseipdb")
"""Services that have a column each; what the others say stands in one."""


class Unchecked(NamedTuple):
    """A value that nobody knows, and why: shown grey."""

    why: str


class Rated(NamedTuple):
    """What a service said: its number and what it thinks of it."""

    value: float | str
    state: known.Shade


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
    """A column: its heading, the most characters it may be wide, what it says, and what that means; ``service``: whose number it holds."""

    heading: str
    widest: int
    read: Callable[[Row], Cell]
    meaning: str
    service: str | None = None


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


def reputation(record: Judged, provider: str, unasked: Mapping[str, str] | None = None) -> Cell:
    """Give what a service said of the destination, or why it was not asked; never more than it said.

    ``unasked`` has, by provider, why nobody asked it in all of the watch.
    """
    said = known.opinion(record, provider)
    if said is None:
        why = (unasked or {}).get(provider, "no look-up")
        return Unchecked(f"not checked: {why if record.network.scope in {'public', None} else _elsewhere(record)}")
    if said.state in {"not_checked", "no_data"}:
        return Unchecked(known.spelled(said) if said.state == "not_checked" else "no data")
    number = known.number(said)
    return Rated(said.state if number is None else number, known.shade(said))


def _elsewhere(record: Judged) -> str:
    """Say where an address lives that no service is asked about."""
    return f"{(record.network.scope or 'unknown').replace('_', '-')} address"


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
    return known.country(row.record) or _not_placed(row.record)


def network(row: Row) -> Cell:
    """Say who runs the network."""
    number, name = known.network(row.record)
    return name or (f"AS{number}" if number is not None else _not_placed(row.record))


def network_number(row: Row) -> Cell:
    """Give the number of the network."""
    number, _ = known.network(row.record)
    return _not_placed(row.record) if number is None else number


def _not_placed(record: Judged) -> Unchecked:
    return Unchecked("not known" if record.network.scope in {"public", None} else _elsewhere(record))


def other_services(row: Row) -> Cell:
    """Tell what services say that have no column of their own; coloured by the worst of them, grey if none of them answered."""
    said = [one for one in known.opinions(row.record) if one.provider not in COLUMNS_OF_THEIR_OWN]
    text = "; ".join(f"{known.title(one.provider)}: {known.spelled(one)}" for one in said)
    shades = {known.shade(one) for one in said}
    if "malicious" in shades or "suspicious" in shades:
        return Rated(text, "malicious" if "malicious" in shades else "suspicious")
    if not said:
        return None
    return Unchecked(text) if all(one.state == "not_checked" for one in said) else text


def listed_in(row: Row) -> Cell:
    """Name the entries of indicator lists that cover the destination."""
    text = known.short(known.listing(row.record.outwatch.indicators))
    return Rated(text, "suspicious") if text else None


def known_as(row: Row) -> Cell:
    """Name the lists of well-known things that the destination is on."""
    return known.short(known.listing(row.record.outwatch.warnings)) or None


def container(row: Row) -> Cell:
    """Name the container."""
    container = row.record.container
    return (container.name or container.id) if container else None


def _links(row: Row) -> Cell:
    return " ".join(known.pages(row.record).values()) or None


def checked_at(row: Row) -> Cell:
    """Say when the services were asked, the last time."""
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


def _of_service(heading: str, provider: str, meaning: str, unasked: Mapping[str, str] | None = None) -> Column:
    return Column(heading, 46, lambda row: reputation(row.record, provider, unasked), meaning, provider)


COLUMNS: tuple[Column, ...] = (
    Column("IP", 40, lambda row: known.far_ip(row.record) or Unchecked("not known"), "address of the other end"),
    Column("Domain", 40, domain, "best name known; a reverse name only if it leads back to the address"),
    Column("Port", 8, lambda row: row.record.destination.port, "port that was called; none for protocols without ports"),
    Column("Service", 16, _service, "IANA's name for that port, whatever is really spoken there"),
    Column("Process", 40, lambda row: process_name(row.record), "name that the process gives itself"),
    Column("PID", 10, pid, "process id"),
    Column(
        "Country",
        12,
        country,
        "country (ISO 3166-1) that the address is registered in, or that its network names; the machine may stand elsewhere",
    ),
    Column("AS Name", 28, network, "who runs the network"),
    _of_service("VT Score", "virustotal", "VirusTotal: engines that call the address malicious"),
    _of_service("AbuseIPDB Score", "abuseipdb", "AbuseIPDB: confidence of abuse, 0 to 100"),
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
    Column("Checked At", 20, checked_at, "when the services were asked (UTC)"),
    Column("AS Number", 12, network_number, "number of the network (autonomous system)"),
    Column("Other Services", 50, other_services, "what other services say of the address"),
    Column("Listed In", 40, listed_in, "lists of bad things that it is on, and what they say of it"),
    Column("Known As", 40, known_as, "lists of well-known things that it is on: clouds, resolvers, popular names"),
)
"""The columns of the contract, in its order, and then more."""


def columns(*, files: bool, unasked: Mapping[str, str] | None = None) -> tuple[Column, ...]:
    """Give the columns of a report for which open files were collected, or not; ``unasked`` as in ``reputation``."""
    shown = COLUMNS
    if not files:
        shown = tuple(replace(one, read=_no_files) if one.heading == "Accessed Files" else one for one in shown)
    if unasked:
        shown = tuple(_of_service(one.heading, one.service, one.meaning, unasked) if one.service else one for one in shown)
    return shown


def _no_files(_row: Row) -> Cell:
    return Unchecked("not collected (--files)")
