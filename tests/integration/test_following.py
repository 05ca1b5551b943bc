"""What is told of connections that come and go while outwatch watches."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .child import Child
from .lab import CALL, PUBLIC, SERVER, SILENT, Caller, Lab, of_port

pytestmark = [pytest.mark.integration, pytest.mark.root]
Callers = Callable[..., Caller]
Watchers = Callable[..., Child]


def about(port: int, action: str | None = None) -> Callable[[str], bool]:
    """Pick the line about a local port, and about what happened to it."""

    def wanted(line: str) -> bool:
        record = json.loads(line)
        return record.get("source", {}).get("port") == port and action in {None, record["event"]["action"]}

    return wanted


def ready(watcher: Child, client: Caller) -> None:
    """Wait until the watcher looks: it has then told of a connection that was there."""
    watcher.line(about(client.call(SERVER)))


def records_of(watcher: Child) -> list[dict[str, Any]]:
    return [json.loads(line) for line in watcher.lines]


def test_opening_and_closing_are_told_as_they_happen(watcher: Watchers, caller: Callers) -> None:
    client, watch = caller(), watcher("watch", "--jsonl")
    ready(watch, client)
    local = client.call(PUBLIC)
    opened = json.loads(watch.line(about(local, "connect")))
    client.ask("close")
    closed = json.loads(watch.line(about(local, "close")))
    assert closed["id"] == opened["id"]
    assert closed["revision"] > opened["revision"]
    assert closed["event"]["start"] == opened["event"]["start"] < closed["event"]["end"]
    assert closed["process"]["pid"] == client.pid


def test_a_scan_over_time_gives_each_connection_once_with_its_last_state(watcher: Watchers, caller: Callers) -> None:
    client, scan = caller(), watcher("scan", "--for", "1h", "--jsonl")
    _until_it_handles(scan, signal.SIGINT)
    # The scan prints nothing before its end, so a watch of the same rhythm tells when both have looked.
    watch = watcher("watch", "--jsonl")
    ready(watch, client)
    local = client.call(PUBLIC)
    for _ in range(3):
        watch.line(about(client.call(PUBLIC), "connect"))
    client.ask("close")
    assert scan.end(signal.SIGINT) == 130
    record = of_port(records_of(scan), local)
    assert record["event"]["action"] == "close"
    assert record["event"]["start"] < record["event"]["end"]
    assert records_of(scan)[-1]["kind"] == "summary"


def test_an_answer_that_never_comes_is_told_before_the_attempt_ends(watcher: Watchers, caller: Callers) -> None:
    client, watch = caller(), watcher("watch", "--jsonl")
    ready(watch, client)
    attempt = json.loads(watch.line(about(client.call(SILENT, kind="silent"))))
    assert attempt["event"]["action"] == "connect"
    assert attempt["destination"]["ip"] == SILENT


def test_two_hundred_connections_are_all_opened_and_all_closed(watcher: Watchers, caller: Callers) -> None:
    client, watch = caller(), watcher("watch", "--jsonl")
    ready(watch, client)
    ports = set(client.ask([("tcp", PUBLIC, 443)] * 200))
    assert len(ports) == 200
    _wait_for_all(watch, ports, "connect")
    client.ask("close")
    _wait_for_all(watch, ports, "close")
    assert watch.end(signal.SIGINT) == 0
    ours = [one for one in records_of(watch) if one.get("source", {}).get("port") in ports]
    assert {one["process"]["pid"] for one in ours} == {client.pid}
    assert len({one["id"] for one in ours}) == 200
    assert not records_of(watch)[-1].get("lost")


def _wait_for_all(watch: Child, ports: set[int], action: str) -> None:
    left = set(ports)

    def last(line: str) -> bool:
        record = json.loads(line)
        if record.get("event", {}).get("action") == action:
            left.discard(record["source"]["port"])
        return not left

    watch.line(last)


_STORM = """
import os, socket, sys
for number in range(300):
    if os.fork() == 0:
        one = socket.create_connection(("192.0.2.2", 443))
        os.write(1, b"%d %d\\n" % (os.getpid(), one.getsockname()[1]))  # in one piece
        os._exit(0)
    if number % 10 == 9:
        for _ in range(10):
            os.wait()
print("done", flush=True)
"""


def test_no_connection_is_given_to_a_process_that_did_not_own_it(
    lab: Lab, watcher: Watchers, caller: Callers, started: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTWATCH_SENSORS__POLLING__INTERVAL", "0.01")  # so that some of them are seen alive
    client, watch = caller(), watcher("watch", "--jsonl")
    ready(watch, client)
    storm = started.enter_context(Child(lab.inside(lab.here, [sys.executable, "-c", _STORM])))
    storm.line(lambda line: line == "done")
    owners = {int(port): int(pid) for pid, port in (line.split() for line in storm.lines[:-1])}
    assert len(owners) == 300
    ready(watch, client)
    assert watch.end(signal.SIGINT) == 0
    seen = [one for one in records_of(watch) if one.get("source", {}).get("port") in owners]
    assert seen, "none of 300 connections was seen: this proves nothing"
    told = [(one["process"]["pid"], owners[one["source"]["port"]]) for one in seen if "process" in one]
    assert all(pid == owner for pid, owner in told)
    assert all("unknown" in one["outwatch"]["attribution"] for one in seen if "process" not in one)


_NEW_PROGRAM = f"""
import os, socket, sys
first = socket.create_connection(("192.0.2.2", 443))
print(first.getsockname()[1], flush=True)
os.read(0, 1)  # the line break alone: what follows is for the next program
os.execv(sys.executable, [sys.executable, "-c", {CALL!r}, "second"])
"""


def test_a_process_that_runs_another_script_is_described_anew(lab: Lab, watcher: Watchers, started: ExitStack) -> None:
    # The same interpreter file runs again: only the arguments say that it is another program now.
    client = started.enter_context(Caller(lab.inside(lab.here, [sys.executable, "-c", _NEW_PROGRAM, "first"])))
    watch = watcher("watch", "--jsonl")
    before = json.loads(watch.line(about(int(client.line()))))
    client.tell("")
    after = json.loads(watch.line(about(client.call(PUBLIC))))
    assert before["process"]["pid"] == after["process"]["pid"] == client.pid
    assert before["process"]["args"][-1] == "first"
    assert after["process"]["args"][-1] == "second"


_HANDED_ON = """
import os, socket, sys
one = socket.create_connection(("192.0.2.2", 443))
print(one.getsockname()[1], flush=True)
input()
if os.fork():
    os._exit(0)
print("child", flush=True)
input()
"""


def test_a_connection_that_a_child_inherits_was_not_closed(lab: Lab, watcher: Watchers, caller: Callers, started: ExitStack) -> None:
    # As ssh -f does: it connects, forks and lets the parent end. The connection stays open all the time.
    client = started.enter_context(Caller(lab.inside(lab.here, [sys.executable, "-c", _HANDED_ON])))
    watch = watcher("watch", "--jsonl")
    local = int(client.line())
    watch.line(about(local))
    client.tell("")
    assert client.line() == "child"
    other = caller()
    for _ in range(2):  # two looks later all has been told
        watch.line(about(other.call(SERVER)))
    ours = [one for one in records_of(watch) if one.get("source", {}).get("port") == local]
    assert {one["event"]["action"] for one in ours} <= {"existing", "connect", "traffic"}
    assert len({one["id"] for one in ours}) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_watch_in_order_with_the_summary(watcher: Watchers, caller: Callers, number: int) -> None:
    watch = watcher("watch", "--jsonl")
    ready(watch, caller())
    assert watch.end(number) == 0
    assert records_of(watch)[-1]["kind"] == "summary"
    assert watch.errors == ""


def test_an_interrupted_scan_shows_what_it_has_and_ends_with_130(lab: Lab, watcher: Watchers, caller: Callers) -> None:
    client = caller()
    local, scan = client.call(SERVER), watcher("scan", "--for", "60s", "--jsonl")
    watch = watcher("watch", "--jsonl")  # started later: when it looks, the scan does too
    watch.line(about(local))
    _until_it_handles(scan, signal.SIGINT)
    assert scan.end(signal.SIGINT) == 130
    assert of_port(records_of(scan), local)["destination"]["ip"] == SERVER
    assert records_of(scan)[-1]["kind"] == "summary"


def _until_it_handles(scan: Child, number: int) -> None:
    """Wait until a process has a handler of its own for a signal (proc(5), SigCgt), and its sensor a thread."""

    def handles() -> bool:
        lines = Path(f"/proc/{scan.pid}/status").read_text().splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1) and len(os.listdir(f"/proc/{scan.pid}/task")) > 1

    scan.until(handles, "handler")


def test_watch_ends_by_itself_after_the_time_given(lab: Lab) -> None:
    began = time.monotonic()
    records = lab.records("watch", "--for", "1s")
    assert time.monotonic() - began >= 1, "it must not end early"
    assert records[-1]["kind"] == "summary"
