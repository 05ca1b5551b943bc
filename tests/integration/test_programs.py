"""Which program is behind a connection: its script, its package, and no disguise."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .child import LONG, Child
from .docker import WEB, Docker, Server
from .lab import SERVER, Lab, outwatch_command

pytestmark = [pytest.mark.integration, pytest.mark.root]

Record = dict[str, Any]
Run = Callable[..., Child]

SCRIPTS = {
    "python3": f'import socket\none = socket.create_connection(("{SERVER}", 443))\ninput()\n',
    "perl": f'use IO::Socket::INET;\nmy $one = IO::Socket::INET->new(PeerAddr => "{SERVER}:443") or die;\n<STDIN>;\n',
    "bash": f"exec 3<>/dev/tcp/{SERVER}/443\nread -r\n",
    "gawk": f'BEGIN {{ "/inet/tcp/0/{SERVER}/443" |& getline }}\n',
    "node": f'const one = require("net").connect(443, "{SERVER}");\nprocess.stdin.resume();\n',
    "ruby": f'require "socket"\none = TCPSocket.new("{SERVER}", 443)\n$stdin.gets\n',
    "php": f'<?php $one = stream_socket_client("tcp://{SERVER}:443"); fgets(STDIN);\n',
}
OPTIONS = {
    "python3": ["-W", "ignore", "-X", "dev", "{}"],
    "perl": ["-I", "lib", "-w", "{}"],
    "bash": ["-o", "pipefail", "{}"],
    "gawk": ["-v", "a=b", "-f", "{}"],
    "node": ["--require", "net", "--conditions", "dev", "{}"],
    "ruby": ["-I", "lib", "-W0", "{}"],
    "php": ["-d", "memory_limit=64M", "-f", "{}"],
}
INLINE = {"python3": "-c", "perl": "-e", "bash": "-c", "ruby": "-e", "node": "-e"}
TALKS = SCRIPTS["bash"]

_MEMFD = """
import os
file = os.memfd_create("curl", 0)
with open("/bin/bash", "rb") as shell:
    os.write(file, shell.read())
os.execve("/proc/self/fd/%d" % file, ["/usr/bin/curl", "-c", TALKS], {})
"""
_DELETED = "import os, sys\nos.execv(sys.argv[1], ['tool', '-c', 'rm ' + sys.argv[1] + '\\n' + TALKS])\n"
_REPLACED = """
import os, sys
tool = sys.argv[1]
os.execv(tool, ["tool", "-c", "cp /bin/sh " + tool + ".new; ln " + tool + " " + tool + ".old; mv " + tool + ".new " + tool + "\\n" + TALKS])
"""
_MOUNTED = """
import os, sys
inside = "mount --bind " + sys.argv[1] + " /usr/bin/env && exec /usr/bin/env -c " + repr(TALKS).replace("\\\\n", "; ")
os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", inside])
"""
_NAMED = "import os\nos.execv('/usr/bin/bash', ['/usr/bin/curl', '-c', TALKS])\n"
_RENAMED = f"import ctypes\nctypes.CDLL(None).prctl(15, b'curl', 0, 0, 0)\n{SCRIPTS['python3']}"


def _has_connected(child: Child) -> bool:
    """Tell whether a process holds an established connection to the server."""
    with contextlib.suppress(OSError):
        folder = Path(f"/proc/{child.pid}/fd")
        held = {os.readlink(folder / name) for name in os.listdir(folder)}
        for line in Path(f"/proc/{child.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[2].endswith(":01BB") and fields[3] == "01" and f"socket:[{fields[9]}]" in held:
                return True
    return False


def until_connected(child: Child) -> None:
    """Wait until a process is connected to the server."""
    child.until(lambda: _has_connected(child), "connection to the server")


@pytest.fixture
def run(lab: Lab, started: ExitStack) -> Run:
    """Start a program in the lab and wait until it is connected."""

    def start(*argv: str, cwd: Path | str = "/") -> Child:
        child = started.enter_context(Child(lab.inside(lab.here, argv), cwd=str(cwd)))
        until_connected(child)
        return child

    return start


def seen(lab: Lab, child: Child) -> Record:
    """Scan, and give the last word on the connection of a process."""
    found = [one for one in lab.records("scan") if one["kind"] == "connection" and one["process"]["pid"] == child.pid]
    assert len({one["id"] for one in found}) == 1, found
    return found[-1]


def needed(program: str) -> str:
    path = shutil.which(program, path="/usr/bin:/bin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


@pytest.mark.parametrize("program", SCRIPTS)
def test_the_script_behind_an_interpreter_is_named(lab: Lab, run: Run, tmp_path: Path, program: str) -> None:
    path = needed(program)
    (tmp_path / "talk").write_text(SCRIPTS[program])
    child = run(path, *(one.format("talk") for one in OPTIONS[program]), cwd=tmp_path)
    record = seen(lab, child)
    script = record["outwatch"]["script"]
    assert (script["kind"], script["name"]) == ("script", f"{tmp_path}/talk")
    assert f" script:{tmp_path}/talk" in record["outwatch"]["subject"]
    assert record["process"]["executable"] == os.path.realpath(path)


@pytest.mark.parametrize("program", INLINE)
def test_inline_code_is_told_apart_by_its_checksum(lab: Lab, run: Run, program: str) -> None:
    path = needed(program)
    one = seen(lab, run(path, INLINE[program], SCRIPTS[program]))["outwatch"]
    same = seen(lab, run(path, INLINE[program], SCRIPTS[program]))["outwatch"]
    other = seen(lab, run(path, INLINE[program], SCRIPTS[program] + "\n"))["outwatch"]
    assert one["script"]["kind"] == "code"
    assert one["subject"] == same["subject"] != other["subject"]


def test_a_script_that_is_started_by_its_own_name_is_named(lab: Lab, run: Run, tmp_path: Path) -> None:
    perl = needed("perl")
    (tmp_path / "tool").write_text(f"#!{perl} -w -T\n{SCRIPTS['perl']}")
    (tmp_path / "tool").chmod(0o755)
    record = seen(lab, run(str(tmp_path / "tool")))
    assert record["outwatch"]["script"] == {"kind": "script", "name": f"{tmp_path}/tool"}


@pytest.fixture
def curl() -> str:
    """Give curl as a package of Debian has it."""
    path = needed("curl")
    if shutil.which("dpkg-query") is None or not Path("/var/lib/dpkg/info/curl.list").exists():
        pytest.skip("curl is not installed by dpkg here")
    return os.path.realpath(path)


def test_the_package_of_an_installed_program_is_named_as_dpkg_names_it(lab: Lab, run: Run, curl: str) -> None:
    record = seen(lab, run(curl, "-s", f"telnet://{SERVER}:443"))
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "curl"], capture_output=True, text=True, check=True, timeout=LONG)
    assert record["outwatch"]["package"] == {"name": "curl", "version": asked.stdout, "manager": "dpkg", "matches": True}
    assert record["outwatch"]["subject"] == curl


@pytest.mark.security
def test_a_modified_copy_belongs_to_no_package(lab: Lab, run: Run, curl: str, tmp_path: Path) -> None:
    copy = tmp_path / "curl"
    copy.write_bytes(Path(curl).read_bytes() + b"\0")
    copy.chmod(0o755)
    record = seen(lab, run(str(copy), "-s", f"telnet://{SERVER}:443"))
    assert "package" not in record["outwatch"]
    assert record["process"]["hash"]["sha256"]  # it was looked at
    assert record["outwatch"]["subject"] == str(copy)


@pytest.mark.security
def test_a_packages_file_that_was_changed_in_its_place_is_said_to_be_changed(lab: Lab, run: Run, curl: str, tmp_path: Path) -> None:
    (tmp_path / "curl").write_bytes(Path(curl).read_bytes() + b"\0")
    (tmp_path / "curl").chmod(0o755)
    # In mounts that outwatch shares, so that to it this is the file at that path.
    inside = f"mount --bind {tmp_path}/curl {curl} && exec {curl} -s telnet://{SERVER}:443"
    child = run("unshare", "--mount", "sh", "-c", inside)
    argv = ["nsenter", f"--mount=/proc/{child.pid}/ns/mnt", f"--net=/proc/{child.pid}/ns/net", *outwatch_command("scan", "--jsonl")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LONG, cwd="/", check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    (record,) = [one for one in records if one["kind"] == "connection" and one["process"]["pid"] == child.pid]
    assert "executable" not in record["outwatch"]
    assert record["outwatch"]["package"]["name"] == "curl"
    assert record["outwatch"]["package"]["matches"] is False


@pytest.mark.security
@pytest.mark.parametrize(
    ("code", "begins"),
    [
        pytest.param(_MEMFD, "memfd:curl", id="memfd"),
        pytest.param(_DELETED, "deleted:{}", id="deleted"),
        pytest.param(_MOUNTED, "other_namespace:/usr/bin/env", id="bind mount in other mounts"),
    ],
)
def test_a_disguise_is_neither_a_packages_program_nor_a_path(lab: Lab, run: Run, tmp_path: Path, code: str, begins: str) -> None:
    tool = tmp_path / "tool"
    shutil.copy2("/bin/bash", tool)
    record = seen(lab, run("/usr/bin/python3", "-c", code.replace("TALKS", repr(TALKS)), str(tool)))
    subject = record["outwatch"]["subject"]
    assert subject.startswith(begins.format(tool))
    assert subject.endswith(f"#{record['process']['hash']['sha256'][:16]}")
    assert "package" not in record["outwatch"]


@pytest.mark.security
def test_a_file_that_another_was_put_in_place_of_does_not_keep_its_name(lab: Lab, run: Run, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    shutil.copy2("/bin/bash", tool)
    record = seen(lab, run("/usr/bin/python3", "-c", _REPLACED.replace("TALKS", repr(TALKS)), str(tool)))
    assert record["outwatch"]["subject"].startswith(f"deleted:{tool}")
    assert "package" not in record["outwatch"]


@pytest.mark.security
def test_a_name_given_with_exec_or_prctl_changes_nothing(lab: Lab, run: Run) -> None:
    needed("python3")
    shell = seen(lab, run("/usr/bin/python3", "-c", _NAMED.replace("TALKS", repr(TALKS))))
    assert shell["process"]["args"][0] == "/usr/bin/curl"
    assert shell["outwatch"]["subject"].startswith("/usr/bin/bash code:")
    named = seen(lab, run("/usr/bin/python3", "-c", _RENAMED))
    assert named["process"]["name"] == "curl"
    assert named["outwatch"]["subject"].startswith("/usr/bin/python* code:")


@pytest.fixture
def group(started: ExitStack) -> Callable[[str], Path]:
    """Make control groups in the machine's own tree, with those above them; they are removed afterwards, when they are empty."""
    root = next((Path(one) for one in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup") if (Path(one) / "cgroup.procs").exists()), None)
    if root is None:
        pytest.skip("no tree of control groups of version 2 is mounted")

    def make(path: str) -> Path:
        folder = root
        for step in path.replace("outwatch.slice", f"outwatch{os.getpid()}.slice").split("/"):  # others may run this too
            folder /= step
            if not folder.exists():
                try:
                    folder.mkdir()
                except OSError as error:
                    pytest.skip(f"no right to make control groups: {error.strerror}")
                started.callback(folder.rmdir)
        return folder

    return make


@pytest.mark.parametrize(
    ("path", "container", "unit", "started_by"),
    [
        ("outwatch.slice/docker-{}.scope", "docker", None, "container"),
        ("outwatch.slice/web.service/libpod-payload-{}", "podman", "web.service", "container"),
        ("outwatch.slice/cron.service", None, "cron.service", "cron"),
        ("outwatch.slice/web.service/sshd.service", None, "web.service", "systemd"),
    ],
)
def test_container_and_service_are_named_by_the_control_group(
    lab: Lab, group: Callable[[str], Path], path: str, container: str | None, unit: str | None, started_by: str
) -> None:
    identity = "5e" * 32
    folder = group(path.format(identity))
    with Child(lab.inside(lab.here, [needed("bash"), "-c", f"read -r\n{TALKS}"])) as child:
        (folder / "cgroup.procs").write_text(str(child.pid))
        child.tell("go")
        until_connected(child)
        record = seen(lab, child)
    assert record.get("container") == ({"id": identity, "runtime": container} if container else None)
    assert record["outwatch"].get("unit") == unit
    assert record["outwatch"]["started_by"] == started_by


@pytest.mark.parametrize(("allowed", "name"), [("true", "web"), ("false", None)])
def test_a_container_is_named_by_its_runtime_only_if_that_is_allowed(
    lab: Lab, group: Callable[[str], Path], tmp_path: Path, started: ExitStack, allowed: str, name: str | None
) -> None:
    server = Server(tmp_path / "docker.sock", Docker)
    started.callback(server.end)
    folder = group(f"outwatch.slice/docker-{WEB}.scope")
    settings = {"ENABLED": allowed, "DOCKER": str(tmp_path / "docker.sock")}
    with Child(lab.inside(lab.here, [needed("bash"), "-c", f"read -r\n{TALKS}"])) as child:
        (folder / "cgroup.procs").write_text(str(child.pid))
        child.tell("go")
        until_connected(child)
        records = lab.records("scan", env={f"OUTWATCH_LOOKUPS__CONTAINER_NAMES__{key}": value for key, value in settings.items()})
    told = [one for one in records if one["kind"] == "connection" and one["process"]["pid"] == child.pid][-1]
    assert told["container"].get("name") == name
    assert told["outwatch"]["subject"].startswith("/usr/bin/bash ")  # a name is for reading
