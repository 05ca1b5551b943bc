"""Structures as the type information of an object file describes them (include/uapi/linux/btf.h), read from its bytes."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from .elf import sections

_BTF = struct.Struct("<HBBIIIII")  # btf_header
_TYPE = struct.Struct("<III")  # btf_type
_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 1, 3, 4, 5, 6, 13, 14, 15, 17, 19
_MEMBER = 12  # bytes: btf_member, btf_var_secinfo, btf_enum64
_MORE = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_MORE_EACH = {_STRUCT: _MEMBER, _UNION: _MEMBER, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: _MEMBER, _ENUM64: _MEMBER}


class Structure(NamedTuple):
    """Size in bytes, and at which byte each member begins."""

    size: int
    members: dict[str, int]


def structures(image: bytes) -> dict[str, Structure]:
    """Give the structures by name; of several with one name the last."""
    data = next(one.data for one in sections(image) if one.name == ".BTF")
    magic, _, _, head, types_at, types_size, names_at, _ = _BTF.unpack_from(data)
    assert magic == 0xEB9F
    names = data[head + names_at :]
    return dict(_structures(data[head + types_at : head + types_at + types_size], names))


def _structures(types: bytes, names: bytes) -> Iterator[tuple[str, Structure]]:
    at = 0
    while at < len(types):
        name, info, size = _TYPE.unpack_from(types, at)
        at += _TYPE.size
        kind, count, by_bits = info >> 24 & 31, info & 0xFFFF, info >> 31
        if kind == _STRUCT:
            found = {}
            for one in range(at, at + count * _MEMBER, _MEMBER):
                member, _, offset = _TYPE.unpack_from(types, one)
                bits = offset & 0xFFFFFF if by_bits else offset
                assert bits % 8 == 0
                found[_text(names, member)] = bits // 8
            yield _text(names, name), Structure(size, found)
        at += _MORE.get(kind, 0) + _MORE_EACH.get(kind, 0) * count


def _text(names: bytes, at: int) -> str:
    return names[at : names.index(b"\0", at)].decode("ascii")
