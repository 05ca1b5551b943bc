"""Records of the kernel sensor: right bytes give right values, any others give nothing, and the layouts are the object's own."""

import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import decode as layouts
from outwatch.sensors.ebpf.decode import (
    CLOSE,
    EXEC,
    EXIT,
    FORK,
    GROUP,
    OPEN,
    STATE,
    TOTAL,
    Flow,
    Group,
    Life,
    Naming,
    Program,
    decode,
    flow,
)

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
MOST_ARGS, SLOT = 1024, 64


def head(size: int, kind: int, flags: int = 0, time: int = 7) -> bytes:
    return struct.pack("<HBBIQ", size, kind, flags, 1, time)


def program(
    path: list[bytes],
    args: bytes,
    *,
    more: int = 0,
    said: int | None = None,
    slots: int | None = None,
    folder: tuple[list[bytes], int] = ([], 0),
) -> bytes:
    """Write an EXEC record as event.h lays it out; ``path`` and ``folder`` (with whether there is more) from the root downwards."""
    facts = struct.pack("<4Q6IBBH", 11, 12, 13, 14, 21, 22, 23, 24, 25, 26, len(folder[0]), folder[1], 0)
    ends = struct.pack("<HBB16s", len(args) if said is None else said, len(path) if slots is None else slots, more, b"tool")
    names = b"".join(name.ljust(SLOT, b"\0") for name in reversed(path)).ljust(16 * SLOT, b"\0")
    names += b"".join(name.ljust(SLOT, b"\0") for name in reversed(folder[0])).ljust(8 * SLOT, b"\0")[: 8 * SLOT]
    body = facts + ends + names + args
    return head(16 + len(body), EXEC) + body


@given(st.binary(max_size=2500))
def test_any_bytes_give_a_record_or_nothing(data: bytes) -> None:
    assert isinstance(decode(data), Flow | Life | Program | Naming | Group | None)


@given(kind=st.integers(0, 255), body=st.binary(max_size=2300))
def test_a_well_formed_head_with_any_body_gives_a_record_or_nothing(kind: int, body: bytes) -> None:
    data = head(16 + len(body), kind) + body
    event = decode(data)
    assert isinstance(event, Flow | Life | Program | Naming | Group | None)
    if event is None or isinstance(event, Program | Naming | Group):
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
        folder=b"/",
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


@pytest.mark.parametrize(
    ("folder", "expected"),
    [(([b"home", b"me"], 0), b"/home/me"), (([], 0), b"/"), (([b"me"], 1), b""), (([b"n" * 63, b"x"], 0), b"")],
    ids=["whole", "the root", "deeper than there is room", "a name that is cut"],
)
def test_the_folder_of_a_program_is_told_whole_or_not_at_all(folder: tuple[list[bytes], int], expected: bytes) -> None:
    event = decode(program([b"bin"], b"a\0", folder=folder))
    assert isinstance(event, Program)
    assert (event.path, event.folder) == (b"/bin", expected)


def test_a_group_has_its_id_and_its_path() -> None:
    body = struct.pack("<Q", 2**40) + b"/system.slice/a.service\0"
    assert decode(head(16 + len(body), GROUP) + body) == Group(2**40, b"/system.slice/a.service")
    assert decode(head(24, GROUP) + body[:8]) is None


@pytest.mark.parametrize(
    "data",
    [
        program([b"x"], b"abc", folder=([b"f"] * 9, 0)),
        program([b"x"], b"abc", said=4),
        program([b"x"], b"abc", said=2),
        program([b"x"], b"abc", slots=17),
    ],
)
def test_a_program_that_says_more_than_there_is_is_none(data: bytes) -> None:
    assert decode(data) is None
