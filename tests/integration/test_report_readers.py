"""Reports and filters in the programs that people open them with: LibreOffice and Wireshark's tshark."""

import csv
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from outwatch.model.records import Connection, Destination, Event, Findings, Host, Process, Reputation, Source, Summary
from outwatch.views.report import Report, render
from outwatch.views.report.columns import COLUMNS
from outwatch.views.report.fold import folded
from outwatch.views.report.wireshark import display_filter

from .child import LONG

pytestmark = pytest.mark.integration
Make = Callable[..., Connection]
SHEETS = ("Summary", "Connections", "Processes", "Destinations", "Not Checked", "Legend")
BEGAN = datetime(2025, 7, 10, 17, 42, 1, tzinfo=UTC)
STRANGE = [
    "=1+1", "+1", "-1", "@SUM(1)", "＝1", '=HYPERLINK("http://evil.example")', "_x0041_", "a_x000D_b", "<r><t>x</t></r>", "&amp;",
    "  spaces  ", "007", "1e5", "TRUE", "#N/A", "2025-01-01", "Zoë 中文 😀", "a,b;c", 'say "hi"', "'quoted",
]  # fmt: skip


@pytest.fixture
def office() -> Iterator[Callable[..., None]]:
    """Convert files with LibreOffice, in a profile of its own."""
    program = shutil.which("soffice") or shutil.which("libreoffice")
    if program is None:
        pytest.skip("LibreOffice is not installed (Debian: libreoffice-calc-nogui)")
    with tempfile.TemporaryDirectory(prefix="office") as profile:

        def convert(path: Path, to: str, *options: str) -> None:
            command = [program, f"-env:UserInstallation=file://{profile}", "--headless", *options, "--convert-to", to]
            command += ["--outdir", str(path.parent), str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=6 * LONG, check=False, env={"HOME": profile})
            assert done.returncode == 0, done.stderr

        yield convert


def workbook(path: Path, records: list[Connection]) -> Path:
    with path.open("wb") as file:
        report = Report(rows=folded(records), summary=Summary(sensor="polling", seen=len(records)), made=BEGAN, files=True)
        render(report, "workbook", file)
    return path


def sheets(folder: Path) -> dict[str, list[list[str]]]:
    """Read the sheets that were converted, each to a file of its own."""
    read = {}
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            read[path.stem.partition("-")[2]] = list(csv.reader(file))
    return read


def test_libreoffice_shows_every_sheet_and_value_as_it_was_written(connection: Make, tmp_path: Path, office: Callable[..., None]) -> None:
    checked = (Reputation(provider="virustotal", state="malicious", score=11),)
    records = [
        connection(
            id=f"c{number}",
            timestamp=BEGAN,
            event=Event(action="close", start=BEGAN, end=BEGAN),
            host=Host(name="AT&T <box>"),
            process=Process(pid=number, name=text, executable=text, entity_id=f"e{number}"),
            source=Source(ip="192.0.2.10", port=1, bytes=2**40),
            destination=Destination(ip="203.0.113.9", port=443, domain=text),
            outwatch=Findings(verdict="high", score=70, open_files=(text,), reputation=checked),
        )
        for number, text in enumerate(STRANGE)
    ]
    office(workbook(tmp_path / "r.xlsx", records), "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1")
    read = sheets(tmp_path)
    assert read.keys() == set(SHEETS)
    heading, *rows = read["Connections"]
    assert heading == [column.heading for column in COLUMNS]
    found = [dict(zip(heading, row, strict=True)) for row in rows]
    for name in ("Domain", "Process", "Executable", "Accessed Files"):
        assert [row[name] for row in found] == STRANGE
    for row in found:
        assert (row["Port"], row["Score"], row["Bytes Sent"], row["Connections"], row["VT Score"]) == ("443", "70", str(2**40), "1", "11")
        assert row["AbuseIPDB Score"] == "not checked: no look-up"
        assert row["Verdict"] == "high"
    assert next(row[1] for row in read["Summary"] if row[0] == "Host") == "AT&T <box>"
    assert len(read["Processes"]) == len(STRANGE) + 1
    assert read["Destinations"][1][0] == "203.0.113.9"


def test_libreoffice_takes_times_for_times(connection: Make, tmp_path: Path, office: Callable[..., None]) -> None:
    record = connection(timestamp=BEGAN, event=Event(action="close", start=BEGAN, end=BEGAN.replace(year=9999)))
    # As shown, not as stored: a time that is only a text would come out alike, a number without its format would not.
    office(workbook(tmp_path / "r.xlsx", [record]), "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1")
    heading, row = sheets(tmp_path)["Connections"]
    assert (row[heading.index("First Seen")], row[heading.index("Last Seen")]) == ("2025-07-10 17:42:01", "9999-07-10 17:42:01")
    office(tmp_path / "r.xlsx", "fods")
    flat = (tmp_path / "r.fods").read_text("utf-8")
    assert 'office:date-value="2025-07-10T17:42:01"' in flat
    assert "table:formula" not in flat
    assert flat.count("xlink:href=") >= 5


def test_libreoffice_prints_a_report_and_an_empty_one(connection: Make, tmp_path: Path, office: Callable[..., None]) -> None:
    for name, records in ("full", [connection(host=Host(name="&G & sons"))]), ("empty", []):
        office(workbook(tmp_path / f"{name}.xlsx", records), "pdf")
        printed = (tmp_path / f"{name}.pdf").read_bytes()
        assert printed.startswith(b"%PDF-")
        assert printed.count(b"/Type/Page") > len(SHEETS) - 1


@pytest.mark.security
def test_libreoffice_finds_no_formula_in_the_comma_separated_report(connection: Make, tmp_path: Path, office: Callable[..., None]) -> None:
    texts = [*STRANGE, "a;=1+1", 'a;"=1+1', "a\t=1+1"]
    records = [connection(id=f"c{at}", domain=text, process=Process(name=text, entity_id=str(at))) for at, text in enumerate(texts)]
    with (tmp_path / "r.csv").open("wb") as file:
        render(Report(rows=folded(records), summary=Summary(), made=BEGAN), "separated", file)
    for separator in ",;":
        # The last option lets formulas be evaluated, which a careless click does; the control shows that they would be.
        reading = f"--infilter=Text - txt - csv (StarCalc):{ord(separator)},34,76,1,,0,false,true,false,false,false,0,true"
        control = tmp_path / f"control{ord(separator)}.csv"
        control.write_text(f'"a"{separator}"=1+1"\n')
        path = Path(shutil.copy(tmp_path / "r.csv", tmp_path / f"r{ord(separator)}.csv"))
        for one in (control, path):
            office(one, "fods", reading)
        assert "table:formula" in control.with_suffix(".fods").read_text("utf-8")
        flat = path.with_suffix(".fods").read_text("utf-8")
        assert "203.0.113.9" in flat
        assert "table:formula" not in flat


class Packet(NamedTuple):
    """A packet to or from an address, as its link layer carries it."""

    name: str
    ip: str
    protocol: int
    port: int
    data: bytes


def ports(protocol: int, near: int, far: int, *, answer: bool) -> bytes:
    """Spell the header of a transport with ports (RFC 9293, 768, 9260)."""
    first, second = (far, near) if answer else (near, far)
    if protocol == 6:
        return struct.pack("!HHIIBBHHH", first, second, 1, 0, 5 << 4, 2, 1024, 0, 0)
    if protocol == 17:
        return struct.pack("!HHHH", first, second, 12, 0) + b"data"
    return struct.pack("!HHII", first, second, 0, 0) + struct.pack("!BBHIIHHI", 1, 0, 20, 1, 1024, 1, 1, 0)


def packet(ip: str, protocol: int, payload: bytes, *, answer: bool) -> bytes:
    """Put a payload into an Ethernet frame to an address, or from it."""
    far = ip_address(ip)
    if isinstance(far, IPv4Address):
        ends = [IPv4Address("192.0.2.1").packed, far.packed]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
        kind = 0x0800
    else:
        ends = [IPv6Address("2001:db8:ffff::1").packed, far.packed]
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
        kind = 0x86DD
    return b"\x02\0\0\0\0\1\x02\0\0\0\0\2" + struct.pack("!H", kind) + head + b"".join(reversed(ends) if answer else ends) + payload


FAR = {"v4": ("203.0.113.9", "203.0.113.10"), "v6": ("2001:db8::9", "2001:db8::a"), "NAT64": ("64:ff9b::cb00:7109", "64:ff9b::cb00:710a")}
WITH_PORTS = {"tcp": 6, "udp": 17, "sctp": 132}


def packets() -> list[Packet]:
    """Make both directions of every protocol, to two addresses and two ports each."""
    made = []
    for family, addresses in FAR.items():
        numbers = [*WITH_PORTS.values(), 1 if family == "v4" else 58, 253, 47]
        for ip in addresses:
            for protocol in numbers:
                for port in (443, 444) if protocol in WITH_PORTS.values() else (0,):
                    for answer in (False, True):
                        payload = ports(protocol, 40000, port, answer=answer) if port else b"\x80\0\0\0\0\0\0\0"
                        data = packet(ip, protocol, payload, answer=answer)
                        made.append(Packet(f"{ip} {protocol} {port} {answer}", ip, protocol, port, data))
    return made


PACKETS = packets()


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the packets as a capture file (libpcap's format, Ethernet)."""
    path = tmp_path_factory.mktemp("capture") / "made.pcap"
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, one in enumerate(PACKETS):
            file.write(struct.pack("=IIII", 1_752_169_321, number, len(one.data), len(one.data)) + one.data)
    return path


def selected(capture: Path, wanted: str) -> set[str]:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed (Debian: tshark)")
    command = [program, "-n", "-r", str(capture), "-Y", wanted, "-T", "fields", "-e", "frame.number"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LONG, check=False)
    assert done.returncode == 0, done.stderr
    return {PACKETS[int(number) - 1].name for number in done.stdout.split()}


@pytest.mark.parametrize("family", FAR)
@pytest.mark.parametrize("transport", WITH_PORTS)
def test_a_filter_shows_both_directions_of_one_port_and_nothing_else(capture: Path, family: str, transport: str) -> None:
    ip = FAR[family][0]
    wanted = display_filter(ip, 443, transport)
    assert wanted is not None
    protocol = WITH_PORTS[transport]
    assert selected(capture, wanted) == {f"{ip} {protocol} 443 False", f"{ip} {protocol} 443 True"}


@pytest.mark.parametrize("family", FAR)
@pytest.mark.parametrize("transport", ["icmp", "raw:253", "raw:47", "tcp", "udp", "sctp"])
def test_without_a_port_a_filter_shows_the_protocol(capture: Path, family: str, transport: str) -> None:
    ip = FAR[family][0]
    protocol = {"icmp": 1 if family == "v4" else 58, "raw:253": 253, "raw:47": 47, **WITH_PORTS}[transport]
    wanted = display_filter(ip, None, transport)
    assert wanted is not None
    assert selected(capture, wanted) == {one.name for one in PACKETS if (one.ip, one.protocol) == (ip, protocol)}


@pytest.mark.parametrize("family", FAR)
@pytest.mark.parametrize("transport", ["packet", "raw:999", None])
def test_without_a_protocol_a_filter_shows_all_packets_of_the_address(capture: Path, family: str, transport: str | None) -> None:
    ip = FAR[family][0]
    wanted = display_filter(ip, None, transport)
    assert wanted is not None
    assert selected(capture, wanted) == {one.name for one in PACKETS if one.ip == ip}


def test_the_filter_in_a_report_of_a_translated_address_shows_the_packets_that_this_machine_sent(connection: Make, capture: Path) -> None:
    seen = connection(destination=Destination(ip="203.0.113.9", address="64:ff9b::cb00:7109", port=443))
    (row,) = folded([replace(seen, outwatch=Findings())])
    (column,) = [one for one in COLUMNS if one.heading == "Wireshark Filter"]
    assert selected(capture, str(column.read(row))) == {"64:ff9b::cb00:7109 6 443 False", "64:ff9b::cb00:7109 6 443 True"}
