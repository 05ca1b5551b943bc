"""``outwatch capture``: what it keeps of root's rights, what it sees with them, and whom it tells."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import NOBODY, SERVER, Lab

from .capture import (
    GROUP,
    MASK,
    OWNER,
    Capture,
    ReadingWatch,
    as_user,
    digest,
    place,
    running,
    sockets,
    status,
)
from .watch import Record

pytestmark = [pytest.mark.integration, pytest.mark.root]

_SAY = f"exec 3<>/dev/tcp/{SERVER}/8443; printf '3 0 0\\nabc' >&3"
_SAID = len("3 0 0\nabc")
_ASK = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(1) or 'hung up')"


@pytest.fixture(params=["root", "five capabilities"])
def capture(request: pytest.FixtureRequest, lab: Lab, server: Child, folder: Path) -> Iterator[tuple[Capture, Path]]:
    """Run a capture that began as root, or as a user with the five capabilities alone."""
    if request.param == "root":
        path = folder / "run" / "capture.sock"
        made = running(folder / "home", path, "--group", str(GROUP))
    else:
        path = place(folder)
        made = running(folder / "home", path, "--group", str(GROUP), user=NOBODY)
    (folder / "home").mkdir()
    with made as capture:
        yield capture, path


@pytest.fixture
def secret(folder: Path) -> Path:
    """Copy a shell so that its owner alone can read and execute it."""
    hidden = folder / "hidden"
    hidden.mkdir()
    path = hidden / "tool"
    shutil.copy(os.path.realpath("/bin/bash"), path)
    for one, mode in ((path, 0o700), (hidden, 0o700)):
        os.chown(one, OWNER, OWNER)
        one.chmod(mode)
    return path


@contextlib.contextmanager
def reading(lab: Lab, folder: Path, path: Path, *groups: int) -> Iterator[ReadingWatch]:
    with ReadingWatch(lab, folder / "reader", path, *(groups or (GROUP,))) as watch:
        yield watch


def say(lab: Lab, program: Path) -> int:
    """Have a program of another user say nine bytes to the server, and give its pid when it is gone."""
    with Child(lab.inside(lab.here, [*as_user(OWNER), str(program), "-c", _SAY])) as child:
        assert child.end() == 0, child.errors
    return child.pid


def hashed(records: list[Record], pid: int) -> list[Record]:
    return [one for one in records if one.get("process", {}).get("pid") == pid and "hash" in one["process"]]


def test_of_all_its_rights_five_capabilities_are_left_in_every_thread(capture: tuple[Capture, Path]) -> None:
    threads = status(capture[0].pid)
    assert len(threads) > 1, "the sensor runs in a thread of its own"
    for thread in threads:
        assert set(thread["Uid"].split()) == set(thread["Gid"].split()) == {str(NOBODY)}
        assert {int(thread[name], 16) for name in ("CapEff", "CapPrm")} == {MASK}
        assert {int(thread[name], 16) for name in ("CapInh", "CapAmb")} == {0}
        assert thread["NoNewPrivs"] == "1"


def test_who_began_as_root_is_in_no_group_and_gets_nothing_back_by_executing(lab: Lab, folder: Path) -> None:
    with running(folder, folder / "run" / "capture.sock") as capture:
        threads = status(capture.pid)
    assert {thread["Groups"] for thread in threads} == {""}
    assert {int(thread["CapBnd"], 16) for thread in threads} == {MASK}


def test_no_socket_of_the_network_is_open(capture: tuple[Capture, Path], lab: Lab, folder: Path, program: Path) -> None:
    with reading(lab, folder, capture[1]) as watch:
        watch.of(say(lab, program))
    pid = capture[0].pid
    inodes = sockets(pid)
    network = set()
    for table in ("tcp", "udp", "udplite", "raw", "icmp", "tcp6", "udp6", "udplite6", "raw6", "icmp6"):
        with contextlib.suppress(FileNotFoundError):
            network |= {line.split()[9] for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]}
    packets = {line.split()[-1] for line in Path(f"/proc/{pid}/net/packet").read_text().splitlines()[1:]}
    assert len(inodes) >= 1, "its own socket"
    assert not inodes & (network | packets)


def test_a_program_of_another_user_that_is_gone_at_once_is_told_with_all_that_is_known(
    capture: tuple[Capture, Path], lab: Lab, folder: Path, secret: Path
) -> None:
    with reading(lab, folder, capture[1]) as watch:
        pid = say(lab, secret)
        watch.of(pid)
        (record,) = watch.wait(lambda records: hashed(records, pid))
    assert record["process"]["executable"] == str(secret)
    assert record["process"]["args"] == [str(secret), "-c", _SAY]
    assert record["process"]["hash"] == {"sha256": digest(secret)}
    assert record["user"]["id"] == str(OWNER)
    assert (record["source"]["bytes"], record["destination"]["bytes"]) == (_SAID, 0)
    assert record["event"]["action"] == "close"
    assert (record["outwatch"]["sensor"], record["outwatch"]["attribution"]) == ("ebpf", "exact")
    assert "verdict" in record["outwatch"], "whoever reads judges"


def test_a_connection_that_was_there_before_is_in_the_first_picture_with_what_it_carried(
    capture: tuple[Capture, Path], lab: Lab, folder: Path, secret: Path
) -> None:
    script_of_tool = f"{_SAY}; echo said; read line"
    with Child(lab.inside(lab.here, [*as_user(OWNER), str(secret), "-c", script_of_tool])) as tool:
        assert tool.line() == "said"
        with reading(lab, folder, capture[1]) as watch:
            carried = watch.wait(
                lambda records: [
                    one for one in records if one.get("process", {}).get("pid") == tool.pid and one["source"].get("bytes") == _SAID
                ]
            )
            (record,) = watch.wait(lambda records: hashed(records, tool.pid))
            tool.tell("")
            (ended,) = watch.of(tool.pid)
    assert carried[0]["id"] == record["id"] == ended["id"]
    assert record["process"]["hash"] == {"sha256": digest(secret)}
    assert record["process"]["executable"] == str(secret)
    assert ended["process"]["hash"] == record["process"]["hash"]
    assert ended["process"]["name"] == "tool"


def test_whoever_captures_from_the_first_look_on_knows_older_programs_too(lab: Lab, server: Child, folder: Path, secret: Path) -> None:
    path = folder / "run" / "capture.sock"
    with Child(lab.inside(lab.here, [*as_user(OWNER), str(secret), "-c", f"{_SAY}; echo said; read line"])) as tool:
        assert tool.line() == "said"
        with running(folder, path, "--group", str(GROUP)), reading(lab, folder, path) as watch:
            (record,) = watch.wait(lambda records: hashed(records, tool.pid))
    assert record["event"]["action"] in {"existing", "traffic"}
    assert record["process"]["executable"] == str(secret)
    assert record["process"]["hash"] == {"sha256": digest(secret)}


def test_without_bpf_the_netlink_sensor_names_programs_of_other_users_too(lab: Lab, server: Child, folder: Path, secret: Path) -> None:
    path = folder / "run" / "capture.sock"
    argv = [*as_user(OWNER), str(secret), "-c", f"{_SAY}; echo said; read line"]
    inside = ["nsenter", f"--net=/run/netns/{lab.here}"]
    with Child(lab.inside(lab.here, argv)) as tool:
        assert tool.line() == "said"
        with Capture(folder, path, "--group", str(GROUP), "--sensor", "sock_diag", before=inside) as capture:
            capture.ready()
            with contextlib.closing(ReadingWatch(lab, folder / "reader", path, GROUP)) as watch:
                watch._namespaces = ['"sensor":"sock_diag"']  # it sees one namespace, and does not name it
                (record,) = watch.wait(lambda records: hashed(records, tool.pid))
    assert record["outwatch"]["sensor"] == "sock_diag"
    assert record["process"]["executable"] == str(secret)
    assert record["process"]["args"][:2] == [str(secret), "-c"]
    assert record["process"]["hash"] == {"sha256": digest(secret)}


def test_a_program_executed_later_does_not_lend_its_checksum_to_the_one_that_connected(
    capture: tuple[Capture, Path], lab: Lab, folder: Path, secret: Path
) -> None:
    argv = [*as_user(OWNER), str(secret), "-c", f"{_SAY}; exec /bin/cat"]
    with reading(lab, folder, capture[1]) as watch, Child(lab.inside(lab.here, argv)) as tool:
        watch.of(tool.pid, over=False)
        tool.tell("executed")
        assert tool.line() == "executed"
        assert tool.end() == 0, tool.errors
        (record,) = watch.wait(lambda records: hashed(records, tool.pid))
    assert record["process"]["executable"] == str(secret)
    assert record["process"]["hash"] == {"sha256": digest(secret)}
