"""An address and a port are written so that they can't be misread."""

import pytest

from outwatch.net.endpoints import endpoint


@pytest.mark.parametrize(
    ("ip", "port", "expected"),
    [
        ("192.0.2.1", 443, "192.0.2.1:443"),
        ("192.0.2.1", 0, "192.0.2.1:0"),
        ("192.0.2.1", None, "192.0.2.1"),
        ("2001:db8::1", 443, "[2001:db8::1]:443"),
        ("2001:db8::1", None, "[2001:db8::1]"),
        (None, 443, "unknown:443"),
        (None, None, "unknown"),
    ],
)
def test_ipv6_stands_in_brackets_and_what_is_unknown_is_said_so(ip: str | None, port: int | None, expected: str) -> None:
    assert endpoint(ip, port) == expected


@pytest.mark.security
def test_a_hostile_address_is_shown_harmless_and_short() -> None:
    shown = endpoint("\x1b[31m\n" + "9" * 10_000, 1)
    assert shown.isprintable()
    assert shown.startswith("\\x1b[31m\\x0a999")
    assert len(shown) < 200
