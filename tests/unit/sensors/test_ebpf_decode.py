"""Records of the kernel sensor: right bytes give right values, any others give nothing, and the layouts are the object's own."""

import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import as_file, files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import decode as layouts
from outwatch.sensors.ebpf.decode import CLOSE, EXEC, EXIT, FORK, OPEN, STATE, TOTAL, Flow, Life, Program, decode, flow
from outwatch.sensors.ebpf.hooks import _COUNT, _PEER

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
MOST_ARGS, SLOT = 1024, 64


def head(size: int, kind: int, flags: int = 0, time: int = 7) -> bytes:
    return struct.pack("<HBBIQ", size, kind, flags, 1, time)


def program(path: list[bytes], args: bytes, *, more: int = 0, said: int | None = None, slots: int | None = None) -> bytes:
    """Write an EXEC record as event.h lays it out; ``path`` from the root downwards."""
    facts = struct.pack("<4Q7I", 11, 12, 13, 14, 21, 22, 23, 24, 25, 26, 0)
    ends = struct.pack("<HBB16s", len(args) if said is None else said, len(path) if slots is None else slots, more, b"tool")
    names = b"".join(name.ljust(SLOT, b"\0") for name in reversed(path)).ljust(16 * SLOT, b"\0")
    body = facts + ends + names + args
    return head(16 + len(body), EXEC) + body


@given(st.binary(max_size=2500))
def test_any_bytes_give_a_record_or_nothing(data: bytes) -> None:
    assert isinstance(decode(data), Flow | Life | Program | None)


@given(kind=st.integers(0, 255), body=st.binary(max_size=2300))
def test_a_well_formed_head_with_any_body_gives_a_record_or_nothing(kind: int, body: bytes) -> None:
    data = head(16 + len(body), kind) + body
    event = decode(data)
    assert isinstance(event, Flow | Life | Program | None)
    if event is None or isinstance(event, Program):
        return
    assert event.kind == kind


@given(data=st.binary(min_size=16, max_size=200), size=U16)
def test_a_record_that_says_another_length_than_it_has_is_none(data: bytes, size: int) -> None:
    said = struct.pack("<H", size) + data[2:]
    if size != len(data):
        assert decode(said) is None


@given(
    numbers=st.tuples(*[U64] * 6, *[U32] * 3, *[U16] * 6),
    ends=st.tuples(*[st.binary(min_size=16, max_size=16)] * 3),
    flags=st.integers(0, 255),
)
def test_every_field_of_a_flow_is_read_where_the_kernel_writes_it(numbers: tuple[Any, ...], ends: tuple[Any, ...], flags: int) -> None:
    data = head(layouts.FLOW_SIZE, CLOSE, flags, 99) + struct.pack("<6Q3I6H", *numbers) + b"".join(ends)
    event = decode(data)
    assert event == Flow(CLOSE, flags, 99, *numbers, *ends)
    assert flow(data) == event
    assert decode(data[:-1]) is None


@pytest.mark.parametrize("kind", [OPEN, STATE, CLOSE, TOTAL])
def test_flows_have_four_kinds(kind: int) -> None:
    event = decode(head(layouts.FLOW_SIZE, kind) + bytes(layouts.FLOW_SIZE - 16))
    assert isinstance(event, Flow)
    assert event.kind == kind


@pytest.mark.parametrize("kind", [FORK, EXIT])
def test_beginnings_and_ends_of_processes_are_read(kind: int) -> None:
    data = head(40, kind, time=5) + struct.pack("<QQII", 2**63, 2, 3, 4)
    assert decode(data) == Life(kind, 5, 2**63, 2, 3, 4)
    assert decode(head(41, kind) + data[16:] + b"x") is None


def test_a_program_has_its_path_from_the_root_and_its_arguments() -> None:
    assert decode(program([b"usr", b"bin", b"curl"], b"curl\0-s\0\0http://x\0")) == Program(
        7,
        11,
        12,
        13,
        14,
        21,
        22,
        23,
        24,
        25,
        26,
        b"tool",
        b"/usr/bin/curl",
        cut=False,
        args=(b"curl", b"-s", b"", b"http://x"),
        args_cut=False,
    )


@pytest.mark.parametrize(
    ("path", "more", "cut"),
    [([b"bin"], 0, False), ([b"bin"], 1, True), ([b"n" * 62], 0, False), ([b"n" * 63], 0, True), ([b"n" * 63, b"x"], 0, True)],
)
def test_a_path_that_may_be_incomplete_is_marked(path: list[bytes], more: int, cut: bool) -> None:
    event = decode(program(path, b"a\0", more=more))
    assert isinstance(event, Program)
    assert event.cut is cut


@pytest.mark.parametrize(("args", "expected", "cut"), [(b"", (), False), (b"\0", (b"",), False), (b"a" * 1024, (b"a" * 1024,), True)])
def test_arguments_may_be_missing_empty_or_cut(args: bytes, expected: tuple[bytes, ...], cut: bool) -> None:
    event = decode(program([b"bin"], args))
    assert isinstance(event, Program)
    assert (event.args, event.args_cut) == (expected, cut)


@pytest.mark.parametrize("data", [program([b"x"], b"abc", said=4), program([b"x"], b"abc", said=2), program([b"x"], b"abc", slots=17)])
def test_a_program_that_says_more_than_there_is_is_none(data: bytes) -> None:
    assert decode(data) is None


def structures() -> dict[str, tuple[int, dict[str, int]]]:
    """Give the size of each structure in the object's own type information, and where its members begin (bytes)."""
    bpftool = shutil.which("bpftool")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    with as_file(files("outwatch.sensors.ebpf").joinpath("connect.bpf.o")) as path:
        command = [bpftool, "btf", "dump", "file", str(path), "format", "raw"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    found: dict[str, tuple[int, dict[str, int]]] = {}
    members: dict[str, int] = {}
    for line in said.splitlines():
        if begins := re.match(r"\[\d+\] (\w+) '(\w+)' size=(\d+)", line):
            members = {}
            if begins[1] == "STRUCT":
                found[begins[2]] = int(begins[3]), members
        elif member := re.match(r"\t'(\w+)' type_id=\d+ bits_offset=(\d+)", line):
            members[member[1]] = int(member[2]) // 8
    return found


def starts(form: str) -> Callable[[int], int]:
    """Tell at which byte the n-th value of a form begins."""
    codes = [
        code
        for count, code in re.findall(r"(\d*)([A-Za-z])", form)
        for code in ([f"{count}s"] if code == "s" else [code] * int(count or 1))
    ]
    return lambda number: struct.calcsize("<" + "".join(codes[:number]))


@pytest.mark.parametrize(
    ("name", "form", "values"),
    [
        ("head", layouts._HEAD, ["size", "kind", "flags", "cpu", "time"]),
        (
            "program",
            layouts._PROGRAM,
            [None] * 5
            + ["start", "parent_start", "cgroup", "inode", "pid", "parent", "uid", "mntns", "device", "links", "unused"]
            + ["args_size", "slots", "more", "comm"],
        ),
        ("peer", _PEER, ["socket", "address", "port", "family", "unused"]),
        ("count", _COUNT, ["happened", "refused"]),
    ],
)  # fmt: skip
def test_layouts_are_those_of_the_objects_type_information(name: str, form: struct.Struct, values: list[str | None]) -> None:
    size, members = structures()[name]
    begin = starts(form.format)
    assert {one: begin(number) for number, one in enumerate(values) if one} == {one: members[one] for one in values if one}
    assert begin(len(values)) == form.size
    if name == "program":
        assert (members["path"], members["args"], size) == (form.size, layouts.PROGRAM_SIZE, layouts.PROGRAM_SIZE + MOST_ARGS)
    else:
        assert size == form.size


@pytest.mark.parametrize(
    ("name", "form", "fields"),
    [
        ("flow", layouts._FLOW, [one for one in Flow._fields if one not in {"kind", "flags", "time"}]),
        ("life", layouts._LIFE, [one for one in Life._fields if one not in {"kind", "time"}]),
    ],
)
def test_layouts_that_the_object_does_not_describe_are_those_of_its_header(name: str, form: struct.Struct, fields: list[str]) -> None:
    header = files("outwatch.sensors.ebpf").joinpath("event.h").read_text("utf-8")
    body = header.partition(f"struct {name} {{")[2].partition("};")[0]
    found = re.findall(r"^\t(u16|u32|u64|u8|char) (\w+)(?:\[(\d+)\])?;", body, re.MULTILINE)
    codes = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}
    assert [one for _, one, _ in found] == fields
    assert "<HBBIQ" + "".join(f"{count}s" if count else codes[kind] for kind, _, count in found) == spelled(form)


def spelled(form: struct.Struct) -> str:
    """Spell a form without counts: 2Q is QQ."""
    return re.sub(r"(\d+)([BHIQ])", lambda found: found[2] * int(found[1]), form.format)
