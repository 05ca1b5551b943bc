"""DNS messages are read as the standard says, and bytes that are none cost little and raise one kind of error."""

import sys

import dns.flags
import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net.protocols import dns as protocol
from outwatch.net.protocols.dns import DnsError, Message, Record

REVERSE = "7.100.51.198.in-addr.arpa"
INSIDE = "7.0-15.100.51.198.in-addr.arpa"
QUERY = dns.message.make_query(REVERSE, "PTR", id=0x1234)


def record(owner: str, seconds: int, kind: str, *values: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(dns.name.from_text(owner), seconds, "IN", kind, *values)


def reply(*answers: dns.rrset.RRset, authority: tuple[dns.rrset.RRset, ...] = (), rcode: int = 0) -> bytes:
    made = dns.message.make_response(QUERY)
    made.answer.extend(answers)
    made.authority.extend(authority)
    made.set_rcode(rcode)  # type: ignore[arg-type]
    return made.to_wire()


ALIASED = reply(record(REVERSE, 60, "CNAME", f"{INSIDE}."), record(INSIDE, 90, "PTR", "WWW.Good.example.", "b.good.example."))
SOA = record("100.51.198.in-addr.arpa", 900, "SOA", "ns.example. admin.example. 1 2 3 4 50")
HEADER = b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
QUESTION = QUERY.to_wire()[12:]


def test_names_and_what_they_lead_to_are_read() -> None:
    message = protocol.read(ALIASED)
    assert (message.id, message.is_reply, message.rcode) == (0x1234, True, protocol.NOERROR)
    assert (message.name, message.type) == (REVERSE, protocol.PTR)
    found, ttl = message.chain()
    assert {one.value for one in found} == {"www.good.example", "b.good.example"}
    assert ttl == 60, "the alias holds for the shorter time"


def test_a_query_is_no_reply_and_has_no_answer() -> None:
    message = protocol.read(QUERY.to_wire())
    assert not message.is_reply
    assert message.chain() == ([], None)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("A", "198.51.100.7", "198.51.100.7"),
        ("AAAA", "2001:db8:0:0::7", "2001:db8::7"),
        ("CNAME", "WWW.Example.", "www.example"),
        ("NS", "ns.example.", "ns.example"),
        ("PTR", ".", ""),
        ("TXT", '"text"', ""),
        ("MX", "10 mail.example.", ""),
    ],
)
def test_a_record_holds_a_name_an_address_or_nothing_of_interest(kind: str, value: str, expected: str) -> None:
    (one,) = protocol.read(reply(record(REVERSE, 77, kind, value))).answers
    assert (one.name, one.ttl, one.value) == (REVERSE, 77, expected)


def test_how_long_there_is_none_is_the_zones_to_say() -> None:
    assert protocol.read(reply(authority=(SOA,), rcode=3)).negative_ttl == 50
    assert protocol.read(reply(rcode=3)).negative_ttl is None


def test_who_refers_to_others_is_seen_to() -> None:
    assert protocol.read(reply(authority=(record("51.198.in-addr.arpa", 60, "NS", "ns.example."),))).refers
    assert not protocol.read(reply(authority=(SOA,))).refers


@pytest.mark.security
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (b"a.b", "a\\046b"),
        (b"\x1b[31m", "\\027\\09131m"),
        (b"\x00\xff", "\\000\\255"),
        (b"a b", "a\\032b"),
        (b"\\032", "\\092032"),
        (b"A_b-9", "a_b-9"),
    ],
)
def test_octets_that_no_host_has_in_its_name_are_spelled_out(label: bytes, expected: str) -> None:
    name = bytes([len(label)]) + label + b"\7example\0"
    one = HEADER + QUESTION + b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c" + len(name).to_bytes(2, "big") + name
    assert protocol.read(one).answers[0].value == f"{expected}.example"


def test_a_time_with_the_highest_bit_set_is_none() -> None:
    one = HEADER + QUESTION + b"\xc0\x0c\0\x0c\0\1\x80\0\0\1\0\3\1a\0"
    assert protocol.read(one).answers == (Record(REVERSE, protocol.PTR, 0, "a"),)  # RFC 2181, 8


@pytest.mark.parametrize(("labels", "readable"), [([63, 63, 63, 61], True), ([63, 63, 63, 62], False)], ids=["255 octets", "256"])
def test_a_name_ends_after_255_octets(labels: list[int], *, readable: bool) -> None:
    name = b"".join(bytes([length]) + b"a" * length for length in labels) + b"\0"
    question = HEADER[:6] + bytes(6) + name + b"\0\x0c\0\1"
    if readable:
        assert protocol.read(question).name == ".".join("a" * length for length in labels)
    else:
        with pytest.raises(DnsError):
            protocol.read(question)


@pytest.mark.security
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x12",
        HEADER,
        HEADER[:4] + b"\0\0" + HEADER[6:] + QUESTION,
        HEADER[:4] + b"\0\2" + HEADER[6:] + QUESTION + QUESTION,
        HEADER + b"\xc0\x0c\0\x0c\0\1",
        HEADER + b"\xc0\x0e\1a\0\0\x0c\0\1",
        HEADER + b"\x40a\0\0\x0c\0\1",
        HEADER + QUESTION,
        HEADER[:6] + b"\xff\xff" + HEADER[8:] + QUESTION,
        HEADER + QUESTION + b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\xff\xff\1a\0",
        HEADER + QUESTION + b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\2\xff\xff",
        HEADER + QUESTION + b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c\0\2\xc0\x36\xc0\x34",
    ],
)
def test_what_is_no_message_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(DnsError):
        protocol.read(data)


@pytest.mark.security
@pytest.mark.parametrize("size", range(len(ALIASED)))
def test_a_message_that_is_cut_off_anywhere_is_none(size: int) -> None:
    with pytest.raises(DnsError):
        protocol.read(ALIASED[:size])


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.lists(st.tuples(st.integers(2, len(ALIASED) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.binary(max_size=40))
def test_no_damage_raises_anything_else(damage: list[tuple[int, int]], more: bytes) -> None:
    whole = bytearray(ALIASED + more)
    for at, value in damage:
        whole[at] = value
    try:
        message: Message | None = protocol.read(bytes(whole))
    except DnsError:
        message = None
    found, ttl = message.chain() if message else ([], None)
    assert all(one.value.isascii() and one.value.isprintable() for one in found)
    assert (ttl is None) or 0 <= ttl < 1 << 31


@pytest.mark.security
@pytest.mark.parametrize("owner", [b"\xc0\x0c", b"\xc0\x35"], ids=["names in the data", "names on both sides"])
def test_a_message_built_to_be_slow_is_little_work(owner: bytes) -> None:
    # Records that point into one name of 126 labels: a general reader takes two million steps for this kilobyte.
    name = b"\1a" * 126 + b"\0"
    start = len(HEADER) + len(QUESTION) + 12
    records = b"\xc0\x0c\0\x0c\0\1\0\0\0\x3c" + len(name).to_bytes(2, "big") + name
    for number in range(59):
        records += owner + b"\0\x0c\0\1\0\0\0\x3c\0\2" + (0xC000 | (start + 2 * number)).to_bytes(2, "big")
    data = HEADER[:6] + b"\0\x3c\0\0\0\0" + QUESTION + records
    assert len(dns.message.from_wire(data).answer) >= 1, "it is well formed"
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        protocol.read(data)
    except DnsError:
        pass
    finally:
        sys.setprofile(None)
    assert steps < 40_000
