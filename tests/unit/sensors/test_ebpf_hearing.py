"""Names are read out of pieces, in whatever order and however broken they come."""

import ssl
import struct
import sys
from itertools import pairwise

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion
from hypothesis import given
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("BPF is Linux's", allow_module_level=True)

from outwatch.sensors.ebpf import hearing as module
from outwatch.sensors.ebpf.decode import ANSWER, CLIENT, QUIC, STREAM, Naming, decode
from outwatch.sensors.ebpf.hearing import Hearing, Words

FIRST = (1 << 32) - 10  # so that numbers wrap around
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"


def naming(what: int, data: bytes, *, at: int = 0, identity: int = 1) -> Naming:
    """Make what the kernel copied of a connection, ``at`` so many bytes behind its first one."""
    return Naming(0, identity, 0, 7, 0, 1, (FIRST + at) % (1 << 32), 2, 6, 40000, 443, what, FIRST, bytes(16), data)


def hello(name: str, protocols: int = 0) -> bytes:
    """Give what OpenSSL says first; with many protocols it is long."""
    out, context = ssl.MemoryBIO(), ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols([f"protocol-{number:0200}" for number in range(protocols)])
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def answer(name: bytes = b"\3www\7example\0", addresses: int = 1) -> bytes:
    question = name + struct.pack("!2H", 1, 1)
    records = [b"\xc0\x0c" + struct.pack("!HHIH4B", 1, 1, 60, 4, 192, 0, one >> 8, one & 255) for one in range(addresses)]
    return struct.pack("!6H", 1, 0x8180, 1, len(records), 0, 0) + question + b"".join(records)


def initial(identity: int, offset: int) -> bytes:
    """Make an Initial packet of QUIC 1 with one octet of a handshake at a place (RFC 9000, 17.2.2 and 19.6)."""
    pair, destination = CryptoPair(), identity.to_bytes(8)
    pair.setup_initial(cid=destination, is_client=True, version=QuicProtocolVersion.VERSION_1)
    frames = b"\x06" + (offset | 1 << 31).to_bytes(4) + b"\1x"
    head = b"\xc0\0\0\0\1\x08" + destination + b"\0\0" + bytes([0x40, 1 + len(frames) + 16]) + b"\0"
    return pair.encrypt_packet(head, frames, 0)


def over_tcp(*messages: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(one)) + one for one in messages)


def cut(said: bytes, *edges: int) -> list[tuple[int, bytes]]:
    """Cut words into segments, each with its place."""
    ends = [0, *edges, len(said)]
    return [(begin, said[begin:end]) for begin, end in pairwise(ends)]


def heard(pieces: list[tuple[int, bytes]]) -> list[Words]:
    hearing = Hearing()
    return [words for at, data in pieces if (words := hearing.words(naming(CLIENT, data, at=at)))]


def asked(pieces: list[tuple[int, bytes]]) -> list[str]:
    hearing = Hearing()
    return [facts.name for at, data in pieces for facts in hearing.answers(naming(STREAM, data, at=at))]


def test_a_request_names_its_host() -> None:
    assert heard([(0, REQUEST)]) == [Words("www.example.com", "http", None)]


@pytest.mark.parametrize("edges", [(2, 9, 17), (3, 16, 20, 25, 30), (40,)], ids=str)
def test_a_request_in_small_pieces_names_its_host(edges: tuple[int, ...]) -> None:
    assert heard(cut(REQUEST, *edges)) == [Words("www.example.com", "http", None)]


@pytest.mark.parametrize("whole", [True, False], ids=["as one segment", "until the kernel copies no more"])
def test_a_request_whose_end_is_never_copied_names_its_host(whole: bool) -> None:
    said = REQUEST[:-2] + b"Cookie: " + bytes(8_000).replace(b"\0", b"c")
    assert heard([(0, said[:4096])] if whole else cut(said[:6000], 1000, 2000, 3000, 4000, 5000)) == [
        Words("www.example.com", "http", None)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 1, 0), (0, 0, 1, 1, 2), (0, 1, 2, 0, 1, 2)], ids=str)
def test_a_hello_in_pieces_is_told_once_and_as_soon_as_it_is_whole(order: tuple[int, ...]) -> None:
    said = cut(hello("shop.example.net"), 7, 90)
    (words,) = heard([said[at] for at in order])
    assert (words.name, words.origin) == ("shop.example.net", "sni")
    assert words.ja4 is not None


def test_pieces_that_overlap_are_put_together() -> None:
    said = hello("shop.example.net")
    (words,) = heard([(0, said[:60]), (50, said[50:200]), (20, said[20:120]), (150, said[150:])])
    assert words.name == "shop.example.net"


def test_of_a_hello_that_is_longer_than_what_is_copied_the_name_is_told() -> None:
    said = hello("shop.example.net", protocols=40)
    assert len(said) > 8_000
    assert heard([(0, said[:4096])]) == [Words("shop.example.net", "sni", None)]


def test_a_hello_in_several_segments_as_large_as_they_come_is_read_whole() -> None:
    said = hello("shop.example.net", protocols=30)
    (words,) = heard(cut(said, *range(1448, len(said), 1448)))
    assert words.name == "shop.example.net"
    assert words.ja4 is not None


def test_what_is_said_after_the_first_words_is_not_looked_at() -> None:
    other = REQUEST.replace(b"www.example.com", b"not.example.com")
    assert heard([(0, REQUEST), (0, REQUEST), (len(REQUEST), other)]) == [Words("www.example.com", "http", None)]


def test_within_a_tunnel_the_name_that_is_said_there_is_told_too() -> None:
    asks = b"CONNECT web.example.org:443 HTTP/1.1\r\n\r\n"
    first, second = heard([*cut(asks, 20), (len(asks), hello("shop.example.net"))])
    assert first == Words("web.example.org", "http", None)
    assert (second.name, second.origin) == ("shop.example.net", "sni")


def test_a_hello_after_words_of_another_protocol_is_told() -> None:
    said = [b"EHLO mail.example\r\n", b"STARTTLS\r\n", hello("mail.example.net")]
    (words,) = heard([(sum(map(len, said[:at])), one) for at, one in enumerate(said)])
    assert words.name == "mail.example.net"


def test_what_is_missing_in_the_middle_is_waited_for() -> None:
    assert heard([(0, REQUEST[:10]), (20, REQUEST[20:])]) == []


@pytest.mark.security
def test_words_without_their_beginning_are_no_words() -> None:
    assert heard([(100, REQUEST)]) == []
    assert asked([(100, over_tcp(answer()))]) == []


def test_an_answer_in_a_datagram_is_read_and_anything_else_is_passed_over() -> None:
    hearing = Hearing()
    (facts,) = hearing.answers(naming(ANSWER, answer()))
    assert (facts.name, [one.ip for one in facts.addresses]) == ("www.example", ["192.0.0.0"])
    assert list(hearing.answers(naming(ANSWER, b"\0" * 40))) == []


@pytest.mark.parametrize("edges", [(), (1,), (2,), (5, 40), (35, 60), (33, 34, 70, 71)], ids=str)
def test_answers_over_tcp_are_each_told_once_however_they_are_cut(edges: tuple[int, ...]) -> None:
    said = over_tcp(answer(), answer(b"\3two\7example\0"), answer(b"\3six\7example\0"))
    assert asked(cut(said, *edges)) == ["www.example", "two.example", "six.example"]


def test_a_long_answer_over_tcp_is_put_together() -> None:
    hearing, said = Hearing(), over_tcp(answer(addresses=350))
    found = [facts for at, data in cut(said, *range(1448, len(said), 1448)) for facts in hearing.answers(naming(STREAM, data, at=at))]
    assert [(facts.is_whole, len(facts.addresses)) for facts in found] == [(True, 350)]


def test_of_an_answer_that_is_longer_than_what_is_copied_the_beginning_counts() -> None:
    hearing, said = Hearing(), over_tcp(answer(addresses=600), answer())
    (facts,) = hearing.answers(naming(STREAM, said[:4096]))
    assert not facts.is_whole
    assert len(facts.addresses) > 200
    assert list(hearing.answers(naming(STREAM, said[len(said) - 50 :], at=len(said) - 50))) == []


@pytest.mark.security
def test_pieces_that_never_become_whole_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STREAMS", 10)
    monkeypatch.setattr(module, "_MOST_SETTLED", 20)
    hearing = Hearing()
    for identity in range(100):
        hearing.words(naming(CLIENT, b"\x16\x03", identity=identity))
        hearing.words(naming(QUIC, b"\xc0\0\0\0\1" + bytes(1200), identity=identity))
    assert (len(hearing._streams), len(hearing._datagrams), len(hearing._settled)) == (10, 10, 20)
    assert hearing._held == 20


@pytest.mark.security
def test_memory_is_bounded_however_much_is_said_that_never_becomes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 100_000)
    hearing, length = Hearing(), struct.pack("!H", 65_535)
    for identity in range(100):
        for at in range(0, 60_000, 4_000):
            hearing.answers(naming(STREAM, length + bytes(3_998) if not at else bytes(4_000), at=at, identity=identity))
            hearing.answers(naming(STREAM, bytes(4_000), at=at + 100_000, identity=1000 + identity))  # after a gap
        assert hearing._held == sum(stream.size for stream in hearing._streams.values()) <= 100_000
        assert hearing._held == sum(len(one.said) + sum(map(len, one._ahead.values())) for one in hearing._streams.values())


@pytest.mark.security
def test_of_quic_that_leaves_gaps_no_more_is_held_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1_000_000)
    hearing = Hearing()
    for identity in range(40):
        assert hearing.words(naming(QUIC, initial(identity, 60_000), identity=identity)) is None
    assert 0 < hearing._ciphered <= 1_000_000
    assert hearing._ciphered == sum(one.size for one in hearing._datagrams.values())


@pytest.mark.security
@given(st.lists(st.tuples(st.sampled_from([ANSWER, STREAM, CLIENT, QUIC]), st.integers(0, 300), st.binary(max_size=200)), max_size=12))
def test_no_bytes_raise_anything(pieces: list[tuple[int, int, bytes]]) -> None:
    hearing = Hearing()
    for what, at, data in pieces:
        one = naming(what, data, at=at)
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
