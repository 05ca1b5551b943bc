"""Which of the bytes that TCP has counted as received was the other end's FIN: told by what a closed socket leaves behind."""

import pytest

from outwatch.sensors.sock_diag.closing import bytes_received, bytes_received_at_the_end, never_answered
from outwatch.sensors.sock_diag.rows import (
    CLOSE,
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LAST_ACK,
    TCP,
    TIME_WAIT,
    UDP,
    Counters,
    Row,
)


def row(received: int, *, state: int = CLOSE, segments: int = 1, signs: int = 2, unread: int = 0, sent: int | None = 100) -> Row:
    """Make a socket that has sent 100 bytes and ``signs`` of its SYN and FIN, all acknowledged."""
    return Row(TCP, 2, state, False, bytes(36), 0, 1, unread, 0, 0, 0, Counters(100 + signs, received, sent, 0, segments))


@pytest.mark.parametrize(
    ("closed", "before", "state", "counted"),
    [
        pytest.param(row(11), None, FIN_WAIT2, 11, id="this end closed first"),
        pytest.param(row(11), None, TIME_WAIT, 11, id="this end closed first and was answered"),
        pytest.param(row(11), None, None, 10, id="the other end closed first"),
        pytest.param(row(11), ESTABLISHED, None, 10, id="the other end closed first after a look"),
        pytest.param(row(11), FIN_WAIT2, TIME_WAIT, 10, id="one half was closed first, and the answer read to its end"),
        pytest.param(row(11), FIN_WAIT1, FIN_WAIT2, 11, id="let go before the other end closed"),
        pytest.param(row(11), CLOSE_WAIT, FIN_WAIT2, 10, id="its FIN was seen at a look"),
        pytest.param(row(11, unread=1), None, FIN_WAIT2, 10, id="nobody has read the FIN"),
        pytest.param(row(11, unread=4, signs=1), None, None, 11, id="reset with data that nobody has read"),
        pytest.param(row(11, signs=1), None, None, 11, id="reset"),
        pytest.param(row(1, segments=0), None, FIN_WAIT2, 0, id="a FIN and no data"),
        pytest.param(row(0, segments=0), None, None, 0, id="nothing"),
        pytest.param(row(11, sent=None), None, None, 11, id="an old kernel"),
    ],
)
def test_the_other_ends_fin_is_no_byte(closed: Row, before: int | None, state: int | None, counted: int) -> None:
    assert bytes_received_at_the_end(closed, before, lambda _row: state, ingress=False) == counted


@pytest.mark.parametrize(("signs", "counted"), [(1, 10), (0, 11)])
def test_an_accepted_connection_has_sent_no_syn(signs: int, counted: int) -> None:
    assert bytes_received_at_the_end(row(11, signs=signs), None, lambda _row: None, ingress=True) == counted


@pytest.mark.parametrize("closed", [row(0), row(1, segments=0), row(11, unread=1), row(11, signs=1)])
def test_the_kernel_is_asked_only_where_nothing_else_tells(closed: Row) -> None:
    def asked(_row: Row) -> int | None:
        raise AssertionError("not needed")

    assert bytes_received_at_the_end(closed, None, asked, ingress=False) is not None


@pytest.mark.parametrize(
    ("state", "counted"), [(ESTABLISHED, 11), (FIN_WAIT1, 11), (FIN_WAIT2, 11), (CLOSE_WAIT, 10), (LAST_ACK, 10), (CLOSING, 10)]
)
def test_the_state_of_an_open_connection_tells(state: int, counted: int) -> None:
    assert bytes_received(row(11, state=state)) == counted


def test_what_is_not_counted_is_not_claimed() -> None:
    udp = Row(UDP, 2, ESTABLISHED, False, bytes(36), 0, 1, 0, 0, 0, 0, None)
    assert bytes_received(udp) is None
    assert bytes_received_at_the_end(udp, None, lambda _row: None, ingress=False) is None
    assert not never_answered(udp)
