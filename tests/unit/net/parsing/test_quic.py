"""The first datagrams of a QUIC client are deciphered and put together, in whatever order and pieces they come."""

import random
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net.protocols import quic
from outwatch.net.protocols.quic import Initials, QuicError, QuicUnavailable, is_initial
from outwatch.net.protocols.tls import ClientHello, from_handshake

from .hellos import RFC_8448, alpn, extension, hello, server_name, versions
from .quic_packets import PADDING, PING, V1, V2, crypto, initial, integer, of_aioquic, other

HELLO = hello((0x1301, 0x1302), [server_name(b"www.example.com"), alpn(b"h3"), versions(0x0304), extension(0x39, bytes(700))])
EXPECTED = from_handshake(HELLO, transport="q")
RETRY = b"\xf0" + V1.to_bytes(4) + b"\x02\xaa\xbb\x04\x01\x02\x03\x04" + bytes(30)
NEGOTIATION = b"\xc0" + bytes(4) + b"\x02\xaa\xbb\x04\x83\x94\xc8\xf0" + V2.to_bytes(4)
WHOLE = initial(crypto(0, HELLO))

# RFC 9001, A.2: the first packet of the example.
RFC_9001 = bytes.fromhex(
    "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399"
    "1c260ec4c60d17b31f8429157bb35a1282a643a8d2262cad67500cadb8e7378c8eb7539ec4d4905fed1bee1fc8aafba17c750e2c7ace01e6005f80fcb7df6212"
    "30c83711b39343fa028cea7f7fb5ff89eac2308249a02252155e2347b63d58c5457afd84d05dfffdb20392844ae812154682e9cf012f9021a6f0be17ddd0c208"
    "4dce25ff9b06cde535d0f920a2db1bf362c23e596d11a4f5a6cf3948838a3aec4e15daf8500a6ef69ec4e3feb6b1d98e610ac8b7ec3faf6ad760b7bad1db4ba3"
    "485e8a94dc250ae3fdb41ed15fb6a8e5eba0fc3dd60bc8e30c5c4287e53805db059ae0648db2f64264ed5e39be2e20d82df566da8dd5998ccabdae053060ae6c"
    "7b4378e846d29f37ed7b4ea9ec5d82e7961b7f25a9323851f681d582363aa5f89937f5a67258bf63ad6f1a0b1d96dbd4faddfcefc5266ba6611722395c906556"
    "be52afe3f565636ad1b17d508b73d8743eeb524be22b3dcbc2c7468d54119c7468449a13d8e3b95811a198f3491de3e7fe942b330407abf82a4ed7c1b311663a"
    "c69890f4157015853d91e923037c227a33cdd5ec281ca3f79c44546b9d90ca00f064c99e3dd97911d39fe9c5d0b23a229a234cb36186c4819e8b9c5927726632"
    "291d6a418211cc2962e20fe47feb3edf330f2c603a9d48c0fcb5699dbfe5896425c5bac4aee82e57a85aaf4e2513e4f05796b07ba2ee47d80506f8d2c25e50fd"
    "14de71e6c418559302f939b0e1abd576f279c4b2e0feb85c1f28ff18f58891ffef132eef2fa09346aee33c28eb130ff28f5b766953334113211996d20011a198"
    "e3fc433f9f2541010ae17c1bf202580f6047472fb36857fe843b19f5984009ddc324044e847a4f4a0ab34f719595de37252d6235365e9b84392b061085349d73"
    "203a4a13e96f5432ec0fd4a1ee65accdd5e3904df54c1da510b0ff20dcc0c77fcb2c0e0eb605cb0504db87632cf3d8b4dae6e705769d1de354270123cb11450e"
    "fc60ac47683d7b8d0f811365565fd98c4c8eb936bcab8d069fc33bd801b03adea2e1fbc5aa463d08ca19896d2bf59a071b851e6c239052172f296bfb5e724047"
    "90a2181014f3b94a4e97d117b438130368cc39dbb2d198065ae3986547926cd2162f40a29f0c3c8745c0f50fba3852e566d44575c29d39a03f0cda721984b6f4"
    "40591f355e12d439ff150aab7613499dbd49adabc8676eef023b15b65bfc5ca06948109f23f350db82123535eb8a7433bdabcb909271a6ecbcb58b936a88cd4e"
    "8f2e6ff5800175f113253d8fa9ca8885c2f552e657dc603f252e1a8e308f76f0be79e2fb8f5d5fbbe2e30ecadd220723c8c0aea8078cdfcb3868263ff8f09400"
    "54da48781893a7e49ad5aff4af300cd804a6b6279ab3ff3afb64491c85194aab760d58a606654f9f4400e8b38591356fbf6425aca26dc85244259ff2b19c41b9"
    "f96f3ca9ec1dde434da7d2d392b905ddf3d1f9af93d1af5950bd493f5aa731b4056df31bd267b6b90a079831aaf579be0a39013137aac6d404f518cfd4684064"
    "7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934"
)


def told(*datagrams: bytes) -> list[ClientHello | None]:
    initials = Initials()
    return [initials.add(datagram) for datagram in datagrams]


def test_the_packet_of_the_standards_example_is_deciphered() -> None:
    (found,) = told(RFC_9001)
    assert found is not None
    assert (found.server_name, found.alpn, found.versions) == ("example.com", ("alpn",), (0x0304,))
    assert found.ja4.startswith("q13d0211an_")


@pytest.mark.parametrize("version", [V1, V2])
def test_what_a_client_sends_is_read(version: int) -> None:
    datagrams = of_aioquic("www.example.com", version, ("h3", "hq-interop"))
    assert is_initial(datagrams[0])
    found = told(*datagrams)[-1]
    assert found is not None
    assert (found.server_name, found.alpn, found.ja4[:4]) == ("www.example.com", ("h3", "hq-interop"), "q13d")


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("token", [b"", bytes(100)], ids=["no token", "token"])
def test_a_hello_in_one_packet_is_read(version: int, token: bytes) -> None:
    assert told(initial(crypto(0, HELLO), version=version, token=token)) == [EXPECTED]


def test_pieces_come_in_any_order_among_padding_and_pings() -> None:
    pieces = [crypto(at, HELLO[at : at + 50]) for at in range(0, len(HELLO), 50)]
    random.Random(5).shuffle(pieces)
    assert told(initial(PADDING * 300 + (PING + PADDING * 2).join(pieces) + PADDING)) == [EXPECTED]


def test_pieces_come_in_several_datagrams_and_in_several_packets_of_one() -> None:
    first, second, third = (crypto(at, HELLO[at : at + 300]) for at in (0, 300, 600))
    assert told(initial(third, number=2), initial(second, number=1), initial(first)) == [None, None, EXPECTED]
    assert told(initial(third) + initial(first, number=1) + initial(second, number=2)) == [EXPECTED]
    assert told(other(1) + initial(third), initial(first, number=300) + other(2) + initial(second, number=70_000)) == [None, EXPECTED]


def test_pieces_that_overlap_are_taken_once() -> None:
    assert told(initial(crypto(100, HELLO[100:]) + crypto(0, HELLO[:400]) + crypto(50, HELLO[50:60]))) == [EXPECTED]


@pytest.mark.security
def test_two_different_things_in_one_place_are_refused() -> None:
    # A reader that keeps the first sees another name than one that keeps the last.
    with pytest.raises(QuicError):
        told(initial(crypto(100, HELLO[100:]) + crypto(0, HELLO[:101] + b"\xff")))


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xc0",
        b"\x40" + bytes(40),
        b"SSDP or something",
        NEGOTIATION,
        RETRY,
        other(1),
        other(2),
        initial(crypto(0, HELLO), b"\xaa\xbb", key=b"\x83\x94\xc8\xf0", is_client=False),
        initial(crypto(0, HELLO), b"elsewhere", key=b"unknown"),
        initial(crypto(0, HELLO))[:-1],
        initial(crypto(0, HELLO))[:-1] + b"\x00",
        b"\xc0\x00\x00\x00\x01\xff",
        b"\xc0\x00\x00\x00\x01\x00\x00\x00\x41",
        b"\xc0\x00\x00\x00\x01\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xc0\x00\x00\x00\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00",
        b"\xc0\x00\x00\x00\x01\x15" + bytes(60),
        initial(crypto(0, HELLO), bytes(21)),
        RETRY[:-30] + b"\x00" + WHOLE,
    ],
    ids=[
        "empty", "one octet", "short header", "no QUIC", "version negotiation", "retry", "0-RTT", "handshake", "server's", "other key",
        "cut", "damaged", "no id", "no length", "far token", "no sample", "long id", "longer id than allowed", "behind retry",
    ],
)  # fmt: skip
def test_what_is_no_initial_packet_of_the_client_is_passed_over(datagram: bytes) -> None:
    assert told(datagram, WHOLE) == [None, EXPECTED]


def test_after_retry_the_key_follows_from_the_new_id() -> None:
    first, rest = crypto(0, HELLO[:300]), crypto(300, HELLO[300:])
    retried = [initial(frames, b"\x01\x02\x03\x04", token=b"t", number=number) for number, frames in ((1, first), (2, rest))]
    assert told(initial(first), RETRY, *retried) == [None, None, None, EXPECTED]


def test_the_key_stays_when_the_client_takes_the_id_of_the_server() -> None:
    later = initial(crypto(300, HELLO[300:]), b"of the server", key=b"\x83\x94\xc8\xf0", number=1)
    assert told(initial(crypto(0, HELLO[:300])), later) == [None, EXPECTED]


def test_after_version_negotiation_the_other_version_is_read() -> None:
    assert told(initial(crypto(0, HELLO[:300])), NEGOTIATION, initial(crypto(0, HELLO), version=V2)) == [None, None, EXPECTED]


def test_acknowledgements_are_passed_over() -> None:
    plain = b"\x02" + integer(9) + integer(0) + integer(2) + integer(1) + integer(0) * 4
    with_ecn = b"\x03" + integer(9) + integer(0) + integer(0) + integer(1) + integer(70_000) + integer(0) * 2
    assert told(initial(plain + with_ecn + crypto(0, HELLO))) == [EXPECTED]


def test_nothing_comes_after_a_client_has_given_up() -> None:
    assert told(initial(b"\x1c\x01\x00\x00" + crypto(0, HELLO))) == [None]


@pytest.mark.security
@pytest.mark.parametrize(
    "frames",
    [
        crypto(0, b"\x02" + HELLO[1:]),
        crypto(0, b"\x01\x00\x00\x05" + bytes(20)),
        crypto(0, b"\x01\x7f\xff\xff" + bytes(20)),
        crypto(1 << 16, b"a"),
        crypto((1 << 62) - 1, b"a"),
        b"\x06\x00\x40\xff" + bytes(20),
        PADDING * 9 + b"\x06\x00",
        b"\x08" + bytes(20),
        b"\x1e" + bytes(20),
        b"\x02\x00\x00\xff" + b"\xff" * 7 + bytes(20),
        (b"\x02\x00\x00\x3f" + bytes(127)) * 60,
        crypto(0, b"") * 65,
    ],
    ids=[
        "server hello", "broken hello", "long hello", "far", "farthest", "lying length", "cut", "stream", "handshake done",
        "endless ack", "many acks", "many frames",
    ],
)  # fmt: skip
def test_what_the_client_itself_breaks_is_an_error(frames: bytes) -> None:
    with pytest.raises(QuicError):
        told(initial(frames))


@pytest.mark.security
def test_after_eight_datagrams_nothing_more_is_looked_at() -> None:
    assert told(*[b"noise"] * 7, WHOLE)[-1] == EXPECTED
    with pytest.raises(QuicError):
        told(*[b"noise"] * 8, WHOLE)
    with pytest.raises(QuicError):
        told(bytes(1 << 17))


@pytest.mark.security
def test_ids_without_end_cost_three_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = quic._Attempt

    def counted(*arguments: object) -> object:
        made.append(real(*arguments))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(quic, "_Attempt", counted)
    told(*(b"".join(initial(PING, bytes([number, at])) for at in range(50)) for number in range(8)))
    assert len(made) == 3


@pytest.mark.parametrize(
    ("datagram", "expected"),
    [
        (WHOLE, True),
        (initial(PING, version=V2), True),
        (initial(PING, version=V2)[:5], True),
        (WHOLE[:4], False),
        (b"", False),
        (b"\x40" + WHOLE[1:], False),
        (other(1), False),
        (other(0, V2), False),
        (NEGOTIATION, False),
        (b"\xc0\xff\x00\x00\x1d" + WHOLE[5:], False),
    ],
)
def test_a_look_at_five_octets_finds_initial_packets(datagram: bytes, *, expected: bool) -> None:
    assert is_initial(datagram) is expected


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(QuicUnavailable, match=r"outwatch\[quic\]"):
        Initials()
    assert is_initial(WHOLE)


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_every_way_to_cut_and_shuffle_a_hello_gives_the_same(data: st.DataObject) -> None:
    cuts = sorted({0, len(HELLO), *data.draw(st.lists(st.integers(0, len(HELLO)), max_size=10))})
    pieces = [crypto(begin, HELLO[begin : end + data.draw(st.integers(0, 30))]) for begin, end in pairwise(cuts)]
    shuffled = data.draw(st.permutations(pieces))
    share = data.draw(st.integers(1, len(shuffled)))
    packets = [initial(b"".join(shuffled[at : at + share]), number=at) for at in range(0, len(shuffled), share)]
    together = data.draw(st.integers(1, 4).filter(lambda count: count * quic.MOST_DATAGRAMS >= len(packets)))
    initials = Initials()
    found = [initials.add(b"".join(packets[at : at + together])) for at in range(0, len(packets), together)]
    assert found[-1] == EXPECTED


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.binary(max_size=80).map(initial),
            st.binary(max_size=80).map(lambda noise: WHOLE[:5] + noise),
            st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)).map(
                lambda change: WHOLE[: change[0]] + bytes([change[1]]) + WHOLE[change[0] + 1 :]
            ),
        ),
        max_size=9,
    )
)
def test_no_datagrams_raise_anything_else(datagrams: list[bytes]) -> None:
    initials = Initials()
    try:
        found = [initials.add(datagram) for datagram in datagrams]
    except QuicError:
        return
    assert len(found) <= quic.MOST_DATAGRAMS
    assert set(found) <= {None, EXPECTED}, "what is authentic is what was sent"


def test_a_hello_of_tcp_in_quic_is_marked_as_of_quic() -> None:
    assert told(initial(crypto(0, RFC_8448)))[0] == from_handshake(RFC_8448, transport="q")
