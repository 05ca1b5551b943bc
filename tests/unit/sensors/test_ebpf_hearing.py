"""Names are read out of pieces, in whatever order and however broken they come."""

import ssl
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import hearing as module
from outwatch.sensors.ebpf.decode import ANSWER, CLIENT, QUIC, STREAM, Naming, decode
from outwatch.sensors.ebpf.hearing import Hearing, Words

FIRST = (1 << 32) - 10  # so that numbers wrap around
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def naming(what: int, data: bytes, *, sequence: int = FIRST, identity: int = 1) -> Naming:
    return Naming(0, identity, 0, 7, 0, 1, sequence % (1 << 32), 2, 6, 40000, 443, what, bytes(16), data)


def hello(name: str) -> bytes:
    out = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def answer(name: bytes = b"\3www\7example\0") -> bytes:
    question = name + struct.pack("!2H", 1, 1)
    return struct.pack("!6H", 1, 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 60, 4, 192, 0, 2, 1)


def heard(pieces: list[tuple[int, bytes]]) -> list[Words]:
    hearing = Hearing()
    return [words for at, data in pieces if (words := hearing.words(naming(CLIENT, data, sequence=FIRST + at)))]


def test_a_request_names_its_host() -> None:
    assert heard([(0, REQUEST)]) == [Words("www.example.com", "http", None)]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (0, 0, 1, 1, 2)], ids=["in order", "the last before the second", "twice"])
def test_a_hello_in_pieces_is_told_once_and_as_soon_as_it_is_whole(order: tuple[int, ...]) -> None:
    said = hello("shop.example.net")
    edges = [0, 7, 90, len(said)]
    pieces = [(edges[at], said[edges[at] : edges[at + 1]]) for at in range(3)]
    (words,) = heard([pieces[at] for at in order])
    assert (words.name, words.origin) == ("shop.example.net", "sni")
    assert words.ja4 is not None


def test_what_is_missing_in_the_middle_is_waited_for() -> None:
    assert heard([(0, REQUEST[:10]), (20, REQUEST[20:])]) == []


def test_an_answer_in_a_datagram_is_read_and_anything_else_is_passed_over() -> None:
    hearing = Hearing()
    (facts,) = hearing.answers(naming(ANSWER, answer()))
    assert (facts.name, [one.ip for one in facts.addresses]) == ("www.example", ["192.0.2.1"])
    assert list(hearing.answers(naming(ANSWER, b"\0" * 40))) == []


def test_an_answer_over_tcp_is_put_together() -> None:
    hearing, said = Hearing(), struct.pack("!H", len(answer())) + answer()
    assert list(hearing.answers(naming(STREAM, said[:5]))) == []
    (facts,) = hearing.answers(naming(STREAM, said[5:], sequence=FIRST + 5))
    assert facts.name == "www.example"


def test_pieces_that_never_become_whole_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STREAMS", 10)
    hearing = Hearing()
    for identity in range(100):
        hearing.words(naming(CLIENT, b"\x16\x03", identity=identity))
        hearing.words(naming(QUIC, b"\xc0\0\0\0\1" + bytes(1200), identity=identity))
    assert len(hearing._streams) <= 10
    assert len(hearing._datagrams) <= 10


@pytest.mark.security
@given(st.lists(st.tuples(st.sampled_from([ANSWER, STREAM, CLIENT, QUIC]), st.integers(0, 300), st.binary(max_size=200)), max_size=12))
def test_no_bytes_raise_anything(pieces: list[tuple[int, int, bytes]]) -> None:
    hearing = Hearing()
    for what, at, data in pieces:
        one = naming(what, data, sequence=FIRST + at)
        if what in {ANSWER, STREAM}:
            assert all(facts.name for facts in hearing.answers(one))
        else:
            words = hearing.words(one)
            assert words is None or words.origin in {"sni", "http", "quic"}


@pytest.mark.security
@given(st.binary(max_size=150))
def test_a_record_that_lies_about_its_length_is_none(rest: bytes) -> None:
    data = struct.pack("<HB", 3 + len(rest), 10) + rest
    found = decode(data)
    assert found is None or (isinstance(found, Naming) and len(found.data) <= len(rest))
