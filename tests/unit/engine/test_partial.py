"""Work that was not finished is kept whole, found again, and forgotten when it is done."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from outwatch.engine.partial import Kept, Partial
from outwatch.errors import OutwatchError
from outwatch.model.records import Connection, Findings, Judged, Reputation, Summary

MAKE = Callable[..., Connection]
SUMMARY = Summary(sensor="ebpf", seen=2, not_checked={"virustotal: quota: 4 a minute": 1})


@pytest.fixture
def records(connection: MAKE) -> list[Judged]:
    said = Reputation(provider="virustotal", state="not_checked", why="quota: 4 a minute, free again at 12:03")
    return [connection(outwatch=Findings(reputation=(said,))), connection(id="c2", ip="203.0.113.10", domain="\x1b[31m\u202e.test")]


def test_what_was_kept_is_what_is_found(tmp_path: Path, records: list[Judged]) -> None:
    partial = Partial(tmp_path, "report")
    assert partial.load() is None
    partial.save(records, SUMMARY, {"output": "/x/a.xlsx", "files": True, "size": 7})
    assert Partial(tmp_path, "report").load() == Kept(records, SUMMARY, {"output": "/x/a.xlsx", "files": True, "size": 7})
    assert Partial(tmp_path, "lookup").load() is None


def test_there_is_one_of_each_name_and_it_can_be_forgotten(tmp_path: Path, records: list[Judged]) -> None:
    partial = Partial(tmp_path, "report")
    partial.save(records, SUMMARY, {})
    partial.save(records[:1], SUMMARY, {})
    kept = partial.load()
    assert kept is not None
    assert kept.records == records[:1]
    partial.clear()
    partial.clear()
    assert partial.load() is None
    assert not partial.path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not JSON\n", b'{"form":99,"facts":{}}\n', b'{"form":1,"facts":{}}\n', b'{"form":1,"facts":{}}\n{"kind":\n']
)
def test_a_file_that_is_not_whole_is_named(tmp_path: Path, content: bytes) -> None:
    partial = Partial(tmp_path, "report")
    partial.path.write_bytes(content)
    partial.path.chmod(0o600)
    with pytest.raises(OutwatchError, match=r"partial_report\.jsonl"):
        partial.load()


@pytest.mark.security
@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are others there")
def test_only_its_owner_reads_it_and_a_link_in_its_place_is_not_followed(tmp_path: Path, records: list[Judged]) -> None:
    partial = Partial(tmp_path, "report")
    partial.save(records, SUMMARY, {})
    assert partial.path.stat().st_mode & 0o077 == 0
    os.rename(partial.path, tmp_path / "elsewhere")
    partial.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutwatchError, match="it is a link"):
        partial.load()
