"""The sensor on kernels that distributions ship: programs that the running kernel takes may be refused by others."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from .machine import Kernel, kernels, run

PROJECT = Path(__file__).parents[2]
SECONDS = 900.0  # an emulated machine is twenty times slower
TESTS = ("tests/kernel/test_bytes.py", "tests/kernel/test_sctp.py")


def test_kernels_to_start_are_there() -> None:
    if not kernels():
        pytest.skip("no kernel to start: none in /boot, none in build/kernels (an unpacked linux-image package)")
    assert all(kernel.image.stat().st_size for kernel in kernels())


@pytest.mark.root
@pytest.mark.parametrize("kernel", kernels(), ids=lambda kernel: kernel.version)
def test_protocols_are_seen_with_exact_bytes(kernel: Kernel, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root: the emulated machine reads all files of this one")
    settings = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": "/var/tmp/made-up"}
    settings |= {"TMPDIR": "/var/tmp", "HOME": "/var/tmp", "TEST_PATIENCE": "120"}
    given = shlex.join(f"{name}={value}" for name, value in settings.items())
    pytests = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "--basetemp=/var/tmp/tests", "--tb=short", *TESTS]
    code, said = run(kernel, tmp_path, f"cd {shlex.quote(str(PROJECT))} && env {given} {shlex.join(pytests)}", SECONDS)
    assert code == 0, said[-4000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 0
    assert not re.search(r"\d+ skipped", said), said[-4000:]
