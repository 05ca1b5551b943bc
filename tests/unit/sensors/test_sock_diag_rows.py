"""The kernel's messages about sockets: read field by field, cut, bent and random."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outwatch.sensors.sock_diag.rows import CLOSE, ESTABLISHED, FIN_WAIT1, SYN_SENT, TCP, UDP, Counters, Row, read

V4, V6 = 2, 10
BY_FAMILY, DONE, ERROR, NOOP = 20, 3, 2, 1
HERE4, THERE4 = bytes([192, 0, 2, 1]) + bytes(12), bytes([203, 0, 113, 9]) + bytes(12)
HERE6 = bytes.fromhex("20010db8000000000000000000000001")
THERE6 = bytes.fromhex("20010db8000000000000000000000002")


def message(body: bytes, kind: int = BY_FAMILY, sequence: int = 7) -> bytes:
    """Wrap a body as linux/netlink.h says."""
    padding = bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 2, sequence, 99) + body + padding


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def diag(family: int = V4, *, state: int = ESTABLISHED, timer: int = 0, here: bytes = HERE4, there: bytes = THERE4) -> bytes:
    """Make an inet_diag_msg as linux/inet_diag.h lays it out."""
    ports = struct.pack("!HH", 40000, 443)
    return (
        struct.pack("=BBBB", family, state, timer, 0)
        + ports + here + there + struct.pack("=III", 5, 0x11223344, 0x55667788)
        + struct.pack("=IIIII", 1, 2, 3, 1000, 4_000_000_000)
    )  # fmt: skip


def tcp_info(length: int = 280) -> bytes:
    """Make a tcp_info as linux/tcp.h lays it out, cut to a length."""
    made = bytearray(280)
    struct.pack_into("=I", made, 68, 25)  # tcpi_rtt
    struct.pack_into("=QQ", made, 120, 901, 1001)  # tcpi_bytes_acked, tcpi_bytes_received
    struct.pack_into("=IIIIII", made, 136, 11, 12, 13, 14, 15, 16)  # segs_out, segs_in, notsent, min_rtt, data_segs_in, data_segs_out
    struct.pack_into("=QQ", made, 200, 1200, 200)  # tcpi_bytes_sent, tcpi_bytes_retrans
    struct.pack_into("=I", made, 228, 65535)  # tcpi_snd_wnd
    return bytes(made[:length])


def one(data: bytes, kind: int | None = TCP) -> Row:
    reading = read(data, kind, 7)
    assert (len(reading.rows), reading.broken, reading.done) == (1, 0, False)
    return reading.rows[0]


def test_every_field_of_a_socket_is_where_the_kernel_puts_it() -> None:
    row = one(message(diag(state=8) + attribute(8, b"\1") + attribute(2, tcp_info())))
    assert (row.kind, row.family, row.state, row.remains) == (TCP, V4, 8, False)
    assert (row.here(), row.there()) == (("192.0.2.1", 40000), ("203.0.113.9", 443))
    assert (row.device, row.cookie) == (5, 0x5566778811223344)
    assert (row.unread, row.unacked, row.user, row.inode) == (2, 3, 1000, 4_000_000_000)
    assert row.counters == Counters(acked=901, received=1001, sent=1000, unsent=13, data_segments_in=15, answered=True)


def test_addresses_of_version_6_are_read_whole() -> None:
    row = one(message(diag(V6, here=HERE6, there=THERE6)))
    assert (row.here()[0], row.there()[0]) == ("2001:db8::1", "2001:db8::2")
    mapped = one(message(diag(V6, here=bytes(10) + b"\xff\xff" + HERE4[:4], there=THERE6)))
    assert mapped.here()[0] == "::ffff:192.0.2.1"


@pytest.mark.parametrize(
    ("length", "known"),
    [
        (0, None),
        (104, None),  # Linux 2.6
        (135, None),
        (136, Counters(901, 1001)),  # 4.1
        (215, Counters(901, 1001)),
        (216, Counters(901, 1001, 1000, 13, 15)),  # 4.19
        (280, Counters(901, 1001, 1000, 13, 15)),
    ],
)
def test_older_kernels_tell_less_and_that_is_known(length: int, known: Counters | None) -> None:
    assert one(message(diag() + attribute(2, tcp_info(length)))).counters == known


@pytest.mark.parametrize(
    ("more", "kind"),
    [(attribute(10, b"\x06"), TCP), (attribute(10, b"\x11"), UDP), (attribute(2, tcp_info()), TCP), (b"", UDP)],
)
def test_the_transport_of_a_closed_socket_is_told_by_its_message(more: bytes, kind: int) -> None:
    assert one(message(diag() + more), None).kind == kind


def test_what_is_only_remembered_is_no_socket_any_more() -> None:
    assert one(message(diag(state=6, timer=3))).remains


def test_several_messages_are_read_up_to_the_end_of_the_answer() -> None:
    reading = read(message(diag()) + message(diag(V6, here=HERE6, there=THERE6)) + message(bytes(4), DONE), TCP, 7)
    assert [row.family for row in reading.rows] == [V4, V6]
    assert (reading.done, reading.error, reading.broken) == (True, 0, 0)


@pytest.mark.parametrize("kind", [DONE, ERROR])
def test_a_refusal_carries_its_number(kind: int) -> None:
    reading = read(message(struct.pack("=i", -2) + bytes(16), kind), TCP, 7)
    assert (reading.done, reading.error) == (True, 2)


def test_an_answer_to_another_question_is_passed_over() -> None:
    reading = read(message(diag(), sequence=6) + message(b"", DONE, sequence=6), TCP, 7)
    assert (reading.rows, reading.done, reading.broken) == ([], False, 0)


def test_messages_of_other_kinds_are_passed_over() -> None:
    assert len(read(message(b"", NOOP) + message(diag()), TCP, 7).rows) == 1


@pytest.mark.security
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(message(diag()[:-1]), id="a socket cut short"),
        pytest.param(message(b""), id="nothing"),
        pytest.param(message(diag(family=77)), id="an unknown family"),
        pytest.param(message(diag() + struct.pack("=HH", 3, 2)), id="an attribute shorter than its head"),
        pytest.param(message(diag() + struct.pack("=HH", 0, 2)), id="an attribute without length, which would never end"),
        pytest.param(message(diag() + struct.pack("=HH", 400, 2) + tcp_info()), id="an attribute longer than its message"),
    ],
)
def test_a_broken_message_is_counted_and_the_next_one_read(bad: bytes) -> None:
    reading = read(bad + message(diag()), TCP, 7)
    assert (len(reading.rows), reading.broken) == (1, 1)


@pytest.mark.security
@pytest.mark.parametrize("length", [0, 15, 1 << 20, 0xFFFFFFFF])
def test_after_a_length_that_can_not_be_nothing_more_is_believed(length: int) -> None:
    bent = struct.pack("=I", length) + message(diag())[4:]
    reading = read(message(diag()) + bent + message(diag()), TCP, 7)
    assert (len(reading.rows), reading.broken) == (1, 1)


WHOLE = message(diag() + attribute(10, b"\6") + attribute(2, tcp_info())) + message(diag(V6, here=HERE6, there=THERE6)) + message(b"", DONE)


@pytest.mark.security
@given(st.binary(max_size=400), st.sampled_from([None, TCP, UDP]), st.integers(0, 8))
def test_random_bytes_raise_nothing(data: bytes, kind: int | None, sequence: int) -> None:
    reading = read(data, kind, sequence)
    assert len(reading.rows) + reading.broken <= len(data) // 16 + 1


@pytest.mark.security
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8), st.integers(0, len(WHOLE)))
def test_a_bent_or_cut_answer_raises_nothing_also_when_it_is_used(changes: list[tuple[int, int]], end: int) -> None:
    bent = bytearray(WHOLE)
    for place, value in changes:
        bent[place] = value
    for row in read(memoryview(bent)[:end], None, 7).rows:
        row.here(), row.there(), row.opened_here()
        for ingress in (True, False):
            sent = row.bytes_sent(ingress=ingress)
            assert sent is None or sent >= 0


def counted(state: int, *, acked: int, unacked: int = 0, unsent: int = 0, sent: int | None = 0) -> Row:
    return Row(TCP, V4, state, False, bytes(36), 0, 1, 0, unacked, 0, 1, Counters(acked, 0, sent, unsent))


@pytest.mark.parametrize(
    ("row", "certain"),
    [
        pytest.param(counted(SYN_SENT, acked=0, unacked=1), True, id="calling"),
        pytest.param(counted(ESTABLISHED, acked=1), True, id="called, silent"),
        pytest.param(counted(ESTABLISHED, acked=0), False, id="accepted, silent"),
        pytest.param(counted(ESTABLISHED, acked=61, unacked=45, unsent=5, sent=100), True, id="called, data on its way"),
        pytest.param(counted(ESTABLISHED, acked=60, unacked=45, unsent=5, sent=100), False, id="accepted, data on its way"),
        pytest.param(counted(FIN_WAIT1, acked=1, unacked=1), True, id="called and closing"),
        pytest.param(counted(FIN_WAIT1, acked=0, unacked=1), False, id="accepted and closing: it might as well have called"),
        pytest.param(counted(CLOSE, acked=102, sent=100), True, id="called and closed"),
        pytest.param(counted(CLOSE, acked=101, sent=100), False, id="accepted and closed, or called and reset"),
        pytest.param(counted(ESTABLISHED, acked=1, sent=None), False, id="an old kernel"),
    ],
)
def test_who_has_sent_a_syn_has_called(row: Row, certain: bool) -> None:
    assert row.opened_here() is certain


@pytest.mark.parametrize(("ingress", "sent"), [(False, 900), (True, 901)])
def test_an_old_kernel_tells_what_was_acknowledged_with_the_callers_syn(ingress: bool, sent: int) -> None:
    assert counted(ESTABLISHED, acked=901, sent=None).bytes_sent(ingress=ingress) == sent


def test_without_counters_no_bytes_are_claimed() -> None:
    row = Row(UDP, V4, ESTABLISHED, False, bytes(36), 0, 1, 0, 0, 0, 1, None)
    assert row.bytes_sent(ingress=False) is None
    assert row.own_signs is None
