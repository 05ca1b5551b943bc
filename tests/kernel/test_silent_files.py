"""A file system that is silent holds neither the kernel sensor nor what looks at its processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import integration
from integration.child import Child
from integration.lab import SERVER, Lab

from .watch import Watch, script

pytestmark = [pytest.mark.integration, pytest.mark.root, pytest.mark.security]

_CONNECT = f"exec 3<>/dev/tcp/{SERVER}/8443; printf '0 0 0\\n' >&3; echo connected"
_EACH_TIME = ["-c", f"while read -r _; do {_CONNECT}; done"]
_RUN = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


@pytest.fixture
def files(folder: Path) -> Iterator[Child]:
    """Mount the file system on the folder."""
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse")
    program = Path(integration.__path__[0]) / "silent_files.py"
    try:
        with Child([sys.executable, "-S", str(program), str(folder), "/bin/bash"]) as server:
            assert server.line() == "ready"
            yield server
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def test_what_runs_from_a_silent_file_system_is_told_and_nothing_waits_for_it(lab: Lab, watch: Watch, files: Child, folder: Path) -> None:
    with script(lab, _RUN, folder / "tool", *_EACH_TIME) as child, script(lab, _RUN, "/bin/bash", *_EACH_TIME) as other:
        child.tell("connect")
        assert child.line() == "connected"
        files.tell("be silent")
        assert files.line() == "silent"
        child.tell("connect again")
        assert child.line() == "connected"
        seen = watch.of(child.pid, 2, over=False)
        other.tell("connect")
        assert other.line() == "connected"
        identity = watch.of(other.pid, over=False)[0]["id"]
        watch.wait(lambda records: [one for one in records if one["id"] == identity and "hash" in one["process"]])
    assert [one["process"]["executable"] for one in seen] == [str(folder / "tool")] * 2
