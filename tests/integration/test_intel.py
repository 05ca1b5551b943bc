"""Lists that are fetched: over real connections, from a server that changes, refuses, lies and breaks off."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outwatch.cli.group import run
from outwatch.engine.indicator_settings import IntelConfig
from outwatch.intel.lists import KnownList
from outwatch.intel.stored import Shelf
from outwatch.intel.updating import Updating
from outwatch.net.addresses import Scopes

from .list_server import ListServer, Manner, Page

pytestmark = pytest.mark.integration

LIST = b"".join(b"203.0.113.%d\n" % number for number in range(20))
Said = tuple[int, str, str]


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        yield server


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run ``outwatch intel``; gives exit code, output and talk. No proxy of this machine is used."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def command(*words: str) -> Said:
        code = run(["intel", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def found(said: Callable[..., Said], address: str = "203.0.113.7") -> list[str]:
    return [one["list"] for one in json.loads(said("check", address, "--json")[1])["matches"]]


def added(said: Callable[..., Said], server: ListServer, page: Page, path: str = "/list.txt") -> str:
    url = server.serve(path, page)
    code, _, err = said("add", url, "--name", "bad", "--every", "0s")
    assert code == 0, err
    return url


def test_a_list_is_fetched_once_and_then_only_asked_whether_it_has_changed(said: Callable[..., Said], server: ListServer) -> None:
    added(said, server, Page(LIST, etag='"one"'))
    assert found(said) == ["bad"]
    assert said("update")[:2] == (0, "bad: unchanged: 20 entries\n")
    server.serve("/list.txt", Page(LIST + b"203.0.113.99\n", etag='"two"'))
    assert said("update")[:2] == (0, "bad: 21 entries\n")
    assert found(said, "203.0.113.99") == ["bad"]
    assert [one.get("if-none-match") for one in server.asked("/list.txt")] == [None, '"one"', '"one"']


def test_a_server_that_knows_no_etags_is_asked_by_time(said: Callable[..., Said], server: ListServer) -> None:
    when = "Thu, 10 Jul 2025 17:42:01 GMT"
    added(said, server, Page(LIST, last_modified=when))
    assert said("update")[1] == "bad: unchanged: 20 entries\n"
    assert [one.get("if-modified-since") for one in server.asked("/list.txt")] == [None, when]


@pytest.mark.security
@pytest.mark.parametrize("etag", ["\u00e9", "x" * 5000])
def test_an_etag_that_can_t_be_sent_back_is_none(said: Callable[..., Said], server: ListServer, etag: str) -> None:
    added(said, server, Page(LIST, etag=f'"{etag}"'))
    assert said("update")[1] == "bad: 20 entries\n"
    assert "if-none-match" not in server.asked("/list.txt")[1]


def test_a_server_that_knows_neither_gives_the_list_again(said: Callable[..., Said], server: ListServer) -> None:
    added(said, server, Page(LIST))
    assert said("update")[1] == "bad: 20 entries\n"
    assert said("update")[1] == "bad: 20 entries\n"


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("/list.txt", Page(LIST, manner=Manner(packed=True))),
        ("/list.txt.gz", Page(gzip.compress(LIST))),
        ("/list.txt.gz", Page(gzip.compress(LIST), manner=Manner(packed=True))),
        ("/list", Page(LIST.replace(b"\n", b"\r\n"), headers={"Content-Type": "application/octet-stream"})),
    ],
)
def test_compressed_lists_are_read_however_they_are_packed(said: Callable[..., Said], server: ListServer, path: str, page: Page) -> None:
    added(said, server, page, path)
    assert found(said) == ["bad"]
    assert "gzip" in server.asked(path)[0]["accept-encoding"]


def test_a_list_is_asked_no_more_often_than_it_may_be(said: Callable[..., Said], server: ListServer) -> None:
    url = server.serve("/list.txt", Page(LIST))
    said("add", url)
    code, out, _ = said("update")
    assert code == 0
    assert "may be asked again after" in out
    assert len(server.asked("/list.txt")) == 1


BOMB = b"203.0.113.7\n" + b" " * (30 << 20)


@pytest.mark.security
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(b"<!DOCTYPE html><title>Just a moment...</title>"), "is a web page, no list"),
        (Page(b""), "is empty"),
        (Page(b"203.0.113.99\n"), "has lost 19 of its 20 entries"),
        (Page(b"no such list", manner=Manner(status=404)), "there is no such file (HTTP status 404)"),
        (Page(b"key?", manner=Manner(status=401)), "it wants a key (HTTP status 401)"),
        (Page(b"slow down", manner=Manner(status=429)), "it was asked too often (HTTP status 429)"),
        (Page(b"oops", manner=Manner(status=503)), "it has nothing to give just now (HTTP status 503)"),
        (Page(b"", manner=Manner(status=304)), "it has nothing to give just now (HTTP status 304)"),
        (Page(LIST, manner=Manner(cut=100)), "broken reply"),
        (Page(LIST * 50, manner=Manner(packed=True, cut=60)), "broken reply"),
        (Page(gzip.compress(LIST * 100)[:60]), "can't be decompressed"),
        (Page(LIST, manner=Manner(reset=True)), "connection lost"),
        (Page(BOMB, manner=Manner(packed=True)), "unpacks to more than 100 times its size"),
        (Page(gzip.compress(BOMB)), "grows more than 100-fold when it is decompressed"),
        (Page(b"0.0.0.0/0\n10.0.0.1\ncom\n"), "has no entry that counts: not public (1), too broad (2)"),
        (Page(headers={"Location": "http://127.0.0.2:9/list.txt"}, manner=Manner(status=302)), "redirected to another host"),
        (Page(headers={"Location": "file:///etc/passwd"}, manner=Manner(status=302)), "redirected to another host"),
    ],
)
def test_what_can_t_be_had_or_must_be_refused_leaves_the_last_good_list(
    said: Callable[..., Said], server: ListServer, page: Page, reason: str
) -> None:
    added(said, server, Page(LIST))
    server.serve("/list.txt", page)
    code, out, err = said("update")
    assert (code, out) == (1, "")
    assert f"bad: {reason}" in err
    assert "; what was read " in err
    assert err.count("Traceback") == 0
    assert found(said) == ["bad"]
    assert json.loads(said("list", "--json")[1])["lists"][0]["entries"] == 20
    server.serve("/list.txt", Page(LIST + b"203.0.113.99\n"))
    assert said("update")[:2] == (0, "bad: 21 entries\n"), "and it is taken when it is well again"


@pytest.mark.security
def test_a_server_that_sends_nothing_more_is_given_up(
    said: Callable[..., Said], server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(said, server, Page(LIST))
    server.serve("/list.txt", Page(LIST, manner=Manner(stuck=50)))
    monkeypatch.setenv("OUTWATCH_INTEL__SECONDS", "0.5")
    code, _, err = said("update")
    assert code == 1
    assert "bad: timeout; what was read " in err
    assert found(said) == ["bad"]


@pytest.mark.security
def test_a_list_that_is_too_large_is_broken_off(said: Callable[..., Said], server: ListServer, monkeypatch: pytest.MonkeyPatch) -> None:
    added(said, server, Page(LIST))
    monkeypatch.setenv("OUTWATCH_INTEL__MOST_MIB", "1")
    server.serve("/list.txt", Page(LIST * 6000))
    code, _, err = said("update")
    assert code == 1
    assert "larger than" in err
    assert found(said) == ["bad"]


def test_a_redirect_within_the_same_host_is_followed(said: Callable[..., Said], server: ListServer) -> None:
    server.serve("/new.txt", Page(LIST))
    added(said, server, Page(headers={"Location": "/new.txt"}, manner=Manner(status=301)))
    assert found(said) == ["bad"]


def renewed(known: KnownList) -> tuple[str, str]:
    """Ask for a list now, if it is time."""
    updating = Updating(Shelf(Path(os.environ["OUTWATCH_STATE_DIR"])), IntelConfig(), Scopes(), tell=lambda _problem: None)
    (outcome,) = asyncio.run(updating.renew([known]))
    return outcome.result, outcome.words


@pytest.mark.security
def test_a_list_of_the_catalogue_leads_nowhere_but_to_the_internet(server: ListServer) -> None:
    url = server.serve("/list.txt", Page(LIST))
    assert renewed(KnownList(name="x", source=url, origin="test", offered=True)) == ("failed", "address not permitted")
    assert server.asked("/list.txt") == []
    assert renewed(KnownList(name="x", source=url, origin="test"))[0] == "read", "what the user has typed may be anywhere"


def test_only_a_server_that_was_reached_counts_as_asked() -> None:
    with ListServer() as gone:
        known = KnownList(name="x", source=gone.url("/list.txt"), origin="test", every_hours=24)
    assert [renewed(known) for _ in range(2)] == [("failed", "connection refused")] * 2
    with ListServer() as there:
        known = KnownList(name="x", source=there.url("/list.txt"), origin="test", every_hours=24)
        assert [renewed(known)[0] for _ in range(2)] == ["failed", "waits"], "there it was told that there is no such file"


def test_lists_are_fetched_together_and_one_that_hangs_keeps_no_other(
    said: Callable[..., Said], server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        url = server.serve(f"/{number}", Page(b"203.0.113.%d\n" % number))
        assert said("add", url, "--name", f"l{number}", "--every", "0s")[0] == 0
    server.serve("/0", Page(LIST, manner=Manner(stuck=5)))
    for number in range(1, 6):
        server.serve(f"/{number}", Page(b"198.51.100.%d\n" % number))
    monkeypatch.setenv("OUTWATCH_INTEL__SECONDS", "1")
    code, out, err = said("update")
    assert code == 1
    assert "l0: timeout" in err
    assert out.splitlines() == [f"l{number}: 1 entry" for number in range(1, 6)]
    assert found(said, "198.51.100.5") == ["l5"]


@pytest.mark.security
def test_what_could_be_a_key_in_a_url_is_nowhere_to_be_seen(said: Callable[..., Said], server: ListServer) -> None:
    url = server.serve("/list.txt?key=canary-7f3a", Page(LIST + b"what is this\n"))
    told = [
        *said("add", url, "--name", "bad", "--every", "0s")[1:],
        *said("list")[1:],
        *said("list", "--json")[1:],
        *said("list", "--plain")[1:],
    ]
    server.serve("/list.txt?key=canary-7f3a", Page(b"<html>"))
    told += [*said("update")[1:], *said("list")[1:], *said("check", "203.0.113.7", "--json")[1:]]
    assert len(server.asked("/list.txt?key=canary-7f3a")) == 2
    assert not [text for text in told if "canary" in text]


def test_a_misp_feed_is_fetched_by_its_manifest_and_then_only_what_has_changed(said: Callable[..., Said], server: ListServer) -> None:
    first, second = (f"0b0e3a2c-0000-4000-8000-00000000000{digit}" for digit in "12")

    def event(address: str) -> Page:
        return Page(json.dumps({"Event": {"info": "x", "Attribute": [{"type": "ip-dst", "value": address, "to_ids": True}]}}).encode())

    manifest = {first: {"info": "a", "timestamp": "1700000000"}, second: {"info": "b", "timestamp": "1700000001"}}
    server.serve(f"/feed/{first}.json", event("203.0.113.1"))
    server.serve(f"/feed/{second}.json", event("203.0.113.2"))
    added(said, server, Page(json.dumps(manifest).encode(), etag='"1"'), "/feed/manifest.json")
    manifest[second]["timestamp"] = "1700000002"
    server.serve("/feed/manifest.json", Page(json.dumps(manifest).encode(), etag='"2"'))
    server.serve(f"/feed/{second}.json", event("203.0.113.3"))
    assert said("update")[:2] == (0, "bad: 2 entries\n")
    assert [bool(found(said, f"203.0.113.{number}")) for number in (1, 2, 3)] == [True, False, True]
    assert [len(server.asked(f"/feed/{one}.json")) for one in (first, second)] == [1, 2]


def test_two_processes_that_update_at_once_ask_once_and_leave_one_whole_list(server: ListServer, said: Callable[..., Said]) -> None:
    url = server.serve("/list.txt", Page(LIST))
    assert said("add", url, "--name", "bad", "--every", "1h")[0] == 0
    (state,) = [Path(os.environ["OUTWATCH_STATE_DIR"]) / "intel" / "lists" / "bad.asked"]
    state.unlink()  # so that it is time again
    config = Path(os.environ["HOME"]) / "both.toml"
    config.write_text(f'[[intel.lists]]\nname = "both"\nsource = "{url}"\n')
    argv = [sys.executable, "-m", "outwatch", "intel", "update", "both", "--config", str(config)]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = sorted(child.communicate(timeout=60)[0] for child in children)
    assert [child.returncode for child in children] == [0, 0]
    assert outs[0] == "both: 20 entries\n"
    assert "may be asked again after" in outs[1]
    assert len(server.asked("/list.txt")) == 2


def test_deflated_replies_are_read_too(said: Callable[..., Said], server: ListServer) -> None:
    added(said, server, Page(zlib.compress(LIST), headers={"Content-Encoding": "deflate"}))
    assert found(said) == ["bad"]


def test_a_connection_to_what_a_list_has_says_so_in_its_record_and_its_verdict(
    said: Callable[..., Said], server: ListServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    added(said, server, Page(b"ip,confidence,malware\n203.0.113.7,95,Emotet\n"))
    recording = tmp_path / "recorded.jsonl"
    record = {
        "kind": "connection", "id": "c1", "revision": 1, "@timestamp": "2025-07-10T17:42:01Z", "source": {"ip": "192.0.2.1", "port": 40000},
        "network": {"transport": "tcp", "direction": "egress"}, "destination": {"ip": "203.0.113.7", "port": 443},
    }  # fmt: skip
    recording.write_text(json.dumps(record) + "\n")

    def judged() -> dict[str, Any]:
        assert run(["replay", str(recording), "--jsonl", "--no-dns", "--all"]) == 0
        findings: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[0])["outwatch"]
        return findings

    findings = judged()
    assert findings["indicators"] == [{"list": "bad", "entry": "203.0.113.7", "confidence": 95, "note": "Emotet"}]
    assert "indicator" in {one["detector"] for one in findings["reasons"]}
    said("remove", "bad")
    assert "indicators" not in judged()
