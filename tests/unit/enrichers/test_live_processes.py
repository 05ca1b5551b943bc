"""Real processes under /proc: deleted, renamed, replaced and memory-only programs."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from outwatch.enrichers.process import Processes
from outwatch.model.interfaces import PartConfig
from outwatch.model.records import Connection

pytestmark = pytest.mark.integration
if sys.platform != "linux":
    pytest.skip("there is no /proc here", allow_module_level=True)
SLEEP, SHELL = shutil.which("sleep"), shutil.which("bash") or shutil.which("sh")
if not SLEEP or not SHELL:
    pytest.skip("sleep and a shell are missing", allow_module_level=True)

Make = Callable[..., Connection]
Start = Callable[..., "subprocess.Popen[bytes]"]
Describe = Callable[[int], Connection]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within ten seconds"
        time.sleep(0.01)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs, and end them whatever happens."""
    with ExitStack() as running:

        def begin(*command: str, executable: str | None = None, inherited: tuple[int, ...] = ()) -> "subprocess.Popen[bytes]":
            process = subprocess.Popen(command, executable=executable, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=inherited)
            running.callback(process.wait)
            running.callback(process.kill)
            assert process.stdin is not None
            running.callback(process.stdin.close)
            # Popen returns in the middle of the execution: the program is there, its arguments are not yet.
            eventually(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() != b"" or process.poll() is not None)
            return process

        yield begin


@pytest.fixture
def describe(connection: Make, monkeypatch: pytest.MonkeyPatch) -> Describe:
    """Describe a pid as a live watch does, again and again with the same table; each time is a look of its own."""
    monkeypatch.setattr("outwatch.enrichers.process._BELIEVED", -1.0)
    processes = Processes(PartConfig(), boot="b")

    def now(pid: int) -> Connection:
        return processes.enrich(connection(process=processes.identify(pid, time.time()), user=None))

    return now


def path_of(record: Connection) -> tuple[str | None, str | None]:
    """Give the executable and what is odd about it."""
    return record.process.executable if record.process else None, record.outwatch.executable


def copy(path: Path, program: str = SLEEP or "") -> str:
    """Copy a program."""
    shutil.copy(program, path)
    return str(path)


def test_a_running_program_is_described_with_its_parents(start: Start, describe: Describe, tmp_path: Path) -> None:
    path = copy(tmp_path / "prog")
    process = describe(start(path, "60").pid).process
    assert process is not None
    assert (process.name, process.executable, process.args) == ("prog", path, (path, "60"))
    assert process.working_directory == os.getcwd()
    assert process.parent is not None
    assert process.parent.pid == os.getpid()


@pytest.mark.security
@pytest.mark.parametrize("second_name", [False, True])
def test_a_program_deleted_while_it_runs_is_said_so(start: Start, describe: Describe, tmp_path: Path, *, second_name: bool) -> None:
    path = copy(tmp_path / "prog")
    pid = start(path, "60").pid
    if second_name:  # its file lives on under another name, but what was started is gone from where it was
        os.link(path, tmp_path / "kept")
    os.unlink(path)
    assert path_of(describe(pid)) == (path, "deleted")


@pytest.mark.security
def test_a_file_really_called_deleted_is_not(start: Start, describe: Describe, tmp_path: Path) -> None:
    path = copy(tmp_path / "prog (deleted)")
    pid = start(path, "60").pid
    assert path_of(describe(pid)) == (path, None)


def test_a_program_replaced_by_an_update_is_deleted_not_the_new_one(start: Start, describe: Describe, tmp_path: Path) -> None:
    path = copy(tmp_path / "prog")
    pid = start(path, "60").pid
    os.replace(copy(tmp_path / "new", SHELL or ""), path)
    assert path_of(describe(pid)) == (path, "deleted")


@pytest.mark.security
def test_a_program_that_exists_only_in_memory_is_said_so(start: Start, describe: Describe) -> None:
    assert SLEEP
    descriptor = os.memfd_create("sshd")
    try:
        os.write(descriptor, Path(SLEEP).read_bytes())
        pid = start("/usr/sbin/sshd", "60", executable=f"/proc/self/fd/{descriptor}", inherited=(descriptor,)).pid
    finally:
        os.close(descriptor)
    record = describe(pid)
    assert path_of(record) == ("/memfd:sshd", "memfd")
    assert record.process is not None
    assert record.process.args == ("/usr/sbin/sshd", "60")


def test_another_program_executed_by_the_same_process_is_described_anew(start: Start, describe: Describe, tmp_path: Path) -> None:
    path = copy(tmp_path / "second")
    child = start(SHELL or "", "-c", f"read line; exec '{path}' 60")
    first = describe(child.pid)
    assert first.process is not None
    assert first.process.args is not None
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    eventually(lambda: os.readlink(f"/proc/{child.pid}/exe") == path)
    second = describe(child.pid)
    assert second.process is not None
    assert (second.process.executable, second.process.args) == (path, (path, "60"))
    assert second.process.entity_id == first.process.entity_id


@pytest.mark.security
def test_the_same_interpreter_executed_again_with_another_script_is_described_anew(start: Start, describe: Describe) -> None:
    child = start(SHELL or "", "-c", f"read line; exec '{SHELL}' -c 'read again; exit' harmless-looking-second-script")
    first = describe(child.pid)
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()
    eventually(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes().endswith(b"\0harmless-looking-second-script\0"))
    second = describe(child.pid)
    assert first.process is not None
    assert second.process is not None
    assert second.process.args is not None
    assert second.process.args[-1] == "harmless-looking-second-script"


def test_a_process_that_has_ended_is_nobody_and_raises_nothing(start: Start, describe: Describe) -> None:
    child = start(SHELL or "", "-c", "exit")
    child.wait()
    assert describe(child.pid).process is None
