"""What one text of a list means: an address, a network, a range of addresses, a name, or something that is none of them.

Indicators are often written so that nobody follows them by accident ("defanged"): ``hxxp://evil[.]example``, ``198.51.100.7[:]443``.
That is undone here, and of a URL the host is taken.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from outwatch.net import domains
from outwatch.net.addresses import Network, parse, parse_network

_LONGEST = 4096  # characters of a value; URLs may be long
_BRACKETED = re.compile(r"\s?[\[({<]\s*(\.|dot|:|://|/|@|at)\s*[\])}>]\s?", re.IGNORECASE)
_BRACKETED_MEANS = {"dot": ".", "at": "@"}
_SCHEME = re.compile(r"h[tx*]{2}p(s?)(?=:|\[)", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,31}:/{2,}", re.IGNORECASE)
_HOST_ENDS = re.compile(r"[/?#\\]")
_PORT = re.compile(r"(?P<host>[^:]*|\[.*\]):\d{0,5}\Z")  # an IPv6 address has one behind brackets only
_CHECKSUM = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})\Z", re.IGNORECASE)
_NETWORK_NUMBER = re.compile(r"AS\d{1,10}\Z", re.IGNORECASE)
_NUMBER = re.compile(r"(?:\d+|0x[0-9a-f]*)\Z", re.IGNORECASE)
_LENGTH = re.compile(r"[\d.]*\Z")  # what follows the slash of something that is meant to be a network


class Range(NamedTuple):
    """All addresses from the first to the last."""

    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address


class Name(NamedTuple):
    """A domain in canonical form, with A-labels."""

    text: str


class Other(NamedTuple):
    """Something that lists hold and connections don't show, by its plural: ``checksums of files``."""

    kind: str


Meaning = IPv4Address | IPv6Address | Network | Range | Name | Other


def meaning(text: str) -> Meaning | None:
    """Tell what a text means, or ``None`` if it means nothing; a URL stands for its host."""
    if len(text) > _LONGEST:
        return None
    text = text.strip()
    address = parse(text)
    if address is not None:
        return address
    text = refanged(text)
    if _URL.match(text):
        return _host(text[text.index("://") + 3 :].lstrip("/"))
    if "/" in text:
        network = parse_network(text)
        head, _, tail = text.partition("/")
        return network if network is not None else _host(text) if parse(head) is None or not _LENGTH.match(tail) else None
    if "-" in text and (span := _range(text)) is not None:
        return span
    return _other(text) or (None if _HOST_ENDS.search(text) else _host(text))


def refanged(text: str) -> str:
    """Undo what makes an indicator harmless to click on."""
    if any(one in text for one in "[({<\\") or text[:1] in {"h", "H"}:
        text = _BRACKETED.sub(lambda found: _BRACKETED_MEANS.get(found[1].lower(), found[1]), text)
        text = _SCHEME.sub(r"http\1", text, count=1)
        text = text.replace("[.", ".").replace(".]", ".").replace("\\.", ".")
    return text


def _host(text: str) -> IPv4Address | IPv6Address | Name | None:
    """Read what stands between a scheme and a path: perhaps a user, a host, perhaps a port."""
    host = _HOST_ENDS.split(text, maxsplit=1)[0].rpartition("@")[2]
    address = parse(host)
    if address is None and (with_port := _PORT.match(host)):
        host = with_port["host"]
        address = parse(host)
    if address is not None:
        return address
    return _name(host)


def _name(text: str) -> Name | None:
    """Read a name; one dot or ``*.`` before it says what holds anyway: all below it, too."""
    labelled = domains.a_labels(text.removeprefix("*").removeprefix(".") if text.startswith(("*.", ".")) else text)
    name = domains.hostname(labelled) if labelled is not None else None
    if name is None:
        return None
    _, dot, last = name.rpartition(".")
    if _NUMBER.match(last) or (not dot and not domains.is_suffix(name)):
        return None
    return Name(name)


def _range(text: str) -> Range | None:
    first, last = (parse(end) for end in text.split("-", 1))
    if first is None or last is None or first.version != last.version or int(first) > int(last):
        return None
    return Range(first, last)


def _other(text: str) -> Other | None:
    if _CHECKSUM.match(text):
        return Other("checksums of files")
    if _NETWORK_NUMBER.match(text):
        return Other("network numbers")
    return Other("mail addresses") if "@" in text and ":" not in text else None
