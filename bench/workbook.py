"""A report of 100,000 rows as a workbook, against a plain writer with openpyxl.

Rows come from one generator on both sides: 20,000 destinations, 500 processes, all verdicts and states of reputation, links. Measured:
``render(..., "workbook", ...)``, which also makes the sheets that add the rows up. Rival: openpyxl in its default mode, as most scripts
use it, cell by cell: one sheet with the same 29 columns, colours, links, widths, filter and frozen panes. Each run is a process of its
own; time is that of the writing, memory the largest that the process ever had (``ru_maxrss``). Bounds: a third of the time, a tenth of
the memory.

For information: the whole of ``outwatch report --from FILE`` over 20,000 recorded connections.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import openpyxl
from openpyxl.cell.cell import Cell as OtherCell
from openpyxl.cell.cell import MergedCell
from openpyxl.styles import Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from measuring import Bounds, Rounds, parser
from measuring.recording import lines
from outwatch.model.records import (
    AutonomousSystem,
    Band,
    Connection,
    Destination,
    Detection,
    Event,
    Findings,
    Geo,
    Hash,
    Host,
    Name,
    Network,
    Organization,
    Process,
    Reputation,
    Source,
    Summary,
    User,
)
from outwatch.views.known import pages
from outwatch.views.report import Report, render
from outwatch.views.report.columns import COLUMNS, Cell, Rated, Unchecked, Verdict
from outwatch.views.report.fold import Row

ROWS, DESTINATIONS, PROCESSES, LINKS, RECORDED = 100_000, 20_000, 500, 65_530, 20_000
MINE, RIVAL = "outwatch", "openpyxl"
_LEAST_SOONER, _LEAST_SMALLER = 3, 10
_BEGAN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)
_HOST = Host(name="workstation", id="5d41402abc4b2a76b9719d911017c592")
_BANDS: tuple[tuple[Band, int], ...] = (("critical", 90), ("high", 70), ("medium", 50), ("low", 30), ("normal", 0), ("allowed", 0))
_SERVICES = {"VT Score": "virustotal", "AbuseIPDB Score": "abuseipdb", "Links": "ipinfo"}
_FILLS = {
    name: PatternFill("solid", fgColor=colour)
    for name, colour in {
        "critical": "B42318", "high": "F97066", "medium": "FEC84B", "low": "FEF0C7", "normal": "D1FADF", "allowed": "ECFDF3",
        "malicious": "F97066", "suspicious": "FEC84B", "clean": "D1FADF", "heading": "344054",
    }.items()
}  # fmt: skip
_GREY, _LINK = Font(color="7B8794", italic=True), Font(color="175CD3", underline="single")
_WHITE = Font(color="FFFFFF", bold=True)


def rows() -> Iterator[Row]:
    """Make the rows, one by one: neither side gets a list."""
    shell = Process(pid=300, name="bash", executable="/usr/bin/bash", parent=Process(pid=1, name="systemd"))
    processes = [
        Process(
            pid=1_000 + number, name=f"program{number % 60}", executable=f"/usr/lib/program{number % 60}/bin/program{number % 60}",
            args=(f"program{number % 60}", "--serve"), entity_id=f"e{number}", hash=Hash(sha256=sha256(b"%d" % (number % 60)).hexdigest()),
            parent=shell,
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    for number in range(ROWS):
        began = _BEGAN + timedelta(milliseconds=number)
        ended = began + timedelta(seconds=number % 90)
        yield Row(_record(number, processes[number * 7 % PROCESSES], began, ended), 1 + number % 9, began, ended)


def _record(number: int, process: Process, began: datetime, ended: datetime) -> Connection:
    place = number % DESTINATIONS
    band, score = _BANDS[-2] if place % 5 else _BANDS[place // 5 % len(_BANDS)]
    reason = Detection(detector="odd_port", points=score, reason=f"talks to port {place % 4_000}, where its kind never does")
    domain = f"n{place}.edge.service.example" if place % 3 else None
    return Connection(
        id=f"c{number}",
        revision=1,
        timestamp=began,
        event=Event(action="close", start=began, end=ended),
        host=_HOST,
        network=Network(transport="udp" if place % 4 == 0 else "tcp", direction="egress", scope="public"),
        source=Source(ip="198.51.100.7", port=32_768 + number % 28_232, bytes=number * 31),
        destination=Destination(
            ip=f"198.18.{place // 256}.{place % 256}", port=443 if place % 2 else place % 4_000, bytes=number * 977,
            domain=domain, geo=Geo(country_iso_code="NL") if place % 2 else None,
            as_=AutonomousSystem(number=64_496 + place % 40, organization=Organization(name=f"Example Hosting {place % 40}")),
        ),
        process=process,
        user=User(id="1000", name="alice"),
        outwatch=Findings(
            sensor="polling", attribution="exact", verdict=band, score=score, reasons=(reason,) if score else None,
            names=(Name(name=domain, origin="dns", confirmed=True),) if domain else None, reputation=_said(place, began),
        ),
    )  # fmt: skip


def _said(place: int, when: datetime) -> tuple[Reputation, ...]:
    if place % 4 == 1:
        return tuple(Reputation(provider=name, state="not_checked", why="quota used up") for name in ("virustotal", "abuseipdb"))
    engines = place % 40 if place % 5 == 0 else 0
    state = "malicious" if engines > 10 else "suspicious" if engines else "clean"
    return (
        Reputation(provider="virustotal", state=state, score=engines, checked_at=when),  # type: ignore[arg-type]
        Reputation(provider="abuseipdb", state=state, score=engines * 2, checked_at=when),  # type: ignore[arg-type]
    )


def write_mine(path: Path) -> None:
    with path.open("wb") as file:
        render(Report(rows=rows(), summary=Summary(host=_HOST, sensor="polling", seen=ROWS), made=_BEGAN), "workbook", file)


def write_rival(path: Path) -> None:
    """Write what a careful script would write, with the library's usual means."""
    book = openpyxl.Workbook()
    sheet = book.active
    if not isinstance(sheet, Worksheet):
        raise TypeError("a new workbook has a sheet")
    widths = [len(column.heading) for column in COLUMNS]
    for at, column in enumerate(COLUMNS, 1):
        heading = sheet.cell(1, at, column.heading)
        heading.font, heading.fill = _WHITE, _FILLS["heading"]
    links = 0
    for number, row in enumerate(rows(), 2):
        urls = pages(row.record)
        for at, column in enumerate(COLUMNS, 1):
            value = column.read(row)
            if value is None:
                continue
            cell = sheet.cell(number, at)
            widths[at - 1] = max(widths[at - 1], _fill(cell, value))
            if column.heading in _SERVICES:
                links += _link(cell, urls[_SERVICES[column.heading]], column.heading, has_room=links < LINKS)
    for at, (column, width) in enumerate(zip(COLUMNS, widths, strict=True), 1):
        sheet.column_dimensions[get_column_letter(at)].width = min(width + 1, column.widest)
    sheet.freeze_panes, sheet.auto_filter.ref = "C2", sheet.dimensions
    book.save(path)


def _link(cell: OtherCell | MergedCell, url: str, heading: str, *, has_room: bool) -> bool:
    """Lay a link over a cell if there is room for one more, and tell whether there was."""
    if heading == "Links":
        cell.value = "IPinfo" if has_room else url
    if has_room:
        cell.hyperlink = url
        if heading == "Links":
            cell.font = _LINK
    return has_room


def _fill(cell: OtherCell | MergedCell, value: Cell) -> int:
    """Put a value into a cell, with its colour, and give its width."""
    if isinstance(value, Unchecked):
        cell.value, cell.font = value.why, _GREY
    elif isinstance(value, Rated):
        cell.value, cell.fill = value.value, _FILLS[value.state]
    elif isinstance(value, Verdict):
        cell.value, cell.fill = value.band, _FILLS[value.band]
    elif isinstance(value, datetime):
        cell.value, cell.number_format = value.replace(tzinfo=None, microsecond=0), "yyyy-mm-dd hh:mm:ss"
    elif isinstance(value, str | int | float):
        cell.value = value
    return len(str(cell.value))


def one_round(what: str) -> tuple[float, float]:
    """Write in a new process; give seconds and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.xlsx")
        command = [sys.executable, __file__, "--run", what, "--to", str(path)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        _check(path, 2 if what == MINE else 1)
    seconds, kibibytes = done.stdout.split()
    return float(seconds), float(kibibytes) / 1024


def _check(path: Path, number: int) -> None:
    """Look whether everything is there, so that nobody wins by writing less."""
    with (
        zipfile.ZipFile(path) as book,
        book.open(f"xl/worksheets/sheet{number}.xml") as sheet,
    ):
        found: dict[bytes, int] = dict.fromkeys((b"<row ", b"<hyperlink ", b"<autoFilter ", b"<pane "), 0)
        rest = b""
        while piece := sheet.read(1 << 20):
            text = rest + piece
            end = max(text.rfind(b">") + 1, 0)
            for mark in found:
                found[mark] += text[:end].count(mark)
            rest = text[end:]
    if list(found.values()) != [ROWS + 1, LINKS, 1, 1]:
        raise RuntimeError(f"a workbook is not whole: {found}")


def whole_command() -> None:
    """Print how long the command takes, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        recording, path = Path(folder, "recorded.jsonl"), Path(folder, "report.xlsx")
        recording.write_bytes(b"".join(line + b"\n" for line in lines(RECORDED, RECORDED // 4)))
        environment = {**os.environ, "OUTWATCH_STATE_DIR": folder, "XDG_CONFIG_HOME": folder}
        command = [sys.executable, "-m", "outwatch", "report", "--from", str(recording), "--all", "--quiet", "-o", str(path)]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        taken = time.perf_counter() - began
    print(f"      outwatch report --from FILE, {RECORDED:,} connections: {taken:,.1f} s (no bound)")


def compare(count: int) -> int:
    seconds: dict[str, list[float]] = {MINE: [], RIVAL: []}
    memory: dict[str, list[float]] = {MINE: [], RIVAL: []}
    for _ in range(count):
        for what in (MINE, RIVAL):
            taken, used = one_round(what)
            seconds[what].append(taken)
            memory[what].append(used)
    rounds, sizes = Rounds(seconds), Rounds(memory)
    print(f"{ROWS:,} rows of {len(COLUMNS)} columns, {count} rounds")
    rounds.show(scale=1, unit="s")
    sizes.show(scale=1, unit="MiB")
    whole_command()  # last, because what this process uses counts as used by its later children, too
    bounds = Bounds()
    bounds.at_most(f"time of {MINE} against {RIVAL}", rounds.ratio(MINE, RIVAL), 1 / _LEAST_SOONER, "times")
    bounds.at_most(f"memory of {MINE} against {RIVAL}", sizes.ratio(MINE, RIVAL), 1 / _LEAST_SMALLER, "times")
    return bounds.code


def main() -> int:
    options = parser(__doc__, rounds=1)
    options.add_argument("--run", choices=(MINE, RIVAL), help="one round in this process; used by the script itself")
    options.add_argument("--to", type=Path, help="where that round writes")
    chosen = options.parse_args()
    if not chosen.run:
        return compare(chosen.rounds)
    write = write_mine if chosen.run == MINE else write_rival
    began = time.perf_counter()
    write(chosen.to)
    taken = time.perf_counter() - began
    print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return 0


if __name__ == "__main__":
    sys.exit(main())
