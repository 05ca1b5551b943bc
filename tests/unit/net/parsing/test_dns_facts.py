"""What resolvers and programs say to each other is read from the wire: every kind of answer, whole or cut."""

import random
import struct
import sys
from collections.abc import Callable
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outwatch.net.protocols.dns import Address, DnsError, facts, over_tcp

ASKED = "www.example.com"
A, AAAA, CNAME = 1, 28, 5


def record(owner: str, seconds: int, kind: str, *values: str) -> dns.rrset.RRset:
    return dns.rrset.from_text(dns.name.from_text(owner), seconds, "IN", kind, *values)


def reply(
    *answers: dns.rrset.RRset,
    kind: str = "A",
    name: str = ASKED,
    rcode: int = 0,
    flags: int = 0,
    authority: tuple[dns.rrset.RRset, ...] = (),
    additional: tuple[dns.rrset.RRset, ...] = (),
    edns: bool = True,
) -> bytes:
    made = dns.message.make_response(dns.message.make_query(name, kind, id=7, use_edns=0 if edns else None))
    made.answer.extend(answers)
    made.authority.extend(authority)
    made.additional.extend(additional)
    made.set_rcode(rcode)  # type: ignore[arg-type]
    made.flags |= flags
    return made.to_wire()


def raw(*records: bytes, question: bytes = b"\3www\7example\3com\0\0\1\0\1", count: int | None = None, flags: int = 0x8180) -> bytes:
    """Make an answer out of records that dnspython would not make."""
    return struct.pack("!6H", 7, flags, 1, len(records) if count is None else count, 0, 0) + question + b"".join(records)


def one(kind: int, data: bytes, ttl: int = 60, owner: bytes = b"\xc0\x0c", of_class: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, of_class, ttl, len(data)) + data


WHOLE = reply(
    record(ASKED, 300, "CNAME", "www.example.com.cdn.example."),
    record("www.example.com.cdn.example", 20, "CNAME", "Edge7.CDN.example."),
    record("edge7.cdn.example", 60, "A", "192.0.2.7", "192.0.2.8"),
)


def test_the_name_asked_for_its_aliases_and_addresses_are_told() -> None:
    found = facts(WHOLE)
    assert (found.id, found.is_reply, found.is_truncated, found.is_whole) == (7, True, False, True)
    assert (found.name, found.type, found.rcode) == (ASKED, "A", "NOERROR")
    assert found.chain == (ASKED, "www.example.com.cdn.example", "edge7.cdn.example")
    assert set(found.addresses) == {Address("192.0.2.7", 20), Address("192.0.2.8", 20)}, "the shortest time on the way"


@pytest.mark.parametrize(("kind", "number"), [("A", 1), ("AAAA", 28), ("HTTPS", 65), ("TXT", 16), ("ANY", 255), ("TYPE731", 731)])
def test_a_question_has_a_type_and_no_answer(kind: str, number: int) -> None:
    query = dns.message.make_query("WWW.Example.COM", dns.rdatatype.RdataType.make(number), id=9, use_edns=0)
    found = facts(query.to_wire())
    assert (found.id, found.is_reply, found.name, found.type, found.rcode) == (9, False, ASKED, kind, None)
    assert (found.chain, found.addresses) == ((ASKED,), ())


@pytest.mark.security
def test_what_a_question_brings_along_is_no_answer() -> None:
    found = facts(raw(one(A, b"\xc0\0\2\7"), flags=0x0100))
    assert (found.is_reply, found.addresses) == (False, ())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::192.0.2.7", "::c000:207"),
        ("2001:db8:0:0:1::", "2001:db8:0:0:1::"),
    ],
)
def test_addresses_are_spelled_alike_everywhere(value: str, text: str) -> None:
    assert facts(reply(record(ASKED, 5, "AAAA", value), kind="AAAA")).addresses == (Address(text, 5),)


@pytest.mark.parametrize("rcode", [2, 3, 5])
def test_there_are_no_addresses_where_all_is_not_well(rcode: int) -> None:
    found = facts(reply(record(ASKED, 5, "CNAME", "b.example."), record("b.example", 5, "A", "192.0.2.1"), rcode=rcode))
    assert (found.rcode, found.addresses, found.chain) == ({2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}[rcode], (), (ASKED, "b.example"))


def test_a_code_that_needs_edns_is_put_together() -> None:
    assert facts(reply(rcode=23)).rcode == "BADCOOKIE"
    assert facts(reply(rcode=12)).rcode == "RCODE12"


def test_how_long_there_is_none_is_told() -> None:
    soa = record("example.com", 900, "SOA", "ns.example. admin.example. 1 2 3 4 50")
    assert facts(reply(rcode=3, authority=(soa,))).negative_ttl == 50
    assert facts(reply(authority=(soa,), kind="AAAA")).negative_ttl == 50
    assert facts(reply(record(ASKED, 5, "A", "192.0.2.1"), authority=(soa,))).negative_ttl is None
    assert facts(reply()).negative_ttl is None


def test_services_tell_hints_protocols_and_cover() -> None:
    found = facts(
        reply(
            record(
                *(ASKED, 60, "HTTPS"),
                '1 . alpn="h3,h2" ipv4hint=192.0.2.1,192.0.2.2 ech="AAT+DQAA" ipv6hint=2001:db8::1',
                "2 pool.example.",
            ),
            kind="HTTPS",
            additional=(
                record("pool.example", 10, "A", "192.0.2.9"),
                record(ASKED, 90, "AAAA", "2001:db8::2"),
                record("unasked.example", 10, "A", "203.0.113.66"),
            ),
        )
    )  # fmt: skip
    assert (found.type, found.alpn, found.has_ech, found.is_whole) == ("HTTPS", ("h3", "h2"), True, True)
    assert {(address.ip, address.ttl) for address in found.addresses} == {
        ("192.0.2.1", 60), ("192.0.2.2", 60), ("2001:db8::1", 60), ("192.0.2.9", 10), ("2001:db8::2", 60),
    }  # fmt: skip


def test_an_alias_of_a_service_is_an_alias() -> None:
    found = facts(reply(record(ASKED, 60, "SVCB", "0 pool.example."), record("pool.example", 9, "SVCB", "1 . port=99"), kind="SVCB"))
    assert (found.chain, found.alpn, found.has_ech) == ((ASKED, "pool.example"), (), False)
    assert facts(reply(record(ASKED, 60, "HTTPS", "0 ."), kind="HTTPS")).chain == (ASKED,), "there is no service (RFC 9460, 2.5.1)"


@pytest.mark.security
@pytest.mark.parametrize(
    "parameters",
    [
        b"\0\4\0\5\xc0\0\2\7\1",
        b"\0\4\0\xff\xc0\0\2\7",
        b"\0\1\0\3\2h2\0\4\0\0",
        b"\0\6\0\4\xc0\0\2\7",
        b"\0\4\0\4\xc0\0\2\7\0\1\0\3\2h2",
        b"\0\4\0\4\xc0\0\2\7\0\4\0\4\xc0\0\2\7",
        b"\0\4\0\4\xc0\0\2\7\0",
    ],
    ids=["uneven", "lying length", "no hint", "short", "wrong order", "twice", "a rest"],
)
def test_a_service_that_clients_would_not_use_says_nothing(parameters: bytes) -> None:
    found = facts(raw(one(65, b"\0\1\0" + parameters), question=b"\3www\7example\3com\0\0\x41\0\1"))
    assert (found.addresses, found.alpn) == ((), ())


@pytest.mark.security
def test_only_what_the_question_leads_to_counts() -> None:
    found = facts(
        reply(
            record("google.com", 60, "A", "203.0.113.66"),
            record(ASKED, 60, "A", "192.0.2.1"),
            additional=(record(ASKED, 60, "A", "203.0.113.67"),),
            authority=(record(ASKED, 60, "A", "203.0.113.68"),),
        )
    )
    assert found.addresses == (Address("192.0.2.1", 60),)
    assert facts(raw(one(A, b"\xc0\0\2\7", of_class=3))).addresses == (), "another class"
    assert facts(raw(one(A, b"\xc0\0\2"))).addresses == (), "three octets"


@pytest.mark.security
@pytest.mark.parametrize(
    ("records", "chain"),
    [
        ([one(CNAME, b"\xc0\x0c")], ("www.example.com",)),
        ([one(CNAME, b"\xc0\x10"), one(CNAME, b"\xc0\x0c", owner=b"\xc0\x10")], ("www.example.com", "example.com")),
        ([one(CNAME, b"\0")], ("www.example.com", ".")),
    ],
    ids=["itself", "in a circle", "the root"],
)
def test_aliases_that_lead_nowhere_end(records: list[bytes], chain: tuple[str, ...]) -> None:
    found = facts(raw(*records))
    assert (found.chain, found.addresses) == (chain, ())


@pytest.mark.security
def test_an_alias_that_can_not_be_read_ends_the_chain() -> None:
    found = facts(raw(one(CNAME, b"\xc0\x10"), one(CNAME, b"\x40", owner=b"\xc0\x10")))
    assert (found.chain, found.is_whole) == (("www.example.com", "example.com"), False)


@pytest.mark.security
def test_what_must_be_escaped_counts_for_more() -> None:
    plain, strange = (raw(*[one(A, b"", owner=(b"\x3f" + letter * 63) * 3 + b"\0")] * 150) for letter in (b"a", b"\xff"))
    assert (facts(plain).is_whole, facts(strange).is_whole) == (True, False)


@pytest.mark.security
def test_a_chain_without_end_is_followed_for_sixteen_aliases() -> None:
    def letter(number: int) -> bytes:
        return b"\1" + bytes([97 + number]) + b"\0"

    links = [one(CNAME, letter(number + 1), owner=b"\xc0\x0c" if number < 0 else letter(number)) for number in range(-1, 25)]
    assert len(facts(raw(*links)).chain) == 17


@pytest.mark.security
@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("münchen".encode(), "m\\195\\188nchen"),
        (b"a.b", "a\\046b"),
        (b"\x1b[1m", "\\027\\0911m"),
        (b"xN--a", "xn--a"),
    ],
)
def test_names_are_text_in_which_nothing_hides(label: bytes, expected: str) -> None:
    name = bytes([len(label)]) + label + b"\0"
    found = facts(raw(one(CNAME, name), question=name + b"\0\1\0\1"))
    assert (found.name, found.chain) == (expected, (expected,))


def test_the_root_is_a_dot() -> None:
    assert facts(raw(question=b"\0\0\2\0\1")).name == "."


def test_a_time_with_the_highest_bit_set_is_none() -> None:
    assert facts(raw(one(A, b"\xc0\0\2\7", ttl=1 << 31))).addresses == (Address("192.0.2.7", 0),)


def test_what_the_sender_left_out_is_said() -> None:
    found = facts(reply(record(ASKED, 60, "A", "192.0.2.1"), flags=dns.flags.TC))
    assert (found.is_truncated, found.is_whole, found.addresses) == (True, True, (Address("192.0.2.1", 60),))


@pytest.mark.security
@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_of_a_message_that_is_cut_what_came_before_counts(size: int) -> None:
    question = 12 + len(ASKED) + 2 + 4
    if size < question:
        with pytest.raises(DnsError):
            facts(WHOLE[:size])
        return
    found = facts(WHOLE[:size])
    assert (found.name, found.is_whole) == (ASKED, False)
    whole = facts(WHOLE)
    assert set(found.addresses) <= set(whole.addresses)
    assert found.chain == whole.chain[: len(found.chain)]


@pytest.mark.security
@pytest.mark.parametrize(
    "data",
    [
        b"",
        WHOLE[:12],
        raw(flags=0x2800),
        struct.pack("!6H", 7, 0x8180, 0, 0, 0, 0),
        struct.pack("!6H", 7, 0x8180, 2, 0, 0, 0) + b"\1a\0\0\1\0\1" * 2,
        raw(question=b"\xc0\x0c\0\1\0\1"),
        raw(question=b"\xc0\x0e\xc0\x0c\0\1\0\1"),
        raw(question=b"\x40" + b"a" * 64 + b"\0\0\1\0\1"),
        raw(question=b"\x3f" + b"a" * 10),
    ],
    ids=["empty", "no question", "update", "none", "two", "circle", "forwards", "long label", "cut label"],
)
def test_what_has_no_question_that_can_be_read_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(DnsError):
        facts(data)


def test_a_pointer_that_leads_forwards_ends_the_reading_and_keeps_the_rest() -> None:
    found = facts(raw(one(A, b"\xc0\0\2\7"), one(A, b"\xc0\0\2\x08", owner=b"\xff\xff"), one(A, b"\xc0\0\2\x09")))
    assert (found.addresses, found.is_whole) == ((Address("192.0.2.7", 60),), False)


def pointers() -> bytes:
    name = b"\1a" * 126 + b"\0"
    return raw(one(CNAME, name), *(one(CNAME, (0xC000 | 45 + 2 * number).to_bytes(2)) for number in range(59)))


LABEL, NAME = b"\x3f" + b"\xff" * 63, b"\3www\7example\3com\0"
SLOW: dict[str, Callable[[], bytes]] = {
    "pointers": pointers,
    "addresses": lambda: raw(*(one(A, struct.pack("!I", 0xCB007100 + number)) for number in range(4_000))),
    "longer addresses": lambda: raw(*(one(AAAA, bytes([32, 1]) + number.to_bytes(14)) for number in range(2_300))),
    "of the root": lambda: raw(*[one(A, b"", owner=b"\0")] * 5_900),
    "strange labels": lambda: raw(*[one(A, b"", owner=LABEL * 3 + b"\0")] * 300),
    "short labels": lambda: raw(*[one(A, b"", owner=b"\1\xff" * 126 + b"\0")] * 240),
    "hints": lambda: raw(*[one(65, b"\0\1\0\0\6\x3f\xf0" + bytes(0x3FF0))] * 3),
    "protocols": lambda: raw(*[one(65, b"\0\1\0\0\1\0\x40" + b"\1\xff" * 32)] * 700),
    "broken services": lambda: raw(*[one(65, b"\0\1\0\0\1\0\x40" + b"\1\xff" * 32 + b"\0")] * 700),
    "targets": lambda: raw(*[one(65, b"\0\1" + b"\1\xff" * 126 + b"\0")] * 200),
}


@pytest.mark.security
@pytest.mark.parametrize("name", SLOW)
def test_64_kilobytes_built_to_be_slow_are_little_work(name: str) -> None:
    data = SLOW[name]()
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    sys.setprofile(count)
    try:
        found = facts(data)
    finally:
        sys.setprofile(None)
    assert found.name == ASKED
    assert steps < 25_000  # a reader without bounds takes 100,000 and more for some of these


@pytest.mark.security
def test_an_answer_as_long_as_a_datagram_may_be_is_read_whole() -> None:
    found = facts(raw(*(one(A, struct.pack("!I", 0xCB007100 + number)) for number in range(250))))
    assert (len(found.addresses), found.is_whole) == (250, True)


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2) + message for message in messages)


def test_a_stream_is_split_into_messages() -> None:
    assert list(over_tcp(framed(WHOLE, WHOLE[:40], WHOLE))) == [WHOLE, WHOLE[:40], WHOLE]
    assert list(over_tcp(b"")) == []


@pytest.mark.parametrize("size", range(len(framed(WHOLE))))
def test_a_message_that_is_not_all_there_is_given_only_if_asked_for(size: int) -> None:
    stream = framed(WHOLE, WHOLE)[: len(framed(WHOLE)) + size]
    assert list(over_tcp(stream)) == [WHOLE]
    assert b"".join(over_tcp(stream, cut=True)) == WHOLE + WHOLE[: max(0, size - 2)]


@pytest.mark.security
@pytest.mark.parametrize("stream", [b"\0\0", b"\0\x0b" + bytes(11), framed(WHOLE) + b"\0\1\0", framed(bytes(12)) * 70_000])
def test_a_stream_that_can_be_no_dns_is_an_error(stream: bytes) -> None:
    with pytest.raises(DnsError):
        list(over_tcp(stream))


LABELS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20), min_size=1, max_size=5)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(LABELS.map(".".join), min_size=1, max_size=8, unique=True),
    st.lists(st.ip_addresses(v=4).map(str), max_size=8, unique=True),
    st.randoms(use_true_random=False),
)
def test_a_chain_is_followed_in_whatever_order_it_stands(chain: list[str], held: list[str], chance: random.Random) -> None:
    sets = [record(name, 60, "CNAME", f"{alias}.") for name, alias in pairwise(chain)]
    sets += [record(chain[-1], 30, "A", *held)] if held else []
    chance.shuffle(sets)
    found = facts(reply(*sets, name=chain[0]))
    assert (found.name, found.chain, found.is_whole) == (chain[0], tuple(chain), True)
    assert {address.ip for address in found.addresses} == set(held)


@pytest.mark.security
@settings(deadline=None, derandomize=True, max_examples=500)
@given(
    st.sampled_from([WHOLE, reply(record(ASKED, 60, "HTTPS", "1 . alpn=h2 ipv4hint=192.0.2.1"), kind="HTTPS"), b"", bytes(12)]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8),
    st.binary(max_size=60),
)
def test_no_damage_raises_anything_else(data: bytes, damage: list[tuple[int, int]], more: bytes) -> None:
    changed = bytearray(data + more + b"\0")
    for at, value in damage:
        changed[at % len(changed)] = value
    try:
        found = facts(bytes(changed))
    except DnsError:
        return
    assert all(name and name.isascii() and name.isprintable() for name in (found.name, *found.chain))
    assert all(0 <= address.ttl < 1 << 31 for address in found.addresses)
