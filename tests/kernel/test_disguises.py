"""Nothing that a program does to look like another one makes it that one: not its path, its checksum, nor an allow entry for either."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.child import LONG, Child
from integration.lab import NOBODY, SERVER, Lab

from .builds import build
from .watch import Record, Watch

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

CURL = Path(os.path.realpath(shutil.which("curl", path="/usr/bin:/bin") or "/usr/bin/curl"))
TALKS = f"exec 3<>/dev/tcp/{SERVER}/8443; printf '0 0 0\\n' >&3; read -r _"
UNPRIVILEGED = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
OWN_MOUNTS = [*UNPRIVILEGED, "unshare", "--user", "--map-root-user", "--mount"]

_PLACED = "mount -t tmpfs own $PLACE && cp /bin/rm $PLACE && cp $TOOL"
_OVER = "mount --bind $PLACE ${CURL%/*} && exec"
# What each does with TOOL, a shell, in a shell that has mounts of its own.
MOUNTED = {
    "bound over it": 'mount --bind $TOOL $CURL && exec $CURL -c "$TALKS"',
    "in a folder bound over its folder": f'{_PLACED} $PLACE/curl && {_OVER} $CURL -c "$TALKS"',
    "deleted there": f'{_PLACED} $PLACE/curl && {_OVER} $CURL -c "${{CURL%/*}}/rm $CURL; $TALKS"',
    "called deleted": f'{_PLACED} "$PLACE/curl (deleted)" && {_OVER} "$CURL (deleted)" -c "$TALKS"',
    "in a folder of its own that it takes for everything": (
        "mount -t tmpfs own $PLACE && cd $PLACE && mkdir -p .${CURL%/*} lib lib64 usr/lib && cp $TOOL .$CURL && "
        "for one in lib lib64 usr/lib; do mount --rbind /$one $one; done && "
        'exec chroot . $CURL -c "$TALKS"'
    ),
}
# And in one that has not.
PLAIN = {
    "argument": 'exec -a $CURL $TOOL -c "$TALKS"',
    "name": """exec $PYTHON -c 'import ctypes, os; ctypes.CDLL(None).prctl(15, b"curl", 0, 0, 0)
one = __import__("socket").create_connection((os.environ["SERVER"], 8443)); one.sendall(b"0 0 0\\n"); input()'""",
    "memory": """exec $PYTHON -c 'import os
file = os.memfd_create(os.environ["CURL"], 0); os.write(file, open(os.environ["TOOL"], "rb").read())
os.execve("/proc/self/fd/%d" % file, [os.environ["CURL"], "-c", os.environ["TALKS"]], {})'""",
}

_POINTS_ELSEWHERE = r"""
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
extern char __executable_start, _end;
struct all {
	struct prctl_mm_map map;
	long start, size, one;
	struct sockaddr_in to;
	char said[8];
};
static inline long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 asm("r10") = d, r8 asm("r8") = e;
	asm volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return number;
}
/* Runs from a copy: the program that it came from is no longer there. */
__attribute__((noinline, section(".far"))) void far(struct all *all)
{
	call(SYS_munmap, all->start, all->size, 0, 0, 0);
	if (call(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&all->map, sizeof(all->map), 0))
		call(SYS_exit_group, 77, 0, 0, 0, 0);
	if (call(SYS_connect, all->one, (long)&all->to, sizeof(all->to), 0, 0))
		call(SYS_exit_group, 1, 0, 0, 0, 0);
	call(SYS_write, all->one, (long)all->said, 6, 0, 0);
	call(SYS_write, 1, (long)all->said, 6, 0, 0);
	call(SYS_read, 0, (long)all->said, 1, 0, 0);
	call(SYS_exit_group, 0, 0, 0, 0, 0);
}
int main(int count, char **args)
{
	struct all all = {.to = {.sin_family = AF_INET, .sin_port = htons(8443)}, .said = "0 0 0\n"};
	char text[4000] = "", *at;
	unsigned long value[53];
	char *copy = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	inet_pton(AF_INET, args[2], &all.to.sin_addr);
	all.start = (long)&__executable_start & ~4095L;
	all.size = (((long)&_end + 4095) & ~4095L) - all.start;
	fread(text, 1, sizeof(text) - 1, fopen("/proc/self/stat", "r"));
	at = strrchr(text, ')') + 4;
	for (int field = 4; field < 53; field++)
		value[field] = strtoul(at, &at, 10);
	all.map = (struct prctl_mm_map){.start_code = value[26], .end_code = value[27], .start_stack = value[28], .start_data = value[45],
		.end_data = value[46], .start_brk = value[47], .brk = (unsigned long)sbrk(0), .arg_start = value[48], .arg_end = value[49],
		.env_start = value[50], .env_end = value[51], .exe_fd = open(args[1], O_RDONLY)};
	all.one = socket(AF_INET, SOCK_STREAM, 0);
	memcpy(copy, (char *)far, 2048);
	memcpy(copy + 4096, &all, sizeof(all));
	((void (*)(struct all *))copy)((struct all *)(copy + 4096));
}
"""
"""OTHER ADDRESS: lets the kernel say that its executable is the other file, and connects."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def watch(lab: Lab, server: Child, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Watch with entries that allow curl, by its path and by its checksum."""
    if not CURL.exists():
        pytest.skip("curl is not installed")
    entries = f'[{{ program = "{CURL}" }}, {{ sha256 = "{sha256(CURL)}" }}]'
    with Watch(lab, tmp_path_factory.mktemp("watch"), env={"OUTWATCH_DETECTORS__ALLOW_LIST__ENTRIES": entries}) as watch:
        yield watch


@pytest.fixture
def place(folder: Path) -> Path:
    """Make a folder to mount things on."""
    (folder / "place").mkdir()
    return folder / "place"


def told(lab: Lab, watch: Watch, argv: list[str], **more: object) -> Record:
    """Let a program connect, and give what is told of it once its file was looked at."""
    env = {**os.environ, "CURL": str(CURL), "TALKS": TALKS, "SERVER": SERVER, **{name.upper(): str(value) for name, value in more.items()}}
    with Child(lab.inside(lab.here, argv), env=env) as child:
        (seen,) = watch.of(child.pid, over=False)
        # What comes later is hashed later: if this one has no checksum by then, it gets none.
        with Child(lab.inside(lab.here, ["bash", "-c", TALKS])) as other:
            (probe,) = watch.of(other.pid, over=False)
            watch.wait(lambda records: [one for one in records if one["id"] == probe["id"] and "hash" in one["process"]])
        child.tell("end")
    return watch.latest[seen["id"]]


def is_not_curl(record: Record) -> None:
    """Make sure that nothing in a record passes for curl."""
    findings, process = record["outwatch"], record["process"]
    assert process.get("executable") != str(CURL) or findings.get("executable") is not None
    assert process["name"] != "curl" or findings.get("executable") is not None
    assert process.get("hash", {}).get("sha256") != sha256(CURL)
    assert findings["subject"] != str(CURL)
    assert findings.get("package", {}).get("name") != "curl"
    assert findings["verdict"] != "allowed"
    assert "allow_list" not in [reason["detector"] for reason in findings.get("reasons", ())]


def test_curl_itself_is_allowed(lab: Lab, watch: Watch) -> None:
    seen = told(lab, watch, [str(CURL), "-s", f"telnet://{SERVER}:8443"])
    assert (seen["process"]["executable"], seen["process"]["hash"]["sha256"]) == (str(CURL), sha256(CURL))
    assert seen["outwatch"]["verdict"] == "allowed"


@pytest.mark.parametrize("how", MOUNTED)
def test_a_program_of_an_unprivileged_user_in_mounts_of_its_own_is_not_curl(
    lab: Lab, watch: Watch, program: Path, place: Path, how: str
) -> None:
    seen = told(lab, watch, [*OWN_MOUNTS, "bash", "-c", MOUNTED[how]], tool=program, place=place)
    assert seen["user"]["id"] == str(NOBODY)
    assert seen["outwatch"]["executable"] in {"other_namespace", "deleted"}
    is_not_curl(seen)


@pytest.mark.parametrize("how", PLAIN)
def test_a_program_that_only_goes_by_the_name_is_not_curl(lab: Lab, watch: Watch, program: Path, how: str) -> None:
    is_not_curl(told(lab, watch, ["bash", "-c", PLAIN[how]], tool=program, python=sys.executable))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="written for x86_64")
def test_a_process_whose_executable_proc_shows_as_another_one_is_the_one_that_was_executed(lab: Lab, watch: Watch, folder: Path) -> None:
    tool = build(folder, "tool", _POINTS_ELSEWHERE, "-D_GNU_SOURCE", "-no-pie", "-fno-stack-protector", "-fno-toplevel-reorder")
    limit = time.monotonic() + LONG
    while time.time() - max(folder.stat().st_ctime, tool.stat().st_ctime) < 0.1:  # what is older than its process was not exchanged since
        assert time.monotonic() < limit
    with Child(lab.inside(lab.here, [str(tool), str(CURL), SERVER])) as child:
        try:
            assert child.line() == "0 0 0"
        except AssertionError:
            if child.end() == 77:
                pytest.skip("this kernel does not let a process say what its executable is")
            raise
        assert os.readlink(f"/proc/{child.pid}/exe") == str(CURL)
        (seen,) = watch.of(child.pid, over=False)
        watch.wait(lambda records: [one for one in records if one["id"] == seen["id"] and "hash" in one["process"]])
        child.tell("end")
    seen = watch.latest[seen["id"]]
    is_not_curl(seen)
    assert (seen["process"]["executable"], seen["process"]["hash"]["sha256"]) == (str(tool), sha256(tool))
