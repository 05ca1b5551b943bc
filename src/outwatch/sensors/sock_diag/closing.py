"""How a TCP connection ended, read from the last counters of its socket.

The kernel counts the other end's FIN as a byte received, and does not say whether it came. What it leaves behind tells.
"""

from collections.abc import Callable

from outwatch.sensors.sock_diag.rows import FIN_RECEIVED, FIN_WAIT1, FIN_WAIT2, Row

Remains = Callable[[Row], int | None]
"""Gives the state in which the kernel remembers a closed connection (FIN_WAIT2, TIME_WAIT), or ``None``."""


def never_answered(row: Row) -> bool:
    """Tell whether a call got no answer but perhaps a refusal."""
    return row.counters is not None and not row.counters.answered


def bytes_received(row: Row) -> int | None:
    """Give the application's bytes that an open connection has received."""
    return None if row.counters is None else max(row.counters.received - (row.state in FIN_RECEIVED), 0)


def bytes_received_at_the_end(row: Row, before: int | None, remains: Remains, *, ingress: bool) -> int | None:
    """Give the bytes that a closed connection has received; ``before`` is the state in which it was seen last, if it was."""
    if row.counters is None:
        return None
    return max(row.counters.received - _fin_received(row, before, remains, ingress=ingress), 0)


def _fin_received(row: Row, before: int | None, remains: Remains, *, ingress: bool) -> bool:
    one, signs = row.counters, row.own_signs
    if one is None or one.received == 0:
        return False
    if before in FIN_RECEIVED or one.data_segments_in == 0:
        return True
    if row.unread:  # data that nobody has read would have been answered with a reset
        return row.unread == 1
    if signs is None or signs <= (not ingress):  # no FIN of ours: reset by either end
        return False
    state = remains(row)
    if state is None:  # the other end was the first to close; who closes first is remembered
        return True
    # Who closed first got the other FIN afterwards, where nothing is counted any more, unless only half was closed at first.
    return state != FIN_WAIT2 and before in {FIN_WAIT1, FIN_WAIT2}
