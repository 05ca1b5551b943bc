"""Processes read from a /proc that tests build: hostile names, huge arguments, what has vanished."""

import os
import sys
import time
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("there is no /proc here", allow_module_level=True)

from outwatch.engine.patience import Patience
from outwatch.enrichers.process.linux import LinuxReader

TICKS = 5_000


class Proc:
    """A folder that looks like /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.passwd = root / "passwd"
        self.passwd.write_text("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
        self.namespace(self.root / "self", "mnt:[1]")

    @staticmethod
    def namespace(folder: Path, name: str) -> None:
        """Put a process into a mount namespace."""
        (folder / "ns").mkdir(parents=True, exist_ok=True)
        (folder / "ns" / "mnt").symlink_to(name)

    def add(
        self, pid: int, comm: bytes = b"prog", *, cmdline: bytes = b"", exe: str | None = None, parent: int = 1, uid: str = "1000"
    ) -> Path:
        """Add a process."""
        folder = self.root / str(pid)
        self.namespace(folder, "mnt:[1]")
        rest = f"S {parent} 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 {TICKS} 0 0".encode()
        (folder / "stat").write_bytes(b"%d (%s) %s\n" % (pid, comm, rest))
        (folder / "comm").write_bytes(comm + b"\n")
        (folder / "cmdline").write_bytes(cmdline)
        (folder / "status").write_text(f"Name:\tx\nUid:\t0\t{uid}\t0\t0\nGid:\t0\t0\t0\t0\n")
        (folder / "cwd").symlink_to("/home/alice")
        if exe is not None:
            (folder / "exe").symlink_to(exe)
        return folder

    def reader(self) -> LinuxReader:
        """Read this folder."""
        return LinuxReader(str(self.root), str(self.passwd))


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """Give an empty /proc."""
    root = tmp_path / "proc"
    root.mkdir()
    return Proc(root)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Give the path of a file that is there."""
    path = tmp_path / "program"
    path.write_bytes(b"x")
    return str(path)


def test_an_ordinary_process_is_read_whole(proc: Proc, program: str) -> None:
    proc.add(70, b"program", cmdline=b"program\0--flag\0two words\0", exe=program, parent=12)
    facts = proc.reader().facts(70)
    assert (facts.name, facts.executable, facts.state) == ("program", program, None)
    assert facts.args == ("program", "--flag", "two words")
    assert (facts.user_id, facts.user_name) == ("1000", "alice")
    assert (facts.working_directory, facts.parent, facts.mark) == ("/home/alice", 12, proc.reader().mark(70))


@pytest.mark.security
@pytest.mark.parametrize(
    "comm",
    [b"a) S 999 (b", b") R 1 1 1 1", b"new\nline", b"()", b")", b"", b"tab\tesc\x1b[m", b"\xff\xfe bytes", "ünïcode".encode()],
)
def test_no_name_can_forge_the_fields_behind_it(proc: Proc, comm: bytes) -> None:
    proc.add(70, comm, parent=12)
    reader = proc.reader()
    birth = reader.birth(70)
    assert birth is not None
    assert birth.exact == str(TICKS)
    facts = reader.facts(70)
    assert facts.parent == 12
    assert facts.name == (comm.decode("utf-8", "backslashreplace") or None)


def test_the_start_counts_from_the_boot_of_the_machine(proc: Proc) -> None:
    proc.add(70)
    birth = proc.reader().birth(70)
    assert birth is not None
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert birth.start == pytest.approx(boot + TICKS / os.sysconf("SC_CLK_TCK"), abs=1)


def test_the_same_pid_with_another_start_is_another_entity(proc: Proc) -> None:
    folder = proc.add(70)
    reader = proc.reader()
    first, again = reader.birth(70), reader.birth(70)
    (folder / "stat").write_text((folder / "stat").read_text().replace(f" {TICKS} ", f" {TICKS + 1} "))
    other = reader.birth(70)
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.entity("boot") == again.entity("boot") != other.entity("boot")
    assert first.entity("boot") != first.entity("another boot")


@pytest.mark.parametrize("stat", [None, b"", b"70", b"70 (x", b"70 (x) S 1", b"70 (x) S one " + b"0 " * 30, b"70 (x) S 1 " + b"x " * 30])
def test_a_process_that_is_gone_or_unreadable_has_no_birth(proc: Proc, stat: bytes | None) -> None:
    if stat is not None:
        (proc.root / "70").mkdir()
        (proc.root / "70" / "stat").write_bytes(stat)
    assert proc.reader().birth(70) is None


def test_what_can_not_be_read_is_unknown_and_raises_nothing(proc: Proc) -> None:
    facts = proc.reader().facts(4_000_000)
    known = [facts.name, facts.executable, facts.state, facts.args, facts.user_id, facts.user_name, facts.parent, facts.mark]
    assert known == [None] * 8


def test_a_kernel_thread_has_a_name_and_nothing_else(proc: Proc) -> None:
    proc.add(70, b"kworker/0:1", parent=2, uid="0")
    facts = proc.reader().facts(70)
    assert (facts.name, facts.executable, facts.args, facts.user_name) == ("kworker/0:1", None, None, "root")


def test_empty_arguments_are_kept(proc: Proc) -> None:
    proc.add(70, cmdline=b"prog\0\0last\0")
    assert proc.reader().facts(70).args == ("prog", "", "last")


@pytest.mark.security
@pytest.mark.parametrize(
    "cmdline",
    [
        b"x" * 2_000_000,
        b"prog\0" + b"y" * 2_000_000 + b"\0",
        b"a\0" * 1_000_000,
        b"\0".join([b"z" * 4000] * 100) + b"\0",  # few enough and short enough each, but more than is read
    ],
    ids=["one", "second", "many", "long together"],
)
def test_huge_arguments_are_cut_and_that_is_shown(proc: Proc, cmdline: bytes) -> None:
    proc.add(70, cmdline=cmdline)
    args = proc.reader().facts(70).args
    assert args is not None
    assert len(args) <= 257
    assert max(map(len, args)) <= 4096
    assert args[-1].endswith("…")


@pytest.mark.parametrize(
    ("comm", "exe", "cmdline", "name"),
    [
        (b"chrome_crashpad", "/opt/chrome_crashpad_handler", b"", "chrome_crashpad_handler"),
        (b"a-very-long-nam", None, b"/usr/bin/a-very-long-name-indeed\0", "a-very-long-name-indeed"),
        (b"a-very-long-nam", "/usr/bin/python3", b"something else\0", "a-very-long-nam"),
        (b"short", "/usr/bin/shorter-than-it-seems", b"", "short"),
    ],
)
def test_a_name_that_the_kernel_cut_is_completed(proc: Proc, comm: bytes, exe: str | None, cmdline: bytes, name: str) -> None:
    proc.add(70, comm, exe=exe, cmdline=cmdline)
    assert proc.reader().facts(70).name == name


def test_the_user_who_acts_counts_and_one_without_a_name_has_an_id(proc: Proc) -> None:
    proc.add(70, uid="4711")
    facts = proc.reader().facts(70)
    assert (facts.user_id, facts.user_name) == ("4711", None)


def test_users_added_later_are_known_by_name(proc: Proc) -> None:
    proc.add(70, uid="1001")
    reader = proc.reader()
    assert reader.facts(70).user_name is None
    proc.passwd.write_text("bob:x:1001:1001::/:/bin/sh\nbroken line\n")
    os.utime(proc.passwd, (1, 1))
    assert reader.facts(70).user_name == "bob"


@pytest.mark.security
def test_of_two_accounts_with_one_id_the_first_gives_the_name(proc: Proc) -> None:
    # As getpwuid(3) does: a second account with id 0 must not rename all of root's processes.
    proc.passwd.write_text("root:x:0:0::/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nsys:x:0:0::/:/bin/sh\n")
    proc.add(70, uid="0")
    assert proc.reader().facts(70).user_name == "root"


def test_the_very_same_file_seen_from_another_mount_namespace_is_nothing_odd(proc: Proc, program: str) -> None:
    folder = proc.add(70, exe=program)
    (folder / "ns" / "mnt").unlink()
    (folder / "ns" / "mnt").symlink_to("mnt:[2]")
    assert proc.reader().facts(70).state is None


@pytest.mark.security
@pytest.mark.parametrize(
    ("link", "namespace", "told"),
    [
        ("/srv/tool", "mnt:[1]", ("/srv/tool", None)),
        ("/srv/tool", "mnt:[2]", ("/srv/tool", "other_namespace")),
        ("/srv/tool (deleted)", "mnt:[1]", ("/srv/tool", "deleted")),
        ("/srv/tool (deleted)", "mnt:[2]", ("/srv/tool", "other_namespace")),
        ("/memfd:tool (deleted)", "mnt:[2]", ("/memfd:tool", "memfd")),
    ],
)
def test_a_file_that_nobody_can_look_at_is_not_taken_for_ours_at_that_path(
    proc: Proc, link: str, namespace: str, told: tuple[str, str | None]
) -> None:
    # Links that lead nowhere: so a file system answers whose server has gone.
    folder = proc.add(70, exe=link)
    (folder / "ns" / "mnt").unlink()
    (folder / "ns" / "mnt").symlink_to(namespace)
    facts = proc.reader().facts(70)
    assert (facts.executable, facts.state) == told


@pytest.mark.security
def test_of_a_process_whose_arguments_are_never_given_the_rest_is_told(proc: Proc, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cmdline = proc.add(70, b"tool", exe=program, parent=12) / "cmdline"
    cmdline.unlink()
    os.mkfifo(cmdline)  # nobody writes into it
    reader = proc.reader()
    monkeypatch.setattr(reader, "_patience", Patience(0.01))
    try:
        facts = reader.facts(70)
    finally:
        os.close(os.open(cmdline, os.O_RDWR))  # whoever still waits for it goes on
    assert (facts.name, facts.executable, facts.args, facts.user_name, facts.parent) == ("tool", program, None, "alice", 12)
