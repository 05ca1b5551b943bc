"""Records have one layout: what the compiler makes of ``event.h``, what the object says of itself, and what the decoder unpacks."""

import re
import shutil
import struct
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from integration.child import LONG

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import decode, hooks
from outwatch.sensors.ebpf.decode import Flow, Life

from .btf import Structure, structures

_HEAD = ["size", "kind", "flags", "cpu", "time"]
_REST = ["folder_slots", "folder_more", "unused", "args_size", "slots", "more", "comm"]
UNPACKED = {
    "head": (decode._HEAD, _HEAD),
    "flow": (decode._FLOW, [*_HEAD, *(one for one in Flow._fields if one not in _HEAD)]),
    "life": (decode._LIFE, [*_HEAD, *(one for one in Life._fields if one not in _HEAD)]),
    "program": (
        decode._PROGRAM,
        [*_HEAD, "start", "parent_start", "cgroup", "inode", "pid", "parent", "uid", "mntns", "device", "links", *_REST],
    ),
}
"""What the decoder unpacks from each structure of the header, in its order."""

OF_MAPS = {
    "peer": (hooks._PEER, ["socket", "address", "port", "family", "unused"]),
    "count": (hooks._COUNT, ["happened", "refused"]),
    "place": (hooks._PLACE, ["start", "pid", "netns", "address", "port", "family", "protocol", "flags", "unused", "error"]),
}
"""What is written into and read from maps."""

_SHOW = """
#include <stdio.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
#include "event.h"
int main(void)
{
%s
	return 0;
}
"""


def unpacked(name: str) -> dict[str, int]:
    """Give at which byte the decoder finds each value of a structure."""
    form, names = {**UNPACKED, **OF_MAPS}[name]
    codes = [(int(count or 1), code) for count, code in re.findall(r"(\d*)([A-Za-z])", form.format)]
    single = [f"{count}{code}" if code in "sx" else code for count, code in codes for _ in range(1 if code in "sx" else count)]
    assert len(single) == len(names)
    return {one: struct.calcsize("<" + "".join(single[:at])) for at, one in enumerate(names)}


def flattened(found: dict[str, Structure], name: str) -> Structure:
    """Put the members of the head in the place of the member ``head``."""
    size, members = found[name]
    own = {one: at for one, at in members.items() if one != "head"}
    return Structure(size, {**found["head"].members, **own} if "head" in members else own)


def compare(name: str, told: Structure) -> None:
    form, _ = {**UNPACKED, **OF_MAPS}[name]
    if name == "program":
        assert told.members.pop("path") == form.size
        assert told.members.pop("folder") == decode._FOLDER_AT
        assert told.members.pop("args") == decode.PROGRAM_SIZE
        assert told.size == decode.PROGRAM_SIZE + decode._MOST_ARGS
    else:
        assert told.size == form.size
    assert told.members == unpacked(name)


@pytest.mark.parametrize("name", ["head", "flow", "program", *OF_MAPS])  # a life is in no map, so it is not described
def test_the_decoder_reads_each_field_where_the_objects_type_information_has_it(name: str) -> None:
    found = structures(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o").read_bytes())
    compare(name, flattened(found, name))


@pytest.mark.parametrize("name", UNPACKED)
def test_the_decoder_reads_each_field_where_a_compiler_puts_it(name: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed")
    lines = []
    for one in unpacked(name):
        member = f"head.{one}" if name != "head" and one in _HEAD else one
        lines.append(f'\tprintf("{one} %zu\\n", offsetof(struct {name}, {member}));')
    if name == "program":
        lines += [f'\tprintf("{one} %zu\\n", offsetof(struct program, {one}));' for one in ("path", "folder", "args")]
    lines.append(f'\tprintf("%zu\\n", sizeof(struct {name}));')
    (tmp_path / "show.c").write_text(_SHOW % "\n".join(lines))
    with as_file(files("outwatch.sensors.ebpf")) as sources:
        command = [compiler, f"-I{sources}", "-o", str(tmp_path / "show"), str(tmp_path / "show.c")]
        subprocess.run(command, check=True, capture_output=True, timeout=LONG)
    said = subprocess.run([tmp_path / "show"], check=True, capture_output=True, text=True, timeout=LONG).stdout.splitlines()
    members = {one.split()[0]: int(one.split()[1]) for one in said[:-1]}
    compare(name, Structure(int(said[-1]), members))
    codes = {"B": 1, "H": 2, "I": 4, "Q": 8}
    sizes = [codes.get(one[-1]) or int(one[:-1]) for one in re.findall(r"\d*[sx]|[BHIQ]", spelled(UNPACKED[name][0]))]
    assert sum(sizes) == UNPACKED[name][0].size  # nothing in between is padding


def spelled(form: struct.Struct) -> str:
    """Spell a form without counts: 2Q is QQ."""
    return re.sub(r"(\d+)([BHIQ])", lambda found: found[2] * int(found[1]), form.format)


def test_what_the_decoder_takes_for_its_limits_is_what_the_header_says() -> None:
    header = files("outwatch.sensors.ebpf").joinpath("event.h").read_text("utf-8")
    said = {name: int(value) for name, value in re.findall(r"^#define ([A-Z_]+) (\d+)", header, re.MULTILINE)}
    own = {
        "PATH_SLOTS": decode._SLOTS,
        "PATH_SLOT": decode._SLOT,
        "FOLDER_SLOTS": decode._FOLDER_SLOTS,
        "ARGS_MOST": decode._MOST_ARGS,
        "EVENT_KINDS": decode.KINDS,
        **{
            f"EVENT_{name}": getattr(decode, name)
            for name in ("OPEN", "STATE", "CLOSE", "EXEC", "FORK", "EXIT", "TOTAL", "SHARE", "BURST", "NAME", "GROUP")
        },
        **{f"FLAG_{name}": getattr(decode, name) for name in ("INGRESS", "FAILED", "KERNEL", "EXISTING", "LISTENS")},
    }
    assert {name: value for name, value in said.items() if name in own} == own
    kinds = [value for name, value in said.items() if name.startswith("EVENT_") and name != "EVENT_KINDS"]
    assert sorted(kinds) == list(range(1, said["EVENT_KINDS"]))
