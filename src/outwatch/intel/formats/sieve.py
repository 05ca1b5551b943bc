"""From what a list says to its entries: canonical, none too broad, none that is not on the internet."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from typing import NamedTuple

from outwatch.intel.entries import Entry
from outwatch.intel.formats.ledger import Ledger
from outwatch.intel.formats.values import Name, Other, Range, meaning
from outwatch.net import domains
from outwatch.net.addresses import Network

_V4_BITS = 32
_REACHED = frozenset(["public", "unclassified"])  # the latter are shown and judged as if somebody lived there
TOO_BROAD, NOT_PUBLIC = "too broad", "not public"


class Said(NamedTuple):
    """One indicator in the list's own words, with the line (or number of the item) that it stands in.

    Times are seconds since the epoch, ``confidence`` is 0 to 100.
    """

    line: int | None
    text: str
    confidence: int | None = None
    first_seen: int | None = None
    last_seen: int | None = None
    expires: int | None = None
    note: str | None = None


def entries(said: Iterable[Said], ledger: Ledger) -> Iterator[Entry]:
    """Yield the entries that what is said comes to; all else is counted in the ledger."""
    for one in said:
        if one.expires is not None and one.expires <= ledger.now:
            ledger.expired += 1
            continue
        found = meaning(one.text)
        if isinstance(found, IPv4Address | IPv6Address):
            yield from _address(found, one, ledger)
        elif isinstance(found, Name):
            yield from _name(found, one, ledger)
        elif found is None:
            ledger.break_(one.line, one.text)
        elif isinstance(found, Other):
            ledger.pass_over(found.kind)
        else:
            yield from _networks(found, one, ledger)


def _address(address: IPv4Address | IPv6Address, one: Said, ledger: Ledger) -> Iterator[Entry]:
    text, scope = ledger.scopes.place(str(address))
    if scope not in _REACHED or address.is_unspecified:
        ledger.leave_out(one.line, one.text, NOT_PUBLIC, f"no public address ({scope})")
        return
    yield ledger.take(Entry("ip", text, *one[2:]))


def _name(name: Name, one: Said, ledger: Ledger) -> Iterator[Entry]:
    if domains.is_suffix(name.text, private=not ledger.warns):
        ledger.leave_out(one.line, one.text, TOO_BROAD, "a public suffix, below which anybody may have a name")
        return
    yield ledger.take(Entry("domain", name.text, *one[2:]))


def _networks(found: Network | Range, one: Said, ledger: Ledger) -> Iterator[Entry]:
    first, last = (found.first, found.last) if isinstance(found, Range) else (found.network_address, found.broadcast_address)
    bits = first.max_prefixlen
    shortest = ledger.bounds.widest_v4 if bits == _V4_BITS else ledger.bounds.widest_v6
    if int(last) - int(first) >= 1 << (bits - shortest):
        ledger.leave_out(one.line, one.text, TOO_BROAD, f"wider than a /{shortest}")
        return
    scopes = [ledger.scopes.place(str(end))[1] for end in (first, last)]
    if not _REACHED & {*scopes} or first.is_unspecified:
        ledger.leave_out(one.line, one.text, NOT_PUBLIC, f"no public addresses ({scopes[0]})")
        return
    for network in summarize_address_range(first, last) if isinstance(found, Range) else (found,):
        if network.prefixlen == bits:
            yield ledger.take(Entry("ip", str(network.network_address), *one[2:]))
        else:
            ledger.coverage.add(network)
            yield ledger.take(Entry("network", str(network), *one[2:]))
