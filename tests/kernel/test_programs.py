"""Which program a process runs, whatever ways there are to begin one and whatever it makes of its arguments."""

import json
import os
import shutil
from pathlib import Path

import pytest

from integration.child import Child
from integration.lab import SERVER, Lab

from .builds import CONNECT, HEADLESS, build
from .watch import Record, Watch, done, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]
TEXT = "0 0 0\n"


@pytest.fixture
def connect(folder: Path) -> Path:
    return build(folder, "connect", CONNECT)


def run(lab: Lab, watch: Watch, code: str, *arguments: object) -> Record:
    """Run a script that ends up connecting as another program under its own pid, and give what is told of it."""
    with script(lab, code, *arguments) as child:
        assert child.end() == 0, child.errors
    (seen,) = watch.of(child.pid)
    return seen


_THREAD = """
import os, sys, threading
threading.Thread(target=os.execv, args=(sys.argv[1], sys.argv[1:])).start()
threading.Event().wait()
"""


def test_a_thread_that_executes_a_program_for_the_whole_process_changes_it(lab: Lab, watch: Watch, connect: Path) -> None:
    seen = run(lab, watch, _THREAD, connect, SERVER, 8443, 0, TEXT)
    assert (seen["process"]["executable"], seen["process"]["args"]) == (str(connect), [str(connect), SERVER, "8443", "0", TEXT])
    assert seen["process"]["parent"]["pid"] == os.getpid()


_MANY_ENDS = r"""
#include <sys/wait.h>
#include <unistd.h>
#include <stdlib.h>
int main(int count, char **args)
{
	for (int left = atoi(args[1]); left; left--) {
		int pid = vfork();
		if (!pid)
			_exit(0);
		waitpid(pid, 0, 0);
	}
	puts("0");
	return 0;
}
"""


def headless(lab: Lab, folder: Path) -> Child:
    program = build(folder, "headless", HEADLESS, "-pthread")
    return Child(lab.inside(lab.here, [str(program), SERVER, "8443", "0 0 0\n"]))


def test_a_process_without_its_first_thread_keeps_its_program_however_many_others_end(lab: Lab, watch: Watch, folder: Path) -> None:
    ends = build(folder, "ends", _MANY_ENDS, "-include", "stdio.h")
    with headless(lab, folder) as child:
        assert child.line() == "headless"
        for _ in range(3):
            with Child([str(ends), "3000"]) as others:
                assert others.end() == 0
            with lab.caller() as probe:  # what happened up to now has been read
                probe.call(SERVER)
                probe.ask("close")
                watch.of(probe.pid)
        child.tell("again")
        assert child.end() == 0, child.errors
    seen = watch.of(child.pid, 2)
    assert [one["process"].get("executable") for one in seen] == [str(folder / "headless")] * 2


def test_a_process_that_lost_its_first_thread_before_the_watch_is_seen_with_its_program(
    lab: Lab, server: Child, tmp_path: Path, folder: Path
) -> None:
    with headless(lab, folder) as child:
        assert child.line() == "headless"
        with Watch(lab, tmp_path / "watch") as watch:
            child.tell("again")
            assert child.end() == 0, child.errors
            seen = watch.of(child.pid, 2)
    assert sorted("start" in one["event"] for one in seen) == [False, True]  # the older one was there already
    assert [one["process"].get("executable") for one in seen] == [str(folder / "headless")] * 2


_CLONE = r"""
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **args)
{
	int kept[2], pid;

	if (pipe(kept))
		return 1;
	pid = args[1][0] == 'v' ? vfork() : syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (!pid) {
		execv(args[2], args + 2);
		_exit(9);
	}
	close(kept[1]);
	printf("%d\n", pid);
	fflush(stdout);
	if (read(kept[0], kept, 1))  /* the other end goes when the child ends */
		return 1;
	return 0;
}
"""


@pytest.mark.parametrize("how", ["vfork", "parent"], ids=["vfork", "a child of its parent's"])
def test_a_process_has_the_parent_that_made_it(lab: Lab, watch: Watch, folder: Path, connect: Path, how: str) -> None:
    clone = build(folder, "clone", _CLONE, "-D_GNU_SOURCE")
    code = "import os, subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    with script(lab, code, clone, how, connect, SERVER, 8443, 0, TEXT) as child:
        made = int(child.line())
        assert child.end() == 0, child.errors
    (seen,) = watch.of(made)
    assert seen["process"]["executable"] == str(connect)
    assert seen["process"]["parent"]["executable"] == str(clone)
    assert seen["process"]["parent"]["parent"]["pid"] == child.pid


def test_of_a_script_the_interpreter_is_the_program_and_the_script_an_argument(lab: Lab, watch: Watch, folder: Path, connect: Path) -> None:
    path = folder / "update"
    path.write_text(f"#!{connect} {SERVER}\n")
    path.chmod(0o755)
    link = folder / "link"
    link.symlink_to(connect)
    (folder / "8443").write_text(f"#!{link} {SERVER}\n")
    (folder / "8443").chmod(0o755)
    code = "import os, sys; os.chdir(sys.argv[1]); os.execv('8443', ['ls', '0', sys.argv[2]])"
    seen = run(lab, watch, code, folder, TEXT)
    assert seen["process"]["executable"] == str(connect)
    assert seen["process"]["args"] == [str(link), SERVER, "8443", "0", TEXT]
    assert seen["process"]["name"] == "connect"


_REACH = """
import ctypes, os, sys
args = [os.fsencode(one) for one in sys.argv[2:]]  # Python itself executes nothing without a name
ctypes.CDLL(None).execv(sys.argv[1].encode(), (ctypes.c_char_p * (len(args) + 1))(*args, None))
"""
_NAMELESS = r"""
#include <arpa/inet.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(8443)};
	int one = socket(AF_INET, SOCK_STREAM, 0);

	for (int at = 0; at < count; at++)
		memset(args[at], 'Z', strlen(args[at]));
	if (count)
		strcpy(args[0], "");
	prctl(PR_SET_NAME, "sshd", 0, 0, 0);
	inet_pton(AF_INET, "192.0.2.2", &to.sin_addr);
	return connect(one, (void *)&to, sizeof(to)) || write(one, "0 0 0\n", 6) != 6;
}
"""
"""Wipes its arguments and renames itself before it connects."""


@pytest.fixture
def nameless(folder: Path) -> Path:
    return build(folder, "nameless", _NAMELESS)


@pytest.mark.parametrize(
    "args",
    [[""], ["", "", ""], ["-bash"], ["tool", "a b", "c\td"], ["tool", "ünï", "\u202e"], ["tool", *["x"] * 400]],
    ids=["an empty name", "empty ones", "a login shell's", "with blanks", "not ASCII", "many"],
)
def test_arguments_are_those_it_was_started_with_whatever_it_makes_of_them(lab: Lab, watch: Watch, nameless: Path, args: list[str]) -> None:
    seen = run(lab, watch, _REACH, nameless, *args)
    assert seen["process"]["args"] == args
    assert (seen["process"]["executable"], seen["process"]["name"]) == (str(nameless), "nameless")


def test_of_no_arguments_at_all_none_are_invented(lab: Lab, watch: Watch, nameless: Path) -> None:
    code = "import ctypes, sys; ctypes.CDLL(None).execve(sys.argv[1].encode(), (ctypes.c_char_p * 1)(), (ctypes.c_char_p * 1)())"
    seen = run(lab, watch, code, nameless)
    assert [one for one in seen["process"].get("args", []) if one] == []
    assert seen["process"]["executable"] == str(nameless)


@pytest.mark.parametrize("sizes", [[100_000], [10, 3000, 10], [1015, 20], [1024], [1023], [500, 600]])
def test_of_huge_arguments_the_beginning_is_told_and_that_it_is_not_all(lab: Lab, watch: Watch, nameless: Path, sizes: list[int]) -> None:
    args = ["tool", *(chr(ord("a") + number) * size for number, size in enumerate(sizes))]
    seen = run(lab, watch, _REACH, nameless, *args)
    told = seen["process"]["args"]
    assert told[-1] == "…"
    whole, last = told[:-2], told[-2]
    assert whole == args[: len(whole)]
    assert args[len(whole)].startswith(last)
    assert sum(map(len, told[:-1])) >= 1000


_MAPPED = r"""
#include <arpa/inet.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **args)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(8443)};
	int one = socket(AF_INET, SOCK_STREAM, 0);
	char *other = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), text[4000] = "", *at;
	unsigned long value[53];
	FILE *file = fopen("/proc/self/stat", "r");
	struct prctl_mm_map map;

	fread(text, 1, sizeof(text) - 1, file);
	at = strrchr(text, ')') + 4;
	for (int field = 4; field < 53; field++)
		value[field] = strtoul(at, &at, 10);
	map = (struct prctl_mm_map){.start_code = value[26], .end_code = value[27], .start_stack = value[28], .start_data = value[45],
		.end_data = value[46], .start_brk = value[47], .brk = (unsigned long)sbrk(0), .arg_start = (unsigned long)other,
		.arg_end = (unsigned long)other + 15, .env_start = value[50], .env_end = value[51], .exe_fd = -1};
	strcpy(other, "/usr/sbin/sshd");
	if (prctl(PR_SET_MM, PR_SET_MM_MAP, (unsigned long)&map, sizeof(map), 0L))
		return 77;
	puts(fgets(text, sizeof(text), fopen("/proc/self/cmdline", "r")));
	fflush(stdout);
	inet_pton(AF_INET, "192.0.2.2", &to.sin_addr);
	return connect(one, (void *)&to, sizeof(to)) || write(one, "0 0 0\n", 6) != 6;
}
"""
"""Moves its arguments, as anybody may."""


def test_arguments_that_a_process_puts_elsewhere_are_not_believed(lab: Lab, watch: Watch, folder: Path) -> None:
    mapped = build(folder, "mapped", _MAPPED, "-D_GNU_SOURCE", "-include", "stdlib.h", "-include", "sys/prctl.h")
    with script(lab, _REACH, mapped, "tool", "real") as child:
        code = child.end()
    if code == 77:
        pytest.skip("this kernel does not let a process move its arguments")
    assert (code, child.lines) == (0, ["/usr/sbin/sshd"]), child.errors  # what /proc says by then
    (seen,) = watch.of(child.pid)
    assert seen["process"]["args"] == ["tool", "real"]


_CHROOT = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.execv("/bin/curl", ["curl", *sys.argv[2:]])
"""


def test_inside_a_chroot_the_path_is_the_machines_not_the_one_it_sees(lab: Lab, watch: Watch, folder: Path, connect: Path) -> None:
    inside = folder / "root" / "bin"
    inside.mkdir(parents=True)
    shutil.copy2(connect, inside / "curl")
    seen = run(lab, watch, _CHROOT, folder / "root", SERVER, 8443, 0, TEXT)
    assert seen["process"]["executable"] == str(inside / "curl")
    assert "executable" not in seen["outwatch"]


_CONTAINER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result:
        print(os.strerror(ctypes.get_errno()), flush=True)
        sys.exit(77)
folder = sys.argv[1]
must(libc.unshare(0x00020000))  # CLONE_NEWNS
must(libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None))  # private
options = "lowerdir=%s/low,upperdir=%s/up,workdir=%s/work" % (folder, folder, folder)
must(libc.mount(b"overlay", (folder + "/merged").encode(), b"overlay", 0, options.encode()))
os.chdir(folder + "/merged")
must(libc.syscall(155, b".", b"old"))  # pivot_root on x86_64
os.chdir("/")
must(libc.umount2(b"/old", 2))
os.execv("/usr/bin/curl", ["curl", *sys.argv[2:]])
"""


@pytest.fixture
def image(connect: Path) -> Path:
    """Lay out what a container's root is made of, on a file system that an overlay takes."""
    folder = connect.parent
    for name in ("low/usr/bin", "low/old", "up", "work", "merged"):
        (folder / name).mkdir(parents=True)
    shutil.copy2(connect, folder / "low/usr/bin/curl")
    return folder


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of pivot_root is x86_64's here")
def test_inside_a_container_the_path_is_its_own_and_it_is_said_to_be_elsewhere(lab: Lab, watch: Watch, image: Path) -> None:
    with script(lab, _CONTAINER, image, SERVER, 8443, 0, TEXT) as child:
        code = child.end()
    if code == 77:
        pytest.skip(f"no overlay here: {child.lines[-1]}")
    assert code == 0, child.errors
    (seen,) = watch.of(child.pid)
    assert seen["process"]["executable"] == "/usr/bin/curl"
    assert seen["outwatch"]["executable"] == "other_namespace"


_TWICE = """
import json, os, socket, sys
if len(sys.argv) < 5:
    with socket.create_connection((sys.argv[1], 8443)) as one:
        one.sendall(b"0 0 0\\n")
    print(json.dumps(0), flush=True)
    os.execv(sys.argv[3], [sys.argv[3], sys.argv[1], "8443", "0", sys.argv[2]])
"""


def test_connections_before_and_after_exec_are_each_the_program_of_its_time(lab: Lab, watch: Watch, connect: Path) -> None:
    pid, _ = done(lab, _TWICE, SERVER, TEXT, connect)
    seen = watch.of(pid, 2)
    assert [Path(one["process"]["executable"]).name[:6] for one in seen] == ["python", "connec"]
    assert json.dumps(seen[0]["process"]["args"][1:3]) == '["-S", "-c"]'
