"""Answers of name servers as records tell them."""

import dns.message
import dns.rrset
import pytest

from outwatch.model.records import DnsAnswer
from outwatch.net.protocols.dns import facts
from outwatch.net.told import answers_of


def reply(*records: tuple[str, str, str]) -> bytes:
    """Answer a question for ``shop.example``; each record is a name, a type and a value."""
    answer = dns.message.make_response(dns.message.make_query("shop.example", "A"))
    answer.answer = [dns.rrset.from_text(name, 300, "IN", kind, value) for name, kind, value in records]
    return answer.to_wire()


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((), None),
        ((("shop.example.", "A", "192.0.2.7"),), (DnsAnswer(data="192.0.2.7", ttl=300),)),
        (
            (
                ("shop.example.", "CNAME", "edge.example."),
                ("edge.example.", "CNAME", "x.cdn.example."),
                ("x.cdn.example.", "A", "192.0.2.7"),
            ),
            (
                DnsAnswer(name="shop.example", type="CNAME", data="edge.example"),
                DnsAnswer(name="edge.example", type="CNAME", data="x.cdn.example"),
                DnsAnswer(data="192.0.2.7", ttl=300),
            ),
        ),
    ],
    ids=["nothing", "an address", "aliases that lead to an address"],
)
def test_aliases_are_told_in_their_order_before_the_addresses(
    records: tuple[tuple[str, str, str], ...], expected: tuple[DnsAnswer, ...] | None
) -> None:
    assert answers_of(facts(reply(*records))) == expected
