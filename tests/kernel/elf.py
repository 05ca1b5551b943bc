"""Functions of a BPF object and whom they call, from its bytes (ELF64: System V ABI; instructions: Linux, Documentation/bpf)."""

import struct
from typing import NamedTuple

_TABLE = struct.Struct("<40xQ10xHHH")  # e_shoff, e_shentsize, e_shnum, e_shstrndx of Elf64_Ehdr
_SECTION = struct.Struct("<II16xQQII16x")  # sh_name, sh_type, sh_offset, sh_size, sh_link, sh_info of Elf64_Shdr
_SYMBOL = struct.Struct("<IBxHQQ")  # Elf64_Sym
_RELOCATION = struct.Struct("<QQ")  # Elf64_Rel
_INSTRUCTION = struct.Struct("<BBhi")  # opcode, registers, offset, immediate
_SYMTAB, _REL = 2, 9  # sh_type
_SECTION_SYMBOL, _FUNCTION = 3, 2  # of st_info
_LOAD, _STORES, _JUMPS = 1, {2, 3}, {5, 6}  # classes of instructions; the others reckon
_MOVE, _ADD, _CALL, _LOCAL, _FRAME = 0xBF, 0x07, 0x85, 1, 10


class Section(NamedTuple):
    """A section; ``link`` and ``info`` mean what its kind makes of them."""

    name: str
    kind: int
    link: int
    info: int
    data: bytes


class Function(NamedTuple):
    """The section that a function is in, bytes of stack that it uses itself, and whom it calls."""

    section: str
    stack: int
    calls: frozenset[str]


def sections(image: bytes) -> list[Section]:
    """Give all sections in their order."""
    table, size, count, names_in = _TABLE.unpack_from(image)
    headers = [_SECTION.unpack_from(image, table + number * size) for number in range(count)]
    names = image[headers[names_in][2] :]
    return [Section(_text(names, name), kind, link, info, image[at : at + length]) for name, kind, at, length, link, info in headers]


def functions(image: bytes) -> dict[str, Function]:
    """Give the functions of a BPF object by their names."""
    parts = sections(image)
    table = next(one for one in parts if one.kind == _SYMTAB)
    symbols = list(_SYMBOL.iter_unpack(table.data))
    named = {(where, at): (_text(parts[table.link].data, name), size) for name, info, where, at, size in symbols if info & 15 == _FUNCTION}
    moved = {(one.info, at): symbols[info >> 32] for one in parts if one.kind == _REL for at, info in _RELOCATION.iter_unpack(one.data)}
    found = {}
    for (where, begin), (name, size) in named.items():
        code = parts[where].data[begin : begin + size]
        calls = set()
        for at, (opcode, registers, _, immediate) in zip(range(begin, begin + size, 8), _INSTRUCTION.iter_unpack(code), strict=True):
            if opcode == _CALL and registers >> 4 == _LOCAL:
                _, info, section, value, _ = moved.get((where, at), (0, _SECTION_SYMBOL, where, at, 0))
                target = (section, value + 8 * (immediate + 1) if info & 15 == _SECTION_SYMBOL else value)
                calls.add(named[target][0])
        found[name] = Function(parts[where].name, _stack(code), frozenset(calls))
    return found


def _stack(code: bytes) -> int:
    """Give how far below its frame's end a function reaches: directly, or by an address that it reckons out."""
    deepest, addresses = 0, dict[int, int]()
    for opcode, registers, offset, immediate in _INSTRUCTION.iter_unpack(code):
        target, source, kind = registers & 15, registers >> 4, opcode & 7
        if (kind == _LOAD and source == _FRAME) or (kind in _STORES and target == _FRAME):
            deepest = max(deepest, -offset)
        elif opcode == _MOVE and source == _FRAME:
            addresses[target] = 0
        elif opcode == _ADD and target in addresses:
            addresses[target] += immediate
            deepest = max(deepest, -addresses[target])
        elif kind not in _STORES | _JUMPS:
            addresses.pop(target, None)
    return deepest


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode("ascii")
