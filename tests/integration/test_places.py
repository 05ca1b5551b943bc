"""Countries and networks from end to end: on a first run, with one's own files, and with files that are fetched over HTTP."""

import importlib.util
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from .lab import outwatch_command

pytestmark = pytest.mark.integration
ADDRESSES = ("8.8.8.8", "2001:4860:4860::8888", "192.168.7.7", "203.0.113.9")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Record a connection to each of some addresses."""
    path = tmp_path / "recording.jsonl"
    lines = [
        {
            "schema": "outwatch/1", "kind": "connection", "id": f"c{at}", "@timestamp": "2026-03-14T09:26:53Z",
            "network": {"transport": "tcp", "direction": "egress"}, "destination": {"ip": ip, "port": 443},
        }
        for at, ip in enumerate(ADDRESSES)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Serve a folder on loopback; give the folder and its URL."""
    folder = tmp_path / "web"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def database(networks: dict[str, object]) -> bytes:
    """Make an MMDB file as the unit tests do."""
    path = Path(__file__).parents[1] / "unit" / "geography" / "conftest.py"
    spec = importlib.util.spec_from_file_location("mmdb_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: bytes = module.mmdb_bytes(networks)
    return made


def outwatch(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **settings}
    return subprocess.run(outwatch_command(*arguments), capture_output=True, text=True, timeout=60, env=environment, check=False)


def places(recording: Path, **settings: str) -> dict[str, tuple[Any, ...]]:
    """Give country, number and name of the network of each recorded address."""
    done = outwatch("replay", str(recording), "--jsonl", "--all", "--no-dns", "--lookups", "off", **settings)
    assert done.returncode == 0, done.stderr
    found = {}
    for record in map(json.loads, done.stdout.splitlines()):
        if record["kind"] == "connection":
            of = record["destination"].get("as", {})
            country = record["destination"].get("geo", {}).get("country_iso_code")
            found[record["destination"]["ip"]] = country, of.get("number"), of.get("organization", {}).get("name")
    return found


def test_a_first_run_knows_countries_and_networks(recording: Path, tmp_path: Path) -> None:
    assert places(recording) == {
        "8.8.8.8": ("US", 15_169, "Google LLC"),
        "2001:4860:4860::8888": ("US", 15_169, "Google LLC"),
        "192.168.7.7": (None, None, None),
        "203.0.113.9": (None, None, None),
    }
    target = tmp_path / "r.xlsx"
    done = outwatch("report", "--from", str(recording), "-o", str(target), "--all", "--no-dns", "--lookups", "off", "--quiet")
    assert done.returncode == 0, done.stderr
    heading, *rows = load_workbook(target)["Connections"].iter_rows(values_only=True)
    at = [heading.index(name) for name in ("IP", "Country", "AS Name", "AS Number")]
    shown = {row[at[0]]: tuple(row[place] for place in at[1:]) for row in rows}
    assert shown["8.8.8.8"] == ("US", "Google LLC", 15_169)
    assert shown["192.168.7.7"] == ("private address",) * 3
    table = outwatch("replay", str(recording), "--no-dns", "--lookups", "off", COLUMNS="160").stdout
    assert "US     Google LLC" in table


def test_a_fetched_file_comes_before_what_shipped_and_the_user_s_own_before_both(
    recording: Path, web: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = web
    (folder / "country.mmdb").write_bytes(database({"8.0.0.0/8": {"country": {"iso_code": "NL"}}}))
    done = outwatch("intel", "update", "--geo", f"{url}/country.mmdb")
    assert done.returncode == 0, done.stderr
    assert f"{url}/country.mmdb: country, Test of 2025-06-15" in done.stdout
    assert places(recording)["8.8.8.8"] == ("NL", 15_169, "Google LLC")
    assert "country, Test of 2025-06-15" in outwatch("doctor").stdout
    own = tmp_path / "own.mmdb"
    own.write_bytes(database({"8.8.8.0/24": {"asn": "AS64500", "as_name": "Example Net", "country_code": "SE"}}))
    assert places(recording, OUTWATCH_ENRICHERS__GEO__FILES=f'["{own}"]')["8.8.8.8"] == ("SE", 64_500, "Example Net")


@pytest.mark.security
def test_what_can_not_be_fetched_is_told_and_the_one_before_stays(recording: Path, web: tuple[Path, str]) -> None:
    folder, url = web
    (folder / "country.mmdb").write_bytes(database({"8.0.0.0/8": {"country": {"iso_code": "NL"}}}))
    setting = {"OUTWATCH_ENRICHERS__GEO__UPDATE": f'["{url}/country.mmdb", "{url}/none.mmdb?token=c4nary"]'}
    done = outwatch("intel", "update", "--geo", **setting)
    assert done.returncode == 1
    assert f"{url}/none.mmdb: not there (HTTP 404)" in done.stderr
    assert "c4nary" not in done.stdout + done.stderr
    (folder / "country.mmdb").write_bytes(b"<html>moved</html>")
    assert "no MMDB file" in outwatch("intel", "update", "--geo", **setting).stderr
    assert places(recording)["8.8.8.8"][0] == "NL"


def test_nothing_is_fetched_unless_somebody_says_from_where() -> None:
    done = outwatch("intel", "update", "--geo")
    assert done.returncode == 2
    assert "enrichers.geo.update" in done.stderr
