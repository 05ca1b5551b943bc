"""A ClientHello is read as the standards say, however it is cut, and its fingerprint is the one that others compute."""

import ssl
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net.protocols.tls import LARGEST, ClientHello, TlsError, client_hello, from_handshake, name_in_part

from .hellos import GREASE, RFC_8448, alpn, extension, hello, listed, of_openssl, records, server_name, signatures, versions

# The example that JA4's specification computes by hand, as Chrome sends it: with GREASE, and in another order.
CHROME_SUITES = [
    *(GREASE[3], 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030),
    *(0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
]
CHROME_EXTENSIONS = [
    extension(GREASE[10]),
    *(extension(kind) for kind in (0x001B, 0x0033, 0x4469, 0x0017, 0x002D)),
    signatures(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
    *(extension(kind) for kind in (0x0005, 0x0023, 0x0012, 0x000A, 0x000B, 0xFF01)),
    server_name(b"www.example.com"),
    alpn(b"h2", b"http/1.1"),
    versions(GREASE[7], 0x0304, 0x0303),
    extension(0x0015, bytes(100)),
    extension(GREASE[11], b"\x00"),
]
CHROME = hello(CHROME_SUITES, CHROME_EXTENSIONS)
CHROME_JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"


def shortened(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def ja4(*extensions: bytes, suites: tuple[int, ...] = (0x1301,), legacy: int = 0x0303) -> list[str]:
    return from_handshake(hello(suites, extensions, legacy), transport="t").ja4.split("_")


def test_the_hello_of_the_standards_example_is_read() -> None:
    found = client_hello(records(RFC_8448))
    suites = shortened("1301,1302,1303")
    kinds = "000a,000d,001c,0023,002b,002d,0033,ff01"
    algorithms = "0403,0503,0603,0203,0804,0805,0806,0401,0501,0601,0201,0402,0502,0602,0202"
    assert found == ClientHello("server", (), (0x0304,), False, f"t13d030900_{suites}_{shortened(f'{kinds}_{algorithms}')}")


def test_the_fingerprint_of_the_specifications_example_is_the_published_one() -> None:
    found = from_handshake(CHROME, transport="t")
    assert found == ClientHello("www.example.com", ("h2", "http/1.1"), (0x0304, 0x0303), False, CHROME_JA4)
    assert from_handshake(CHROME, transport="q").ja4 == f"q{CHROME_JA4[1:]}"


@pytest.mark.parametrize(
    ("name", "protocols", "newest", "start"),
    [
        ("www.example.com", ["h2", "http/1.1"], ssl.TLSVersion.TLSv1_3, ("t13d", "h2")),
        ("xn--mnchen-3ya.example", ["http/1.1"], ssl.TLSVersion.TLSv1_2, ("t12d", "h1")),
        (None, [], ssl.TLSVersion.TLSv1_3, ("t13i", "00")),
    ],
)
def test_what_openssl_sends_is_read(name: str | None, protocols: list[str], newest: ssl.TLSVersion, start: tuple[str, str]) -> None:
    found = client_hello(of_openssl(name, protocols, newest))
    assert found is not None
    assert (found.server_name, list(found.alpn), max(found.versions)) == (name, protocols, newest.value)
    assert (found.ja4[:4], found.ja4[8:10]) == start


@pytest.mark.parametrize(
    ("protocol", "ends"),
    [
        (b"h2", "h2"),
        (b"h", "hh"),
        (b"http/1.1", "h1"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"0\xab", "3b"),
        (b"01\xab\xcd", "3d"),
        (b"0\xab\xcd1", "01"),
    ],
)
def test_a_protocol_is_shortened_as_the_specification_says(protocol: bytes, ends: str) -> None:
    assert ja4(alpn(protocol, b"h2"))[0][8:] == ends


@pytest.mark.parametrize(
    ("extensions", "legacy", "version"),
    [
        ((), 0x0303, "12"),
        ((), 0x0302, "11"),
        ((), 0x0301, "10"),
        ((), 0x0300, "s3"),
        ((versions(0x0303, 0x0304),), 0x0303, "13"),
        ((versions(GREASE[15], 0x0303),), 0x0303, "12"),
        ((versions(GREASE[0]),), 0x0303, "00"),
        ((versions(0x7F1C),), 0x0303, "00"),
    ],
)
def test_the_version_is_the_highest_that_is_offered(extensions: tuple[bytes, ...], legacy: int, version: str) -> None:
    assert ja4(*extensions, legacy=legacy)[0][1:3] == version


def test_a_hello_with_nothing_to_hash_has_zeros() -> None:
    assert ja4(suites=()) == ["t12i000000", "0" * 12, "0" * 12]
    assert ja4(server_name(b"a"), alpn(b"h2"))[2] == "0" * 12
    assert from_handshake(hello((0x1301,), None), transport="t").ja4.endswith("0" * 12)


def test_extensions_are_hashed_without_signature_algorithms_where_there_are_none() -> None:
    assert ja4(extension(0x17), extension(5))[2] == shortened("0005,0017")


def test_counts_end_at_99() -> None:
    head = ja4(*(extension(kind) for kind in range(100, 250)), suites=tuple(range(1, 200)))[0]
    assert head == "t12i999900"


@pytest.mark.parametrize("kind", [0xFE0D], ids=["encrypted_client_hello"])
def test_a_covered_name_is_told(kind: int) -> None:
    assert from_handshake(hello(extensions=[extension(kind, bytes(8))]), transport="t").has_ech
    assert not from_handshake(hello(extensions=[extension(kind + 1)]), transport="t").has_ech


@pytest.mark.security
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"WWW.Example.COM.", "www.example.com"),
        (b"xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("münchen.example".encode(), "m\\195\\188nchen.example"),
        (b"good.example\x00.evil.example", "good.example\\000.evil.example"),
        (b"\x1b[31m.example", "\\027\\09131m.example"),
        (b"192.0.2.1", "192.0.2.1"),
        (b"a b", "a\\032b"),
        (b"", None),
        (b".", None),
        (b"a" * 253, "a" * 253),
        (b"a" * 250 + b".example", "a" * 250 + ".e…"),
    ],
)
def test_a_name_is_text_in_which_nothing_hides(name: bytes, expected: str | None) -> None:
    found = from_handshake(hello(extensions=[server_name(name)]), transport="t")
    assert (found.server_name, found.ja4[3]) == (expected, "d")


def test_protocols_are_told_as_text_without_grease() -> None:
    found = from_handshake(hello(extensions=[alpn(b"\x0a\x0a", b"h2", b"\xff", "ü".encode())]), transport="t")
    assert found.alpn == ("h2", "\\xff", "ü")


@pytest.mark.security
@pytest.mark.parametrize("stream", [records(RFC_8448), records(CHROME, 1, 3, 1, 50), of_openssl("a.example", ["h2"])], ids=len)
def test_a_hello_that_is_cut_anywhere_is_waited_for(stream: bytes) -> None:
    whole = client_hello(stream)
    assert whole is not None
    assert {client_hello(stream[:size]) for size in range(len(stream))} == {None}
    assert client_hello(stream + b"\x17\x03\x03 anything") == whole


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.integers(1, 120), max_size=12))
def test_it_does_not_matter_how_a_hello_is_spread_over_records(sizes: list[int]) -> None:
    assert client_hello(records(CHROME, *sizes)) == from_handshake(CHROME, transport="t")


@pytest.mark.security
@pytest.mark.parametrize(
    "stream",
    [
        b"\x15",
        b"GET / HTTP/1.1",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x04\x02",
        b"\x16\x03\x01\x00\x40\x01\x01\x00\x00",
        b"\x16\x03\x01\x00\x40\x01\x00\x00\x40\x7f",
        b"\x80\x2e\x01\x00\x02",
        records(RFC_8448, 100)[:105] + b"\x17\x03\x03\x00\x10",
        b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * 300,
    ],
    ids=[
        "alert", "http", "version 2", "version 3.5", "empty record", "record too long", "server hello", "message too long",
        "strange version", "SSL 2", "data between", "too many records",
    ],
)  # fmt: skip
def test_what_can_become_no_hello_is_said_at_once(stream: bytes) -> None:
    with pytest.raises(TlsError):
        client_hello(stream)


@pytest.mark.security
@pytest.mark.parametrize(
    "message",
    [
        b"",
        RFC_8448[:-1],
        RFC_8448 + b"\x00",
        b"\x02" + RFC_8448[1:],
        hello() + b"x",
        b"\x01" + listed(3, b"\x03\x03" + bytes(32) + b"\x00\x00\x03\x13\x01\x13\x01\x00"),
        b"\x01" + listed(3, hello()[4:] + b"x"),
        hello(extensions=[b"\x00"]),
        hello(extensions=[b"\x00\x05\xff\xff"]),
        hello(extensions=[server_name(b"good.example"), server_name(b"evil.example")]),
        hello(extensions=[extension(0, listed(2, (b"\x00" + listed(2, b"a")) * 2))]),
        hello(extensions=[extension(0, listed(2, b"\x01" + listed(2, b"a")))]),
        hello(extensions=[extension(0, listed(2, b"\x00\x00\x09a"))]),
        hello(extensions=[extension(0, listed(2, b"\x00" + listed(2, b"a")) + b"x")]),
        hello(extensions=[extension(16, b"\x00\x09\x02h2")]),
        hello(extensions=[extension(43, b"\x03\x03\x04\x03")]),
        hello(extensions=[extension(43, b"\x02\x03\x04\x03")]),
        hello(extensions=[extension(13, b"\x00")]),
        hello(extensions=[extension(kind) for kind in range(100, 400)]),
        hello(suites=[0x1301] * 1_025),
        b"\x01" + listed(3, b"\x03\x03" + bytes(LARGEST)),
    ],
)  # fmt: skip
def test_lengths_that_lie_and_what_comes_twice_are_one_kind_of_error(message: bytes) -> None:
    with pytest.raises(TlsError):
        from_handshake(message, transport="t")


SIXTEEN = st.integers(0, 0xFFFF)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.lists(SIXTEEN | st.sampled_from(GREASE), max_size=120),
    st.lists(SIXTEEN | st.sampled_from(GREASE), max_size=40, unique=True),
    st.lists(SIXTEEN | st.sampled_from(GREASE), max_size=20),
    st.binary(max_size=32),
    st.sampled_from("tq"),
)
def test_the_fingerprint_is_what_its_definition_says(
    suites: list[int], kinds: list[int], algorithms: list[int], session: bytes, transport: str
) -> None:
    others = [kind for kind in kinds if kind not in {0, 13, 16, 43}]
    message = hello(suites, [*map(extension, others), signatures(*algorithms), server_name(b"a.example")], session=session)
    found = from_handshake(message, transport=transport)  # type: ignore[arg-type]
    real_suites = [f"{one:04x}" for one in suites if one not in GREASE]
    real_kinds = [f"{one:04x}" for one in others if one not in GREASE]
    counts = f"{min(99, len(real_suites)):02}{min(99, len(real_kinds) + 2):02}"
    text = ",".join(sorted([*real_kinds, "000d"]))
    real_algorithms = [f"{one:04x}" for one in algorithms if one not in GREASE]
    if real_algorithms:
        text += f"_{','.join(real_algorithms)}"
    hashed = shortened(",".join(sorted(real_suites))) if real_suites else "0" * 12
    assert found.ja4 == f"{transport}12d{counts}00_{hashed}_{shortened(text)}"
    assert from_handshake(hello(sorted(suites), [*map(extension, sorted(others)), server_name(b"b"), signatures(*algorithms)]),
                          transport=transport).ja4 == found.ja4, "order and name don't count"  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("sizes", [(), (1, 3, 50)], ids=["one record", "several"])
def test_the_name_in_a_hello_that_is_cut_is_read_if_it_stands_in_what_is_there(sizes: tuple[int, ...]) -> None:
    message = hello(extensions=[extension(0x17), server_name(b"Shop.example"), extension(21, bytes(3_000))])
    stream = records(message, *sizes)
    ends = stream.index(b"Shop.example") + len("Shop.example")
    found = {end: name_in_part(stream[:end]) for end in range(len(stream) + 1)}
    assert {name for end, name in found.items() if end < ends} == {None}
    assert {name for end, name in found.items() if end >= ends} == {"shop.example"}


@pytest.mark.parametrize("damaged", [b"", b"GET / HTTP/1.1", records(b"\x02" + bytes(80)), records(hello(extensions=[alpn(b"h2")]))])
def test_there_is_no_name_in_a_part_of_something_else(damaged: bytes) -> None:
    assert name_in_part(damaged) is None


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=500)
@given(
    st.sampled_from([records(RFC_8448), records(CHROME), records(CHROME, 5, 90)]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.binary(max_size=40),
    st.integers(0, 400),
)
def test_no_damage_raises_anything_else(stream: bytes, damage: list[tuple[int, int]], more: bytes, size: int) -> None:
    changed = bytearray(stream + more)
    for at, value in damage:
        changed[at % len(changed)] = value
    for data in (bytes(changed), bytes(changed[:size]), more):
        try:
            found = client_hello(data)
        except TlsError:
            continue
        if found is not None:
            assert found.server_name is None or (found.server_name.rstrip("…").isascii() and found.server_name.isprintable())
            assert len(found.ja4) == 36
            "".join(found.alpn).encode()
