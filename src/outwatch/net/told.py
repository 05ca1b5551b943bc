"""What a name server answered, in the words of a record."""

from itertools import pairwise

from outwatch.model.records import DnsAnswer
from outwatch.net.protocols.dns import Facts


def answers_of(facts: Facts) -> tuple[DnsAnswer, ...] | None:
    """Give each alias that led on from the name asked for, then the addresses; ``None`` if there is neither."""
    aliases = [DnsAnswer(name=name, type="CNAME", data=alias) for name, alias in pairwise(facts.chain)]
    return (*aliases, *(DnsAnswer(data=one.ip, ttl=one.ttl) for one in facts.addresses)) or None
