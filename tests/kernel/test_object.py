"""The committed object is what its sources give."""

import re
import shutil
import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from integration.child import LONG

from .elf import Function, functions

CLANG = 14  # the one that built it
MOST = 150_000  # bytes
STACK, ROUNDED = 512, 32  # bytes that a program may use with all that it calls, each part rounded up (kernel/bpf/verifier.c)


def clang() -> str:
    for name in (f"clang-{CLANG}", "clang"):
        program = shutil.which(name)
        if program:
            said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=LONG).stdout
            if re.search(rf"version {CLANG}\.", said):
                return program
    pytest.skip(f"clang {CLANG} is not installed")


def test_the_object_is_byte_for_byte_what_its_sources_give(tmp_path: Path) -> None:
    compiler, strip = clang(), shutil.which(f"llvm-strip-{CLANG}") or shutil.which("llvm-strip")
    if strip is None:
        pytest.skip("llvm-strip is not installed")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("libbpf-dev is not installed")
    with as_file(files("outwatch.sensors.ebpf")) as sources:
        for source in (*sources.glob("*.c"), *sources.glob("*.h")):
            shutil.copy(source, tmp_path)
        committed = (sources / "connect.bpf.o").read_bytes()
    machine = subprocess.run(["uname", "-m"], check=True, capture_output=True, text=True, timeout=LONG).stdout.strip()
    command = [compiler, "-g", "-O2", "-target", "bpf", "-mcpu=v3", "-idirafter", f"/usr/include/{machine}-linux-gnu", "-Wall", "-Werror"]
    command += [f"-ffile-prefix-map={tmp_path}=.", "-c", "connect.bpf.c", "-o", "connect.bpf.o"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=LONG)
    smaller = [strip, "-g", "--remove-section=.rel.BTF.ext", "--wildcard", "--strip-symbol=LBB*", "connect.bpf.o"]
    subprocess.run(smaller, check=True, cwd=tmp_path, timeout=LONG)
    assert (tmp_path / "connect.bpf.o").read_bytes() == committed


def test_the_object_is_small_and_names_no_folder_of_whoever_built_it() -> None:
    image = files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes()
    assert len(image) < MOST
    assert not re.search(rb"/(home|root|tmp|work|usr|build)/", image)


def deepest(name: str, among: dict[str, Function]) -> int:
    """Reckon the bytes of stack as the kernel does."""
    own = max(among[name].stack, 1)
    return -(-own // ROUNDED) * ROUNDED + max((deepest(called, among) for called in among[name].calls), default=0)


def test_every_program_has_the_stack_that_it_needs_on_all_kernels() -> None:
    # Since Linux 6.13 each program may have 512 bytes of its own for each call, so what is too deep for others would be taken here.
    found = functions(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes())
    programs = {name: deepest(name, found) for name, one in found.items() if one.section != ".text"}
    assert {"tcp_held", "packet_in", "existing", "burst_totals"} <= programs.keys()
    assert {name: depth for name, depth in programs.items() if depth > STACK} == {}
    assert programs["packet_in"] > found["packet_in"].stack + found["count_packet"].stack, "calls were not followed"
