"""What unit tests of several rooms share: MMDB files made on the spot (format: maxmind.github.io/MaxMind-DB)."""

import struct
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

MARKER = b"\xab\xcd\xefMaxMind.com"
Write = Callable[..., Path]
Node = list["Node | int | None"]


class Raw(bytes):
    """Bytes that go into the data section as they are."""


def encoded(value: object) -> bytes:  # noqa: PLR0911 - one for each type
    """Spell a value of the data section: maps, arrays, texts, booleans, numbers (unsigned 32 or 64 bits), doubles, bytes."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, bool):
        return _head(14, int(value))
    if isinstance(value, str):
        return _sized(2, value.encode())
    if isinstance(value, bytes):
        return _sized(4, value)
    if isinstance(value, float):
        return _head(3, 8) + struct.pack("!d", value)
    if isinstance(value, int):
        return unsigned(6 if value < 1 << 32 else 9 if value < 1 << 64 else 10, value)
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(encoded(key) + encoded(item) for key, item in value.items())
    assert isinstance(value, list)
    return _head(11, len(value)) + b"".join(map(encoded, value))


def unsigned(kind: int, value: int) -> Raw:
    """Spell a number of a type: 5 has 16 bits, 6 has 32, 9 has 64, 10 has 128."""
    digits = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return Raw(_head(kind, len(digits)) + digits)


def _sized(kind: int, data: bytes) -> bytes:
    return _head(kind, len(data)) + data


def _head(kind: int, size: int) -> bytes:
    """Give the control bytes of a value: its type and its size."""
    first, rest = (kind << 5, b"") if kind <= 7 else (0, bytes([kind - 7]))
    if size < 29:
        return bytes([first | size]) + rest
    if size < 285:
        return bytes([first | 29]) + rest + bytes([size - 29])
    if size < 65_821:
        return bytes([first | 30]) + rest + (size - 285).to_bytes(2, "big")
    return bytes([first | 31]) + rest + (size - 65_821).to_bytes(3, "big")


def mmdb_bytes(networks: Mapping[str, object], *, size: int = 24, version: int = 6, more: Mapping[str, object] | None = None) -> bytes:
    """Make a database of these networks and their records; ``size`` are the bits of a node's record, ``more`` goes into the metadata."""
    root: Node = [None, None]
    data, places = b"", []
    for text in sorted(networks, key=lambda text: ip_network(text).prefixlen):
        places.append(len(data))
        data += encoded(networks[text])
        _insert(root, text, len(places) - 1, version)
    nodes: list[Node] = []
    _number(root, nodes)
    at = {id(node): number for number, node in enumerate(nodes)}
    tree = b"".join(_node([_record(child, at, places, len(nodes)) for child in node], size) for node in nodes)
    metadata: dict[str, object] = {
        "node_count": len(nodes), "record_size": unsigned(5, size), "ip_version": unsigned(5, version), "database_type": "Test",
        "languages": ["en"], "binary_format_major_version": unsigned(5, 2), "binary_format_minor_version": unsigned(5, 0),
        "build_epoch": unsigned(9, 1_750_000_000), "description": {"en": "a test"},
    }  # fmt: skip
    return tree + bytes(16) + data + MARKER + encoded({**metadata, **(more or {})})


def _insert(root: Node, text: str, value: int, version: int) -> None:
    network = ip_network(text)
    bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
    path = "0" * 96 + bits if network.version == 4 and version == 6 else bits
    node = root
    for bit in path[:-1]:
        child = node[int(bit)]
        if not isinstance(child, list):  # what was there goes on to hold for both halves
            child = node[int(bit)] = [child, child]
        node = child
    node[int(path[-1])] = value


def _number(node: Node, nodes: list[Node]) -> None:
    nodes.append(node)
    for child in node:
        if isinstance(child, list):
            _number(child, nodes)


def _record(child: "Node | int | None", at: dict[int, int], places: list[int], count: int) -> int:
    if isinstance(child, list):
        return at[id(child)]
    return count if child is None else count + 16 + places[child]


def _node(records: list[int], size: int) -> bytes:
    left, right = records
    if size == 28:
        return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([left >> 24 << 4 | right >> 24]) + (right & 0xFFFFFF).to_bytes(3, "big")
    return left.to_bytes(size // 8, "big") + right.to_bytes(size // 8, "big")


@pytest.fixture
def mmdb(tmp_path: Path) -> Write:
    """Write an MMDB file into the test's folder, or elsewhere."""

    def write(networks: Mapping[str, object], name: str | Path = "test.mmdb", **settings: Any) -> Path:
        path = tmp_path / name
        path.write_bytes(mmdb_bytes(networks, **settings))
        return path

    return write


@pytest.fixture
def mmdb_raw() -> type[Raw]:
    """Give the type of bytes that stand in a data section as they are."""
    return Raw
